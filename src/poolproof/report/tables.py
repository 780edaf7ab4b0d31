"""What a report shows, before it is rendered: grids of cells, and the stories of what was not kept."""

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple

from poolproof.checks import Evidence, Verdict
from poolproof.experiment import COUNTED, Outcome, Proof
from poolproof.plan import Made
from poolproof.report.advice import ADVICE

MARKS: Final[dict[Verdict | None, str]] = {"kept": "✓", "broken": "✗", "unknown": "?", None: "–"}
NOT_EXAMINED: Final = "not examined"

LEGEND: Final = (
    "✓ kept, ✗ broken, ? could not be told, – not examined. Implied promises are made by whoever offers a pool, "
    "promised ones by its documentation: these count. Declined and undeclared ones are measured and shown."
)


class Cell(NamedTuple):
    """A text, the verdict that colours it, and whether it stands back, since it does not count."""

    text: str
    verdict: Verdict | None = None
    aside: bool = False


class Grid(NamedTuple):
    """A table: its title, its column heads, its rows; the first column names the row."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


class Story(NamedTuple):
    """Why promises of one target were broken, or could not be told, and what to do about it.

    Attributes:
        promises: one, or several of which the very same can be told.
    """

    target: str
    promises: tuple[str, ...]
    made: tuple[Made, ...]
    verdict: Verdict
    evidence: tuple[Evidence, ...]

    @property
    def counts(self) -> bool:
        """Whether it bears on the verdict."""
        return any(made in COUNTED for made in self.made)

    @property
    def headline(self) -> str:
        """The story in one line."""
        aside = "" if self.counts else f" ({', '.join(dict.fromkeys(self.made))}: does not count)"
        return f"{self.target} · {', '.join(self.promises)}: {self.verdict}{aside}"

    @property
    def advice(self) -> str:
        """What to do about it; empty where it is not the pool that something can be done about."""
        return " ".join(ADVICE[promise] for promise in self.promises) if self.verdict == "broken" else ""

    def told(self, most: int) -> list[str]:
        """Its evidence in words, at most so many lines a scenario, and the sum that comes last where there are more."""
        lines = []
        for scenario, entries in groupby(self.evidence, key=attrgetter("scenario")):
            group = list(entries)
            shown = group if len(group) <= most + 1 else [*group[:most], group[-1]]
            lines += [f"[{scenario}] {entry.text}" if scenario else entry.text for entry in shown]
        return lines


def headline(proof: Proof) -> str:
    """The verdict on one target in one line, without its mark."""
    broken, unsure = (
        [name for name, promise in proof.promises.items() if promise.made in COUNTED and promise.verdict == verdict]
        for verdict in ("broken", "unknown")
    )
    missed = [
        judged.objective
        for outcome in proof.scenarios
        for judged in outcome.objectives
        if judged.verdict == proof.verdict
    ]
    if proof.verdict == "broken" and not broken:
        return f"{proof.target}: missed {', '.join(missed)}  {_of(proof)}"
    unsure += missed if proof.verdict == "unknown" else []
    told = {
        "kept": "every promise that counts and was examined was kept",
        "broken": f"broke {', '.join(broken)}",
        "unknown": f"could not tell about {', '.join(unsure) or 'anything'}",
    }[proof.verdict]
    aside = [
        name for name, promise in proof.promises.items() if promise.made not in COUNTED and promise.verdict == "broken"
    ]
    if aside:
        told += f"; broken without counting: {', '.join(aside)}"
    return f"{proof.target}: {told}  {_of(proof)}"


def _of(proof: Proof) -> str:
    return f"(layer {proof.layer}, workload {proof.workload}, seed {proof.seed})"


def promises(proofs: Sequence[Proof]) -> Grid:
    """Promises as rows, targets as columns: whether each was kept, and how the target stands to it."""
    rows = []
    for name in proofs[0].promises:
        cells = [Cell(name)]
        for proof in proofs:
            promise = proof.promises[name]
            cells.append(Cell(f"{MARKS[promise.verdict]} {promise.made}", promise.verdict, promise.made not in COUNTED))
        rows.append(tuple(cells))
    return Grid("Promises", ("promise", *(proof.target for proof in proofs)), tuple(rows))


def figures(proofs: Sequence[Proof]) -> tuple[Grid, ...]:
    """The figures of the load, scenarios as rows and targets as columns."""
    return (
        _by_scenario("Operations completed, of those offered", proofs, _completed),
        _by_scenario("Response time, ms: p50 / p95 / p99", proofs, _response),
        _by_scenario("Recovery from faults, ms: noticed / capacity back / steady again", proofs, _recovery),
    )


def details(proof: Proof) -> Grid:
    """All figures of one target, scenario by scenario."""
    head = ("scenario", "verdict", "offered", "completed", "failed", "unresolved", "p50 ms", "p95 ms", "p99 ms")
    rows = []
    for outcome in proof.scenarios:
        load = outcome.load
        counts = (load.offered, load.completed, load.failed, load.unresolved)
        rows.append(
            (
                Cell(outcome.name),
                Cell(f"{MARKS[outcome.verdict]} {outcome.verdict}", outcome.verdict),
                *(Cell(str(count)) for count in counts),
                *(Cell(_figure(load.response_ms[name])) for name in ("p50", "p95", "p99")),
                Cell(_figure(load.lag_ms["p99"])),
                Cell(_recovery(outcome)),
            )
        )
    skipped = tuple((Cell(name), Cell("– does not apply")) for name in proof.skipped)
    return Grid(
        f"{proof.target}: load and recovery",
        (*head, "own lag p99", "noticed / capacity / steady ms"),
        (*rows, *((*cells, *(Cell(""),) * (len(head) + 2 - len(cells))) for cells in skipped)),
    )


def objectives(proofs: Sequence[Proof]) -> Grid:
    """The objectives of all scenarios, each with its figure and its margin; no row where there is none."""
    rows = [
        (
            Cell(f"{proof.target} · {outcome.name}"),
            Cell(judged.objective),
            Cell(f"{MARKS[judged.verdict]} {judged.verdict}", judged.verdict),
            Cell("n/a" if judged.value is None else f"{judged.value:.4g} {judged.unit}".strip()),
            Cell("" if judged.margin is None else f"{judged.margin:+.0%}"),
            Cell(judged.why),
        )
        for proof in proofs
        for outcome in proof.scenarios
        for judged in outcome.objectives
    ]
    return Grid("Objectives", ("run", "objective", "verdict", "figure", "margin", "why"), tuple(rows))


def stories(proofs: Sequence[Proof]) -> tuple[Story, ...]:
    """The stories of all cells that are broken or could not be told, those that count first, by promise."""
    found: dict[tuple[object, ...], Story] = {}
    for name in proofs[0].promises:
        for proof in proofs:
            promise = proof.promises[name]
            if promise.verdict not in ("broken", "unknown"):
                continue
            # What cuts a run short, or spoils it, leaves all its promises untold for the same reason: told once.
            key = (proof.target, promise.verdict, promise.made in COUNTED, promise.evidence)
            same = found.get(key, Story(proof.target, (), (), promise.verdict, promise.evidence))
            found[key] = same._replace(promises=(*same.promises, name), made=(*same.made, promise.made))
    return tuple(sorted(found.values(), key=lambda story: (not story.counts, story.verdict != "broken")))


def notices(proof: Proof) -> list[tuple[str, str]]:
    """What else was seen: scenario and text; what breaks no promise, and why times can't be judged."""
    told = [(name, f"does not apply: {why}") for name, why in proof.skipped.items()]
    if proof.note:
        told.insert(0, ("workload", proof.note))
    for outcome in proof.scenarios:
        if outcome.given_up:
            told.append((outcome.name, f"its load was given up: {outcome.given_up}"))
        if outcome.generator.bottleneck:
            told.append((outcome.name, f"its times can't be judged: {outcome.generator.bottleneck}"))
        told += [(outcome.name, note.text) for note in outcome.notes]
    return told


def errors(proof: Proof) -> list[tuple[str, str]]:
    """The types of error that operations ended with: scenario and text."""
    return [
        (outcome.name, f"{error.count} operations ended with {error.type}: {' '.join(error.message.split())}")
        for outcome in proof.scenarios
        for error in outcome.errors
    ]


def _by_scenario(title: str, proofs: Sequence[Proof], show: Callable[[Outcome], str]) -> Grid:
    names = dict.fromkeys(outcome.name for proof in proofs for outcome in proof.scenarios)
    rows = []
    for name in names:
        cells = [Cell(name)]
        for proof in proofs:
            outcome = next((outcome for outcome in proof.scenarios if outcome.name == name), None)
            cells.append(Cell("–", aside=True) if outcome is None else Cell(show(outcome)))
        if any(cell.text for cell in cells[1:] if cell.text != "–"):
            rows.append(tuple(cells))
    return Grid(title, ("scenario", *(proof.target for proof in proofs)), tuple(rows))


def _completed(outcome: Outcome) -> str:
    load = outcome.load
    lost = f", {load.unresolved} open" if load.unresolved and outcome.name != "parent-death" else ""
    return f"{load.completed} of {load.offered}{lost}"


def _response(outcome: Outcome) -> str:
    times = [outcome.load.response_ms[name] for name in ("p50", "p95", "p99")]
    return "" if times == [None] * 3 else " / ".join(_figure(time) for time in times)


def _recovery(outcome: Outcome) -> str:
    if outcome.recovery is None:
        return ""
    moments = (outcome.recovery.detect_ms, outcome.recovery.capacity_ms, outcome.recovery.steady_ms)
    return " / ".join("not seen" if moment is None else f"{moment:.0f}" for moment in moments)


def _figure(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"
