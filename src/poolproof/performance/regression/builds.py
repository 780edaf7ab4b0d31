"""Builds: a revision as a git worktree, and a virtual environment into which it is installed, kept by commit.

What is kept stands in `.poolproof/regress/` at the root of the repository, which git is told to ignore; whoever
compares again waits for no build. Worktrees are in a temporary folder and go with the comparison,
whichever way it ends.
"""

import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from poolproof.errors import UsageError

MAIN_BRANCHES: Final = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
KEPT: Final = 6
"""Environments; the one that was used the longest ago goes first."""

_GIT_S: Final = 60.0
_BUILD_S: Final = 900.0
_WORDS: Final = 600
_MARK: Final = "complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A commit, and how it was asked for."""

    asked: str
    commit: str

    def __str__(self) -> str:
        return f"{self.asked} ({self.commit[:10]})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A revision that can be run: the interpreter of its environment, and its tree."""

    revision: Revision
    python: Path
    tree: Path


def root_of(repository: Path) -> Path:
    """The root of the git repository that a folder is in.

    Raises:
        UsageError: it is in none, or there is no git.
    """
    try:
        return Path(_git(repository, "rev-parse", "--show-toplevel"))
    except _Failed as error:
        raise UsageError(
            f"{repository.resolve()}: regress builds revisions of a git repository, and this can't be used as one: "
            f"{error}; go to a repository that has a work tree"
        ) from error


def resolve(root: Path, revision: str) -> Revision:
    """The commit that a revision names.

    Raises:
        UsageError: there is none.
    """
    try:
        return Revision(
            asked=revision,
            commit=_git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"),
        )
    except _Failed as error:
        raise UsageError(
            f"there is no revision {revision!r} in {root}: name a commit, tag or branch that `git log` knows there; "
            "a shallow clone may have to fetch it first"
        ) from error


def default_base(root: Path, head: Revision) -> Revision:
    """Where the head left the main branch; its parent where it is on it.

    Raises:
        UsageError: there is neither.
    """
    for branch in MAIN_BRANCHES:
        with contextlib.suppress(_Failed):
            commit = _git(root, "merge-base", branch, head.commit)
            if commit != head.commit:
                return Revision(asked=f"merge base with {branch}", commit=commit)
    with contextlib.suppress(_Failed):
        return Revision(
            asked=f"parent of {head.asked}",
            commit=_git(root, "rev-parse", "--verify", "--quiet", f"{head.commit}^1"),
        )
    raise UsageError(f"{head} in {root} has no commit before it to be compared with: name one by --base")


def is_dirty(root: Path) -> bool:
    """Whether the work tree has changes of tracked files, which no revision has."""
    return bool(_git(root, "status", "--porcelain", "--untracked-files=no"))


@contextlib.contextmanager
def build(root: Path, revisions: Sequence[Revision], *, with_dependencies: bool = True) -> Iterator[tuple[Built, ...]]:
    """Have these revisions ready to be run until the block ends.

    Args:
        root: of the repository.
        revisions: what to build.
        with_dependencies: install what their distributions require as well.

    Raises:
        UsageError: one of them does not build, with the last words of what tried.
    """
    with contextlib.ExitStack() as ends:
        # Names of the same length: where files lie should make no difference, and their length then can't.
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="poolproof-trees-")))
        made = []
        for number, revision in enumerate(revisions):
            tree = ends.enter_context(_worktree(root, revision, folder / str(number)))
            made.append(ends.enter_context(_environment(root, revision, tree, with_dependencies)))
        yield tuple(made)


@contextlib.contextmanager
def _worktree(root: Path, revision: Revision, tree: Path) -> Iterator[Path]:
    try:
        try:
            # Without the repository's hooks, which may do anything at a checkout.
            _git(root, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach", str(tree), revision.commit)
        except _Failed as error:
            raise UsageError(f"{revision} can't be checked out of {root}: {error}") from error
        yield tree
    finally:
        with contextlib.suppress(_Failed):
            _git(root, "worktree", "remove", "--force", "--force", str(tree))


@contextlib.contextmanager
def _environment(root: Path, revision: Revision, tree: Path, with_dependencies: bool) -> Iterator[Built]:
    """Its environment, kept from last time or made now, and held while it is used."""
    kept = root / ".poolproof" / "regress"
    try:
        kept.mkdir(parents=True, exist_ok=True)
        (kept.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"environments can't be kept in {kept}: {error.strerror}; let it be written") from error
    version = f"{sys.implementation.cache_tag}{'' if with_dependencies else '-bare'}"
    home = kept / f"{revision.commit[:16]}-{version}"
    with _held(home, fcntl.LOCK_EX) as lock:
        mark = home / _MARK
        if not mark.is_file():
            shutil.rmtree(home, ignore_errors=True)
            try:
                _install(home, tree, with_dependencies)
            except _Failed as error:
                shutil.rmtree(home, ignore_errors=True)
                raise UsageError(
                    f"{revision} does not build: {error}; mend that revision, or name one that `pip install` takes"
                ) from error
        mark.touch()
        fcntl.flock(lock, fcntl.LOCK_SH)
        _forget_the_oldest(kept)
        yield Built(revision=revision, python=home / "bin" / "python", tree=tree)


@contextlib.contextmanager
def _held(home: Path, how: int) -> Iterator[int]:
    """Hold the lock of an environment: exclusively while it is made or removed, together while it is used."""
    fd = os.open(home.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, how)
        yield fd
    finally:
        os.close(fd)


def _forget_the_oldest(kept: Path) -> None:
    marks = sorted(kept.glob(f"*/{_MARK}"), key=lambda mark: mark.stat().st_mtime)
    for mark in marks[:-KEPT]:
        with contextlib.suppress(BlockingIOError), _held(mark.parent, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(mark.parent, ignore_errors=True)


def _install(home: Path, tree: Path, with_dependencies: bool) -> None:
    """Make an environment of this very interpreter, and install a tree into it, by whatever is there to do so."""
    python = home / "bin" / "python"
    options = ["--quiet", *([] if with_dependencies else ["--no-deps"]), str(tree)]
    if uv := shutil.which("uv"):
        _run([uv, "venv", "--quiet", "--no-project", "--python", sys.executable, str(home)])
        _run([uv, "pip", "install", "--python", str(python), *options])
        return
    # Our own pip installs for another interpreter as well, and spares each environment one of its own.
    ours = importlib.util.find_spec("pip") is not None
    _run([sys.executable, "-m", "venv", *(["--without-pip"] if ours else []), str(home)])
    pip = [sys.executable, "-m", "pip", "--python", str(python)] if ours else [str(python), "-m", "pip"]
    _run([*pip, "install", "--no-input", "--disable-pip-version-check", *options])


class _Failed(Exception):  # noqa: N818 - it says what a command did
    """A command did not succeed; the text is what it said of it, on one line."""


def _git(folder: Path, *arguments: str) -> str:
    return _run(["git", "-C", str(folder), *arguments], _GIT_S)


def _run(command: list[str], bound_s: float = _BUILD_S) -> str:
    """What a command says on standard output; it and all that it has started are ended before this is left."""
    # In a hook of git, these name the repository and index of whoever committed.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTHONPATH", "PYTHONHOME"))
    }
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise _Failed(f"{command[0]} can't be run: {error.strerror}") from error
    try:
        out, err = process.communicate(timeout=bound_s)
    except subprocess.TimeoutExpired as error:
        raise _Failed(f"`{' '.join(command[:4])} …` was not done within {bound_s:g} s") from error
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        raise _Failed(_cause(out.decode(errors="replace") + "\n" + err.decode(errors="replace")))
    return out.decode(errors="replace").strip()


def _cause(said: str) -> str:
    """Of many lines those that name an error, else the last ones."""
    lines = [line.strip(" \t│×╰─>") for line in said.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"(\w+\.)*\w*(Error|Exception)\b|(error|fatal|ERROR):", line)]
    return "; ".join(dict.fromkeys(named or lines[-4:]))[:_WORDS] or "it said nothing"
