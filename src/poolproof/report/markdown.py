"""A proof or a comparison in Markdown, for a pull request or a wiki."""

from collections.abc import Sequence
from pathlib import Path

from poolproof.errors import UsageError
from poolproof.experiment import Proof
from poolproof.report import tables

_LINES = 6


def as_markdown(proofs: Sequence[Proof]) -> str:
    """The verdicts, the promises, the story of each broken cell, the figures."""
    parts = ["# poolproof", ""]
    parts += [
        f"- **{tables.MARKS[proof.verdict]} {proof.verdict}** {_text(tables.headline(proof))}" for proof in proofs
    ]
    parts += ["", *_grid(tables.promises(proofs)), "", tables.LEGEND, ""]
    for story in tables.stories(proofs):
        parts += [f"### {_text(story.headline)}", ""]
        parts += [f"- {_text(line)}" for line in story.told(_LINES if story.counts else 1)]
        if story.advice and story.counts:
            parts += ["", f"*To mend it: {_text(story.advice)}*"]
        parts.append("")
    for grid in tables.figures(proofs):
        parts += _grid(grid)
        parts.append("")
    for proof in proofs:
        noticed = tables.notices(proof) + tables.errors(proof)
        if noticed:
            parts += [f"## Also seen: {_text(proof.target)}", ""]
            parts += [f"- {where}: {_text(text)}" for where, text in noticed]
            parts.append("")
    machine = proofs[-1].environment
    parts.append(" · ".join(f"{key}: {_text(value)}" for key, value in machine.items()))
    return "\n".join(parts) + "\n"


def write_markdown(proofs: Sequence[Proof], folder: Path) -> Path:
    """Write `report.md`; where it lies.

    Raises:
        UsageError: it can't be written.
    """
    page = folder / "report.md"
    try:
        page.write_text(as_markdown(proofs), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the report can't be written to {page}: {error.strerror}") from error
    return page


def _grid(grid: tables.Grid) -> list[str]:
    rows = ["| " + " | ".join(_text(cell.text) for cell in row) + " |" for row in grid.rows]
    return [
        f"## {_text(grid.title)}",
        "",
        "| " + " | ".join(_text(head) for head in grid.head) + " |",
        "|" + "---|" * len(grid.head),
        *rows,
    ]


def _text(text: str) -> str:
    """A text as itself: nothing of it is markup, nothing of it ends the line."""
    plain = " ".join(text.split())
    for special in "\\`*_<[|":
        plain = plain.replace(special, f"\\{special}")
    return plain
