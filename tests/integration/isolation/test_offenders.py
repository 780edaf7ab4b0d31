"""Every kind of offender that a mode claims to catch, planted in a test file of its own: each is told, by name."""

import re
import subprocess
import sys
from inspect import cleandoc

import pytest

pytestmark = pytest.mark.layer(2)

OFFENDERS = {
    "thread": r"thread 'leaky' \(daemon\) is still running .*; started at test_it\.py:\d+ in test_thread",
    "child": r"process \d+ 'sleep 60', a child of the test's process, is still running; started at test_it\.py:\d+",
    "zombie": r"zombie: process \d+ .* has ended and was not waited for",
    "descriptor": r"descriptor \d+ -> /dev/null is still open; opened at test_it\.py:\d+ in test_descriptor",
    "socket": r"socket .*127\.0\.0\.1.* is still open; .* at test_it\.py:\d+ in test_socket",
    "semaphore": r"semaphore .*planted-\d+",
    "block": r"shared memory block \S+ .*still exists, held by .*; made at test_it\.py:\d+ in test_block",
    "file": r"temporary file \S+ was not removed; made at test_it\.py:\d+ in test_file",
    "variable": r"environment variable PLANTED was set to 'here'; set at test_it\.py:\d+ in test_variable",
    "signal_handler": r"signal SIGUSR2 is handled by test_it\.py:\d+ test_signal_handler.*; it was by SIG_DFL",
    "logging_handler": r"handler .*StreamHandler.*planted",
    "task": r"asyncio task 'Task-1' is pending in test_it\.py:\d+ forever",
    "attribute": r"attribute time\.time is patched: it is test_it\.py:\d+ test_attribute",
    "name": r"the name 'planted' was left taken; it was taken at test_it\.py:\d+ in test_name",
    "child_in_full_isolation": r"the process pid \d+ was left running and was killed: sleep 60",
    "rig": r"closing the pool .* hung for 4 s and was given up",
}
"""What is planted, and what is told of it."""

TESTS = """
import asyncio, ctypes, logging, os, signal, socket, subprocess, sys, tempfile, threading, time
from multiprocessing import shared_memory
import pytest

kept = []
looks = pytest.mark.isolation("contamination_detection", settle_s=0.1)

@looks
def test_tmp_path(tmp_path):
    (tmp_path / "here").write_text("no offence: pytest's own folder, made for the first test that asks for it")

@looks
def test_thread():
    threading.Thread(target=threading.Event().wait, daemon=True, name="leaky").start()

@looks
def test_child():
    kept.append(subprocess.Popen(["sleep", "60"]))

@looks
def test_zombie():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

@looks
def test_descriptor():
    os.open("/dev/null", os.O_RDONLY)

@looks
def test_socket():
    kept.append(socket.create_server(("127.0.0.1", 0)))

@looks
def test_semaphore():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.sem_open.restype = ctypes.c_void_p
    libc.sem_open(f"/planted-{os.getpid()}".encode(), os.O_CREAT, 0o600, 1)

@looks
def test_block():
    kept.append(shared_memory.SharedMemory(create=True, size=100))

@looks
def test_file():
    os.close(tempfile.mkstemp()[0])

@looks
def test_variable():
    os.environ["PLANTED"] = "here"

@looks
def test_signal_handler():
    signal.signal(signal.SIGUSR2, lambda *_: None)

@looks
def test_logging_handler():
    logging.getLogger("planted").addHandler(logging.StreamHandler())

async def forever():
    await asyncio.Event().wait()

@looks
def test_task():
    loop = asyncio.new_event_loop()
    kept.append((loop, loop.create_task(forever())))

@looks
def test_attribute():
    time.time = lambda: 0.0

@pytest.mark.isolation("registry")
def test_name(isolation):
    isolation.register("planted")

@pytest.mark.isolation("full_isolation")
def test_child_in_full_isolation():
    kept.append(subprocess.Popen(["sleep", "60"]))
    os.environ["CHANGED"] = "here"

@pytest.mark.isolation("full_isolation")
def test_what_full_isolation_puts_back():
    assert "CHANGED" not in os.environ

from concurrent.futures import ThreadPoolExecutor

class NeverShut(ThreadPoolExecutor):
    over = threading.Event()
    def shutdown(self, wait=True, *, cancel_futures=False):
        self.over.wait()
        super().shutdown()

@pytest.mark.isolation("pool_testing", target=NeverShut, workers=1, watch=("zombies",))
def test_rig(pool): ...

def test_end():
    NeverShut.over.set()
    for it in kept:
        if isinstance(it, shared_memory.SharedMemory):
            it.close()
            it.unlink()
        elif isinstance(it, subprocess.Popen):
            it.kill()
            it.wait()
    ctypes.CDLL(None).sem_unlink(f"/planted-{os.getpid()}".encode())
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("offenders")
    (folder / "test_it.py").write_text(cleandoc(TESTS), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder), "test_it.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100).stdout


@pytest.mark.parametrize("kind", OFFENDERS)
def test_an_offender_is_told_by_name_in_the_report_of_its_test(told: str, kind: str) -> None:
    section = re.search(rf"ERROR at teardown of test_{kind} _+\n(.*?)(?=\n_+ |\n=+ )", told, re.DOTALL)

    assert section is not None, told
    assert f"test_it.py::test_{kind}:" in section[1]
    assert re.search(OFFENDERS[kind], section[1]), section[1]


def test_all_others_are_passed_over(told: str) -> None:
    errors = set(re.findall(r"ERROR at teardown of test_(\w+) ", told))

    assert errors == set(OFFENDERS)
