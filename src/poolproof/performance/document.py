"""The document of baselines, `docs/baselines.md`: what was last measured on one machine, as Markdown."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from poolproof.errors import UsageError
from poolproof.performance.results import Figure, Result

GENERATED: Final = "<!-- Generated from measurements by poolproof.performance.document: do not edit, measure again. -->"

_MACHINE: Final = {
    "cpu": "processor",
    "architecture": "architecture",
    "cores": "cores usable",
    "memory_gib": "memory, GiB",
    "kernel": "kernel",
    "python": "Python",
}


def document(results: Sequence[Result]) -> str:
    """The Markdown of the latest results of one machine (`Baselines.latest_of_each`), one table a benchmark and target.

    It depends on nothing but the results: the same ones give the same text.

    Raises:
        UsageError: there are none, or they are of several machines, whose figures do not belong side by side.
    """
    if not results:
        told = "nothing has been measured on this machine, so there is no document to make; run `poolproof bench` first"
        raise UsageError(told)
    if len({result.fingerprint for result in results}) > 1:
        raise UsageError("these results are of several machines; a document shows those of one")
    return "\n".join(_lines(results)) + "\n"


def command(result: Result) -> str:
    """What to type to measure it again."""
    words = ["poolproof", "bench", result.benchmark, "--target", result.target, "--layer", str(result.layer)]
    words += ["--workers", str(result.workers), *(["--full"] if result.is_full else [])]
    return shlex.join(words)


def _lines(results: Sequence[Result]) -> Iterator[str]:
    newest = max(results, key=lambda result: result.at)
    yield from (GENERATED, "", "# Baselines", "")
    yield "What the benchmarks measured on one machine, to compare with what they measure on the same machine later."
    yield from ("", "| machine | |", "|---|---|")
    yield from (f"| {_cell(_MACHINE.get(name, name))} | {_cell(value)} |" for name, value in newest.machine.items())
    yield f"| fingerprint | `{newest.fingerprint}` |"
    for (benchmark, target), group in groupby(
        sorted(results, key=lambda result: (result.benchmark, result.target, result.layer, result.workers)),
        key=lambda result: (result.benchmark, result.target),
    ):
        yield from ("", f"## {_line(benchmark)}: {_line(target)}", "")
        yield from _table(list(group))


def _table(columns: Sequence[Result]) -> Iterator[str]:
    heads = [_head(column, columns) for column in columns]
    yield f"| figure | better | {' | '.join(heads)} |"
    yield f"|---|---|{'---:|' * len(columns)}"
    found = [{(one.name, one.unit, one.better): one for one in column.figures} for column in columns]
    for name, unit, better in dict.fromkeys(key for figures in found for key in figures):
        cells = [_value(figures.get((name, unit, better))) for figures in found]
        yield f"| {_cell(name)}{f', {_cell(unit)}' if unit else ''} | {better} | {' | '.join(cells)} |"
    yield ""
    for head, column in zip(heads, columns, strict=True):
        length = "in full" if column.is_full else "quick: shortened"
        yield f"- {head}: {_commit(column)}, {column.at}, {length}: `{_line(command(column))}`"
        yield from (f"  - {note}" for note in _notes(column))


def _head(column: Result, columns: Sequence[Result]) -> str:
    alike = sum(other.layer == column.layer for other in columns)
    return f"layer {column.layer}" + (f", {column.workers} workers" if alike > 1 else "")


def _commit(result: Result) -> str:
    if not result.commit:
        return "**commit unknown**"
    return f"commit `{result.commit[:12]}`" + (" **with uncommitted changes**" if result.is_dirty else "")


def _notes(result: Result) -> Iterable[str]:
    for figure in result.figures:
        if figure.note or figure.value is None:
            lead = "n/a, " if figure.value is None else ""
            yield f"{_line(figure.name)}: {lead}{_line(figure.note) or 'it was not said why'}"
    yield from (_line(note) for note in result.notes)


def _value(figure: Figure | None) -> str:
    if figure is None:
        return "–"  # that layer does not measure it
    if figure.value is None:
        return "n/a"
    if figure.value == 0 or abs(figure.value) >= 100:
        return f"{figure.value:,.0f}"
    return f"{figure.value:.3g}"


def _line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")
