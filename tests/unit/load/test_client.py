import random
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poolproof.clock import now_ns
from poolproof.errors import TargetError
from poolproof.history import ClientColumns, Error, Journal, Outcome, Phase, read_columns
from poolproof.history import journal as journals
from poolproof.load import Client, Schedule
from poolproof.load.client import ErrorTable, text_of
from poolproof.plan import Claims, Kind, Operation
from poolproof.probe import RENDEZVOUS

KINDS = ("double", "raising", "either", "unverifiable", "exiting", RENDEZVOUS)


class UserError(Exception):
    """An exception of the workload's own."""


OWN = f"{UserError.__module__}.{UserError.__qualname__}"


def double(payload: Any, state: dict[str, Any]) -> Any:
    return 2 * payload


def is_double(payload: Any, result: Any) -> bool:
    return bool(result == 2 * payload)


def refuse(payload: Any, result: Any) -> bool:
    raise UserError("can't tell")


def leave(payload: Any, result: Any) -> bool:
    raise SystemExit(3)


def number(rng: random.Random) -> Any:
    return 4


WORKLOAD = {
    "double": Kind(call=double, payload=number, verify=is_double),
    "raising": Kind(call=double, payload=number, verify=is_double, raises=(OWN,)),
    "either": Kind(call=double, payload=number, verify=is_double, raises=(OWN,), may_return=True),
    "unverifiable": Kind(call=double, payload=number, verify=refuse),
    "exiting": Kind(call=double, payload=number, verify=leave),
}


class Doubled(int):
    """A number that refuses to pickle."""

    def __reduce__(self) -> str:
        raise UserError("it stays here")


class HeldPool:
    """A pool that resolves nothing by itself: the test does, by operation."""

    claims = Claims()

    def __init__(self) -> None:
        self.given: list[Operation] = []
        self.futures: dict[int, Future[Any]] = {}

    def submit(self, operation: Operation) -> "Future[Any]":
        self.given.append(operation)
        return self.futures.setdefault(operation.op, Future())

    def close(self, *, cancel: bool = False) -> None:
        """Nothing is held."""


class RefusingPool(HeldPool):
    """A pool whose submit raises."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def submit(self, operation: Operation) -> "Future[Any]":
        raise self.error


class OddPool(HeldPool):
    """A pool whose submit returns no future."""

    def submit(self, operation: Operation) -> "Future[Any]":
        return None  # type: ignore[return-value]


class Desk:
    """A client with its columns and its journal, and one held pool."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.columns = ClientColumns(folder, KINDS, 16)
        self.journal = Journal(folder)
        self.client = Client(folder=folder, columns=self.columns, kinds=WORKLOAD, journal=self.journal)
        self.pool = HeldPool()
        self.client.pool = self.pool

    def prepare(self, kind: str = "double", payload: Any = 4, phase: Phase = Phase.MEASURED) -> int:
        return self.client.prepare(KINDS.index(kind), "w:w", phase, payload)

    def sent(self, kind: str = "double", payload: Any = 4, phase: Phase = Phase.MEASURED) -> "tuple[int, Future[Any]]":
        op = self.prepare(kind, payload, phase)
        assert self.client.send(op)
        return op, self.pool.futures[op]

    def errors(self) -> tuple[Error, ...]:
        return journals.read(self.folder, Error)

    def outcome(self, op: int = 0) -> Outcome:
        return Outcome(self.columns.outcome[op])

    def close(self) -> None:
        self.journal.close()
        self.columns.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def answered(desk: Desk, answer: Any, kind: str = "double") -> Outcome:
    _, future = desk.sent(kind)
    future.set_result(answer)
    return desk.outcome()


def failed(desk: Desk, error: BaseException, kind: str = "double") -> Outcome:
    _, future = desk.sent(kind)
    future.set_exception(error)
    return desk.outcome()


# --- preparing and sending ----------------------------------------------------------------------------------------


def test_a_prepared_operation_is_written_down_before_it_is_sent(desk: Desk) -> None:
    op = desk.client.prepare(1, "w:w", Phase.PROBE, 4, session=3, session_seq=2)
    c = desk.columns
    assert (c.op[op], c.kind[op], c.phase[op], c.session[op], c.session_seq[op]) == (0, 1, Phase.PROBE, 3, 2)
    assert (c.error[op], c.echoed[op], c.sent[op], c.outcome[op]) == (-1, -1, 0, Outcome.UNRESOLVED)


def test_operations_are_numbered_as_they_are_prepared(desk: Desk) -> None:
    assert ([desk.prepare() for _ in range(3)], desk.client.next_op) == ([0, 1, 2], 3)


@pytest.mark.parametrize(("session", "given"), [(-1, None), (0, 0), (5, 5)])
def test_the_pool_gets_the_session_or_none(session: int, given: int | None, desk: Desk) -> None:
    desk.client.send(desk.client.prepare(0, "w:w", Phase.MEASURED, 4, session))
    (operation,) = desk.pool.given
    assert (operation.session, operation.kind, operation.call.payload) == (given, "double", 4)


def test_sending_notes_when_it_was_sent_and_when_it_was_accepted(desk: Desk) -> None:
    before = now_ns()
    op, _ = desk.sent()
    assert before <= desk.columns.sent[op] <= desk.columns.accepted[op] <= now_ns()


# --- deadlines ----------------------------------------------------------------------------------------------------


def test_a_prepared_operation_has_no_deadline(desk: Desk) -> None:
    op, _ = desk.sent()
    assert (desk.pool.given[op].deadline_ns, desk.columns.deadline[op]) == (None, 0)


def laid_out(desk: Desk, *deadlines: int, session: int = -1) -> Schedule:
    """A schedule of operations due at 10, 20, …, with these deadlines after that; not written down yet."""
    count = len(deadlines)
    return Schedule(
        kinds=KINDS,
        due_ns=np.arange(1, count + 1) * 10,
        kind=np.zeros(count, dtype=np.uint8),
        session=np.full(count, session, dtype=np.int32),
        session_seq=np.arange(count, dtype=np.int32),
        deadline_ns=np.array(deadlines, dtype=np.int64),
        idempotent=np.ones(count, dtype=np.uint8),
        commands={},
    )


def test_what_is_laid_out_is_due_and_has_its_deadlines_after_the_start(desk: Desk) -> None:
    desk.prepare()
    schedule = laid_out(desk, 0, 700, 0, session=3)
    first = desk.client.lay_out(schedule)
    due = desk.client.set_due(first, schedule, start=1000)
    for op in range(first, desk.client.next_op):
        desk.client.provide(op, "w:w", 4)
        desk.client.send(op)
    assert (first, desk.client.next_op, due.tolist()) == (1, 4, [1010, 1020, 1030])
    assert [it.deadline_ns for it in desk.pool.given] == [None, 1720, None]
    assert [(it.op, it.kind, it.session, it.idempotent) for it in desk.pool.given] == [
        (op, "double", 3, True) for op in (1, 2, 3)
    ]
    columns = desk.columns
    assert [columns.due[op] for op in range(4)] == [0, 1010, 1020, 1030]
    assert [columns.deadline[op] for op in range(4)] == [0, 0, 1720, 0]
    assert [columns.session_seq[op] for op in range(1, 4)] == [0, 1, 2]
    assert [Phase(columns.phase[op]) for op in range(1, 4)] == [Phase.MEASURED] * 3
    assert [columns.error[op] for op in range(1, 4)] == [-1] * 3


def test_what_is_taken_back_was_never_there(desk: Desk) -> None:
    schedule = laid_out(desk, 0, 0, 0)
    first = desk.client.lay_out(schedule)
    desk.client.set_due(first, schedule, start=1000)
    for op in range(3):
        desk.client.provide(op, "w:w", 4)
    desk.client.take_back(1)
    assert desk.client.next_op == 1
    operations, _ = read_columns(desk.folder)
    assert operations.op.tolist() == [0]
    assert desk.prepare() == 1
    assert [call.op for call in desk.client._calls.values()] == [0, 1]


def test_an_operation_that_has_ended_is_held_no_longer(desk: Desk) -> None:
    _, future = desk.sent()
    open_op, _ = desk.sent()
    future.set_result((0, 8))
    assert list(desk.client._calls) == [open_op]


def test_what_a_warm_up_did_not_bring_back_is_kept_to_be_looked_at(desk: Desk) -> None:
    op = desk.client.prepare(0, "w:w", Phase.WARM_UP, Doubled(4))
    desk.client.send(op)
    desk.pool.futures[op].set_exception(RuntimeError("lost"))
    assert desk.client.fault_of_payload() == ("double", "UserError: it stays here")


def test_reaping_forgets_those_that_have_ended(desk: Desk) -> None:
    _, future = desk.sent()
    desk.sent()
    future.set_result((0, 8))
    desk.client.reap()
    assert (desk.client.unresolved(), desk.client._ended.qsize(), desk.client._sent) == (1, 0, 1)
    desk.client.reap()
    assert desk.client.drain(now_ns()) == 1


# --- how operations end -------------------------------------------------------------------------------------------


def test_the_right_answer_is_ok(desk: Desk) -> None:
    assert answered(desk, (0, 8)) is Outcome.OK


def test_the_echo_and_the_moment_of_an_answer_are_noted(desk: Desk) -> None:
    answered(desk, (0, 8))
    assert desk.columns.echoed[0] == 0
    assert desk.columns.done[0] >= desk.columns.accepted[0] > 0


def test_an_answer_that_does_not_verify_is_wrong(desk: Desk) -> None:
    assert answered(desk, (0, 9)) is Outcome.WRONG


def test_the_answer_of_another_operation_is_wrong(desk: Desk) -> None:
    assert answered(desk, (5, 8)) is Outcome.WRONG
    assert desk.columns.echoed[0] == 5


@pytest.mark.parametrize("answer", [8, None, (0,), (0, 8, 1), ("0", 8), [0, 8]])
def test_an_answer_that_no_probe_gave_is_wrong(answer: Any, desk: Desk) -> None:
    assert answered(desk, answer) is Outcome.WRONG
    assert (desk.columns.echoed[0], desk.columns.error[0]) == (-1, -1)


def test_an_error_that_the_kind_names_is_the_users_own(desk: Desk) -> None:
    assert failed(desk, UserError("no"), "raising") is Outcome.USER_ERROR


def test_an_error_that_the_kind_does_not_name_is_the_pools(desk: Desk) -> None:
    assert failed(desk, UserError("no"), "double") is Outcome.POOL_ERROR


def test_another_error_of_a_kind_that_raises_is_the_pools(desk: Desk) -> None:
    assert failed(desk, ValueError("no"), "raising") is Outcome.POOL_ERROR


def test_an_error_that_is_no_exception_is_the_pools(desk: Desk) -> None:
    assert failed(desk, KeyboardInterrupt()) is Outcome.POOL_ERROR


def test_a_plain_answer_of_a_kind_that_has_to_raise_is_wrong(desk: Desk) -> None:
    assert answered(desk, (0, 8), "raising") is Outcome.WRONG


@pytest.mark.parametrize(("answer", "outcome"), [((0, 8), Outcome.OK), ((0, 9), Outcome.WRONG)])
def test_an_answer_of_a_kind_that_may_raise_or_return_is_verified(answer: Any, outcome: Outcome, desk: Desk) -> None:
    assert answered(desk, answer, "either") is outcome


def test_an_error_of_a_kind_that_may_raise_or_return_is_the_users_own(desk: Desk) -> None:
    assert failed(desk, UserError("no"), "either") is Outcome.USER_ERROR


def test_an_answer_of_the_kits_own_kind_needs_no_verification(desk: Desk) -> None:
    assert answered(desk, (0, "met"), RENDEZVOUS) is Outcome.OK


def test_a_cancelled_operation_is_cancelled(desk: Desk) -> None:
    _, future = desk.sent()
    future.cancel()
    assert desk.outcome() is Outcome.CANCELLED


def test_a_verification_that_fails_is_told_by_its_error(desk: Desk) -> None:
    assert answered(desk, (0, 8), "unverifiable") is Outcome.WRONG
    assert desk.errors()[desk.columns.error[0]].type == OWN


def test_a_verification_that_exits_resolves_its_operation_all_the_same(desk: Desk) -> None:
    _, future = desk.sent("exiting")
    future.set_result((0, 8))
    assert desk.columns.done[0] > 0


def test_a_future_that_cannot_be_read_resolves_its_operation_all_the_same(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, future = desk.sent()

    def broken(timeout: float | None = None) -> BaseException | None:
        raise CancelledError

    monkeypatch.setattr(future, "exception", broken)
    future.set_result((0, 8))
    assert (desk.outcome(), desk.columns.done[0] > 0) == (Outcome.WRONG, True)


def test_the_first_outcome_stays(desk: Desk) -> None:
    _, future = desk.sent()
    future.set_result((0, 8))
    done = desk.columns.done[0]
    other: Future[Any] = Future()
    other.cancel()
    desk.client._resolved(0, other)
    assert (desk.outcome(), desk.columns.done[0]) == (Outcome.OK, done)


@pytest.mark.parametrize("error", [RuntimeError("full"), KeyboardInterrupt(), SystemExit(2), GeneratorExit()])
def test_whatever_submit_raises_is_a_rejection(error: BaseException, desk: Desk) -> None:
    desk.client.pool = RefusingPool(error)
    accepted = desk.client.send(desk.prepare())
    assert (accepted, desk.outcome(), desk.columns.done[0] > 0) == (False, Outcome.REJECTED, True)


def test_a_rejection_names_its_error(desk: Desk) -> None:
    desk.client.pool = RefusingPool(RuntimeError("full"))
    desk.client.send(desk.prepare())
    assert desk.errors()[desk.columns.error[0]].message == "full"


def test_what_is_no_future_is_the_adapters_mistake(desk: Desk) -> None:
    desk.client.pool = OddPool()
    with pytest.raises(TargetError, match=r"expected a concurrent\.futures\.Future"):
        desk.client.send(desk.prepare())


# --- payloads that do not pickle ----------------------------------------------------------------------------------


def ill() -> Any:
    """A payload that does not pickle."""
    return (number for number in range(3))


def test_a_payload_that_pickles_is_not_at_fault(desk: Desk) -> None:
    desk.client.pool = RefusingPool(RuntimeError("full"))
    desk.client.send(desk.prepare())
    assert desk.client.fault_of_payload() is None


def test_a_payload_that_does_not_pickle_is_at_fault_where_submit_raised(desk: Desk) -> None:
    desk.client.pool = RefusingPool(TypeError("?"))
    desk.client.send(desk.prepare("either", ill(), Phase.WARM_UP))
    assert desk.client.fault_of_payload() == ("either", "TypeError: cannot pickle 'generator' object")


def test_a_payload_that_does_not_pickle_is_at_fault_where_its_operation_failed(desk: Desk) -> None:
    desk.sent(payload=ill(), phase=Phase.WARM_UP)[1].set_exception(TypeError("?"))
    assert desk.client.fault_of_payload() is not None


def test_a_payload_that_does_not_pickle_is_at_fault_where_its_operation_never_ended(desk: Desk) -> None:
    desk.sent(payload=ill())
    assert desk.client.fault_of_payload() is not None


def test_a_payload_that_does_not_pickle_is_at_fault_where_its_operation_was_cancelled(desk: Desk) -> None:
    desk.sent(payload=ill(), phase=Phase.WARM_UP)[1].cancel()
    assert desk.client.fault_of_payload() is not None


@pytest.mark.parametrize("answer", [(0, 8), (0, 9), UserError("no")])
def test_a_payload_that_reached_its_call_is_not_at_fault_although_it_does_not_pickle(answer: Any, desk: Desk) -> None:
    _, future = desk.sent("either", payload=Doubled(4))
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
    assert desk.outcome() in (Outcome.OK, Outcome.WRONG, Outcome.USER_ERROR)
    assert desk.client.fault_of_payload() is None


def test_a_payload_that_was_not_sent_is_not_at_fault(desk: Desk) -> None:
    desk.prepare(payload=ill())
    assert desk.client.fault_of_payload() is None


def test_the_first_payload_at_fault_is_told(desk: Desk) -> None:
    desk.sent()
    desk.sent("either", payload=ill())
    desk.sent("raising", payload=ill())
    assert (desk.client.fault_of_payload() or ("", ""))[0] == "either"


def test_whatever_a_payload_raises_when_it_is_pickled_is_told(desk: Desk) -> None:
    desk.sent(payload=Doubled(4))
    assert desk.client.fault_of_payload() == ("double", "UserError: it stays here")


# --- errors -------------------------------------------------------------------------------------------------------


def test_an_error_is_written_down_with_its_bases_and_its_cause(desk: Desk) -> None:
    error = KeyError("x")
    error.__cause__ = ValueError("deep")
    failed(desk, error)
    assert desk.errors() == (
        Error(
            error=0,
            type="builtins.KeyError",
            bases=("builtins.LookupError", "builtins.Exception", "builtins.BaseException"),
            message="'x'",
            cause="builtins.ValueError: deep",
        ),
    )


def test_equal_errors_share_a_number(desk: Desk) -> None:
    for _ in range(2):
        desk.sent()[1].set_exception(ValueError("same"))
    assert (desk.columns.error[0], desk.columns.error[1], len(desk.errors())) == (0, 0, 1)


def test_errors_of_another_type_or_message_have_other_numbers(desk: Desk) -> None:
    for error in (ValueError("a"), ValueError("b"), TypeError("a")):
        desk.sent()[1].set_exception(error)
    assert [desk.columns.error[op] for op in range(3)] == [0, 1, 2]


def test_beyond_ten_thousand_errors_messages_are_no_longer_told_apart(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolproof.load.client._DISTINCT_ERRORS", 2)
    table = ErrorTable(desk.journal)
    assert [table.number(ValueError(str(n))) for n in range(5)] == [0, 1, 2, 2, 2]


def test_a_long_message_is_cut() -> None:
    assert len(text_of(ValueError("x" * 5000))) == 400


def test_an_error_whose_message_fails_is_told_without_it(desk: Desk) -> None:
    class Mute(Exception):  # noqa: N818 - it can't speak
        def __str__(self) -> str:
            raise ZeroDivisionError

    failed(desk, Mute())
    assert desk.errors()[0].message == "(its message can't be shown)"


# --- draining -----------------------------------------------------------------------------------------------------


def test_a_drain_returns_once_everything_has_ended(desk: Desk) -> None:
    for _ in range(3):
        op, future = desk.sent()
        future.set_result((op, 8))
    assert desk.client.drain(now_ns() + 10_000_000_000) == 0


def test_a_drain_tells_what_is_still_open_at_its_end(desk: Desk) -> None:
    desk.sent()
    desk.sent()[1].set_result((1, 8))
    assert desk.client.drain(now_ns() + 1_000_000) == 1


def test_a_drain_whose_time_has_passed_still_counts_what_has_ended(desk: Desk) -> None:
    desk.sent()[1].set_result((0, 8))
    assert desk.client.drain(0) == 0


def test_a_drain_leaves_as_many_open_as_it_is_told(desk: Desk) -> None:
    for _ in range(3):
        desk.sent()
    desk.pool.futures[1].set_result((1, 8))
    assert desk.client.drain(now_ns() + 10_000_000_000, leave=2) == 2


def test_what_ended_beyond_that_is_left_for_the_next_drain(desk: Desk) -> None:
    for op in range(3):
        desk.sent()[1].set_result((op, 8))
    assert desk.client.drain(now_ns() + 10_000_000_000, leave=2) == 2


def test_rejected_operations_are_drained_too(desk: Desk) -> None:
    desk.client.pool = RefusingPool(RuntimeError("full"))
    desk.client.send(desk.prepare())
    assert desk.client.drain(now_ns() + 10_000_000_000) == 0


def test_what_is_unresolved_now_is_told_without_draining(desk: Desk) -> None:
    desk.sent()
    desk.sent()[1].set_result((1, 8))
    assert desk.client.unresolved() == 1
