"""What a proof looks like in a terminal and in a pipe: a table of promises, the story of each broken one, the load."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from poolproof.experiment import COUNTED, Outcome, Proof

MARKS = {"kept": "✓ kept", "broken": "✗ broken", "unknown": "? unknown", None: "– not examined"}
STYLES = {"kept": "green", "broken": "bold red", "unknown": "yellow", None: "dim"}
_STORIES = 4


def show_proof(proof: Proof, console: Console) -> None:
    """Print one proof: its verdict first."""
    console.print()
    console.print(headline(proof))
    console.print(promise_table([proof]))
    _show_stories(proof, console)
    console.print(load_table(proof))


def show_comparison(proofs: list[Proof], console: Console) -> None:
    """Print several proofs side by side, then the story of each."""
    console.print()
    for proof in proofs:
        console.print(headline(proof))
    console.print(promise_table(proofs))
    for proof in proofs:
        _show_stories(proof, console)
        console.print(load_table(proof))


def headline(proof: Proof) -> Text:
    """The verdict in one line."""
    broken = [
        name for name, promise in proof.promises.items() if promise.made in COUNTED and promise.verdict == "broken"
    ]
    unsure = [
        name for name, promise in proof.promises.items() if promise.made in COUNTED and promise.verdict == "unknown"
    ]
    told = {
        "kept": "every promise that counts was kept",
        "broken": f"broke {', '.join(broken)}",
        "unknown": f"could not tell about {', '.join(unsure) or 'anything'}",
    }[proof.verdict]
    return Text.assemble(
        (MARKS[proof.verdict].upper(), STYLES[proof.verdict]),
        f"  {proof.target}: {told}  (layer {proof.layer}, workload {proof.workload}, seed {proof.seed})",
    )


def promise_table(proofs: list[Proof]) -> Table:
    """Promises as rows, targets as columns; how the target stands to the promise, and whether it kept it."""
    table = Table(title="Promises (implied and promised ones count)", title_justify="left")
    table.add_column("promise", no_wrap=True)
    for proof in proofs:
        table.add_column(Text(proof.target))
    for name in proofs[0].promises:
        cells = []
        for proof in proofs:
            promise = proof.promises[name]
            counts = promise.made in COUNTED
            cells.append(
                Text.assemble(
                    (MARKS[promise.verdict], STYLES[promise.verdict] if counts else "dim"),
                    (f"  {promise.made}", "" if counts else "dim"),
                )
            )
        table.add_row(Text(name), *cells)
    return table


def load_table(proof: Proof) -> Table:
    """The figures of each scenario."""
    table = Table(title=Text(f"{proof.target}: load, faults and recovery"), title_justify="left")
    table.add_column("scenario", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for name in (
        "offered",
        "completed",
        "failed",
        "unresolved",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "own lag p99",
        "detect",
        "capacity",
        "steady",
    ):
        table.add_column(name, justify="right")
    for outcome in proof.scenarios:
        load = outcome.load
        table.add_row(
            Text(outcome.name),
            Text(MARKS[outcome.verdict], STYLES[outcome.verdict]),
            *(str(count) for count in (load.offered, load.completed, load.failed, load.unresolved)),
            *(_figure(load.response_ms[name]) for name in ("p50", "p95", "p99")),
            _figure(load.lag_ms["p99"]),
            *_recovery(outcome),
        )
    return table


def _recovery(outcome: Outcome) -> tuple[str, str, str]:
    if outcome.recovery is None:
        return ("", "", "")
    moments = (outcome.recovery.detect_ms, outcome.recovery.capacity_ms, outcome.recovery.steady_ms)
    told = ["never" if moment is None else f"{moment:.0f} ms" for moment in moments]
    return (told[0], told[1], told[2])


def _show_stories(proof: Proof, console: Console) -> None:
    for name, promise in proof.promises.items():
        if promise.verdict not in ("broken", "unknown"):
            continue
        console.print()
        counts = "" if promise.made in COUNTED else f", {promise.made}: it does not count"
        console.print(Text(f"{proof.target} · {name}: {promise.verdict}{counts}", style=STYLES[promise.verdict]))
        seen: dict[str, int] = {}
        for evidence in promise.evidence:
            seen[evidence.scenario] = seen.get(evidence.scenario, 0) + 1
            if seen[evidence.scenario] <= _STORIES:
                where = f"[{evidence.scenario}] " if evidence.scenario else ""
                console.print(Text(f"  {where}{evidence.text}"))
    for outcome in proof.scenarios:
        if outcome.generator.bottleneck:
            console.print()
            told = f"{proof.target} · {outcome.name}: its times can't be judged, {outcome.generator.bottleneck}"
            console.print(Text(told, style="yellow"))
        for error in outcome.errors[:_STORIES]:
            told = f"{proof.target} · {outcome.name}: {error.count} operations ended with {error.type}: {error.message}"
            console.print(Text(told.splitlines()[0], style="dim"))
        for note in outcome.notes:
            console.print()
            console.print(Text(f"{proof.target} · noticed in {outcome.name}", style="bold"))
            console.print(Text(f"  {note.text}"))
    console.print()


def _figure(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"
