"""`poolproof regress`, from a repository of a few files to the exit status."""

import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from poolproof import processes
from poolproof.errors import TargetError, UsageError
from poolproof.performance.regression import builds, performance_regression_detector
from poolproof.performance.regression.rounds import Round, Side, run_round
from poolproof.performance.regression.rule import MARGINS

pytestmark = pytest.mark.layer(2)

# A build backend of its own, which needs nothing from anywhere: a wheel is a zip file.
BACKEND: Final = """
import zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "tinypool-1.0-py3-none-any.whl"
    info = "tinypool-1.0.dist-info"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.write("tinypool.py")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: tinypool\\nVersion: 1.0\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""
PYPROJECT: Final = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
POOL: Final = """
import time
from concurrent.futures import ThreadPoolExecutor

WAIT_US = {wait_us}

class Pool(ThreadPoolExecutor):
    def submit(self, fn, /, *args, **kwargs):
        until = time.perf_counter_ns() + WAIT_US * 1000
        while time.perf_counter_ns() < until:
            pass
        return super().submit(fn, *args, **kwargs)
"""
TARGET: Final = "tinypool:Pool"


class Repository:
    """A git repository in which each commit is one version of a tiny pool."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        for name, text in (("backend.py", BACKEND), ("pyproject.toml", PYPROJECT)):
            (root / name).write_text(text, encoding="utf-8")

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=somebody", "-c", "user.email=somebody@localhost", "-c", "commit.gpgsign=false")
        return subprocess.run(
            ["git", "-C", str(self.root), *who, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit(self, module: str, tag: str) -> None:
        (self.root / "tinypool.py").write_text(module, encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", tag)
        self.git("tag", tag)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    made = Repository(tmp_path_factory.mktemp("regress") / "repository")
    made.commit(POOL.format(wait_us=10), "first")
    made.commit(POOL.format(wait_us=80), "slower")
    made.commit(POOL.format(wait_us=10) + "\n# nothing else\n", "renamed")
    made.commit(POOL.format(wait_us=10) + "\nos._exit(9)\n".replace("os", "__import__('os')"), "dying")
    made.commit(POOL.format(wait_us=10) + "\nwhile True: pass\n", "hanging")
    made.commit(POOL.format(wait_us=10).replace("class Pool", "class Other"), "without")
    (made.root / "backend.py").write_text("raise RuntimeError('no wheels today')\n", encoding="utf-8")
    made.commit(POOL.format(wait_us=10), "unbuildable")
    made.git("checkout", "--quiet", "-b", "work", "slower")
    made.commit(POOL.format(wait_us=10), "topic")
    return made


def regress(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "poolproof", "regress", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=110,
    )


def _hear_signals() -> None:
    # A suite in the background of a shell ignores it, and what it starts would as well.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def own_children() -> set[int]:
    return set(processes.descendants(os.getpid(), processes.everyone()))


def test_a_pool_that_became_twice_as_slow_has_regressed(repository: Repository, tmp_path: Path) -> None:
    written = tmp_path / "out.json"
    limits = ("--seconds", "60", "--until-first", "--json", str(written))

    run = regress(repository.root, "--base", "first", "--head", "slower", "--target", TARGET, *limits)

    assert run.returncode == 1, run.stdout + run.stderr
    assert f"regress\t{TARGET}\tregressed" in run.stdout
    found = json.loads(written.read_text(encoding="utf-8"))
    assert found["schema"] == "poolproof/regress-1"
    assert found["verdict"] == "regressed"
    assert "regressed" in {it["verdict"] for it in found["metrics"] if it["metric"] in ("p50", "throughput")}
    (recovery,) = (it for it in found["metrics"] if it["metric"] == "recovery")
    assert recovery["verdict"] is None
    assert "caller's process" in recovery["why"]


def test_the_same_code_has_not_regressed_and_leaves_no_worktree_behind(repository: Repository) -> None:
    children = own_children()

    found = performance_regression_detector(
        "first", "renamed", target=TARGET, repository=repository.root, seconds=3, with_dependencies=False
    )

    assert found.verdict in ("pass", "inconclusive")
    assert len(repository.git("worktree", "list").splitlines()) == 1
    assert repository.git("status", "--porcelain") == ""
    assert own_children() <= children


def test_the_default_base_is_where_the_head_left_the_main_branch(repository: Repository) -> None:
    base = builds.default_base(repository.root, builds.resolve(repository.root, "topic"))

    assert base.asked == "merge base with main"
    assert base.commit == repository.git("rev-parse", "slower")


def test_on_the_main_branch_the_default_base_is_the_parent(repository: Repository) -> None:
    slower = builds.resolve(repository.root, "slower")

    assert builds.default_base(repository.root, slower).commit == repository.git("rev-parse", "first")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--base", "nowhere"), "there is no revision 'nowhere'"),
        (("--base", "unbuildable"), "does not build: "),
        (("--base", "without"), "has no attribute 'Pool'"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    repository: Repository, arguments: tuple[str, ...], told: str
) -> None:
    run = regress(repository.root, *arguments, "--head", "first", "--target", TARGET)

    assert run.returncode == 2, run.stdout + run.stderr
    (line,) = [line for line in run.stderr.splitlines() if not line.startswith("regress: ")]
    assert line.startswith("poolproof: error: ")
    assert told in line


def test_a_build_that_fails_is_told_with_its_reason_and_what_to_do(repository: Repository) -> None:
    with pytest.raises(UsageError, match=r"unbuildable \(.*no wheels today.*mend that revision"):
        performance_regression_detector("unbuildable", "first", target=TARGET, repository=repository.root)


def test_a_folder_outside_of_any_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a git repository"):
        performance_regression_detector("a", "b", repository=tmp_path)


@pytest.mark.parametrize(("head", "told"), [("dying", "its process died while"), ("hanging", "hung while")])
def test_a_side_that_dies_or_hangs_is_told_by_name_and_leaves_nothing(
    repository: Repository, head: str, told: str
) -> None:
    children = own_children()

    with pytest.raises(TargetError, match=rf"head {head} \(.*{told} importing the target"):
        performance_regression_detector(
            "first", head, target=TARGET, repository=repository.root, patience_s=3.0, with_dependencies=False
        )

    assert own_children() <= children


def test_a_target_that_is_no_part_of_the_revisions_is_refused(repository: Repository) -> None:
    with pytest.raises(TargetError, match="both sides would be the same code"):
        performance_regression_detector(
            "first",
            "slower",
            target="concurrent.futures:ThreadPoolExecutor",
            repository=repository.root,
            with_dependencies=False,
        )


def test_an_interrupt_leaves_no_process_and_no_worktree(repository: Repository) -> None:
    mark = f"POOLPROOF_TEST_{secrets.token_hex(8)}"
    arguments = ("--base", "first", "--head", "slower", "--target", TARGET, "--no-dependencies")
    with subprocess.Popen(
        [sys.executable, "-m", "poolproof", "regress", *arguments],
        cwd=repository.root,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=dict(os.environ) | {mark: "1"},
        preexec_fn=_hear_signals,
    ) as run:
        assert run.stderr is not None
        assert any("measuring in turns" in line for line in run.stderr)
        run.send_signal(signal.SIGINT)
        run.wait(30)

    assert run.returncode == 130
    assert processes.tagged(mark, processes.everyone().values()) == {}
    assert len(repository.git("worktree", "list").splitlines()) == 1


def measured(target: str, folder: Path) -> Round:
    side = Side(name="base", python=Path(sys.executable), target=target)
    return run_round(side, tuple(margin.metric for margin in MARGINS), workers=2, at=folder)


def test_a_round_has_all_figures_of_a_pool_that_replaces_its_workers(tmp_path: Path) -> None:
    told = measured("sessionpool:SessionPool", tmp_path)

    assert set(told.figures) == {margin.metric for margin in MARGINS}
    assert told.absent == {}
    assert 0 < told.figures["p50"] <= told.figures["p99"]


def test_a_pool_that_breaks_with_its_worker_has_no_recovery_and_that_is_told(tmp_path: Path) -> None:
    told = measured("concurrent.futures:ProcessPoolExecutor", tmp_path)

    assert set(told.figures) == {"p50", "p99", "throughput", "memory"}
    assert "BrokenProcessPool" in told.absent["recovery"]
