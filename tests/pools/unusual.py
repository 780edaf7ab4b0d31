"""Pools without a defect that are not as one expects: slow to start, or of another size than was asked for."""

import multiprocessing
import threading
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Final

from tests.pools.clean import CLEAN, CleanPool, live_with_parent

START_S: Final = 1.5


def _take_time() -> None:
    """Stands for the imports and the models that real workers load."""
    threading.Event().wait(START_S)


def _settle_in_slowly(parent_pid: int, ends_of_parent: Iterable[Connection]) -> None:
    live_with_parent(parent_pid, ends_of_parent)
    _take_time()


def slow_to_start(*, workers: int) -> CleanPool:
    return CleanPool(workers, replace(CLEAN, settle_in=_settle_in_slowly))


def slow_executor(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"), initializer=_take_time)


def fewer_workers_than_asked_for(*, workers: int) -> CleanPool:
    return CleanPool(workers - 1)


def executor_of_its_own_size() -> ProcessPoolExecutor:
    """A factory that does not ask for the number of workers."""
    return ProcessPoolExecutor(4)
