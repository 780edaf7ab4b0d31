"""The promise `closes-cleanly`: closing returns in bounded time, without an error, and for good."""

from poolproof.checks.record import backlogged, describe_some
from poolproof.checks.verdict import Answer, Evidence, unknown
from poolproof.history import History, Outcome, Phase


def closes_cleanly(history: History) -> Answer:
    """Broken by a close that hangs or raises, or by an operation that is accepted afterwards and never resolved."""
    operations = history.operations
    hung = history.first("hung", "close") or history.first("hung", "after-close")
    if hung is not None:
        stage = history.last("stage", hung.stage)
        within = "" if stage is None else f" within {stage.value:.3g} s"
        what = "closing" if hung.stage == "close" else "submit, called after the close,"
        told = Evidence(
            text=f"{what} did not return{within}",
            at_s=round(history.seconds(hung.at), 6),
        )
        waiting = (operations.sent > 0) & (operations.done == 0)
        if hung.stage == "close" and backlogged(history, waiting).sum() == waiting.sum() > 0:
            return unknown(
                "the pool was still working off what it had accepted when the bound of the close was reached"
            )
        where = history.first("hung-in", hung.stage)
        if where is not None:
            told = Evidence(text=f"{told.text}; it was in {where.detail}", at_s=told.at_s)
        return "broken", [told, *describe_some(history, waiting, "was unresolved while the pool was closing")]
    raised = [event for event in history.lifecycle if event.event == "close-raised"]
    if raised:
        return "broken", [
            Evidence(text=f"closing raised {event.detail}", at_s=round(history.seconds(event.at), 6))
            for event in raised
        ]
    swallowed = (
        (operations.phase == Phase.AFTER_CLOSE) & (operations.sent > 0) & (operations.outcome == Outcome.UNRESOLVED)
    )
    if swallowed.any() and history.first("stage-ended", "settle"):
        return "broken", describe_some(history, swallowed, "was accepted after the close and never resolved")
    wanted = sum(stage.startswith("close") for stage in history.plan.scenario.stages)
    closings = [event for event in history.lifecycle if event.event == "closing"]
    closed = sum(event.event == "closed" for event in history.lifecycle)
    if closed < max(wanted, len(closings)):
        return unknown(f"{closed} of {max(wanted, len(closings))} closings were seen through")
    loaded = [stage for stage in history.plan.scenario.stages if stage in ("close-loaded", "close-cancelling")]
    if any((event.value or 0) < 2 for event in closings[-len(loaded) :] if loaded):
        return unknown("less than two operations were in flight when the pool was closed")
    return "kept", []
