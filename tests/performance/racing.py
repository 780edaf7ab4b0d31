"""Races: who is measured when, what the figures of all rounds say, and which bound they miss.

A *contestant* is anything that can be measured again and again; each time it gives one *figure*, a cost: less is
better. In each *round* every contestant is measured once, in one order and in the next round in the opposite one, so
that all of them meet the same machine. What they are compared by is a *ratio* of two figures of the same round, and of
those the median over all rounds: neither a disturbed round nor a machine that slows down counts for or against anyone.

Pure: what measures comes as a function. What was not measured is an error, never a figure that passes.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Final

ROUNDS_NEEDED: Final = 3
"""With fewer, one disturbed round would be most of the median."""


class NotMeasured(Exception):  # noqa: N818 - it says what happened
    """A figure that a verdict takes is not there, or is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """What every contestant was measured at.

    Attributes:
        what: what was measured, in words, without the unit.
        unit: the unit of all figures.
        figures: the figure of each round, of every contestant by name.

    Raises:
        NotMeasured: there are too few rounds, not all took part in all of them, or a figure is no positive number.
    """

    what: str
    unit: str
    figures: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        rounds = {len(figures) for figures in self.figures.values()}
        if len(rounds) != 1 or min(rounds) < ROUNDS_NEEDED:
            counts = {name: len(figures) for name, figures in self.figures.items()}
            raise NotMeasured(f"{self.what}: all need the same rounds, {ROUNDS_NEEDED} at least, not {counts}")
        for name, figures in self.figures.items():
            for figure in figures:
                if not (math.isfinite(figure) and figure > 0):
                    raise NotMeasured(f"{self.what}: {figure} {self.unit} of {name} is no measured cost")

    def of(self, name: str) -> tuple[float, ...]:
        """All figures of one contestant."""
        if name not in self.figures:
            raise NotMeasured(f"{self.what}: {name} took no part, only {', '.join(self.figures)}")
        return self.figures[name]

    def median(self, name: str) -> float:
        """The median of one contestant's figures."""
        return median(self.of(name))

    def pairs(self, of: str, to: str) -> tuple[float, ...]:
        """How many times the cost of `to` the cost of `of` is, round by round."""
        return tuple(one / other for one, other in zip(self.of(of), self.of(to), strict=True))

    def ratio(self, of: str, to: str) -> float:
        """How many times the cost of `to` the cost of `of` is: the median of what the rounds say."""
        return median(self.pairs(of, to))

    def excess(self, of: str, over: str) -> float:
        """By how much the cost of `of` exceeds that of `over`: the median of what the rounds say."""
        return median(one - other for one, other in zip(self.of(of), self.of(over), strict=True))


def run(what: str, unit: str, contestants: Mapping[str, Callable[[], float]], rounds: int) -> Race:
    """Measure all contestants in so many rounds, there and back; an error of one of them ends the race."""
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    there = list(contestants)
    for number in range(rounds):
        for name in there[:: -1 if number % 2 else 1]:
            figures[name].append(contestants[name]())
    return Race(what=what, unit=unit, figures={name: tuple(found) for name, found in figures.items()})


def joined(what: str, races: Sequence[Race]) -> Race:
    """The rounds of several races among the same contestants as those of one, in which each counts as much."""
    units = {race.unit for race in races}
    names = {tuple(race.figures) for race in races}
    if len(units) != 1 or len(names) != 1:
        raise NotMeasured(f"{what}: other units or contestants in some of {', '.join(race.what for race in races)}")
    figures = {name: tuple(figure for race in races for figure in race.of(name)) for name in races[0].figures}
    return Race(what=what, unit=races[0].unit, figures=figures)


def missed(race: Race, ours: str, at_least: Mapping[str, float]) -> list[str]:
    """The bounds that were missed, each in words.

    Args:
        race: what was measured.
        ours: the contestant that is judged.
        at_least: for each of the others, how many times ours its cost must be: 2.5 where ours is to be that many times
            faster, 1/3 where it may take up to three times as long.

    Raises:
        NotMeasured: one of them took no part, or there is nothing to judge by.
    """
    if not at_least:
        raise NotMeasured(f"{race.what}: without a bound there is no verdict")
    found = []
    for peer, bound in at_least.items():
        ratio = race.ratio(peer, ours)
        if not ratio >= bound:
            found.append(
                f"{race.what}: {peer} takes {ratio:.3f} times as long as {ours}, instead of {bound:.3f} at least "
                f"({race.median(peer):.4g} against {race.median(ours):.4g} {race.unit})"
            )
    return found


# --- the table --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; the names of the fields are its head."""

    measure: str
    of: str
    median: str
    rounds: str
    ratio: str
    pairs: str


def rows(race: Race, ours: str) -> list[Row]:
    """A line for each contestant: its figures, how many times ours they are, and how far that varies among rounds."""
    return [
        Row(
            measure=race.what,
            of=name,
            median=f"{in_digits(race.median(name))} {race.unit}",
            rounds=_spread(figures),
            ratio=f"{race.ratio(name, ours):.2f}",
            pairs=_spread(race.pairs(name, ours)) if name != ours else "",
        )
        for name, figures in race.figures.items()
    ]


def alone(what: str, unit: str, figures: Sequence[float], of: str) -> Row:
    """The line of what is measured by itself."""
    spread = _spread(figures) if len(figures) > 1 else ""
    return Row(measure=what, of=of, median=f"{in_digits(median(figures))} {unit}", rounds=spread, ratio="", pairs="")


def _spread(figures: Sequence[float]) -> str:
    return f"{in_digits(min(figures))} – {in_digits(max(figures))}"


def in_digits(figure: float) -> str:
    """Three digits that count, never an exponent."""
    return f"{figure:,.{max(0, 2 - math.floor(math.log10(figure)))}f}" if figure > 0 else f"{figure:g}"


def table(lines: Iterable[Row], machine: str) -> str:
    """All lines in Markdown, below the machine that they were measured on."""
    heads = [field.name for field in fields(Row)]
    cells = [heads, ["---"] * len(heads), *([getattr(line, head) for head in heads] for line in lines)]
    return "\n".join([f"Measured on {machine}:", "", *(f"| {' | '.join(row)} |" for row in cells)])
