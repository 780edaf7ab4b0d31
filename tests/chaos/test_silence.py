"""200 tests that clean up, in every mode, in two workers, in random order, three times, while another process is at
work: silence.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from inspect import cleandoc

import pytest

pytest_plugins = ("pytester",)

pytestmark = [pytest.mark.layer(2), pytest.mark.timeout(600)]

CONFTEST = """
    import os, random

    def pytest_collection_modifyitems(items):
        random.Random(os.environ["ORDER"]).shuffle(items)
"""

TESTS = """
    import asyncio, concurrent.futures, logging, multiprocessing, os, random, signal, socket, subprocess, sys
    import tempfile, threading, time
    from multiprocessing import shared_memory
    from pathlib import Path
    import pytest

    FORK = multiprocessing.get_context("fork")

    def threads(tmp_path, monkeypatch, caplog, capfd):
        started = [threading.Thread(target=int) for _ in range(3)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()

    def daemons(tmp_path, monkeypatch, caplog, capfd):
        gate = threading.Event()
        threading.Thread(target=gate.wait, daemon=True).start()
        gate.set()

    def processes(tmp_path, monkeypatch, caplog, capfd):
        subprocess.run([sys.executable, "-c", "import tempfile; tempfile.TemporaryFile()"], check=True)
        subprocess.run("true | true", shell=True, check=True)

    def pipes(tmp_path, monkeypatch, caplog, capfd):
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.communicate(b"x")[0] == b"x"

    def process_pool(tmp_path, monkeypatch, caplog, capfd):
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=FORK) as pool:
            assert list(pool.map(abs, [-1, -2])) == [1, 2]

    def worker_pool(tmp_path, monkeypatch, caplog, capfd):
        with FORK.Pool(2) as pool:
            assert pool.map(abs, [-1, -2]) == [1, 2]

    def forkserver(tmp_path, monkeypatch, caplog, capfd):
        child = multiprocessing.get_context("forkserver").Process(target=int)
        child.start()
        child.join()

    def spawned(tmp_path, monkeypatch, caplog, capfd):
        child = multiprocessing.get_context("spawn").Process(target=int)
        child.start()
        child.join()

    def thread_pool(tmp_path, monkeypatch, caplog, capfd):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            assert list(pool.map(abs, [-1, -2])) == [1, 2]

    def queue(tmp_path, monkeypatch, caplog, capfd):
        queue = FORK.Queue()
        child = FORK.Process(target=queue.put, args=("here",))
        child.start()
        assert queue.get(timeout=20) == "here"
        child.join()

    def value(tmp_path, monkeypatch, caplog, capfd):
        assert FORK.Value("i", 7).value == 7
        assert list(FORK.Array("i", range(3))) == [0, 1, 2]

    def block(tmp_path, monkeypatch, caplog, capfd):
        made = shared_memory.SharedMemory(create=True, size=100)
        made.close()
        made.unlink()

    def sockets(tmp_path, monkeypatch, caplog, capfd):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            with socket.create_connection(listening.getsockname()), listening.accept()[0]:
                pass
        for end in socket.socketpair():
            end.close()

    def unix_socket(tmp_path, monkeypatch, caplog, capfd):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as made:
            made.bind(folder + "/s")

    def asynchronous(tmp_path, monkeypatch, caplog, capfd):
        async def work():
            child = await asyncio.create_subprocess_exec("true")
            await child.wait()
            await asyncio.gather(asyncio.to_thread(int), asyncio.create_task(asyncio.to_thread(int)))
            server = await asyncio.start_server(print, "127.0.0.1", 0)
            server.close()
            await server.wait_closed()

        asyncio.run(work())

    def files(tmp_path, monkeypatch, caplog, capfd):
        (tmp_path / "here").write_text("x")
        with tempfile.NamedTemporaryFile() as one, tempfile.TemporaryFile(), tempfile.TemporaryDirectory():
            one.write(b"x")

    def patches(tmp_path, monkeypatch, caplog, capfd):
        monkeypatch.setenv("PLANTED", "here")
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr(time, "time", lambda: 0.0)
        monkeypatch.setattr(sys, "stdout", sys.stderr)
        monkeypatch.chdir(tmp_path)

    def logs(tmp_path, monkeypatch, caplog, capfd):
        with caplog.at_level(logging.INFO):
            logging.getLogger("planted").info("here")
        handler = logging.FileHandler(tmp_path / "log")
        logging.getLogger("planted").addHandler(handler)
        logging.getLogger("planted").warning("here")
        logging.getLogger("planted").removeHandler(handler)
        handler.close()
        assert "here" in caplog.text

    def output(tmp_path, monkeypatch, caplog, capfd):
        os.write(1, b"here")
        assert capfd.readouterr().out == "here"

    def signals(tmp_path, monkeypatch, caplog, capfd):
        before = signal.signal(signal.SIGUSR1, lambda *_: None)
        os.kill(os.getpid(), signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, before)

    DEEDS = [
        threads, daemons, processes, pipes, process_pool, worker_pool, forkserver, spawned, thread_pool, queue, value,
        block, sockets, unix_socket, asynchronous, files, patches, logs, output, signals,
    ]

    MODES = [
        pytest.mark.isolation("basic"),
        pytest.mark.isolation("registry"),
        pytest.mark.isolation("signal_routing"),
        pytest.mark.isolation("full_isolation"),
        pytest.mark.isolation("supervision_testing", workers=1),
        pytest.mark.isolation("pool_testing", workers=2, layer=1),
        pytest.mark.isolation("pool_testing", workers=2, layer=2),
    ]
    EACH = [(deed, time) for deed in DEEDS for time in range(10)]

    @pytest.mark.isolation("contamination_detection")
    @pytest.mark.parametrize(
        ("deed", "time_of"),
        [pytest.param(*each, marks=MODES[number % len(MODES)]) for number, each in enumerate(EACH)],
    )
    def test_clean(deed, time_of, tmp_path, monkeypatch, caplog, capfd):
        deed(tmp_path, monkeypatch, caplog, capfd)
"""

NOISE = """
import contextlib, multiprocessing, os, subprocess, tempfile, threading
from multiprocessing import shared_memory

pause = threading.Event().wait
context = multiprocessing.get_context("spawn")
print("ready", flush=True)
while os.getppid() == PARENT:
    with tempfile.TemporaryDirectory(), tempfile.NamedTemporaryFile():
        held = shared_memory.SharedMemory(create=True, size=1000)
        lock = context.Lock()
        with subprocess.Popen(["sleep", "0.02"]):
            pause(0.01)
        held.close()
        # For a moment nobody has it: there is nothing to tell whose it is.
        pause(0.001)
        held.unlink()
        del lock
"""


@contextlib.contextmanager
def noise() -> Iterator[None]:
    """Another process of this user, which makes what a test might leave behind."""
    program = NOISE.replace("PARENT", "int(__import__('sys').argv[1])")
    with subprocess.Popen([sys.executable, "-c", program, str(os.getpid())], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            assert process.poll() is None
            process.terminate()


@pytest.mark.parametrize("order", [1, 2, 3])
def test_200_clean_tests_are_passed_over_in_silence(
    order: int, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest(cleandoc(CONFTEST))
    pytester.makepyfile(cleandoc(TESTS))
    monkeypatch.setenv("ORDER", str(order))

    with noise():
        result = pytester.runpytest_subprocess("-n", "2", "-p", "no:cacheprovider", "-W", "error")

    result.assert_outcomes(passed=200, warnings=_warnings(result))
    assert "ContaminationWarning" in result.stdout.str() or not _warnings(result)


def _warnings(result: pytest.RunResult) -> int:
    return int(result.parseoutcomes().get("warnings", 0))
