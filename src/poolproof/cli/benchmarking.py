"""`poolproof bench`: the standard set, its figures beside their objectives, and what is remembered of them."""

from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from poolproof.checks import worst
from poolproof.cli import writing
from poolproof.cli.commands import STATUS, ConfigFolder, Json, Layer, Seed, Workers, configure, drawn
from poolproof.cli.progress import Display
from poolproof.cli.regressing import app
from poolproof.errors import UsageError
from poolproof.experiment import Experiment
from poolproof.performance import machine
from poolproof.performance.baselines import FOLDER, Baselines
from poolproof.performance.document import document as written
from poolproof.performance.running import Judgement, run_standard
from poolproof.performance.standard import STANDARD, find_standard
from poolproof.report import expect_json, write_json

__all__ = ["app"]

SCHEMA: Final = "poolproof/bench-run-1"
_DEFAULT_LAYER: Final = 3


@app.command()
def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help="Benchmarks of the standard set; all where left out.")
    ] = None,
    target: Annotated[str, typer.Option(help="A bundled pool, or module:factory.")] = "sessionpool",
    layer: Layer = _DEFAULT_LAYER,
    full: Annotated[bool, typer.Option("--full", help="At full length, in real time: about 20 minutes.")] = False,
    seed: Seed = None,
    workers: Workers = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Keep the run folders there, and each run's times as an HdrHistogram log.", show_default=False
        ),
    ] = None,
    json: Json = None,
    config: ConfigFolder = None,
    document: Annotated[
        Path | None,
        typer.Option(help="Write all that was measured on this machine there, in Markdown.", show_default=False),
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Keep no baseline of it in .poolproof.")] = False,
) -> int:
    """Measure a pool: exit status 0 every objective is met, 1 one is missed, 2 usage, 3 could not tell."""
    chosen = tuple(names or ())
    find_standard(chosen, target)
    if json is not None:
        expect_json(json)
    experiment = Experiment(
        effective=configure(config, layer), layer=layer, seed=drawn(seed), target=target, report=report
    )
    if workers is not None:
        chosen_performance = msgspec.structs.replace(experiment.effective.config.performance, workers=workers)
        experiment = experiment.with_config(performance=chosen_performance)
    if forget and document is not None:
        raise UsageError("--document writes what is kept, and --forget keeps nothing: leave one of them out")
    baselines = None if forget else Baselines(folder=Path(FOLDER))
    found: list[Judgement] = []
    console = Console(emoji=False)
    skipped = [why for it in STANDARD.values() if not chosen and (why := it.unfit(target))]
    for why in skipped:
        with writing():
            print("skipped", why, sep="\t")
    with Display() as display:
        for judgement in run_standard(experiment, chosen, is_full=full, baselines=baselines, watcher=display):
            found.append(judgement)
            if not console.is_terminal:
                _print_plain(judgement)
    if console.is_terminal:
        _show(found, console)
    verdict = worst(it.verdict for it in found)
    if json is not None:
        content = {"schema": SCHEMA, "verdict": verdict, "seed": experiment.seed, "benchmarks": found}
        write_json(content, json)
    if baselines is not None and document is not None:
        kept = baselines.latest_of_each(machine.fingerprint(machine.describe()), is_full=full)
        document.write_text(written(kept), encoding="utf-8")
    return STATUS[verdict]


@writing()
def _print_plain(judgement: Judgement) -> None:
    result = judgement.result
    print("benchmark", result.benchmark, judgement.verdict, f"layer {result.layer}", sep="\t")
    for figure in result.figures:
        value = "n/a" if figure.value is None else f"{figure.value:.6g}"
        print("figure", result.benchmark, figure.name, value, figure.unit, figure.note, sep="\t")
    for judged in judgement.judged:
        print("objective", result.benchmark, judged.verdict, judged.describe(), sep="\t")
    for changed in judgement.changed:
        print("changed", result.benchmark, changed.describe(), sep="\t")


@writing()
def _show(found: list[Judgement], console: Console) -> None:
    for judgement in found:
        result = judgement.result
        how = "full" if result.is_full else "quick"
        table = Table(
            title=f"{result.benchmark}: {judgement.verdict} (layer {result.layer}, {how})", title_justify="left"
        )
        table.add_column("figure", no_wrap=True)
        table.add_column("value", justify="right", no_wrap=True)
        table.add_column("unit", no_wrap=True)
        table.add_column("note")
        for figure in result.figures:
            value = "n/a" if figure.value is None else f"{figure.value:,.4g}"
            table.add_row(*map(Text, (figure.name, value, figure.unit, figure.note)))
        console.print(table)
        for judged in judgement.judged:
            console.print(Text(f"  {judged.describe()}"))
        for changed in judgement.changed:
            console.print(Text(f"  advice: {changed.describe()}"))
        for note in result.notes:
            console.print(Text(f"  note: {note}"))
        console.print()
