"""Plans that once broke a promise, as small as exploring could make them: each must be kept today."""

from pathlib import Path

import pytest

from poolproof.exploration import read, replay

PLANS = sorted(Path(__file__).parent.glob("*.json"))

pytestmark = pytest.mark.layer(1)


@pytest.mark.parametrize("plan", PLANS, ids=[plan.stem for plan in PLANS])
def test_what_broke_a_promise_once_keeps_it_now(plan: Path) -> None:
    again = replay(plan)

    assert again.verdict == "kept", again.evidence


def test_each_plan_that_is_kept_is_small() -> None:
    assert PLANS
    assert all(len(read(plan).plan.scenario.faults) <= 5 for plan in PLANS)
