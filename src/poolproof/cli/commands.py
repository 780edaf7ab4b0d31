"""The commands: each turns its options into one call of the kit and prints what that returns."""

import math
import random
import re
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from poolproof.checks import Verdict
from poolproof.cli import BROKEN, COULD_NOT_TELL, KEPT, writing
from poolproof.cli.progress import Display
from poolproof.config import Effective, load_config
from poolproof.errors import UsageError
from poolproof.experiment import COUNTED, Proof, judge_folder, plan_proof
from poolproof.experiment import prove as prove_target
from poolproof.faults import examine
from poolproof.report import (
    ADVICE,
    as_object,
    comparison,
    expect_json,
    show_comparison,
    show_proof,
    write_json,
    write_markdown,
    write_page,
)

DEFAULT_TARGET: Final = "sessionpool"
DEFAULT_LAYER: Final = 3
STATUS: Final[dict[Verdict, int]] = {"kept": KEPT, "broken": BROKEN, "unknown": COULD_NOT_TELL}

app = typer.Typer(
    name="poolproof",
    help="Prove worker pools: drive them with real load, break them with real faults, judge the record.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Workload = Annotated[
    str | None,
    typer.Option(
        help="default, answers, digits, dspy, linear, scripted, waits, or module:name of your own.", show_default=False
    ),
]
Layer = Annotated[int, typer.Option(help="How real the workers are: 1 simulated, 2 or 3.")]
Workers = Annotated[int | None, typer.Option(help="Workers of the pool.", show_default=False)]
Scenarios = Annotated[
    list[str] | None, typer.Option("--scenario", help="A scenario to run; repeat for several.", show_default=False)
]
Rate = Annotated[
    float | None,
    typer.Option(help="Operations a second, but where a scenario goes by the capacity.", show_default=False),
]
Seconds = Annotated[float | None, typer.Option(help="Measured seconds of each scenario.", show_default=False)]
Seed = Annotated[
    int | None,
    typer.Option(
        help="Schedules, payloads and victims come from it; drawn and told where left out.", show_default=False, min=0
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(help="Keep the run folders there, and write index.html and report.md.", show_default=False),
]
Json = Annotated[Path | None, typer.Option("--json", help="Write the result as one JSON object.", show_default=False)]
ConfigFolder = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="A folder that overlays the shipped configuration; ./config where it has one.",
        show_default=False,
    ),
]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"poolproof {version('poolproof')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Prove worker pools: drive them with real load, break them with real faults, judge the record."""


@app.command()
def prove(
    target: Annotated[str, typer.Argument(help="A bundled pool, or module:factory.")] = DEFAULT_TARGET,
    workload: Workload = None,
    layer: Layer = DEFAULT_LAYER,
    workers: Workers = None,
    scenario: Scenarios = None,
    rate: Rate = None,
    seconds: Seconds = None,
    seed: Seed = None,
    report: Report = None,
    json: Json = None,
    config: ConfigFolder = None,
) -> int:
    """Prove one pool: exit status 0 every promise that counts is kept, 1 one is broken, 2 usage, 3 could not tell."""
    effective = configure(config, layer, workload=workload, workers=workers, rate=rate, seconds=seconds)
    proofs = _prove_all([target], effective, layer, seed, scenario, report, json)
    _keep(as_object(proofs[0]), proofs, report, json)
    print_proof(proofs[0])
    return STATUS[proofs[0].verdict]


@app.command()
def compare(
    targets: Annotated[list[str], typer.Argument(help="Two pools or more, bundled or module:factory.")],
    workload: Workload = None,
    layer: Layer = DEFAULT_LAYER,
    workers: Workers = None,
    scenario: Scenarios = None,
    rate: Rate = None,
    seconds: Seconds = None,
    seed: Seed = None,
    report: Report = None,
    json: Json = None,
    config: ConfigFolder = None,
) -> int:
    """Prove several pools with the same plans and show them side by side; the exit status is that of the worst."""
    if len(targets) < 2 or len(set(targets)) < len(targets):
        raise UsageError("compare takes two targets or more, each named once")
    effective = configure(config, layer, workload=workload, workers=workers, rate=rate, seconds=seconds)
    proofs = _prove_all(targets, effective, layer, seed, scenario, report, json)
    _keep(comparison(proofs), proofs, report, json)
    console = Console(emoji=False)
    if console.is_terminal:
        show_comparison(proofs, console)
    else:
        for proof in proofs:
            _print_plain(proof)
    return max((STATUS[proof.verdict] for proof in proofs), key=(KEPT, COULD_NOT_TELL, BROKEN).index)


@app.command()
def judge(
    run: Annotated[Path, typer.Argument(help="A run folder, or a folder of them, that --report wrote.")],
    json: Json = None,
) -> int:
    """Judge saved histories again, without running anything."""
    if json is not None:
        expect_json(json)
    proof = judge_folder(run)
    if json is not None:
        write_json(as_object(proof), json)
    print_proof(proof)
    return STATUS[proof.verdict]


@app.command()
@writing()
def doctor() -> int:
    """Tell which faults this machine can inject, by which means, and why not the others."""
    table = Table(title="What this machine can do", title_justify="left")
    table.add_column("what", no_wrap=True)
    table.add_column("works", no_wrap=True)
    table.add_column("by which means, or why not")
    found = examine()
    console = Console(emoji=False)
    for means in found:
        table.add_row(means.what, "yes" if means.works else "no", means.how)
        if not console.is_terminal:
            print(means.what, "yes" if means.works else "no", means.how, sep="\t")
    if console.is_terminal:
        console.print(table)
    return KEPT if all(means.works for means in found) else COULD_NOT_TELL


@app.command("config")
@writing()
def show_config(layer: Layer = DEFAULT_LAYER, config: ConfigFolder = None) -> int:
    """Print each effective value with its origin."""
    console = Console(emoji=False)
    table = Table(title=f"Configuration of layer {layer}", title_justify="left")
    for column in ("setting", "value", "origin"):
        table.add_column(column, overflow="fold")
    for key, value, origin in configure(config, layer).rows():
        table.add_row(key, str(value), origin)
        if not console.is_terminal:
            print(key, value, origin, sep="\t")
    if console.is_terminal:
        console.print(table)
    return KEPT


def configure(
    folder: Path | None,
    layer: int,
    *,
    workload: str | None = None,
    workers: int | None = None,
    rate: float | None = None,
    seconds: float | None = None,
) -> Effective:
    """The effective configuration, with what was given on the command line."""
    here = Path("config")
    # The overlay of a project that has one; a folder that merely bears the name is left alone.
    found = here if folder is None and (here / f"layer_{layer}.toml").is_file() else folder
    if rate is not None and not 0 < rate < math.inf:
        raise UsageError(f"--rate {rate:g}: expected a number of operations a second above 0")
    if folder is not None and folder.is_dir() and not any(folder.glob("*.toml")):
        raise UsageError(f"--config {folder}: it has neither defaults.toml nor a layer_N.toml")
    options: dict[str, object] = {"load.workload": workload, "pool.workers": workers, "load.seconds": seconds}
    if rate is not None:
        size = workers or load_config(layer, found).config.pool.workers
        options["load.rate_per_worker_per_s"] = rate / size
    return load_config(layer, found, options)


def drawn(seed: int | None) -> int:
    """The seed that was given, or one that nobody knew before."""
    return seed if seed is not None else random.SystemRandom().getrandbits(31)


def _prove_all(
    targets: list[str],
    effective: Effective,
    layer: int,
    seed: int | None,
    scenario: list[str] | None,
    report: Path | None,
    json: Path | None,
) -> list[Proof]:
    chosen = drawn(seed)
    names = tuple(scenario or ())
    # All of it is planned before any of it is run: a typing error in the last target costs nothing.
    for target in targets:
        plan_proof(target, effective, layer=layer, seed=chosen, scenarios=names)
    if json is not None:
        expect_json(json)
    with Display() as display:
        return [
            prove_target(
                target,
                effective,
                layer=layer,
                seed=chosen,
                scenarios=names,
                report=report if report is None or len(targets) == 1 else report / _folder_name(target),
                watcher=display,
            )
            for target in targets
        ]


def _folder_name(target: str) -> str:
    return re.sub(r"[^\w.-]+", "-", target).strip("-.")


def _keep(content: dict[str, object], proofs: list[Proof], report: Path | None, json: Path | None) -> None:
    if json is not None:
        write_json(content, json)
    if report is not None:
        page = write_page(proofs, report)
        write_markdown(proofs, report)
        typer.echo(f"report: {page}", err=True)


@writing()
def print_proof(proof: Proof) -> None:
    """Print one proof: for people in a terminal, line by line elsewhere."""
    console = Console(emoji=False)
    if console.is_terminal:
        show_proof(proof, console)
    else:
        _print_plain(proof)


@writing()
def _print_plain(proof: Proof) -> None:
    """Lines for a pipe: one a promise, one a piece of evidence, one a scenario."""
    print(
        *("target", proof.target, proof.verdict, f"layer {proof.layer}", f"workload {proof.workload}"),
        f"seed {proof.seed}",
        sep="\t",
    )
    if proof.note:
        print("note", "workload", proof.note, sep="\t")
    for name, promise in proof.promises.items():
        print("promise", name, promise.made, promise.verdict or "not examined", sep="\t")
        for evidence in promise.evidence:
            print("evidence", name, evidence.scenario, evidence.text, sep="\t")
        if promise.verdict == "broken" and promise.made in COUNTED:
            print("advice", name, ADVICE[name], sep="\t")
    for name, why in proof.skipped.items():
        print("skipped", name, why, sep="\t")
    for outcome in proof.scenarios:
        load = outcome.load
        print(
            "scenario",
            outcome.name,
            outcome.verdict,
            f"offered {load.offered}",
            f"completed {load.completed}",
            f"failed {load.failed}",
            f"unresolved {load.unresolved}",
            sep="\t",
        )
        for judged in outcome.objectives:
            print("objective", outcome.name, judged.verdict, judged.describe(), sep="\t")
        if outcome.given_up:
            print("note", outcome.name, f"its load was given up: {outcome.given_up}", sep="\t")
        if outcome.generator.bottleneck:
            print("note", outcome.name, f"its times can't be judged, {outcome.generator.bottleneck}", sep="\t")
        for error in outcome.errors:
            print(
                "error",
                outcome.name,
                f"{error.count} operations",
                error.type,
                " ".join(error.message.split()),
                sep="\t",
            )
        for note in outcome.notes:
            print("note", outcome.name, note.text, sep="\t")
