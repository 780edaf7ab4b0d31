"""The promise `leaves-nothing-behind`: nothing remains after a close, nor after the pool's process."""

from itertools import pairwise
from typing import Final

import numpy as np

from poolproof.checks.verdict import SHOWN, Answer, Evidence, unknown
from poolproof.history import History, Leftover, Lifecycle
from poolproof.plan import CYCLES

_AFTER: Final = {"close": "close of the pool", "lab": "pool's own process"}


def leaves_nothing_behind(history: History) -> Answer:
    """Broken where residue grows with each cycle, a worker lives on, or anything outlives the lab by 2 s."""
    evidence = []
    for left in history.leftovers[:SHOWN]:
        op = _last_run(history, left)
        who = f"{left.what} pid {left.pid} ({left.owner[:120]})" if op is None else f"worker pid {left.pid}"
        last = "" if op is None else f"; the last operation that it began is {op}"
        evidence.append(
            Evidence(
                text=f"{who} outlived the {_AFTER[left.after]}: {left.detail}{last}",
                op=op,
                pid=left.pid,
                start_time=left.start_time,
                at_s=round(history.seconds(left.at), 6),
            )
        )
    if len(history.leftovers) > SHOWN:
        evidence.append(Evidence(text=f"{len(history.leftovers)} processes in all"))
    grown = _growth(history)
    if grown or any(left.after == "close" for left in history.leftovers):
        return "broken", [*grown, *evidence]
    hung = history.first("hung")
    if hung is not None:
        # What outlives a process that was ended from outside, because it hung, is no fault of a close.
        return "unknown", [
            Evidence(
                text=f"the pool's process hung in the stage {hung.stage!r} and was ended, so nothing could be seen"
            ),
            *evidence,
        ]
    if evidence:
        return "broken", evidence
    foreign = [event for event in history.lifecycle if event.event == "foreign-residue"]
    if foreign:
        return unknown(f"{foreign[0].stage} grew also while no pool was open: somebody else makes them on this machine")
    if history.first("lab-ended") is None:
        return unknown("the end of the pool's process was not seen")
    seen = min((len(events) for events in _counts(history).values()), default=0)
    if "cycles" in history.plan.scenario.stages and seen < CYCLES + 1:
        return unknown("the cycles of opening and closing were not seen through")
    return "kept", []


def _last_run(history: History, left: Leftover) -> int | None:
    """The operation that a process began last; None where it was no worker."""
    executions = history.executions
    rows = np.flatnonzero(executions.pid == left.pid)
    rows = rows[executions.start_time[rows] == left.start_time]
    return int(executions.op[rows[-1]]) if len(rows) else None


def _counts(history: History) -> dict[str, list[Lifecycle]]:
    counts: dict[str, list[Lifecycle]] = {}
    for event in history.lifecycle:
        if event.event == "residue":
            counts.setdefault(event.stage.partition(",")[0], []).append(event)
    return counts


def _growth(history: History) -> list[Evidence]:
    """Categories of which there was more after every single cycle; the first cycle is where counting starts."""
    grown = []
    foreign = {event.stage for event in history.lifecycle if event.event == "foreign-residue"}
    for category, events in _counts(history).items():
        values = [int(event.value or 0) for event in events]
        if (
            category not in foreign
            and len(values) == CYCLES + 1
            and all(later > earlier for earlier, later in pairwise(values))
        ):
            grown.append(
                Evidence(
                    text=f"{category} grew with every cycle of opening and closing: "
                    f"{', '.join(map(str, values))}; at the end also {events[-1].detail}",
                    at_s=round(history.seconds(events[-1].at), 6),
                )
            )
    return grown
