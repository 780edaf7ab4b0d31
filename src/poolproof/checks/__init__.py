"""Checks: pure functions from a history to a verdict on one promise, with evidence."""

from collections.abc import Callable
from typing import Final

from poolproof.checks.closes_cleanly import closes_cleanly
from poolproof.checks.contains_the_blast import contains_the_blast
from poolproof.checks.degrades_gracefully import degrades_gracefully
from poolproof.checks.honours_deadlines import honours_deadlines
from poolproof.checks.isolates_sessions import isolates_sessions
from poolproof.checks.keeps_session_order import keeps_session_order
from poolproof.checks.keeps_sessions_sticky import keeps_sessions_sticky
from poolproof.checks.leaves_nothing_behind import leaves_nothing_behind
from poolproof.checks.resolves_every_operation import resolves_every_operation
from poolproof.checks.restores_capacity import restores_capacity
from poolproof.checks.returns_the_right_result import returns_the_right_result
from poolproof.checks.runs_at_most_once import runs_at_most_once
from poolproof.checks.serves_fairly import serves_fairly
from poolproof.checks.sheds_overload import sheds_overload
from poolproof.checks.survives_worker_death import survives_worker_death
from poolproof.checks.types_every_error import types_every_error
from poolproof.checks.verdict import ORDER, SHOWN, Answer, Evidence, Finding, Verdict, unknown, worst
from poolproof.history import Fault, History, Lifecycle
from poolproof.probe import ProbeError

__all__ = ["CHECKS", "ORDER", "Answer", "Evidence", "Finding", "Verdict", "judge", "worst"]

PROBE_ERROR: Final = f"{ProbeError.__module__}.{ProbeError.__qualname__}"

Check = Callable[[History], Answer]

CHECKS: Final[dict[str, Check]] = {
    "resolves-every-operation": resolves_every_operation,
    "runs-at-most-once": runs_at_most_once,
    "returns-the-right-result": returns_the_right_result,
    "types-every-error": types_every_error,
    "closes-cleanly": closes_cleanly,
    "leaves-nothing-behind": leaves_nothing_behind,
    "survives-worker-death": survives_worker_death,
    "contains-the-blast": contains_the_blast,
    "restores-capacity": restores_capacity,
    "degrades-gracefully": degrades_gracefully,
    "keeps-sessions-sticky": keeps_sessions_sticky,
    "isolates-sessions": isolates_sessions,
    "keeps-session-order": keeps_session_order,
    "sheds-overload": sheds_overload,
    "serves-fairly": serves_fairly,
    "honours-deadlines": honours_deadlines,
}
"""Every check, by the promise that it judges."""


def judge(history: History, checks: dict[str, Check] = CHECKS) -> tuple[Finding, ...]:
    """Judge each promise that the history's scenario examines, and those that a simulated world saw broken.

    Where the scenario's fault does not apply to the pool, nothing was examined. A check that crashes could not tell.
    Nor could any that found nothing wrong where the run was cut short, or where a fault had no effect or met nothing:
    what was not put to the test was not kept.
    """
    if any(fault.effective == "inapplicable" for fault in history.faults):
        return ()
    doubts = [Evidence(text=reason) for reason in _doubts(history)]
    findings = []
    examines = history.plan.scenario.examines
    violated = {event.stage: None for event in history.lifecycle if event.event == "violation"}
    for promise in dict.fromkeys((*examines, *violated)):
        try:
            # A check that the scenario does not ask for may take for a fault what was never measured.
            answer: Answer = checks[promise](history) if promise in examines else ("broken", [])
        except Exception as error:  # whatever a check stumbles over is no verdict
            answer = unknown(f"the check crashed: {type(error).__name__}: {error}")
        verdict, evidence = answer
        found = [event for event in history.lifecycle if event.event == "violation" and event.stage == promise]
        if found:
            evidence = _told(history, found) + (evidence if verdict == "broken" else [])
            verdict = "broken"
        elif verdict != "broken" and doubts:
            verdict, evidence = "unknown", [*doubts, *evidence]
        named = tuple(_in_scenario(entry, history.plan.scenario.name) for entry in evidence)
        findings.append(Finding(promise=promise, verdict=verdict, evidence=named))
    return tuple(findings)


def _told(history: History, seen: list[Lifecycle]) -> list[Evidence]:
    """What a simulated world saw the pool decide that no pool may."""
    return [Evidence(text=event.detail, at_s=round(history.seconds(event.at), 6)) for event in seen[:SHOWN]]


def _doubts(history: History) -> list[str]:
    """Why nothing in this history can be called kept; empty where it can."""
    reasons = [f"the run was cut short: {event.detail}" for event in history.lifecycle if event.event == "void"]
    reasons += [
        f"the pool hung in the stage {event.stage!r} and its process was ended"
        for event in history.lifecycle
        if event.event == "hung" and event.stage not in ("close", "after-close")
    ]
    reasons += [
        f"the probe or the workload failed: {error.message}"
        for error in history.errors
        if PROBE_ERROR in (error.type, *error.bases)
    ][:1]
    for number, spec in enumerate(history.plan.scenario.faults):
        rows = [fault for fault in history.faults if fault.fault == number]
        if not rows:
            reasons.append(f"the fault {spec.describe()} was not injected")
        reasons += [
            f"the fault {spec.describe()} had no effect: {fault.why}"
            for fault in rows
            # One that found no worker alive after another had struck met what that one had left: it is listed.
            if fault.effective != "yes" and not (fault.effective == "pool-dead" and _struck_before(history, fault))
        ]
    return reasons


def _struck_before(history: History, fault: Fault) -> bool:
    return any(other.effective == "yes" and other.begin < fault.begin for other in history.faults)


def _in_scenario(evidence: Evidence, scenario: str) -> Evidence:
    return Evidence(
        text=evidence.text,
        scenario=scenario,
        op=evidence.op,
        pid=evidence.pid,
        start_time=evidence.start_time,
        at_s=evidence.at_s,
    )
