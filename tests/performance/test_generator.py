"""The generator beside Locust's: how exactly each sends operations that do nothing, and how many a second it can.

Each is one process, by itself while it is measured; `racing` and `pacing` define the words. Locust's model is a closed
one, in which a user waits for the end of what it sent; where that takes no time, as here, `constant_throughput` is to
send as evenly as an open one.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pytest

from poolproof.clock import SECOND_NS
from poolproof.statistics import percentile
from tests.performance.contestant import Contestant
from tests.performance.pacing import Nanoseconds, highest, off_schedule_ns, off_spacing_ns
from tests.performance.racing import NotMeasured, Race, Row, alone, joined, missed, rows, run

pytestmark = [pytest.mark.layer(2), pytest.mark.timeout(600), pytest.mark.usefixtures("undisturbed")]

Enter = Callable[..., Contestant]
Report = list[Row]

LOCUST_PYTHON: Final = os.environ.get("POOLPROOF_LOCUST", "")
OURS: Final = "poolproof"
LOCUST: Final = "Locust"

# All bounds. A ratio says how many times ours Locust's error, or the time that it takes for one operation, must be.
ERROR: Final = 1.0
EACH: Final = 1.0

RATES: Final = (100, 500, 1_000, 2_000)
ROUNDS: Final = 8
CLIMBS: Final = 3
WARM_UP_S, SECONDS = 0.4, 1.6
CLIMB_WARM_UP_S, CLIMB_SECONDS = 0.25, 0.75
START, CEILING = 1_000.0, 8_000_000.0
FEWEST_USERS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """How many of them Locust has, as operations a second of each: it is best with other ones at other rates."""

    each_per_s: float
    at_least: int = 1

    def at(self, rate: float) -> int:
        """How many they are at a rate of all of them."""
        return max(self.at_least, round(rate / self.each_per_s))

    def __str__(self) -> str:
        return f"{LOCUST}, users of {self.each_per_s:.0f} a second"


EXACT: Final = (Users(each_per_s=100), Users(each_per_s=10))
QUICK: Final = tuple(Users(each_per_s=each, at_least=FEWEST_USERS) for each in (500, 200, 100))
"""Those with which it was most exact, and quickest, of those that were tried: from 1 to 5,000 users, at 100 to 250,000
operations a second. A user for all is late as soon as its gap is no longer than the milliseconds in which libev waits.
"""


@pytest.fixture
def ours(enter: Enter) -> Contestant:
    return enter(program=(sys.executable, "-m", "tests.performance.generator_noop"))


@pytest.fixture
def locust(enter: Enter) -> Contestant:
    if not LOCUST_PYTHON:
        pytest.skip(
            "Locust needs a virtual environment of its own: `nox -s 'performance(layer=2)'` makes one; or `python -m "
            "venv /tmp/locust`, `/tmp/locust/bin/pip install 'locust>=2.40'`, POOLPROOF_LOCUST=/tmp/locust/bin/python"
        )
    return enter(program=(LOCUST_PYTHON, "tests/performance/locust_noop.py"))


def order(rate: float, users: int, *, climbing: bool = False) -> dict[str, Any]:
    if climbing:
        times = {"warm_up_s": CLIMB_WARM_UP_S, "seconds": CLIMB_SECONDS}
    else:
        times = {"warm_up_s": WARM_UP_S, "seconds": SECONDS}
    return {"rate": rate, "users": users, "tell": "share" if climbing else "moments", **times}


def p_us(errors_ns: Nanoseconds, share: float) -> float:
    """A percentile in us."""
    found = percentile(errors_ns, share)
    if found is None:
        raise NotMeasured(f"{len(errors_ns)} errors are too few for a p{100 * share:.0f}")
    return float(found) / 1e3


def error_races(what: str, contestants: Mapping[str, Callable[[], Nanoseconds]]) -> tuple[Race, Race]:
    """Two races of one measurement: the p50 of everybody's errors, and the p99."""
    p50_us: dict[str, list[float]] = {name: [] for name in contestants}

    def take(name: str) -> float:
        errors_ns = contestants[name]()
        p50_us[name].append(p_us(errors_ns, 0.5))
        return p_us(errors_ns, 0.99)

    p99 = run(f"{what}, p99", "us", {name: partial(take, name) for name in contestants}, ROUNDS)
    return Race(what=f"{what}, p50", unit="us", figures={name: tuple(it) for name, it in p50_us.items()}), p99


def test_operations_are_sent_at_their_times_as_exactly_as_by_locust(
    ours: Contestant, locust: Contestant, report: Report
) -> None:
    def our_errors(rate: int) -> Nanoseconds:
        return off_schedule_ns(*ours.round(order(rate, 0)))

    def locusts_errors(rate: int, users: Users) -> Nanoseconds:
        count = users.at(rate)
        return off_spacing_ns(locust.round(order(rate, count)), SECOND_NS * count / rate)

    p50s, p99s = [], []
    for rate in RATES:
        locusts = {str(users): partial(locusts_errors, rate, users) for users in EXACT}
        p50, p99 = error_races(f"schedule error at {rate:,} a second", {OURS: partial(our_errors, rate), **locusts})
        report += [*rows(p50, OURS), *rows(p99, OURS)]
        p50s.append(p50)
        p99s.append(p99)

    # All rates are judged together: the worst hundredth is mostly what else the machine does, and takes many rounds.
    what = "schedule error at all these rates"
    together = (joined(f"{what}, p50", p50s), joined(f"{what}, p99", p99s))
    for race in together:
        report += rows(race, OURS)
    bounds = {str(users): ERROR for users in EXACT}
    assert [told for race in together for told in missed(race, OURS, bounds)] == []


def test_as_many_operations_a_second_are_sent_as_by_locust(
    ours: Contestant, locust: Contestant, report: Report
) -> None:
    # As many tries for both. Locust's are with other users.
    def our_shares(rate: float) -> Iterator[float]:
        return (ours.round(order(rate, 0, climbing=True)) for _ in QUICK)

    def locusts_shares(rate: float) -> Iterator[float]:
        return (locust.round(order(rate, users.at(rate), climbing=True)) for users in QUICK)

    def each_us(shares: Callable[[float], Iterator[float]]) -> float:
        return 1e6 / highest(shares, START, CEILING)

    contestants = {OURS: partial(each_us, our_shares), LOCUST: partial(each_us, locusts_shares)}
    measured = run("for each operation, at the highest rate that is held", "us", contestants, CLIMBS)

    report += rows(measured, OURS)
    for name, figures in measured.figures.items():
        report.append(alone("the same as a rate", "a second", [1e6 / each for each in figures], of=name))
    assert missed(measured, OURS, {LOCUST: EACH}) == []
