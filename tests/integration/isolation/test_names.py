"""A name that one process has, no other can have; it is free once that process is gone, or has released it."""

import os
import signal

import pytest

from poolproof.isolation import isolated, scene_of
from poolproof.isolation.child import in_child
from poolproof.isolation.names import NameTakenError, Registry
from tests.integration.isolation import deeds

pytestmark = pytest.mark.layer(2)  # it is about real processes


def test_a_name_is_taken_for_another_process_which_is_told_who_has_it() -> None:
    with isolated("registry", scene=scene_of("t", seed=1)) as registry:
        name = registry.register(registry.unique("one and only"))
        assert in_child(deeds.take, name).startswith(f"pid {os.getpid()} (")
        registry.release(name)
    assert in_child(deeds.take, name) == name


def test_a_name_of_a_process_that_died_is_free() -> None:
    registry = Registry()
    name = registry.unique()
    taken, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        registry.register(name)
        os.write(told, b"x")
        signal.pause()
    os.read(taken, 1)
    with pytest.raises(NameTakenError, match=f"is taken by pid {pid} "):
        registry.register(name)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(taken)
    os.close(told)
    registry.register(name)
    registry.release(name)


def test_a_name_is_free_once_it_is_released_though_a_forked_process_lives_on() -> None:
    registry = Registry()
    name = registry.register(registry.unique())
    begun, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(told, b"%d" % len(registry.names))
        signal.pause()
    assert os.read(begun, 1) == b"0"
    registry.release(name)
    registry.register(name)
    registry.release(name)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(begun)
    os.close(told)
