"""Execution records: what the probes in the workers left, read whole after the run or followed while it runs."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from poolproof import probe
from poolproof.history.schema import Executions, column_types

FOLDER: Final = "executions"

_RECORD: Final = np.dtype(
    [
        ("magic", "<u2"),
        ("kind", "<u2"),
        ("pid", "<u4"),
        ("tid", "<u4"),
        ("counter", "<u4"),
        ("start_time", "<i8"),
        ("op", "<i8"),
        ("at", "<i8"),
        ("session", "<i8"),
        ("epoch", "<u8"),
        ("error_type", "<i8"),
    ]
)
assert _RECORD.itemsize == probe.RECORD.size  # noqa: S101 - the two descriptions of one record must agree


def read_records(folder: Path) -> tuple[Executions, int]:
    """All executions of a run folder, and how many bytes of the files could not be read as records."""
    parts, damaged = [], 0
    home = folder / FOLDER
    for path in sorted(home.iterdir()) if home.is_dir() else ():
        size = path.stat().st_size
        whole = size // _RECORD.itemsize
        records = np.fromfile(path, dtype=_RECORD, count=whole)
        sound = (records["magic"] == probe.MAGIC) & np.isin(
            records["kind"], (probe.STARTED, probe.RETURNED, probe.RAISED)
        )
        damaged += size - int(sound.sum()) * _RECORD.itemsize
        parts.append(records[sound])
    records = np.concatenate(parts) if parts else np.zeros(0, dtype=_RECORD)
    return pair(records), damaged


def pair(records: np.ndarray) -> Executions:
    """Join start and end records: within a thread, an end belongs to the last start before it of the same operation."""
    order = np.lexsort((records["at"], records["op"], records["tid"], records["start_time"], records["pid"]))
    records = records[order]
    is_start = records["kind"] == probe.STARTED
    starts = np.flatnonzero(is_start)
    begun = records[starts]
    following = np.minimum(starts + 1, len(records) - 1)
    after = records[following]
    closed = (
        (starts + 1 < len(records))
        & (after["kind"] != probe.STARTED)
        & (after["op"] == begun["op"])
        & (after["tid"] == begun["tid"])
        & (after["start_time"] == begun["start_time"])
        & (after["pid"] == begun["pid"])
    )
    by_start = np.argsort(begun["at"], kind="stable")
    columns = {
        "op": begun["op"],
        "pid": begun["pid"],
        "start_time": begun["start_time"],
        "tid": begun["tid"],
        "started": begun["at"],
        "ended": np.where(closed, after["at"], 0),
        "raised": closed & (after["kind"] == probe.RAISED),
        "error_type": np.where(closed, after["error_type"], 0),
        "session": begun["session"],
        "epoch": begun["epoch"],
        "counter": begun["counter"],
    }
    types = column_types(Executions)
    return Executions(**{name: column[by_start].astype(types[name]) for name, column in columns.items()})


@dataclass(slots=True)
class Worker:
    """What the records so far tell of one incarnation.

    Attributes:
        running: the operations that it has begun and not ended, by thread.
    """

    pid: int
    start_time: int
    running: dict[int, int]
    offset: int = 0


class Follower:
    """Follows the record files of a run that goes on: who works, and on what, at this moment."""

    def __init__(self, folder: Path) -> None:
        self._home = folder / FOLDER
        self.workers: dict[tuple[int, int], Worker] = {}

    def refresh(self) -> None:
        """Read what was appended since the last time."""
        for name in os.listdir(self._home):
            pid, _, start_time = name.removesuffix(".bin").partition("-")
            self.refresh_worker(int(pid), int(start_time))

    def refresh_worker(self, pid: int, start_time: int) -> Worker:
        """Read what one incarnation appended; where it is stopped, what this tells stays true."""
        worker = self.workers.setdefault((pid, start_time), Worker(pid, start_time, {}))
        size = probe.RECORD.size
        with open(self._home / f"{pid}-{start_time}.bin", "rb") as file:
            file.seek(worker.offset)
            appended = file.read()
        whole = len(appended) // size * size
        for _, kind, _, tid, _, _, op, *_ in probe.RECORD.iter_unpack(appended[:whole]):
            if kind == probe.STARTED:
                worker.running[tid] = op
            else:
                worker.running.pop(tid, None)
        worker.offset += whole
        return worker
