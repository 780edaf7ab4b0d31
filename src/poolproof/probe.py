"""What a worker runs: the workload's own call between two records that survive the worker's death.

Standard library only, for it is imported by the workers of any pool. It must not know pools, plans or histories: the
records that it leaves are the ground truth, whatever the pool says.

A record is 64 bytes long and appended with one `write(2)` to an O_APPEND file of the worker's own process. Records and
file offsets are multiples of 64, so no record crosses a page and a SIGKILL leaves it whole or not at all; what was
written stays with the kernel when the process dies.
"""

import importlib
import os
import socket
import struct
import threading
import time
import types
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

MAGIC: Final = 0x70F1
STARTED: Final = 1
RETURNED: Final = 2
RAISED: Final = 3
"""The kinds of record: the call began, it returned, it raised."""

RECORD: Final = struct.Struct("=HHIIIqqqqQq")
"""magic, kind, pid, tid, counter, start time (ticks), operation, time (ns), session token, epoch, type of the error.

The last is `type_mark` of what the call raised, and 0 elsewhere: it tells the user's own error from the pool's.
"""

NO_SESSION: Final = -1
RENDEZVOUS: Final = "poolproof:rendezvous"
"""The built-in kind with which capacity is probed: its payload is the address of a unix socket and a time-out, s."""

_SESSION: Final = "poolproof:session"
_EPOCH: Final = "poolproof:epoch"
_COUNTER: Final = "poolproof:counter"


class _Kind(Protocol):
    @property
    def call(self) -> Callable[[Any, dict[str, Any]], Any]: ...


class _Workload(Protocol):
    @property
    def kinds(self) -> Mapping[str, _Kind]: ...
    @property
    def setup(self) -> Callable[[], None] | None: ...


def type_mark(name: str) -> int:
    """A number for a type's `module.Name`; two types share one by a chance of one in four thousand million."""
    return zlib.crc32(name.encode())


class ProbeError(Exception):
    """The probe could not write its record: an operation that ends so says nothing of the pool."""


class WorkloadError(ProbeError):
    """The workload could not be imported or set up in a worker: that says nothing of the pool either."""


class Recorder:
    """The record file of this process: opened at the first call, before any fault can exhaust descriptors."""

    def __init__(self, folder: str) -> None:
        self.pid = os.getpid()
        with open("/proc/self/stat", "rb") as stat:
            line = stat.read()
        self.start_time = int(line[line.rindex(b")") + 2 :].split()[19])
        path = os.path.join(folder, f"{self.pid}-{self.start_time}.bin")
        try:
            self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ProbeError(f"the record file {path} can't be opened: {error.strerror}") from error


# One recorder for each process and folder. A fork inherits the table and must not write under its parent's name, so it
# is emptied there; threads of one process share a recorder, since an O_APPEND write is atomic among them.
_recorders: dict[str, Recorder] = {}
_workloads: dict[str, _Workload] = {}
_opening = threading.Lock()


def _forget() -> None:
    global _opening
    _opening = threading.Lock()  # the fork may have copied a lock whose holder does not exist here
    for recorder in _recorders.values():
        os.close(recorder.fd)
    _recorders.clear()


os.register_at_fork(after_in_child=_forget)


def _recorder(folder: str) -> Recorder:
    # Two threads that arrive first would open two files and orphan one descriptor: the lock lets one of them in.
    with _opening:
        if folder not in _recorders:
            _recorders[folder] = Recorder(folder)
        return _recorders[folder]


def _workload(reference: str) -> _Workload:
    with _opening:
        if reference not in _workloads:
            module, _, name = reference.partition(":")
            try:
                found = getattr(importlib.import_module(module), name)
                workload: _Workload = found() if isinstance(found, types.FunctionType) else found
                if workload.setup is not None:
                    workload.setup()
            except Exception as error:
                where = f"in worker pid {os.getpid()}"
                raise WorkloadError(f"the workload {reference} can't be set up {where}: {error!r}") from error
            _workloads[reference] = workload
        return _workloads[reference]


def _rendezvous(address: str, timeout_s: float) -> str:
    """Say through the socket that this operation runs, and stay until it is released, or the time is up.

    End-of-file alone would not release it: workers that were forked meanwhile hold copies of the other end.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as meeting:
        meeting.settimeout(timeout_s)
        try:
            meeting.connect(address)
            meeting.recv(1)
        except OSError:  # it came when the meeting was over, or was never released: neither is the pool's fault
            return "late"
    return "met"


class Call:
    """One operation as a pool sees it: a picklable callable, with or without a session's state as its argument.

    Returns `(operation, result)`: the echoed key tells a result that was delivered to the wrong caller.
    """

    __slots__ = ("folder", "kind", "op", "payload", "session", "workload")

    def __init__(self, folder: str, workload: str, op: int, kind: str, payload: Any, session: int = NO_SESSION) -> None:
        self.folder = folder
        self.workload = workload
        self.op = op
        self.kind = kind
        self.payload = payload
        self.session = session

    def __reduce__(self) -> tuple[Any, ...]:
        return (Call, (self.folder, self.workload, self.op, self.kind, self.payload, self.session))

    def __call__(self, state: dict[str, Any] | None = None) -> tuple[int, Any]:
        if state is None:
            state = {}
        recorder = _recorders.get(self.folder) or _recorder(self.folder)
        token, epoch, counter = self._session_found(state)
        tid = threading.get_native_id()
        identity = (recorder.pid, tid, counter, recorder.start_time, self.op)

        def record(kind: int, mark: int = 0) -> None:
            line = RECORD.pack(MAGIC, kind, *identity, time.monotonic_ns(), token, epoch, mark)
            try:
                written = os.write(recorder.fd, line)
            except OSError as error:
                raise ProbeError(f"a record of operation {self.op} can't be written: {error.strerror}") from error
            if written != RECORD.size:
                raise ProbeError(f"a record of operation {self.op} was written in part")

        record(STARTED)
        try:
            # Before a rendezvous too: so the setup is done with in every worker that met the others.
            workload = (_workloads.get(self.workload) or _workload(self.workload)) if self.workload else None
            if workload is None or self.kind == RENDEZVOUS:
                result: Any = _rendezvous(*self.payload)
            else:
                result = workload.kinds[self.kind].call(self.payload, state)
        except BaseException as error:
            record(RAISED, type_mark(f"{type(error).__module__}.{type(error).__qualname__}"))
            raise
        finally:
            if token != NO_SESSION and _EPOCH not in state:  # the user's own `state.clear()` is no loss of the state
                state[_SESSION], state[_EPOCH], state[_COUNTER] = token, epoch, counter
        record(RETURNED)
        return (self.op, result)

    def _session_found(self, state: dict[str, Any]) -> tuple[int, int, int]:
        """The token, epoch and counter *found in the state*: what another session left there shows."""
        if self.session == NO_SESSION:
            return (NO_SESSION, 0, 0)
        if _EPOCH not in state:
            state[_SESSION] = self.session
            state[_EPOCH] = int.from_bytes(os.urandom(8), "little")
            state[_COUNTER] = 0
        state[_COUNTER] += 1
        return (state[_SESSION], state[_EPOCH], state[_COUNTER])
