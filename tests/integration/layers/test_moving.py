"""Open sessions follow their mode when their pool is replaced by one of another layer."""

import pytest

from poolproof.errors import TargetError, UsageError
from poolproof.rig import Rig, move_pool, verify_session_affinity, wait_for_session_affinity
from sessionpool.errors import SessionLost

pytestmark = [pytest.mark.layer(1, 2, 3), pytest.mark.isolation("pool_testing", workers=2)]

TO = {1: 2, 2: 3, 3: 1}
"""Each layer is moved from and moved to; to the third with scripted work, for it is the move that is looked at."""

# The suite of layer 1 has little time for real processes, and that of layer 3 for more of its own: what the modes come
# to begins on all layers, and what else there is to a move on the second, whose workers are real and cheap.
FROM_THE_SECOND = pytest.mark.layer(2)

STRICT = {"workers": 2, "options": {"affinity": "strict"}}
HINT = {"workers": 2, "options": {"affinity": "hint"}, "verify_sessions": False}


@pytest.mark.isolation("pool_testing", **STRICT)
def test_a_strict_session_is_refused_after_the_move_by_the_pools_own_error(pool: Rig) -> None:
    home = wait_for_session_affinity(pool, "s")

    with move_pool(pool, TO[pool.layer], workload="scripted") as moved:
        error = moved.submit("predict", session="s").exception()

    assert type(error) is SessionLost
    reason = f"its pool was replaced by one of layer {TO[pool.layer]}, which does not hold its state"
    assert vars(error) == {"key": pool.token("s"), "reason": reason, "pid": home.incarnation.pid, "epoch": 0}


@FROM_THE_SECOND
@pytest.mark.isolation("pool_testing", **STRICT)
def test_a_strict_session_begins_anew_after_the_move_once_it_is_closed(pool: Rig) -> None:
    home = wait_for_session_affinity(pool, "s")

    with move_pool(pool, TO[pool.layer], workload="scripted") as moved:
        moved.close_session("s")

        assert wait_for_session_affinity(moved, "s").epoch != home.epoch
        assert moved.renewals("s") == 0  # it was asked for


@FROM_THE_SECOND
@pytest.mark.isolation("pool_testing", **STRICT)
def test_a_session_that_was_closed_before_the_move_is_not_refused(pool: Rig) -> None:
    pool.submit("predict", session="s").result()
    pool.close_session("s")

    with move_pool(pool, TO[pool.layer], workload="scripted") as moved:
        assert moved.open_sessions == ()
        assert moved.submit("predict", session="s").exception() is None


@pytest.mark.parametrize(
    "affinity",
    [
        pytest.param("restart", marks=pytest.mark.isolation("pool_testing", workers=2)),
        pytest.param("hint", marks=pytest.mark.isolation("pool_testing", **HINT)),
    ],
)
def test_other_sessions_go_on_afresh_after_the_move_and_that_is_counted(pool: Rig, affinity: str) -> None:
    homes = {session: wait_for_session_affinity(pool, session) for session in ("one", "other")}

    with move_pool(pool, TO[pool.layer], workload="scripted") as moved:
        assert moved.open_sessions == ("one", "other"), affinity
        assert wait_for_session_affinity(moved, "one").epoch != homes["one"].epoch
        assert verify_session_affinity(moved).stays["one"][0].first_counter == 1
        assert (moved.renewals("one"), moved.renewals("other")) == (1, 0)


@FROM_THE_SECOND
def test_what_was_sent_before_the_move_ends_where_it_was_sent(pool: Rig) -> None:
    sent = [pool.submit("predict") for _ in range(6)]

    with move_pool(pool, TO[pool.layer], workload="scripted") as moved:
        assert {it.end for it in sent} == {"ok"}
        assert (pool.is_closed, moved.is_closed) == (True, False)


@FROM_THE_SECOND
def test_the_new_pool_is_the_old_one_but_for_its_layer(pool: Rig) -> None:
    with move_pool(pool, TO[pool.layer], workload="scripted") as moved:
        assert (moved.name, moved.size, moved.layer) == (pool.name, pool.size, TO[pool.layer])
        assert moved.events.since()[-1].what == pool.events.since()[-1].what == "moved"
        assert moved.submit("predict").exception() is None


# From layer 3 there is no layer to move to that wants an extra.
@pytest.mark.layer(1, 2)
def test_a_pool_that_cannot_move_goes_on_where_it_is(pool: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolproof.extras.find_spec", lambda name: None)

    with (
        pytest.raises(TargetError, match=r"^digits needs packages .* pip install"),
        move_pool(pool, 3, workload="digits"),
    ):
        pass

    assert pool.submit("predict").exception() is None


@pytest.mark.parametrize("to", [0, 4, "own"])
@pytest.mark.layer(1)  # it is refused before anything of a layer is touched
def test_a_move_to_no_other_layer_is_refused(pool: Rig, to: int | str) -> None:
    wanted = pool.layer if isinstance(to, str) else to

    with pytest.raises(UsageError, match="expected an open pool, and another layer"), move_pool(pool, wanted):
        pass
