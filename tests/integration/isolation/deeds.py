"""What the tests of this folder have processes of their own do; a module of its own, so that those find it.

What needs the kit imports it itself: the others begin sooner without, and some of them have little time.
"""

import faulthandler
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn

SLEEPER = (sys.executable, "-c", "import signal; signal.pause()")
"""Sleeps until it is killed."""


class NotToBeUnpickledError(Exception):
    """It is pickled, and then does not come back."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("both")


def add(one: int, two: int) -> int:
    return one + two


def big(size: int) -> bytes:
    return b"x" * size


def who() -> tuple[int, int, bool]:
    """Its pid, its session, and whether orphans come to it."""
    return os.getpid(), os.getsid(0), adopts()


def adopts() -> bool:
    """Whether a grandchild that loses its parent becomes this process's."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            os.write(writing, b"%d" % os.getpid())
            signal.pause()
        os._exit(0)
    orphan = int(os.read(reading, 20))
    os.close(reading)
    os.close(writing)
    os.waitpid(child, 0)
    os.kill(orphan, signal.SIGKILL)
    try:
        return os.waitpid(orphan, 0)[0] == orphan
    except ChildProcessError:
        return False


def fail(message: str) -> NoReturn:
    raise KeyError(message)


def fail_without_a_way_back() -> NoReturn:
    raise NotToBeUnpickledError(1, 2)


def return_a_lambda() -> object:
    return lambda: 1


def leave(status: object) -> NoReturn:
    sys.exit(status)  # type: ignore[arg-type]


def die(number: int) -> None:
    faulthandler.disable()
    os.kill(os.getpid(), number)


def hang_here() -> None:
    threading.Event().wait()


def hang_and_block_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    threading.Event().wait()


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def kill_the_warden(report: str) -> None:
    Path(report).write_text(str(os.getpid()))
    os.kill(os.getppid(), signal.SIGKILL)
    hang_here()


def tell_and_hang(report: str) -> None:
    Path(report).write_text(str(os.getpid()))
    hang_here()


def here() -> tuple[str, str]:
    return str(Path.cwd()), os.environ["POOLPROOF_OWN"]


def start(report: str, how: str) -> str:
    """Start a process that outlives this function, in one way or another; its pid goes into a file."""
    if how == "child":
        pid = subprocess.Popen(SLEEPER).pid
    elif how == "session":
        pid = subprocess.Popen(SLEEPER, start_new_session=True).pid
    else:
        pid = orphan()
    Path(report).write_text(str(pid))
    return how


def start_and_die(report: str, how: str) -> None:
    start(report, how)
    die(signal.SIGKILL)


def start_and_hang(report: str, how: str) -> None:
    start(report, how)
    hang_here()


def orphan(*, executed: bool = False) -> int:
    """Fork a process whose parent dies, in a session of its own; its pid."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        pid = subprocess.Popen(SLEEPER).pid if executed else os.fork()
        if pid == 0:
            signal.pause()
        os.write(writing, b"%d" % pid)
        os._exit(0)
    os.close(writing)
    pid = int(os.read(reading, 20))
    os.close(reading)
    os.waitpid(child, 0)
    return pid


def limit() -> tuple[int, int]:
    """Lower a hard limit for good."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def leave_a_thread() -> str:
    threading.Thread(target=hang_here, daemon=False).start()
    return "done"


def say(text: str) -> None:
    sys.stdout.write(text)


def take(name: str) -> str:
    """Take a name, or tell who has it."""
    from poolproof.isolation.names import NameTakenError, Registry

    try:
        return Registry().register(name)
    except NameTakenError as error:
        return error.holder


def remove_as_nobody() -> tuple[bool, str]:
    """Make a folder that even its owner may not enter, as a user without privileges: whether so, and its path."""
    from poolproof.isolation import isolated, scene_of

    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    with isolated("basic", scene=scene_of("t", seed=1)) as basic:
        inner = basic.folder / "a" / "b"
        inner.mkdir(parents=True)
        (inner / "file").touch()
        for folder in (inner, inner.parent, basic.folder):
            folder.chmod(0)
        return not os.access(basic.folder, os.X_OK), str(basic.folder)
