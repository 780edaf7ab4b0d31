from typing import Any

import pytest

from poolproof.errors import AffinityError, EvidenceError
from poolproof.rig import Incarnation, Stay, verify_session_affinity
from tests.unit.rig.executions import Recorded

A, B = 11, 12


def verified(pool: Recorded, **how: Any) -> Any:
    return verify_session_affinity(pool, **how)  # type: ignore[arg-type] # as much of a rig as it looks at


def problem(pool: Recorded, **how: Any) -> str:
    with pytest.raises(AffinityError) as caught:
        verified(pool, **how)
    return "; ".join(caught.value.problems)


def stayed() -> Recorded:
    return Recorded().begun("s", A, 7, 1).begun("s", A, 7, 2).begun("s", A, 7, 3)


def test_a_session_that_stayed_is_told_with_its_worker_its_epoch_and_its_operations() -> None:
    stay = Stay(worker=Incarnation(A, 1, A), epoch=7, operations=3, first_counter=1, last_counter=3)
    report = verified(stayed())
    assert (report.stays, report.moves) == ({"s": (stay,)}, 0)


def test_a_session_that_went_on_in_another_epoch_has_moved() -> None:
    told = problem(stayed().begun("s", B, 8, 1))
    assert told == "1 changes of epoch, 0 allowed: 's' went from pid 11 (epoch 7, 3 operations) to pid 12"


def test_as_many_moves_as_are_allowed_are() -> None:
    assert verified(stayed().begun("s", B, 8, 1), moves=1).moves == 1


def test_moves_of_all_sessions_count_together() -> None:
    pool = stayed().begun("s", B, 8, 1).begun("t", A, 9, 1).begun("t", B, 10, 1)
    assert problem(pool, moves=1).startswith("2 changes of epoch, 1 allowed")


def test_a_move_from_a_worker_that_died_may_be_excused() -> None:
    pool = stayed().begun("s", B, 8, 1)
    pool.dead.add(A)
    assert verified(pool, excuse_deaths=True).moves == 1


def test_a_move_from_a_worker_that_lives_is_not_excused() -> None:
    assert "1 changes of epoch, 0 allowed" in problem(stayed().begun("s", B, 8, 1), excuse_deaths=True)


def test_deaths_excuse_nothing_unless_they_are_to() -> None:
    pool = stayed().begun("s", B, 8, 1)
    pool.dead.add(A)
    assert "1 changes of epoch, 0 allowed" in problem(pool)


def test_a_session_that_was_closed_may_begin_anew() -> None:
    pool = stayed().begun("s", A, 8, 1)
    pool.closed["s"] = 1
    assert verified(pool).moves == 1


def test_the_closing_of_one_session_excuses_no_other() -> None:
    pool = stayed().begun("t", A, 9, 1).begun("t", A, 10, 1)
    pool.closed["s"] = 1
    assert "1 changes of epoch, 0 allowed" in problem(pool)


def test_a_closing_after_which_nothing_came_excuses_nothing() -> None:
    pool = stayed().begun("s", A, 8, 1).begun("s", A, 9, 1)
    pool.closed["s"] = 1
    assert "1 changes of epoch, 0 allowed" in problem(pool)


def test_what_is_wrong_is_told_although_of_another_session_nothing_can_be() -> None:
    pool = stayed().begun("s", B, 8, 1)
    assert "1 changes of epoch, 0 allowed" in problem(pool, sessions=["u", "s"])


def test_one_epoch_in_two_workers_is_told() -> None:
    told = problem(Recorded().begun("s", A, 7, 1).begun("s", B, 7, 2))
    assert told == "session 's': epoch 7 was served by pid 11 and by pid 12"


def test_an_epoch_that_was_left_and_is_come_back_to_is_told() -> None:
    pool = stayed().begun("s", B, 8, 1).begun("s", A, 7, 4)
    assert "session 's' came back to epoch 7 in pid 11, which it had left" in problem(pool, moves=2)


def test_a_state_that_was_used_in_between_is_told() -> None:
    told = problem(Recorded().begun("s", A, 7, 1).begun("s", A, 7, 3))
    assert told == "session 's' in pid 11: its state was used 3 times after 1"


def test_a_state_that_was_used_before_its_first_operation_is_told() -> None:
    told = problem(Recorded().begun("s", A, 7, 2).begun("s", A, 7, 3))
    assert told == "session 's' in pid 11: the first operation of epoch 7 found its state used 1 times before"


def test_the_state_of_another_session_is_told_with_its_owner() -> None:
    pool = stayed().begun("t", A, 9, 1).begun("t", A, 9, 2, found="s")
    assert problem(pool) == "operation 4 of session 't' found the state of 's' in pid 11"


def test_the_state_of_nobody_is_told_as_such() -> None:
    pool = Recorded().begun("t", A, 9, 1).begun("t", A, 9, 2, found="x")
    assert problem(pool) == "operation 1 of session 't' found the state of 'nobody known' in pid 11"


def test_only_the_sessions_that_are_asked_for_are_looked_at() -> None:
    pool = stayed().begun("t", A, 9, 1).begun("t", B, 10, 1)
    assert verified(pool, sessions=["s"]).moves == 0


def test_a_session_without_any_record_tells_nothing() -> None:
    with pytest.raises(EvidenceError, match="no worker has a record of any operation of session 'u'"):
        verified(stayed(), sessions=["u"])


@pytest.mark.parametrize("pool", [Recorded(), Recorded().begun("s", A, 7, 1).begun("t", B, 8, 1)])
def test_sessions_of_one_operation_each_tell_nothing(pool: Recorded) -> None:
    with pytest.raises(EvidenceError, match="no session has more than one operation on record"):
        verified(pool)
