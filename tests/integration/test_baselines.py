"""Baselines with what unit tests leave out: git, and two processes that keep results at once."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from poolproof.performance.baselines import Baselines
from poolproof.performance.machine import commit_of

pytestmark = pytest.mark.layer(2)

ADDER = """
    import sys
    from pathlib import Path
    from poolproof.performance.baselines import Baselines
    from poolproof.performance.results import Figure, Result

    sys.stdin.readline()
    for number in range(20):
        result = Result(
            benchmark="b", target="t", layer=2, workers=1, is_full=True, at="", commit=f"{sys.argv[2]}-{number}",
            is_dirty=False, machine={}, fingerprint="f",
            figures=(Figure(name="n", value=1.0, unit="", better="lower"),),
            notes=("x" * 5000,),
        )
        Baselines(folder=Path(sys.argv[1])).add(result)
"""


def git(folder: Path, *arguments: str) -> str:
    settings = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    told = subprocess.run(["git", "-C", str(folder), *settings, *arguments], check=True, capture_output=True, text=True)
    return told.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_text("one")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "one")
    git(folder, "tag", "--annotate", "v1", "--message", "v1")  # by which `git describe` would name it
    return folder


def test_a_clean_tree_has_its_commit_wherever_in_it_one_is(repository: Path) -> None:
    assert commit_of(repository / "inner") == (git(repository, "rev-parse", "HEAD"), False)


def test_a_changed_file_makes_the_tree_dirty(repository: Path) -> None:
    (repository / "inner" / "file").write_text("two")
    assert commit_of(repository) == (git(repository, "rev-parse", "HEAD"), True)


def test_a_file_that_git_does_not_track_does_not(repository: Path) -> None:
    (repository / "report").write_text("of a run")
    assert commit_of(repository)[1] is False


def test_the_folder_counts_and_not_the_repository_whose_hook_is_running(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    (tmp_path / "elsewhere").mkdir()
    assert commit_of(tmp_path / "elsewhere") == ("", False)


def test_without_a_repository_or_a_commit_or_a_folder_the_commit_is_unknown(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == ("", False)
    git(tmp_path, "init", "--quiet")
    assert commit_of(tmp_path) == ("", False)
    assert commit_of(tmp_path / "missing") == ("", False)


def test_processes_that_begin_one_file_at_once_lose_no_result(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", dedent(ADDER), str(tmp_path / "kept"), name],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "abc"
    ]
    for one in started:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    assert [one.communicate(timeout=60)[1] for one in started] == ["", "", ""]
    kept = Baselines(folder=tmp_path / "kept").history(
        "b", "n", target="t", layer=2, workers=1, is_full=True, fingerprint="f"
    )
    assert {point.commit for point in kept} == {f"{name}-{number}" for name in "abc" for number in range(20)}
