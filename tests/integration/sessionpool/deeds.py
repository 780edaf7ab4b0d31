"""What the tests of sessionpool have workers do: functions and values that are found there by name."""

import atexit
import contextlib
import ctypes
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, NoReturn

State = dict[Any, Any]

# --- operations that answer -------------------------------------------------------------------------------------


def echo(value: Any) -> Any:
    return value


def add(left: int, right: int = 0) -> int:
    return left + right


def named(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


def pid(*_: object) -> int:
    return os.getpid()


def zeros(size: int) -> bytes:
    return bytes(size)


def is_loaded(module: str) -> bool:
    return module in sys.modules


def end_of(data: bytes) -> tuple[int, bytes]:
    return len(data), data[-4:]


class Adder:
    """Something that is called and remembers nothing."""

    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, value: int) -> int:
        return value + self.by

    def method(self, value: int) -> int:
        return value + self.by


# --- operations that are seen from outside ----------------------------------------------------------------------


def meet(address: str, word: str = "") -> str:
    """Tell the test that this has begun, and go on when the test says so; the answer is what it said."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(f"\0{address}")
        line.sendall(f"{os.getpid()} {word}\n".encode())
        return line.recv(1 << 10).decode()


def note(path: str, word: str) -> int:
    """A side effect that is counted: one line, in one write, that outlives this process."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, f"{word}\n".encode())
    finally:
        os.close(fd)
    return os.getpid()


def meet_or_return(address: str) -> str:
    """As quick as can be, but where there is somebody to meet."""
    return meet(address) if address else "quick"


def note_and_meet(path: str, word: str, address: str) -> str:
    note(path, word)
    return meet(address, word) if address else "quick"


def note_and_exit(path: str, word: str, status: int) -> NoReturn:
    note(path, word)
    os._exit(status)


def tell(address: str, word: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.sendto(word.encode(), f"\0{address}")


def tell_at_exit(address: str, word: str) -> None:
    atexit.register(tell, address, word)


def meet_at_exit(address: str) -> None:
    atexit.register(meet, address, "leaving")


class Witness:
    """Tells when it is destroyed."""

    def __init__(self, address: str, word: str) -> None:
        self._address, self._word = address, word

    def __del__(self) -> None:
        tell(self._address, self._word)


# --- operations that do harm ------------------------------------------------------------------------------------


class Odd(BaseException):
    """No `Exception`, and neither of Python's own."""


class RichError(Exception):
    """Carries evidence beyond its arguments."""

    def __init__(self, message: str, *, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class CarelessError(Exception):
    """Cannot be rebuilt from its arguments, as careless exceptions can't."""

    def __init__(self, left: object, right: object) -> None:
        super().__init__(f"{left} and {right}")


class LockedError(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("held")
        self.lock = threading.Lock()


def fail(error: BaseException) -> NoReturn:
    raise error


def fail_by(maker: Callable[[], BaseException]) -> NoReturn:
    raise maker()


def careless_error() -> BaseException:
    return CarelessError(1, 2)


def locked_error() -> BaseException:
    return LockedError()


def large_error(size: int) -> NoReturn:
    raise ValueError("x" * size)


def fail_because() -> NoReturn:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise RichError("outer", code=7) from error


def exit_at_once(status: int) -> NoReturn:
    os._exit(status)


def kill_oneself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def close_everything() -> str:
    os.closerange(0, 1 << 16)
    return "closed"


def write_to(fd: int, size: int) -> str:
    """Fill a descriptor as a chatty C library would, with bytes that are no text."""
    data = bytes(range(256)) * (size // 256)
    while data:
        data = data[os.write(fd, data) :]
    return "written"


def read_standard_input() -> str:
    return sys.stdin.read()


def keep_the_gil(seconds: float) -> str:
    """Let no other thread of this process run for so long."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    return "done"


def meet_and_keep_the_gil(address: str, seconds: float) -> str:
    """Tell the test first: with the GIL kept, nobody can any more."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(f"\0{address}")
        line.sendall(f"{os.getpid()} keeps\n".encode())
        return keep_the_gil(seconds)


def leave_a_thread(address: str) -> int:
    """A thread that is no daemon and goes on for as long as the test likes."""
    threading.Thread(target=meet, args=(address, "thread")).start()
    return os.getpid()


def ignore_requests_to_leave() -> int:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    return os.getpid()


def fork_and_return() -> tuple[int, bool]:
    """Both return; the child's answer must go nowhere. What is told: the pid, and whether it was the child."""
    child = os.fork()
    return os.getpid(), child == 0


def fork_and_raise() -> int:
    if os.fork() == 0:
        raise SystemExit(3)
    return os.getpid()


def fork_and_stay(address: str) -> str:
    """A child that stays, with a copy of every descriptor, beside its parent, which waits as well."""
    if os.fork() == 0:
        try:
            meet(address, "child")
        finally:
            os._exit(0)
    return meet(address, "worker")


def run_a_process_of_ones_own(value: int) -> int:
    import multiprocessing

    reader, writer = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=writer.send, args=(value,))
    process.start()
    answer: int = reader.recv()
    process.join()
    return answer


HOARD: Final[list[bytearray]] = []


def become_another_program() -> NoReturn:
    os.execv("/bin/sleep", ["sleep", "60"])


def leave_for_a_session_of_ones_own(address: str) -> str:
    with contextlib.suppress(PermissionError):  # it has one already
        os.setsid()
    return meet(address, "apart")


def raise_later(seconds: float) -> int:
    """A signal's handler raises when the operation is over, wherever its worker is then."""
    signal.signal(signal.SIGALRM, lambda *_: refuse("a bug of the handler"))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    return os.getpid()


def recurse() -> int:
    return recurse()


def hoard(size: int) -> int:
    """Take memory that is touched and never given back."""
    HOARD.append(bytearray(b"\1") * size)
    return os.getpid()


# --- values that do not cross -----------------------------------------------------------------------------------


def refuse(message: str) -> NoReturn:
    raise ValueError(message)


class Unloadable:
    """Pickles, and raises where it is rebuilt."""

    def __reduce__(self) -> tuple[Any, ...]:
        return refuse, ("cannot be rebuilt",)


class Undumpable:
    """Raises where it is pickled, and nothing that pickle knows of."""

    def __reduce__(self) -> NoReturn:
        raise ValueError("cannot be pickled")


class ExitsWhereLoaded:
    """Ends the process that rebuilds it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (9,)


class RaisesSystemExitWhereLoaded:
    """Asks the process that rebuilds it to leave."""

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (9,)


class Recorded:
    """Tells in a file whose process it was rebuilt in."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return note, (self.path, "rebuilt")


when_rebuilt: list[Callable[[], Any]] = []
"""What a test has its own process do where a `Rebuilt` arrives there, the first time and the next ones."""


def rebuild() -> Any:
    return when_rebuilt.pop(0)()


class Rebuilt:
    """Runs code of the test where it arrives."""

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, ()


def meet_and_return_rebuilt(address: str) -> Rebuilt:
    meet(address)
    return Rebuilt()


def make(kind: Callable[[], Any]) -> Any:
    return kind()


def make_lambda() -> Any:
    return lambda: 1


def half_pickle() -> Any:
    """An iterator that pickle only finds out about when half of the result is written."""
    return [bytes(1 << 16), "then", (value for value in (1,))]


def load(pickled: bytes) -> Any:
    return pickle.loads(pickled)


# --- operations of sessions -------------------------------------------------------------------------------------


def count(state: State) -> tuple[int, int]:
    """How many times this was called in this state, and where."""
    state["count"] = state.get("count", 0) + 1
    return state["count"], os.getpid()


def append(state: State, owner: object, value: object) -> list[tuple[object, object]]:
    state.setdefault("seen", []).append((owner, value))
    return list(state["seen"])


def names(state: State) -> list[Any]:
    return sorted(state)


def keep_what_does_not_pickle(state: State) -> bool:
    """Whether it was there before."""
    there = "lock" in state
    state.setdefault("lock", threading.Lock())
    return there


def keep_witness(state: State, address: str, word: str) -> int:
    state["witness"] = Witness(address, word)
    return os.getpid()


def session_meet(state: State, address: str, word: str = "") -> str:
    return meet(address, word)


def session_note(state: State, path: str, word: str) -> tuple[int, int]:
    note(path, word)
    return count(state)


def session_note_and_meet(state: State, path: str, word: str, address: str) -> str:
    return note_and_meet(path, word, address)


def session_fail(state: State, error: BaseException) -> NoReturn:
    state["failed"] = True
    raise error


def session_exit(state: State, status: int) -> NoReturn:
    os._exit(status)


def session_echo(state: State, value: Any) -> Any:
    return value


# --- initialisers -----------------------------------------------------------------------------------------------

GREETING: Final[list[str]] = []


def greet(word: str) -> None:
    GREETING.append(word)


def greeting(*_: object) -> tuple[str, ...]:
    return tuple(GREETING)


def fail_the_first_times(folder: str, times: int) -> None:
    """Fail in so many workers, one after the other, and then in none."""
    for number in range(times):
        try:
            os.close(os.open(f"{folder}/{number}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        raise OSError("the model is not there yet")


def note_and_fail(path: str) -> NoReturn:
    note(path, "tried")
    raise OSError("the model is not there")


def note_and_exit_at_once(path: str) -> NoReturn:
    note(path, "tried")
    os._exit(3)


def note_and_hang(path: str) -> None:
    note(path, "tried")
    print("waiting for the licence server", file=sys.stderr, flush=True)  # noqa: T201 - perhaps its last words
    threading.Event().wait()


def die_later(seconds: float, address: str) -> int:
    """The answer is given before the process ends; a child that Python is not told of still holds the wire then."""
    if ctypes.PyDLL(None).fork() == 0:
        try:
            os.setsid()
            meet(address, "child")
        finally:
            os._exit(0)
    threading.Timer(seconds, os._exit, (7,)).start()
    return os.getpid()


def fork_unnoticed(address: str) -> str:
    """A child that Python is not told of, with a copy of every descriptor, and in a session of its own."""
    if ctypes.PyDLL(None).fork() == 0:
        try:
            os.setsid()
            meet(address, "child")
        finally:
            os._exit(0)
    return meet(address, "worker")
