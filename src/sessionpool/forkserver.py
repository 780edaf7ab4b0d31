"""The process that forks the workers of one pool: single-threaded, with the imports that they need done once.

It talks with the pool over a socket that keeps messages apart, one letter and what belongs to it:

    pool → forkserver   F incarnation, limit  + the worker's end of its wire, its progress words
    forkserver → pool   R                     the imports are done; W and its text before it where threads were left
                        X module, text        an import failed
                        F incarnation, pid    + the worker's pidfd
                        N incarnation, text   no fork
                        E incarnation, status the worker has ended, and is reaped

It ends, with all its workers, when the pool's process dies or the pool closes its end. It needs no signal for that:
Linux would send its death signal when the *thread* that started it ends. Its workers do get that signal, for it has one
thread only. Each leads a process group of its own, which ends with it: what user code started goes too.
"""

import atexit
import contextlib
import gc
import importlib
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import traceback
import types
import warnings
from multiprocessing.process import current_process
from typing import Any, Final, NoReturn

from sessionpool import kernel, progress, worker

FORK: Final = struct.Struct("<cQQ")
NUMBER: Final = struct.Struct("<cQ")
LARGEST: Final = 1 << 16
MAIN: Final = "__main__"

_UNTIL_DEAD_S: Final = 2.0

is_importing: bool = False
"""Whether `__main__` is being imported here, for the workers' sake: it must not make a pool meanwhile."""


def main(control_fd: int, parent_pidfd: int, config_fd: int) -> NoReturn:
    """Be the forkserver; never returns.

    It is called with the collector off, which else would run again and again through what this module itself imports,
    all of which stays.
    """
    gc.freeze()
    gc.enable()
    with open(config_fd, "rb") as file:
        config: dict[str, Any] = pickle.load(file)
    control = socket.socket(fileno=control_fd)
    signal.signal(signal.SIGINT, lambda *_: None)  # a Ctrl-C is the parent's
    sys.path[:] = config["sys_path"]
    sys.argv[:] = config["sys_argv"]
    current_process().authkey = config["authkey"]
    _offer_main(config["main"])
    for module in config["preload"]:
        try:
            _import(module)
        except BaseException:
            text = traceback.format_exc()[-LARGEST // 2 :]
            control.send(b"X" + pickle.dumps((module, text)))
            os._exit(1)
    left = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if left:
        control.send(b"W" + ", ".join(left).encode())
    atexit._clear()  # what the imports registered is not the workers' to run
    gc.collect()
    gc.freeze()  # or the first collection in each worker would copy every page that holds an object
    control.send(b"R")
    try:
        _Nursery(control, parent_pidfd).run()
    finally:
        os._exit(0)


def _offer_main(main: dict[str, Any]) -> None:
    """Let `__main__` be the pool's own, imported as multiprocessing's spawn does, once something of it is wanted."""

    def of_main(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if not main:
            raise AttributeError(f"{name}: the main program has no file to be imported from; put it in a module")
        _import_main(main)
        if sys.modules[MAIN] is stub:
            raise AttributeError(f"{name}: multiprocessing's spawn cannot import this main program; put it in a module")
        return getattr(sys.modules[MAIN], name)

    stub = types.ModuleType(MAIN)
    stub.__dict__.update(__getattr__=of_main, _import=lambda: _import_main(main))
    sys.modules[MAIN] = stub


def _import(module: str) -> None:
    if module == MAIN:
        run = sys.modules[MAIN].__dict__.get("_import")
        if run is not None:
            run()
    else:
        importlib.import_module(module)


def _import_main(main: dict[str, Any]) -> None:
    global is_importing
    from multiprocessing import spawn  # not above: it brings subprocess along, a twelfth of the forkserver's start

    is_importing = True
    try:
        spawn.prepare(main)
    finally:
        is_importing = False


class _Nursery:
    """The workers that live, by the descriptors of their processes."""

    def __init__(self, control: socket.socket, parent_pidfd: int) -> None:
        self._control = control
        self._parent = parent_pidfd
        self._poller = select.poll()
        self._poller.register(control, select.POLLIN)
        self._poller.register(parent_pidfd, select.POLLIN)
        self._children: dict[int, tuple[int, int]] = {}
        """pidfd → incarnation, pid."""

    def run(self) -> None:
        """Fork and reap until the pool is gone."""
        try:
            while True:
                for fd, _ in self._poller.poll():
                    if fd == self._parent:
                        return
                    if fd in self._children:
                        self._reap(fd)
                    elif not self._obey():
                        return
        except OSError:  # the pool's end of the socket is closed: nobody is left to be told
            return
        finally:
            self._end_all()

    def _obey(self) -> bool:
        message, fds = kernel.receive_with_fds(self._control, LARGEST)
        if not message:
            return False
        _, incarnation, limit = FORK.unpack(message)
        me = os.getpid()
        try:
            wire_fd, words_fd = fds  # fewer where this process has no descriptor left
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # threads of C libraries, which see to forks themselves
                pid = os.fork()
            if pid == 0:
                self._be_worker(me, incarnation, limit, wire_fd, words_fd)
            with contextlib.suppress(OSError):  # the worker does so too; whoever comes first
                os.setpgid(pid, pid)
            try:
                pidfd = os.pidfd_open(pid)
            except OSError:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise
        except (OSError, ValueError) as error:
            self._control.send(NUMBER.pack(b"N", incarnation) + f"no worker could be forked: {error}".encode())
            return True
        finally:
            for fd in fds:
                os.close(fd)
        # Handed over before it is reaped: the pool's copy names this very process for as long as it is held.
        kernel.send_with_fds(self._control, FORK.pack(b"F", incarnation, pid), [pidfd])
        self._children[pidfd] = (incarnation, pid)
        self._poller.register(pidfd, select.POLLIN)
        return True

    def _be_worker(self, parent: int, incarnation: int, limit: int, wire_fd: int, words_fd: int) -> NoReturn:
        try:
            kernel.die_with_parent(parent)
            with contextlib.suppress(OSError):
                os.setpgid(0, 0)
            self._control.close()
            for fd in (self._parent, *self._children):
                os.close(fd)
            random = sys.modules.get("numpy.random")
            if random is not None:  # Python's own reseeds itself in a fork; all workers would draw the same from this
                random.seed()
            words = progress.open_words(words_fd)
            os.close(words_fd)
            worker.serve(socket.socket(fileno=wire_fd), words, incarnation, limit)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    def _reap(self, pidfd: int) -> None:
        incarnation, pid = self._children.pop(pidfd)
        self._poller.unregister(pidfd)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # its number names this group until it is reaped
        _, status = os.waitpid(pid, 0)
        os.close(pidfd)
        self._control.send(FORK.pack(b"E", incarnation, status))

    def _end_all(self) -> None:
        for _, pid in self._children.values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                os.killpg(pid, signal.SIGKILL)
        for _, pid in self._children.values():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
