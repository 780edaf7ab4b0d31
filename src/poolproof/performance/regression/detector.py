"""The detector: two revisions built, loaded once to see that they can be, then measured against each other."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from poolproof.errors import TargetError, UsageError
from poolproof.experiment import environment
from poolproof.performance.regression import builds
from poolproof.performance.regression.comparison import Build, Comparison, overall
from poolproof.performance.regression.job import SECONDS, WORKERS, Watcher, run_job
from poolproof.performance.regression.rounds import PATIENCE_S, Round, Side, run_round

DEFAULT_TARGET: Final = "sessionpool:SessionPool"

Telling = Callable[[str], None]


def performance_regression_detector(
    base: str | None = None,
    head: str = "HEAD",
    *,
    target: str = DEFAULT_TARGET,
    repository: Path | None = None,
    seconds: float = SECONDS,
    workers: int = WORKERS,
    until_first: bool = False,
    with_dependencies: bool = True,
    patience_s: float = PATIENCE_S,
    tell: Telling = lambda _: None,
    watcher: Watcher = lambda *_: None,
) -> Comparison:
    """Tell whether a pool became slower, or took more memory, from one revision to another.

    Both are built from git worktrees into virtual environments, which are kept by commit in `.poolproof/` of the
    repository, and measured in turns, A B B A …, each round in a fresh process; `rule` decides.

    Args:
        base: the revision before; by default where `head` left the main branch, or its parent where it is on it.
        head: the revision after. Changes that are not committed are not measured, and a note says so.
        target: `module:factory` of a `concurrent.futures.Executor`, loaded from what each side installs, or else from
            the root of its tree.
        repository: a folder of the git repository; the current one by default.
        seconds: how long rounds are measured at most; a pair that is begun is ended.
        workers: of each pool, where its factory takes `workers` or `max_workers`.
        until_first: stop once a metric has regressed; the others may then stay undecided.
        with_dependencies: install what the distributions require as well; a target that needs none is built sooner.
        patience_s: how long one round may take until it counts as hung.
        tell: told what goes on before the rounds, in words.
        watcher: told of each pair before it is measured.

    Raises:
        UsageError: there is no such repository or revision, or one that does not build.
        TargetError: a side can't be loaded or driven, its process died, or it hung.
    """
    if not seconds > 0:
        raise UsageError(f"seconds {seconds:g}: expected a time above 0, in which to measure")
    if workers < 1:
        raise UsageError(f"workers {workers}: expected 1 or more")
    home, _, name = target.partition(":")
    if not all(part.isidentifier() for part in (*home.split("."), *name.split("."))):
        raise TargetError(target, f"{target!r} is no target: expected module:factory, as in {DEFAULT_TARGET}")
    root = builds.root_of(repository or Path())
    after = builds.resolve(root, head)
    before = builds.default_base(root, after) if base is None else builds.resolve(root, base)
    tell(f"building base {before} and head {after}")
    with builds.build(root, (before, after), with_dependencies=with_dependencies) as built:
        sides = [
            Side(name=f"{name} {it.revision}", python=it.python, folder=it.tree, target=target)
            for name, it in zip(("base", "head"), built, strict=True)
        ]
        tell(f"loading {target} of either side")
        found = [run_round(side, (), workers=workers, at=side.folder or root, patience_s=patience_s) for side in sides]
        files = [_file_of(side, told) for side, told in zip(sides, found, strict=True)]
        verdicts = run_job(
            sides[0],
            sides[1],
            workers=workers,
            seconds=seconds,
            until_first=until_first,
            patience_s=patience_s,
            watcher=watcher,
        )
    return Comparison(
        verdict=overall(verdicts.metrics),
        target=target,
        base=Build(revision=before.asked, commit=before.commit, file=files[0]),
        head=Build(revision=after.asked, commit=after.commit, file=files[1]),
        metrics=verdicts.metrics,
        pairs=verdicts.pairs,
        seconds=round(verdicts.seconds, 1),
        notes=tuple(_notes(root, head, before, after, found)),
        environment=environment(),
    )


def _file_of(side: Side, told: Round) -> str:
    """Where its target came from, seen from its environment or tree.

    Raises:
        TargetError: from neither: then both sides would be the same code, whatever the revisions are.
    """
    for home in (side.python.parent.parent, side.folder):
        if home is not None and Path(told.file).resolve().is_relative_to(home.resolve()):
            return str(Path(told.file).resolve().relative_to(home.resolve()))
    raise TargetError(
        side.target,
        f"{side.name}: {side.target} was loaded from {told.file or 'nowhere'}, which is no part of that revision, so "
        "that both sides would be the same code; name a --target that the repository holds",
    )


def _notes(root: Path, head: str, before: builds.Revision, after: builds.Revision, found: list[Round]) -> list[str]:
    notes = []
    if before.commit == after.commit:
        notes.append("base and head are the same commit")
    if head == "HEAD" and builds.is_dirty(root):
        notes.append("the work tree has changes that are not committed: they were not measured")
    apart = _differences(found[0].packages, found[1].packages)
    if apart:
        notes.append(f"installed beside it: {', '.join(apart)}; a difference may come from there")
    return notes


def _differences(base: Mapping[str, str], head: Mapping[str, str]) -> list[str]:
    return [
        f"{name} {base.get(name, 'not')} at base, {head.get(name, 'not')} at head"
        for name in sorted({*base, *head})
        if base.get(name) != head.get(name)
    ]
