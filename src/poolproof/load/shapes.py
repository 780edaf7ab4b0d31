"""Shapes: how much load there is when, as pure values that compose: `ramp(0, 1000, over="2m") >> hold(500, "5m")`."""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from poolproof.errors import UsageError
from poolproof.plan import TARGETS, FaultKind, FaultSpec, Load, Placed, Step, seconds

Duration = str | float
"""`"30s"`, `"2m"`, `"1h30m"`, or plain seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Rates one after the other, with what is placed among them; made by the functions of this module.

    Attributes:
        steps: the rates; numbers of users in the closed model.
        faults: each at its moment after the start of the shape.
        placed: single operations, each at its moment.
        model: see `Load.model`.
        think_s: see `Load.think_s`.
        turns: see `Load.turns`.
    """

    steps: tuple[Step, ...]
    faults: tuple[FaultSpec, ...] = ()
    placed: tuple[Placed, ...] = ()
    model: Literal["open", "closed"] = "open"
    think_s: float = 0.0
    turns: int = 0

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return sum(step.seconds for step in self.steps)

    @property
    def operations(self) -> float:
        """How many operations are due within it on average; in the closed model that is up to the pool: nan."""
        if self.model == "closed":
            return math.nan
        return sum(step.operations for step in self.steps) + len(self.placed)

    def rate_at(self, moment_s: float) -> float:
        """The rate, or the number of users, at a moment; 0 before the start and after the end."""
        if moment_s < 0:
            return 0.0
        for step in self.steps:
            if moment_s < step.seconds:
                end = step.rate if step.to is None else step.to
                return step.rate + (end - step.rate) * moment_s / step.seconds
            moment_s -= step.seconds
        return 0.0

    def __rshift__(self, after: "Shape") -> "Shape":
        """This shape and then another one.

        Raises:
            UsageError: one is of the open model, the other of the closed one, or their users think differently long.
        """
        if not isinstance(after, Shape):
            return NotImplemented
        timed = [shape for shape in (self, after) if shape.seconds > 0]
        models = {(shape.model, shape.think_s, shape.turns) for shape in timed}
        if len(models) > 1:
            raise UsageError(
                "a shape is either of rates (hold, ramp, …) or of users who all think equally long: run two experiments"
            )
        model = timed[0] if timed else self
        length = self.seconds
        return Shape(
            steps=(*self.steps, *after.steps),
            faults=(*self.faults, *(_later(fault, length) for fault in after.faults)),
            placed=(*self.placed, *(_later(one, length) for one in after.placed)),
            model=model.model,
            think_s=model.think_s,
            turns=model.turns,
        )

    def at(self, moment: Duration, *faults: "Shape") -> "Shape":
        """The same shape with faults at a moment of it.

        Args:
            moment: after the start of the shape.
            faults: made by `fault`.

        Raises:
            UsageError: the moment is no duration, or beyond the end of the shape, or something else is no fault.
        """
        moment_s = seconds(moment, "at")
        if moment_s > self.seconds:
            raise UsageError(f"at({moment!r}): the shape is over after {self.seconds:g} s: name an earlier moment")
        if any(it.steps or it.placed for it in faults):
            raise UsageError(f"at({moment!r}): only what `fault` makes can be put there: compose shapes by >>")
        placed = (_later(spec, moment_s) for it in faults for spec in it.faults)
        return replace(self, faults=(*self.faults, *placed))

    def compressed(self, scale: float) -> "Shape":
        """The same rates in a shorter time (or a longer one): every moment and duration is so many times as long.

        What faults last is scaled too, so that they cover the same part of the load; how long victims are looked for
        is not, since workers are as quick as ever.

        Raises:
            UsageError: the scale is no number above 0.
        """
        if not 0 < scale < math.inf:
            raise UsageError(f"compressed({scale!r}): expected a factor above 0, as 0.1 for a tenth of the time")
        change = msgspec.structs.replace
        return replace(
            self,
            steps=tuple(change(step, seconds=step.seconds * scale) for step in self.steps),
            faults=tuple(change(it, at_s=it.at_s * scale, for_s=it.for_s * scale) for it in self.faults),
            placed=tuple(change(it, at_s=it.at_s * scale) for it in self.placed),
        )

    def load(self, **terms: Any) -> Load:
        """The load of this shape; its faults are no part of it.

        Args:
            terms: the other fields of `Load`: arrivals, mix, sessions, ….
        """
        return Load(
            steps=self.steps,
            placed=self.placed,
            model=self.model,
            think_s=self.think_s,
            turns=self.turns,
            **terms,
        )

    def describe(self) -> str:
        """The shape in a few words."""
        unit = " users" if self.model == "closed" else "/s"
        told = [_in_words(step, unit) for step in self.steps]
        told += [f"{len(self.placed)} placed operations"] if self.placed else []
        return ", then ".join(told) + "".join(f"; {fault.describe()}" for fault in self.faults)


def _in_words(step: Step, unit: str) -> str:
    if step.to is not None:
        return f"{step.rate:g} to {step.to:g}{unit} over {step.seconds:g} s"
    return f"{step.rate:g}{unit} for {step.seconds:g} s"


_Timed = TypeVar("_Timed", FaultSpec, Placed)


def _later(what: _Timed, by_s: float) -> _Timed:
    return msgspec.structs.replace(what, at_s=what.at_s + by_s)


# --- what shapes are made of ------------------------------------------------------------------------------------


def hold(rate: float, over: Duration) -> Shape:
    """One rate all along, operations a second; where it follows another one, the change is instantaneous: a spike.

    Raises:
        UsageError: the rate is below 0 or no number, or the duration can't be read.
    """
    return Shape(steps=(Step(rate=_rate(rate, "hold"), seconds=_lasting(over, f"hold({rate:g}, …)")),))


def ramp(start: float, end: float, over: Duration) -> Shape:
    """A rate that changes evenly from one to another.

    Raises:
        UsageError: as `hold`.
    """
    what = f"ramp({start}, {end}, …)"
    return Shape(steps=(Step(rate=_rate(start, what), to=_rate(end, what), seconds=_lasting(over, what)),))


def pause(over: Duration) -> Shape:
    """A time without load.

    Raises:
        UsageError: as `hold`.
    """
    return hold(0.0, over)


def steps(rates: Iterable[float], each: Duration) -> Shape:
    """Rates that follow each other at once, each held equally long.

    Raises:
        UsageError: as `hold`, or there is no rate.
    """
    found = [hold(rate, each) for rate in rates]
    if not found:
        raise UsageError("steps([], …): expected at least one rate")
    whole = found[0]
    for step in found[1:]:
        whole = whole >> step
    return whole


def users(count: float, over: Duration, *, think: Duration = 0.0, to: float | None = None, turns: int = 0) -> Shape:
    """The closed model: so many users, each of whom sends an operation, waits for its end, thinks, and sends the next.

    It slows down with the pool, and so hides how slow that is (coordinated omission; Schroeder, Wierman and
    Harchol-Balter, Open Versus Closed: A Cautionary Tale, NSDI 2006): it is there to compare with.

    Args:
        count: how many.
        over: for how long.
        think: how long each thinks.
        to: how many in the end, where their number changes evenly.
        turns: how many operations all of them together send at most; 0 for as many as there is time for.

    Raises:
        UsageError: as `hold`.
    """
    what = f"users({count}, …)"
    end = None if to is None else _rate(to, what)
    step = Step(rate=_rate(count, what), to=end, seconds=_lasting(over, what))
    return Shape(steps=(step,), model="closed", think_s=seconds(think, f"{what} think"), turns=turns)


def fault(
    kind: FaultKind,
    *,
    count: int = 0,
    share: float = 0.0,
    lasting: Duration = 0.0,
    at: Duration = 0.0,
    target: Literal["worker", "parent", "forkserver", "pool"] = "worker",
    **terms: Any,
) -> Shape:
    """Harm at the moment at which it stands in a shape, between what comes before and what comes after.

    Args:
        kind: see `FaultKind`.
        count: how many workers; one, where no share is given.
        share: which share of the live workers.
        lasting: for how long, where it can be undone.
        at: how long after where it stands; after the start of the load, where it stands in no shape.
        target: whom it befalls.
        terms: the other fields of `FaultSpec`.

    Raises:
        UsageError: there is no such fault or field, it can't befall that, or a duration can't be read.
    """
    if kind not in TARGETS:
        raise UsageError(f"fault({kind!r}): unknown fault: expected one of {', '.join(TARGETS)}")
    if target not in TARGETS[kind]:
        raise UsageError(f"fault({kind!r}): target = {target!r}: expected {' or '.join(TARGETS[kind])}")
    known = {it.name for it in msgspec.structs.fields(FaultSpec)} - {"at_s", "for_s"}
    if unknown := sorted(set(terms) - known):
        raise UsageError(f"fault({kind!r}): unknown {unknown[0]!r}: expected at, lasting, {', '.join(sorted(known))}")
    if target == "worker" and not count and not share:
        count = 1
    spec = FaultSpec(
        kind=kind,
        at_s=seconds(at, f"fault({kind!r}) at"),
        target=target,
        count=count,
        share=share,
        for_s=seconds(lasting, f"fault({kind!r})"),
        **terms,
    )
    return Shape(steps=(), faults=(spec,))


TRACE_COLUMNS: Final = ("at_s", "kind", "session", "deadline_s", "idempotent")
"""The columns that a trace may have; the first one it must have."""

LONGEST_TRACE: Final = 1_000_000


def replay(path: str | Path) -> Shape:
    """The operations of a trace, each at its own moment: a CSV file whose first line names its columns.

    `at_s`, seconds after the start, in ascending order; and perhaps `kind` (else drawn from the mix), `session` (a
    number; empty for none), `deadline_s` after it is due, `idempotent` (0 or 1).

    Raises:
        UsageError: it can't be read, has an unknown column, or a row whose time is missing, no number, or before the
            one above; all that is wrong is told at once, each with its line.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            columns = rows.fieldnames or ()
            wrong = [f"unknown column {name!r}" for name in columns if name not in TRACE_COLUMNS]
            if "at_s" not in columns:
                wrong.append("there is no column 'at_s'")
            placed = [] if wrong else _read_trace(rows, wrong)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"the trace {path} can't be read: {error}") from error
    if not wrong and not placed:
        wrong.append("it has no operation")
    if wrong:
        rest = f"; and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
        known = f" (columns: {', '.join(TRACE_COLUMNS)})"
        raise UsageError(f"the trace {path}: {'; '.join(wrong[:_TOLD])}{rest}{known}")
    return Shape(steps=(Step(rate=0.0, seconds=placed[-1].at_s),), placed=tuple(placed))


_TOLD: Final = 10
"""How many problems of one trace are told: a file of another format has one in each line."""


def _read_trace(rows: "csv.DictReader[str]", wrong: list[str]) -> list[Placed]:
    placed: list[Placed] = []
    before = 0.0
    for row in rows:
        line = rows.line_num
        if len(placed) >= LONGEST_TRACE:
            wrong.append(f"line {line}: it has more than {LONGEST_TRACE:,} operations: replay a part of it")
            break
        if not (row["at_s"] or "").strip():
            wrong.append(f"line {line}: at_s is missing")
            continue
        try:
            at_s = _number(row, "at_s")
            one = Placed(
                at_s=at_s,
                kind=(row.get("kind") or "").strip(),
                session=int(_number(row, "session", -1.0)),
                deadline_s=_number(row, "deadline_s"),
                idempotent=bool(_number(row, "idempotent")),
            )
        except ValueError as error:
            wrong.append(f"line {line}: {error}")
            continue
        if at_s < before:
            wrong.append(f"line {line}: at_s = {at_s:g} comes after {before:g}: sort the rows by their time")
        before = max(before, at_s)
        placed.append(one)
    return placed


def _number(row: dict[str, str], name: str, default: float = 0.0) -> float:
    text = (row.get(name) or "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name} = {text!r} is no number") from None
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} = {text}: expected a number of 0 or more")
    return value


def _rate(rate: float, what: str) -> float:
    if type(rate) not in (int, float) or not 0 <= rate < math.inf:
        raise UsageError(f"{what}: {rate!r} is no rate: expected a number of 0 or more")
    return float(rate)


def _lasting(over: Duration, what: str) -> float:
    duration_s = seconds(over, what)
    if not duration_s:
        raise UsageError(f"{what}: it lasts no time: expected a duration above 0")
    return duration_s
