"""Load as plain values: rates, mixes, sessions, and what is placed beside them."""

from typing import Final, Literal

import msgspec

from poolproof.plan.value import Value


class Step(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A rate held for a while, or changed evenly to another one; a rate of 0 is a pause.

    Attributes:
        rate: operations a second, or multiples of the pool's capacity; in the closed model, how many users.
        to: the rate at the end, in the same unit; None for the same all along.
    """

    rate: float
    seconds: float
    to: float | None = None

    @property
    def operations(self) -> float:
        """How many are due within it on average."""
        return (self.rate + (self.rate if self.to is None else self.to)) / 2 * self.seconds


class Placed(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One operation at a certain moment, beside the mix.

    Attributes:
        kind: of the workload's; empty for one that is drawn from the mix.
        deadline_s: after it is due; 0 for none.
        session: that it belongs to; -1 for none.
        command: what a scripted operation obeys, instead of a payload that its kind makes.
    """

    at_s: float
    kind: str = ""
    deadline_s: float = 0.0
    session: int = -1
    idempotent: bool = False
    command: tuple[str | int | float, ...] = ()


ENDED_ENOUGH: Final = 20
"""How many operations have to end within a window for their error rate to mean anything."""


class Abort(Value, frozen=True, kw_only=True):
    """When a load is given up: what is still to come is not sent, and what was sent is drained and judged.

    Attributes:
        figure: `error-rate`, the share of what ended within the window before that failed; `backlog`, how many
            operations are sent and not ended; `memory`, MB of the pool's processes and the lab's together.
        above: the bound, in the unit of the figure.
        over_s: the window of an error rate, which takes 20 operations to mean anything.
    """

    figure: Literal["error-rate", "backlog", "memory"]
    above: float
    over_s: float = 1.0

    def describe(self) -> str:
        """The condition in a few words."""
        over = f" over {self.over_s:g} s" if self.figure == "error-rate" else ""
        return f"{self.figure}{over} > {self.above:g}{' MB' if self.figure == 'memory' else ''}"

    def met(self, *, ended: int, failed: int, backlog: int, memory_mb: float) -> str:
        """Why the load is to be given up by now, in words; empty where it is not.

        Args:
            ended: how many operations ended within the window before.
            failed: how many of those failed.
            backlog: how many are sent and have not ended.
            memory_mb: what is used.
        """
        match self.figure:
            case "error-rate":
                value = failed / ended if ended >= ENDED_ENOUGH else 0.0
            case "backlog":
                value = backlog
            case "memory":
                value = memory_mb
        return f"{self.describe()}: it was {value:.4g}" if value > self.above else ""


class Load(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Load on a pool: when operations are due, of which kinds and which sessions.

    Attributes:
        steps: the rates, one after the other; a single step is constant load.
        model: `open`, where operations are due when the schedule says, whatever became of the earlier ones; or
            `closed`, where each of so many users sends one, waits for its end, thinks, and sends the next. Closed load
            slows down with the pool and so hides how slow it is: it is there for comparison.
        think_s: how long a user thinks, in the closed model: always as long, or exponentially distributed with that
            mean where arrivals are `poisson`.
        turns: how many operations all users together send, in the closed model; 0 for as many as there is time for.
        service_s: what one operation occupies a worker for. Where it is given, rates are multiples of the pool's
            capacity (as many a second as it was seen to do at once, divided by this); else operations a second.
        arrivals: evenly spaced, or a Poisson process of the same rate.
        mix: the kinds and their weights, in place of the workload's own; empty for those.
        sessions: how many sessions the operations are spread over; 0 for none.
        skew: how much more popular some sessions are: the exponent of Zipf's law, by which the n-th of them has a share
            in proportion to n ** -skew; 0 for all alike.
        burst: how many operations of one session are due at once.
        deadline_s: within what time of being due the operations of the mix must have ended; 0 for no deadline.
        deadline_share: of how many of them that is so.
        idempotent: which share of the mix is declared idempotent.
        placed: single operations of the workload, or of the kit's awkward one.
        warm_up: operations that are sent and drained before the measured window.
        aborts: when the load is given up.
    """

    steps: tuple[Step, ...]
    model: Literal["open", "closed"] = "open"
    think_s: float = 0.0
    turns: int = 0
    service_s: float = 0.0
    arrivals: Literal["constant", "poisson"] = "poisson"
    mix: dict[str, float] = msgspec.field(default_factory=dict)
    sessions: int = 0
    skew: float = 0.0
    burst: int = 1
    deadline_s: float = 0.0
    deadline_share: float = 1.0
    idempotent: float = 0.0
    placed: tuple[Placed, ...] = ()
    warm_up: int = 8
    aborts: tuple[Abort, ...] = ()

    @property
    def seconds(self) -> float:
        """How long the measured window lasts."""
        return sum(step.seconds for step in self.steps)

    def at_capacity(self, at_once: int) -> "Load":
        """This load in operations a second, for a pool that does so many operations at once."""
        if not self.service_s:
            return self
        per_s = at_once / self.service_s
        steps = tuple(
            Step(rate=step.rate * per_s, seconds=step.seconds, to=None if step.to is None else step.to * per_s)
            for step in self.steps
        )
        return msgspec.structs.replace(self, steps=steps, service_s=0.0)
