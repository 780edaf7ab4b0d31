"""The commands that search schedules, and repeat one: `explore` and `replay`."""

import os
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from poolproof.cli import writing
from poolproof.cli.commands import DEFAULT_TARGET, STATUS, Json, app, print_proof
from poolproof.cli.progress import Display
from poolproof.errors import UsageError
from poolproof.experiment import repeat
from poolproof.exploration import MOST_RUNS, Exploration, Replayed, explore, replay
from poolproof.history import read_plan
from poolproof.report import ADVICE, expect_json, write_json

__all__ = ["app"]

DEFAULT_REPORT: Final = Path("poolproof-found")


@app.command("explore")
def explore_target(
    target: Annotated[str, typer.Argument(help="A bundled pool, or module:class with a sans-I/O core.")] = (
        DEFAULT_TARGET
    ),
    layer: Annotated[int, typer.Option(help="1 simulated, or 2 with real processes.")] = 1,
    seeds: Annotated[
        int | None, typer.Option(help="How many plans; 2000 on layer 1, 10 on layer 2.", min=1, max=10**9)
    ] = None,
    first_seed: Annotated[int, typer.Option(help="The seed of the first plan.", min=0)] = 0,
    jobs: Annotated[
        int | None, typer.Option(help="Processes to explore in; as many as there are processors.", min=1)
    ] = None,
    until_first: Annotated[bool, typer.Option("--until-first", help="Stop at the first failure.")] = False,
    report: Annotated[
        Path, typer.Option(help="Keep what fails there, each as a plan to replay and as a test.")
    ] = DEFAULT_REPORT,
    json: Json = None,
) -> int:
    """Search random schedules; shrink what fails to a plan of a few lines, which `replay` reproduces."""
    if layer not in (1, 2):
        raise UsageError(f"explore --layer {layer}: expected 1, simulated, or 2, real processes")
    if json is not None:
        expect_json(json)
    with Display() as display, display.told_on_interrupt():
        found = explore(
            target,
            layer=layer,
            seeds=seeds or (2000 if layer == 1 else 10),
            first_seed=first_seed,
            jobs=jobs or len(os.sched_getaffinity(0)),
            report=report,
            until_first=until_first,
            watcher=display.explored,
        )
    if json is not None:
        write_json(msgspec.to_builtins(found), json)
    _print_exploration(found)
    return STATUS[found.verdict]


@app.command("replay")
def replay_run(
    run: Annotated[Path, typer.Argument(help="A plan that `explore` kept, or a run folder that --report wrote.")],
) -> int:
    """Carry out the same schedule again: a kept plan exactly, a real run as far as real processes repeat themselves."""
    if run.is_dir():
        with Display() as display:
            proof = repeat(read_plan(run), display)
        print_proof(proof)
        return STATUS[proof.verdict]
    again = replay(run)
    _print_replayed(run, again)
    return STATUS[again.verdict]


@writing()
def _print_exploration(found: Exploration) -> None:
    console = Console(emoji=False)
    if not console.is_terminal:
        _print_plain(found)
        return
    told = f"{found.verdict.upper()}  {found.target}: {found.runs} plans from seed {found.first_seed}"
    console.print(Text(told, style=_STYLES[found.verdict]))
    console.print(
        f"{found.operations} operations, {found.faults} faults that took effect; {found.inconclusive} plans of which "
        "nothing could be told",
        highlight=False,
    )
    if found.reached:
        table = Table(title="What was reached", title_justify="left")
        table.add_column("state")
        table.add_column("times", justify="right")
        for state, times in found.reached.items():
            table.add_row(state, str(times))
        console.print(table)
        console.print(f"{len(found.transitions)} different transitions of workers, sessions and operations")
    console.print(f"kept, where it was put to the test: {_told(found.kept)}", highlight=False)
    for state in found.missed:
        console.print(Text(f"never reached: {state}; take more seeds, or others", style="yellow"))
    for line in _failures(found):
        console.print(Text(line))


@writing()
def _print_plain(found: Exploration) -> None:
    print("explored", found.target, found.verdict, f"layer {found.layer}", f"{found.runs} plans", sep="\t")
    print("operations", found.operations, f"{found.faults} faults", f"{found.inconclusive} inconclusive", sep="\t")
    for state, times in found.reached.items():
        print("reached", state, times, sep="\t")
    for state in found.missed:
        print("missed", state, sep="\t")
    print("transitions", len(found.transitions), sep="\t")
    for promise, runs in found.kept.items():
        print("kept", promise, f"by {runs} plans", sep="\t")
    for promise, runs in found.broken.items():
        print("broken", promise, f"by {runs} plans", sep="\t")
    for line in _failures(found):
        print(line)


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{promise} {times}" for promise, times in counts.items())


def _failures(found: Exploration) -> list[str]:
    lines = []
    hits = sum(found.broken.values())
    if hits > len(found.failures):
        lines.append(f"{len(found.failures)} of {hits} failures were looked into, those of different promises first:")
    for failure in found.failures:
        size = f"{failure.windows} fault{'s' * (failure.windows != 1)}"
        if failure.operations is not None:
            size += f" and {failure.operations} operation{'s' * (failure.operations != 1)} of its load"
        how = (
            f" ({failure.runs} simulations{', which was the limit' * (failure.runs >= MOST_RUNS)})"
            if failure.runs
            else ""
        )
        lines.append(f"seed {failure.seed} breaks {failure.promise}, with {size}{how}:")
        lines += [f"  {evidence.text}" for evidence in failure.evidence[:1]]
        lines += [f"  To mend it: {ADVICE[failure.promise]}"] if failure.promise in ADVICE else []
        lines += [f"  poolproof replay {failure.path}"] if failure.path else []
    return lines


@writing()
def _print_replayed(run: Path, again: Replayed) -> None:
    print("replayed", run, again.promise, again.verdict, sep="\t")
    for evidence in again.evidence:
        print("evidence", again.promise, evidence.text, sep="\t")
    same = (
        "the history is the recorded one, to the byte" if again.is_same else "the history is another one than recorded"
    )
    print("note", same, sep="\t")


_STYLES: Final = {"kept": "green", "broken": "bold red", "unknown": "yellow"}
