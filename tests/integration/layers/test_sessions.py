"""Sessions and their modes, on every layer: the same assertions, made of the workers' own records."""

from collections.abc import Hashable

import pytest

from poolproof.rig import (
    Failure,
    Rig,
    inject_worker_failure,
    run_concurrent_operations,
    verify_session_affinity,
    wait_for_pool_idle,
    wait_for_session_affinity,
)
from sessionpool.errors import SessionLost

pytestmark = [pytest.mark.layer(1, 2, 3), pytest.mark.isolation("pool_testing", workers=2)]

# Of the pool alone, which is the same on layers 2 and 3: a pool of the latter costs more than a second.
OF_THE_POOL = pytest.mark.layer(1, 2)

# A mode's sessions that are not bound to their worker go where there is room: that is their promise, and no defect.
HINT = {"workers": 3, "options": {"affinity": "hint"}, "verify_sessions": False}


def lose_a_worker(pool: Rig) -> tuple[Failure, list[Hashable], list[Hashable]]:
    """Open sessions in all workers, and kill one of them; the failure, the sessions that it held, and the others."""
    run = run_concurrent_operations(pool, 2 * pool.size, kind="predict", sessions=2 * pool.size)
    assert run.ok == 2 * pool.size
    wait_for_pool_idle(pool)
    homes = {session: pool.binding(session) for session in pool.sessions}
    failure = inject_worker_failure(pool, coincide="idle")
    assert failure.effective, failure.why
    mine = [it for it, home in homes.items() if home is not None and home.incarnation in failure.victims]
    others = [it for it in homes if it not in mine]
    assert mine
    assert others
    return failure, mine, others


def test_sessions_stay_with_their_workers_over_many_operations(pool: Rig) -> None:
    run_concurrent_operations(pool, 24, kind="predict", sessions=4)

    report = verify_session_affinity(pool)

    assert report.moves == 0
    assert [[it.operations for it in stays] for stays in report.stays.values()] == [[6]] * 4


def test_two_sessions_never_find_each_others_state(pool: Rig) -> None:
    for _ in range(3):
        pool.submit("predict", session="one").result()
        pool.submit("predict", session="other").result()

    stays = verify_session_affinity(pool).stays

    assert stays["one"][0].epoch != stays["other"][0].epoch
    assert [it[0].last_counter for it in stays.values()] == [3, 3]


@OF_THE_POOL
def test_a_closed_session_begins_anew_in_another_epoch(pool: Rig) -> None:
    before = wait_for_session_affinity(pool, "s")
    pool.close_session("s")
    after = wait_for_session_affinity(pool, "s")

    assert before.epoch != after.epoch
    assert verify_session_affinity(pool).stays["s"][1].first_counter == 1


@pytest.mark.isolation("pool_testing", preset="sticky")
def test_strict_sessions_are_lost_with_their_worker_and_the_others_go_on(pool: Rig) -> None:
    _, mine, others = lose_a_worker(pool)

    errors = {session: pool.submit("predict", session=session).exception() for session in (*mine, *others)}

    assert {it for it, error in errors.items() if type(error) is SessionLost} == set(mine)
    assert all(errors[it] is None for it in others)


@OF_THE_POOL
@pytest.mark.isolation("pool_testing", preset="sticky")
def test_a_strict_session_that_was_lost_begins_anew_once_it_is_closed(pool: Rig) -> None:
    _, (lost, *_), _ = lose_a_worker(pool)
    assert type(pool.submit("predict", session=lost).exception()) is SessionLost

    pool.close_session(lost)
    pool.submit("predict", session=lost).result()

    assert [it.first_counter for it in verify_session_affinity(pool).stays[lost]] == [1, 1]


@pytest.mark.parametrize(
    "affinity",
    [
        pytest.param("restart", marks=pytest.mark.isolation("pool_testing", workers=3)),
        pytest.param("hint", marks=pytest.mark.isolation("pool_testing", **HINT)),
    ],
)
def test_sessions_that_are_not_strict_go_on_afresh_without_their_worker_and_that_is_counted(
    pool: Rig, affinity: str
) -> None:
    failure, mine, others = lose_a_worker(pool)
    for session in (*mine, *others):
        pool.submit("predict", session=session).result()

    report = verify_session_affinity(pool, excuse_deaths=True)

    assert report.moves == len(mine), affinity
    assert all(report.stays[it][0].worker in failure.victims for it in mine)
    assert {it: len(report.stays[it]) for it in (*mine, *others)} == dict.fromkeys(mine, 2) | dict.fromkeys(others, 1)


@OF_THE_POOL
@pytest.mark.isolation("pool_testing", **HINT)
def test_a_hint_is_followed_while_its_worker_is_idle(pool: Rig) -> None:
    homes = {wait_for_session_affinity(pool, session, times=3) for session in ("one", "other")}

    assert len({it.epoch for it in homes}) == 2
    assert verify_session_affinity(pool).moves == 0
