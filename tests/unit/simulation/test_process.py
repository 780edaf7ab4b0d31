import random
from typing import Any

import pytest

from poolproof.simulation.meeting import Meeting
from poolproof.simulation.process import KILLED, MEMORY
from poolproof.simulation.timeline import NEVER
from poolproof.simulation.wire import Harm
from sessionpool.progress import span
from sessionpool.wire import Frame, Kind
from tests.unit.simulation.worlds import MS, SECOND_NS, Ground

WAIT: tuple[Any, ...] = ("wait", 0.1, 7)
TENTH = SECOND_NS // 10


def frame(kind: Kind, sequence: int = 0, epoch: int = 0) -> Frame:
    return Frame(int(kind), 1, sequence, epoch, 0, b"")


def at_work(*commands: tuple[Any, ...]) -> Ground:
    """A worker a little into the first of its operations."""
    it = Ground(*(commands or (WAIT,)))
    it.call(*range(len(it.commands)))
    it.run(0.02)
    return it


# --- progress words ---------------------------------------------------------------------------------------------------


def test_a_fresh_worker_has_begun_and_answered_nothing() -> None:
    it = Ground()
    assert (it.process.begun, it.process.answered) == (0, 0)


def test_a_worker_writes_what_it_begins_before_it_is_done_with_it() -> None:
    it = at_work()
    assert (it.process.begun, it.process.answered) == (1, 0)


def test_a_worker_writes_what_it_has_answered_once_it_has() -> None:
    it = at_work()
    it.run()
    assert (it.process.begun, it.process.answered) == (1, 1)


def test_a_worker_takes_operations_one_after_the_other() -> None:
    it = at_work(WAIT, WAIT, WAIT)
    it.run()
    assert it.rows == [(0, 0), (1, TENTH), (2, 2 * TENTH)]


def test_what_is_not_begun_waits() -> None:
    assert at_work(WAIT, WAIT, WAIT).process.waiting == 2


def test_an_answer_says_how_long_the_operation_took() -> None:
    it = at_work()
    it.run()
    assert it.answers[0].note == TENTH


def test_a_worker_that_is_not_up_is_not_idle() -> None:
    it = Ground()
    before = it.process.is_idle
    it.process.is_up = False
    assert (before, it.process.is_idle) == (True, False)


def test_a_worker_at_an_operation_is_not_idle_and_has_it_in_hand() -> None:
    it = at_work()
    assert (it.process.is_idle, it.process.in_hand()) == (False, [0])


def test_a_worker_has_nothing_in_hand_once_it_has_answered() -> None:
    it = at_work()
    it.run()
    assert it.process.in_hand() == []


def test_a_worker_is_answering_as_long_as_its_answer_is_on_its_way() -> None:
    it = Ground(WAIT)
    it.call(0)
    it.run(0.1)
    before = it.process.is_answering
    it.run()
    assert (before, it.process.is_answering) == (True, False)


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "kind", "value"),
    [
        (("answer", 5), Kind.RESULT, 5),
        (("wait", 0.1, 7), Kind.RESULT, 7),
        (("fail", "sorry"), Kind.ERROR, "sorry"),
        (("garble", 5), Kind.RESULT, ("garbled", 5)),
        (("allocate", 3), Kind.RESULT, 3),
    ],
)
def test_an_operation_ends_as_its_command_says(command: tuple[Any, ...], kind: Kind, value: Any) -> None:
    it = Ground(command)
    it.call(0)
    it.run()
    assert [(one.kind, it.said(one)) for one in it.answers] == [(kind, (0, value))]


def test_a_worker_that_allocates_grows() -> None:
    it = Ground(("allocate", 3))
    it.call(0)
    it.run()
    assert it.process.memory == MEMORY + (3 << 20)


def test_a_worker_that_is_told_to_exit_is_gone_at_once_without_an_answer_or_an_end() -> None:
    it = Ground(("exit", 3))
    it.call(0)
    it.run()
    assert (it.exits, it.answers, it.ends, len(it.rows)) == (["exit status 3"], [], {}, 1)


def test_a_worker_that_hangs_never_answers() -> None:
    it = Ground(("hang",))
    it.call(0)
    it.run(3600)
    assert (it.answers, it.process.in_hand(), it.timeline.next) == ([], [0], NEVER)


def test_an_operation_that_has_nothing_to_do_takes_some_time_all_the_same() -> None:
    it = Ground(("answer", 5))
    it.call(0)
    it.run()
    assert 0 < it.ends[0] < MS


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_a_worker_refuses_an_epoch_that_it_does_not_hold_and_runs_nothing() -> None:
    it = Ground(WAIT)
    it.call(0, epoch=4)
    it.run()
    assert (it.kinds, it.rows, it.process.begun) == ([Kind.REFUSED], [], 1)


def test_a_worker_holds_an_epoch_from_its_first_operation_on() -> None:
    it = Ground(WAIT, WAIT)
    it.call(0, epoch=4, kind=Kind.OPEN)
    it.call(1, epoch=4)
    it.run()
    assert it.kinds == [Kind.RESULT, Kind.RESULT]


def test_a_worker_that_has_forgotten_an_epoch_refuses_it() -> None:
    it = Ground(WAIT, WAIT)
    it.call(0, epoch=4, kind=Kind.OPEN)
    it.process.receive([frame(Kind.FORGET, epoch=4)])
    it.call(1, epoch=4)
    it.run()
    assert it.kinds == [Kind.RESULT, Kind.REFUSED]


def test_forgetting_by_the_way_is_not_answered_and_is_no_progress() -> None:
    it = Ground()
    it.process.receive([frame(Kind.FORGET, epoch=4)])
    it.run()
    assert (it.answers, it.process.begun) == ([], 0)


def test_the_closing_of_a_session_is_answered_and_is_progress() -> None:
    it = Ground()
    it.process.receive([frame(Kind.FORGET, sequence=3, epoch=4)])
    it.run()
    assert (it.kinds, it.process.begun, it.process.answered) == ([Kind.FORGOTTEN], 3, 3)


# --- recall -----------------------------------------------------------------------------------------------------------


def test_what_is_recalled_before_it_is_begun_is_returned_and_not_run() -> None:
    it = at_work(WAIT, WAIT, WAIT)
    it.process.recall(2, 3)
    it.run()
    assert (it.kinds, len(it.rows)) == ([Kind.RESULT, Kind.RETURNED, Kind.RETURNED], 1)


def test_what_is_recalled_after_it_was_begun_is_done() -> None:
    it = at_work(WAIT, WAIT)
    it.process.recall(1, 1)
    it.run()
    assert it.kinds == [Kind.RESULT, Kind.RESULT]


def test_what_comes_after_what_was_recalled_is_run() -> None:
    it = at_work(WAIT, WAIT, WAIT)
    it.process.recall(2, 2)
    it.run()
    assert it.kinds == [Kind.RESULT, Kind.RETURNED, Kind.RESULT]


def test_the_word_of_a_recall_is_the_true_one() -> None:
    it = at_work()
    it.process.recall(2, 9)
    assert it.process.recalled == span(2, 9)


def test_what_is_returned_counts_as_begun_and_answered() -> None:
    it = at_work(WAIT, WAIT)
    it.process.recall(2, 2)
    it.run()
    assert (it.process.begun, it.process.answered) == (2, 2)


# --- frames that should not be ----------------------------------------------------------------------------------------


def test_an_operation_that_comes_twice_ends_the_worker_which_does_not_run_it_again() -> None:
    it = Ground(("answer", 5))
    it.call(0)
    it.run(0.01)
    it.call(0)
    it.run()
    assert (it.kinds, len(it.rows), it.exits) == ([Kind.RESULT, Kind.FAILED], 1, ["exit status 1"])


def test_a_worker_that_leaves_over_a_malformed_frame_says_why() -> None:
    it = Ground(("answer", 5))
    it.call(0)
    it.run(0.01)
    it.call(0)
    it.run()
    assert "it was sent a malformed frame" in str(it.answers[-1].body)


def test_what_was_corrupted_on_its_way_ends_the_worker() -> None:
    it = Ground(WAIT)
    it.inward.harms.append(Harm("corrupt", 1.0, random.Random(1)))
    it.inward.send([Frame(int(Kind.CALL), 1, 1, 0, 0, 0)])  # type: ignore[arg-type]
    it.run()
    assert (it.kinds, it.rows, it.exits) == ([Kind.FAILED], [], ["exit status 1"])


def test_a_worker_that_is_told_to_stop_leaves_after_what_it_is_at_and_before_what_comes_later() -> None:
    it = Ground(WAIT, WAIT)
    it.call(0)
    it.process.receive([frame(Kind.STOP)])
    it.call(1)
    it.run()
    assert (it.kinds, it.exits) == ([Kind.RESULT], ["exit status 0"])


# --- stopped and slow -------------------------------------------------------------------------------------------------


def test_a_stopped_worker_ends_nothing() -> None:
    it = at_work()
    it.process.stop()
    it.run()
    assert (it.answers, it.process.in_hand()) == ([], [0])


def test_a_worker_that_goes_on_does_what_was_left_of_its_operation() -> None:
    it = at_work()
    it.process.stop()
    it.run(1)
    it.process.go_on()
    it.run()
    assert it.ends == {0: TENTH + SECOND_NS}


def test_a_worker_that_is_stopped_twice_over_loses_no_time_by_that() -> None:
    it = at_work()
    it.process.stop()
    it.run(1)
    it.process.stop()
    it.process.go_on()
    it.process.go_on()
    it.run()
    assert it.ends == {0: TENTH + SECOND_NS}


def test_a_stopped_worker_begins_what_comes_only_when_it_goes_on() -> None:
    it = Ground(WAIT)
    it.process.stop()
    it.call(0)
    it.run(1)
    before = it.process.begun
    it.process.go_on()
    it.run()
    assert (before, it.rows) == (0, [(0, SECOND_NS)])


def test_what_hangs_goes_on_hanging() -> None:
    it = at_work(("hang",))
    it.process.stop()
    it.process.go_on()
    it.run()
    assert it.answers == []


@pytest.mark.parametrize("is_stopped", [False, True])
def test_the_rest_of_an_operation_takes_so_many_times_as_long(is_stopped: bool) -> None:
    it = at_work()
    if is_stopped:
        it.process.stop()
    it.process.slow_down(5)
    it.process.go_on()
    it.run()
    assert it.ends == {0: 20 * MS + 5 * 80 * MS}


def test_what_a_slow_worker_begins_takes_so_many_times_as_long() -> None:
    it = Ground(WAIT, ("answer", 3))
    it.process.slow_down(5)
    it.call(0, 1)
    it.run()
    assert it.ends[0] == 5 * TENTH
    assert it.ends[1] - it.ends[0] == 100_000


def test_a_worker_that_was_slow_for_a_while_is_as_quick_as_before() -> None:
    it = Ground(WAIT, WAIT)
    it.process.slow_down(4)
    it.call(0)
    it.run(0.2)
    it.process.slow_down(1 / 4)
    it.call(1)
    it.run()
    assert it.ends == {0: 250 * MS, 1: 350 * MS}


def test_a_worker_that_is_stopped_after_the_clock_has_jumped_keeps_what_is_left_of_its_operation() -> None:
    it = at_work()
    it.timeline.jump(30 * SECOND_NS)
    it.process.stop()
    it.run(1)
    it.process.go_on()
    it.run()
    assert it.ends == {0: 31 * SECOND_NS + TENTH}


def test_a_worker_is_not_made_quicker_by_being_made_slow_after_the_clock_has_jumped() -> None:
    it = at_work()
    it.timeline.jump(30 * SECOND_NS)
    it.process.slow_down(5)
    it.run()
    assert it.ends == {0: 30 * SECOND_NS + 20 * MS + 5 * 80 * MS}


# --- the end ----------------------------------------------------------------------------------------------------------


def test_a_worker_that_dies_leaves_no_end_of_what_it_was_at_and_its_words_stay() -> None:
    it = at_work(WAIT, WAIT)
    it.process.die(KILLED)
    it.run()
    assert (it.ends, it.answers, it.process.begun, it.process.exit) == ({}, [], 1, KILLED)


def test_a_worker_dies_once() -> None:
    it = at_work()
    it.process.die(KILLED)
    it.process.die("exit status 1")
    assert (it.exits, it.process.exit) == ([KILLED], KILLED)


def test_a_dead_worker_takes_nothing() -> None:
    it = at_work(WAIT, WAIT)
    it.process.die(KILLED)
    it.call(1)
    it.process.go_on()
    it.run()
    assert (len(it.rows), it.process.waiting) == (1, 0)


def test_nothing_reaches_a_dead_worker() -> None:
    it = at_work()
    it.process.die(KILLED)
    assert it.inward.is_closed


def test_an_answer_that_is_on_its_way_outlives_its_worker() -> None:
    it = Ground(WAIT)
    it.call(0)
    it.run(0.1)
    it.process.die(KILLED)
    it.run()
    assert it.kinds == [Kind.RESULT]


def test_an_idle_worker_leaves_at_the_end_of_its_stream() -> None:
    it = Ground()
    it.process.end_of_stream()
    assert it.exits == ["exit status 0"]


def test_a_busy_worker_whose_wire_is_cut_leaves_when_it_cannot_answer() -> None:
    it = at_work()
    it.inward.close()
    it.outward.close()
    it.process.end_of_stream()
    before = list(it.exits)
    it.run()
    assert (before, it.exits, it.ends) == ([], ["exit status 1"], {0: TENTH})


# --- watches ----------------------------------------------------------------------------------------------------------


def test_a_watch_sees_what_is_in_hand_what_was_sent_and_what_comes() -> None:
    it = at_work(WAIT, WAIT, WAIT)
    watch = it.process.watch([0, 1])
    it.process.expect([2])
    it.run(0.1)
    assert (watch.begun, watch.sent) == ({0, 1}, {0, 1, 2})


def test_a_watch_that_is_over_sees_nothing_more() -> None:
    it = at_work(WAIT, WAIT)
    watch = it.process.watch([])
    it.process.unwatch(watch)
    it.process.expect([2])
    it.run()
    assert (watch.begun, watch.sent) == ({0}, set())


# --- meetings ---------------------------------------------------------------------------------------------------------


def meet(meeting: Meeting) -> Ground:
    it = Ground(("meet", meeting))
    it.call(0)
    return it


def test_whoever_has_come_to_a_meeting_stays_until_it_is_over() -> None:
    meeting = Meeting()
    guests = [meet(meeting), meet(meeting)]
    before = [guest.ends for guest in guests]
    assert (meeting.present, before) == (2, [{}, {}])
    meeting.release()
    assert [list(guest.ends) for guest in guests] == [[0], [0]]


def test_who_met_says_so() -> None:
    meeting = Meeting()
    it = meet(meeting)
    meeting.release()
    it.run()
    assert it.said(it.answers[0]) == (0, "met")


def test_the_dead_are_not_present_but_were_there() -> None:
    meeting = Meeting()
    guests = [meet(meeting), meet(meeting)]
    guests[0].process.die(KILLED)
    assert (meeting.present, meeting.most) == (1, 2)


def test_those_who_come_after_each_other_were_never_there_at_once() -> None:
    meeting = Meeting()
    meet(meeting).process.die(KILLED)
    meet(meeting)
    assert meeting.most == 1


def test_who_comes_late_does_not_stay() -> None:
    meeting = Meeting()
    meeting.release()
    assert list(meet(meeting).ends) == [0]


def test_a_guest_that_was_stopped_when_it_was_over_goes_when_it_goes_on() -> None:
    meeting = Meeting()
    it = meet(meeting)
    it.process.stop()
    meeting.release()
    it.process.go_on()
    it.run()
    assert list(it.ends) == [0]
