"""What a proof and a comparison look like in a terminal."""

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from poolproof.experiment import Proof
from poolproof.report import tables

STYLES: Final = {"kept": "green", "broken": "bold red", "unknown": "yellow", None: ""}
_IN_FULL: Final = 4
_IN_SHORT: Final = 1


def show_proof(proof: Proof, console: Console) -> None:
    """Print one proof: its verdict first."""
    console.print()
    _print_headline(proof, console)
    _print_grid(tables.promises([proof]), console)
    _print_legend(console)
    if (objectives := tables.objectives([proof])).rows:
        _print_grid(objectives, console)
    _print_stories([proof], console)
    _print_notices(proof, console)
    for grid in tables.figures([proof]):
        _print_grid(grid, console)


def show_comparison(proofs: Sequence[Proof], console: Console) -> None:
    """Print several proofs side by side, then the story of each broken cell."""
    console.print()
    for proof in proofs:
        _print_headline(proof, console)
    _print_grid(tables.promises(proofs), console)
    _print_legend(console)
    if (objectives := tables.objectives(proofs)).rows:
        _print_grid(objectives, console)
    _print_stories(proofs, console)
    for proof in proofs:
        _print_notices(proof, console)
    for grid in tables.figures(proofs):
        _print_grid(grid, console)


def _print_headline(proof: Proof, console: Console) -> None:
    mark = f"{tables.MARKS[proof.verdict]} {proof.verdict.upper()}"
    console.print(Text.assemble((mark, STYLES[proof.verdict]), f"  {tables.headline(proof)}"))


def _print_legend(console: Console) -> None:
    console.print(Text(tables.LEGEND, style="dim"))


def _print_grid(grid: tables.Grid, console: Console) -> None:
    table = Table(title=Text(grid.title), title_justify="left")
    for number, head in enumerate(grid.head):
        table.add_column(Text(head), no_wrap=number == 0)
    for row in grid.rows:
        table.add_row(*(Text(cell.text, style="dim" if cell.aside else STYLES[cell.verdict]) for cell in row))
    console.print(table)


def _print_stories(proofs: Sequence[Proof], console: Console) -> None:
    for story in tables.stories(proofs):
        console.print()
        console.print(Text(story.headline, style=STYLES[story.verdict] if story.counts else "dim"))
        for line in story.told(_IN_FULL if story.counts else _IN_SHORT):
            console.print(Text(f"  {line}"))
        if story.advice and story.counts:
            console.print(Text(f"  To mend it: {story.advice}", style="italic"))
    console.print()


def _print_notices(proof: Proof, console: Console) -> None:
    for where, text in tables.notices(proof):
        console.print(Text(f"{proof.target} · {where}: {text}", style="yellow"))
    for where, text in tables.errors(proof):
        console.print(Text(f"{proof.target} · {where}: {text}", style="dim"))
    console.print()
