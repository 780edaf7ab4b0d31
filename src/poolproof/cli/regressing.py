"""The command that compares two revisions: `regress`."""

from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from poolproof.cli import BROKEN, COULD_NOT_TELL, KEPT, writing
from poolproof.cli.commands import Json
from poolproof.cli.exploring import app
from poolproof.performance.regression import Comparison, Judgement, Verdict
from poolproof.report import expect_json, write_json

__all__ = ["app"]

STATUS: Final[dict[Verdict, int]] = {"pass": KEPT, "regressed": BROKEN, "inconclusive": COULD_NOT_TELL}

_STYLES: Final = {"pass": "green", "regressed": "bold red", "inconclusive": "yellow", None: "dim"}
_HEADS: Final = ("metric", "verdict", "base", "head", "ratio", "95 % interval", "margin", "noise", "pairs")


@app.command("regress")
def regress(
    base: Annotated[
        str | None,
        typer.Option(
            help="The revision before; left out, where --head left the main branch, or its parent.", show_default=False
        ),
    ] = None,
    head: Annotated[str, typer.Option(help="The revision after; what is not committed is not measured.")] = "HEAD",
    target: Annotated[
        str, typer.Option(help="module:factory of a concurrent.futures.Executor.")
    ] = "sessionpool:SessionPool",
    seconds: Annotated[float, typer.Option(help="Measure no longer than that; builds are not counted.")] = 50.0,
    workers: Annotated[int, typer.Option(help="Workers of the pools.", min=1)] = 2,
    until_first: Annotated[
        bool, typer.Option("--until-first", help="Stop at the first metric that regressed.")
    ] = False,
    dependencies: Annotated[
        bool, typer.Option(help="Install what the revisions require; a target that needs none is built sooner without.")
    ] = True,
    json: Json = None,
) -> int:
    """Tell whether a pool became slower: exit status 0 pass, 1 regressed, 2 usage, 3 inconclusive."""
    # Here, for scipy is imported with it, which takes longer than all other commands together.
    from poolproof.performance.regression import performance_regression_detector

    if json is not None:
        expect_json(json)
    with _Display() as display:
        found = performance_regression_detector(
            base,
            head,
            target=target,
            seconds=seconds,
            workers=workers,
            until_first=until_first,
            with_dependencies=dependencies,
            tell=display.tell,
            watcher=display.pair,
        )
    if json is not None:
        write_json(msgspec.to_builtins(found), json)
    print_comparison(found)
    return STATUS[found.verdict]


class _Display:
    """Shows on standard error how far a comparison has come; a context manager."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, emoji=False)
        self._status: Status | None = None

    def __enter__(self) -> "_Display":
        if self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def tell(self, what: str) -> None:
        """Say what goes on."""
        if self._status is None:
            self._console.print(f"regress: {what} …", highlight=False, soft_wrap=True, markup=False)
        else:
            self._status.update(Text(what))

    def pair(self, number: int, most: int, undecided: tuple[str, ...]) -> None:
        """Take note of a pair of rounds that begins; elsewhere than in a terminal only of the first."""
        if self._status is None and number == 0:
            self.tell("measuring in turns")
        if self._status is not None:
            self._status.update(Text(f"pair {number + 1} of {most} at most; undecided: {', '.join(undecided)}"))


@writing()
def print_comparison(found: Comparison) -> None:
    """Print a comparison: a table in a terminal, line by line elsewhere."""
    console = Console(emoji=False)
    if not console.is_terminal:
        _print_plain(found)
        return
    console.print(Text.assemble((found.verdict.upper(), _STYLES[found.verdict]), f"  {_headline(found)}"))
    table = Table(*_HEADS)
    for it in found.metrics:
        style = _STYLES[it.verdict]
        table.add_row(*(Text(cell, style=style if at < 2 else "") for at, cell in enumerate(_cells(it))))
    console.print(table)
    for it in found.metrics:
        if it.why:
            console.print(Text(f"{it.metric}: {it.why}", style=_STYLES[it.verdict]))
    for note in found.notes:
        console.print(Text(f"note: {note}", style="yellow"))


@writing()
def _print_plain(found: Comparison) -> None:
    print("regress", found.target, found.verdict, f"{found.pairs} pairs", f"{found.seconds:g} s", sep="\t")
    for name, side in (("base", found.base), ("head", found.head)):
        print(name, side.revision, side.commit, side.file, sep="\t")
    for it in found.metrics:
        cells = _cells(it)
        told = [f"{head} {cell}" for head, cell in zip(_HEADS[2:], cells[2:], strict=True)]
        print("metric", it.metric, it.verdict or "not there", *told, sep="\t")
        if it.why:
            print("why", it.metric, it.why, sep="\t")
    for note in found.notes:
        print("note", note, sep="\t")


def _headline(found: Comparison) -> str:
    before, after = (f"{side.revision} ({side.commit[:10]})" for side in (found.base, found.head))
    return f"{found.target}: {after} against {before}, {found.pairs} pairs in {found.seconds:g} s"


def _cells(it: Judgement) -> tuple[str, ...]:
    sign = "+" if it.better == "lower" else "-"
    return (
        it.what,
        it.verdict or "not there",
        "–" if it.base is None else f"{it.base:,.4g} {it.unit}",
        "–" if it.head is None else f"{it.head:,.4g} {it.unit}",
        "–" if it.ratio is None else f"{it.ratio:.3f}",
        "–" if it.low is None else f"{it.low:.3f} – {it.high:.3f}",
        f"{sign}{it.margin:.0%} and {it.floor:g} {it.unit}",
        "–" if it.noise is None else f"±{it.noise:.1%}",
        str(it.pairs),
    )
