"""Plant one defect after the other in a copy of the core, and have `poolproof explore` find it.

`python -m tests.planted.hunt`, or with the names of a few. Each patch beside this file is a mistake that a tired
engineer could make. It counts as found if exploration breaks a promise within so many seeds, if what it keeps has few
faults, and if the kept plan breaks that promise again with the patch, to the byte, and does not break it without. The
status is 1 where one was not found so.

A patch that ends in `.missed` is a defect that exploration is known not to find. It is hunted only when it is named.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
SOURCE: Final = HERE.parents[1] / "src"

SEEDS: Final = 2000
"""Within how many seeds each defect is to be found."""

MOST_WINDOWS: Final = 5
"""How many faults may be left of the plan that shows it."""

AT_ONCE: Final = 2
_LIMIT_S: Final = 1200.0
"""How long one command may take: a defect may make the pool, and with it the simulation, go round in circles."""

_SAME: Final = "the history is the recorded one, to the byte"
_TELL_ROOTS: Final = "import poolproof, sessionpool.core; print(poolproof.__file__, sessionpool.core.__file__)"


class HuntError(Exception):
    """A patch does not apply, or it is not the patched copy that would be examined: nothing can be said of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one defect.

    Attributes:
        name: of its patch.
        seed: the first that found it; None where none did.
        promise: the one that was broken.
        windows: how many faults the shrunk plan has.
        operations: how many operations it has; None where it goes by a rate.
        runs: how many simulations were needed to shrink it.
        took_s: how long exploring and shrinking took, in seconds.
        problems: why it does not count as found; empty where it does.
        said: what the broken promise's first evidence says.
    """

    name: str
    seed: int | None = None
    promise: str = ""
    windows: int = 0
    operations: int | None = None
    runs: int = 0
    took_s: float = 0.0
    problems: tuple[str, ...] = ()
    said: str = ""


def patches() -> list[Path]:
    """Every patch of a defect that is to be found."""
    return sorted(HERE.glob("*.patch"))


def missed() -> list[Path]:
    """Every patch of a defect that is known not to be found."""
    return sorted(HERE.glob("*.missed"))


def plant(patch: Path, folder: Path, source: Path = SOURCE) -> Path:
    """Copy the source into a folder and apply a patch there; where the patched source is.

    Raises:
        HuntError: the patch does not apply to the present source.
    """
    planted = folder / "src"
    shutil.copytree(source, planted, ignore=shutil.ignore_patterns("__pycache__"))
    # A repository around the folder would have git look for the files there, and pass over what it does not find.
    alone = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    applied = subprocess.run(
        ["git", "apply", "--verbose", str(patch)],
        cwd=folder,
        env=alone,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if applied.returncode:
        raise HuntError(f"{patch.name} does not apply; write it anew for the present source:\n{applied.stdout}")
    return planted


def hunt(patch: Path, seeds: int = SEEDS) -> Result:
    """Have one defect found, shrunk, and replayed on the patched and on the true source.

    Raises:
        HuntError: as `plant` does, or the copy is not what Python imports, or a command fails of itself.
    """
    with tempfile.TemporaryDirectory(prefix="poolproof-planted-") as name:
        folder = Path(name)
        planted = plant(patch, folder)
        _expect_imported(planted, folder)
        found = folder / "found.json"
        began = time.monotonic()
        options = ("--until-first", "--seeds", str(seeds), "--jobs", "1", "--report", str(folder / "kept"))
        explored = _poolproof(planted, folder, "explore", *options, "--json", str(found))
        took_s = time.monotonic() - began
        if not found.is_file():
            raise HuntError(f"{patch.name}: explore ended with {explored.returncode}:\n{explored.stderr[-2000:]}")
        failures = json.loads(found.read_bytes())["failures"]
        if not failures:
            return Result(name=patch.stem, took_s=took_s, problems=(f"not found in {seeds} seeds",))
        first = failures[0]
        problems = _problems(planted, folder, first["path"], first["windows"])
        return Result(
            name=patch.stem,
            seed=first["seed"],
            promise=first["promise"],
            windows=first["windows"],
            operations=first["operations"],
            runs=first["runs"],
            took_s=took_s,
            problems=tuple(problems),
            said=first["evidence"][0]["text"] if first["evidence"] else "",
        )


def _problems(planted: Path, folder: Path, kept: str, windows: int) -> Iterable[str]:
    """What is wrong with a failure that was found: it is too large, or does not repeat itself, or is a false alarm."""
    if windows > MOST_WINDOWS:
        yield f"{windows} faults are left, {MOST_WINDOWS} may be"
    broken = _poolproof(planted, folder, "replay", kept)
    if broken.returncode != 1:
        yield f"replayed with the defect, the status is {broken.returncode} and not 1"
    if _SAME not in broken.stdout:
        yield "replayed with the defect, the history is another one"
    whole = _poolproof(SOURCE, folder, "replay", kept)
    if whole.returncode not in (0, 3):  # a small plan may be too small for a check to call anything kept
        yield f"replayed without the defect, the status is {whole.returncode}: {_evidence(whole.stdout)}"


def _evidence(told: str) -> str:
    """The first evidence that a replay prints."""
    lines = [line.split("\t")[-1] for line in told.splitlines() if line.startswith("evidence")]
    return lines[0] if lines else "nothing was told"


def _poolproof(source: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line of a source, from a folder where nothing else could be imported by chance."""
    return _python(source, folder, "-m", "poolproof", *arguments)


def _python(source: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *arguments]
    surroundings = os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(
            command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False, timeout=_LIMIT_S
        )
    except subprocess.TimeoutExpired as error:
        raise HuntError(f"{' '.join(command)}: it did not end within {_LIMIT_S:g} s") from error


def _expect_imported(planted: Path, folder: Path) -> None:
    """That Python imports the copy, and not an installed package.

    Raises:
        HuntError: it does not.
    """
    told = _python(planted, folder, "-c", _TELL_ROOTS)
    strange = [file for file in told.stdout.split() if not Path(file).is_relative_to(planted)]
    if told.returncode or strange:
        raise HuntError(f"what is imported is not the copy in {planted}: {' '.join(strange) or told.stderr[-2000:]}")


# --- the program ------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt the defects that are named, or all that are to be found; the status of the process."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted.hunt", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a patch, without its suffix; all by default")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="within how many each is to be found")
    given = parser.parse_args(arguments)
    known = {patch.stem: patch for patch in (*patches(), *missed())}
    if strange := sorted(set(given.names) - known.keys()):
        parser.error(f"there is no patch {strange[0]!r}; there are {', '.join(sorted(known))}")
    wanted = [known[name] for name in given.names] or patches()
    results = _hunt_all(wanted, given.seeds)
    _say("")
    for line in _table(sorted(results, key=lambda result: result.name)):
        _say(line)
    bad = sum(bool(result.problems) for result in results)
    _say(f"{len(results) - bad} of {len(results)} defects were found")
    return 1 if bad else 0


def _hunt_all(wanted: Sequence[Path], seeds: int) -> list[Result]:
    """Two at a time, each told as soon as it is done: the whole takes long enough for somebody to watch."""
    results = []
    with ThreadPoolExecutor(AT_ONCE) as executor:
        futures = {executor.submit(_hunt_one, patch, seeds): patch for patch in wanted}
        for future in as_completed(futures):
            result = future.result()
            results.append(result)
            told = result.problems or (f"seed {result.seed} breaks {result.promise}: {result.said}",)
            _say(f"{result.name}: {'; '.join(told)}")
    return results


def _hunt_one(patch: Path, seeds: int) -> Result:
    try:
        return hunt(patch, seeds)
    except HuntError as error:
        return Result(name=patch.stem, problems=(str(error),))


_HEAD: Final = ("patch", "seed", "promise", "faults", "operations", "simulations", "seconds", "")


def _table(results: Iterable[Result]) -> Iterable[str]:
    """A row for each defect, in columns as wide as they have to be."""
    rows = [_HEAD, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[-1]]).rstrip()


def _row(result: Result) -> tuple[str, ...]:
    if result.seed is None:
        return (result.name, "-", "-", "-", "-", "-", f"{result.took_s:.0f}", _short(result.problems))
    return (
        result.name,
        str(result.seed),
        result.promise,
        str(result.windows),
        "-" if result.operations is None else str(result.operations),
        str(result.runs),
        f"{result.took_s:.0f}",
        _short(result.problems),
    )


def _short(problems: Sequence[str]) -> str:
    """Problems on one line; what is longer has been told above the table."""
    return "; ".join(problem.partition("\n")[0][:100] for problem in problems) or "found"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
