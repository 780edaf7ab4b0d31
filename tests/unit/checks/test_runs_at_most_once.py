from poolproof.checks.runs_at_most_once import runs_at_most_once
from poolproof.checks.verdict import SHOWN
from tests.unit.histories import Story


def test_it_is_kept_when_each_operation_was_begun_once() -> None:
    assert runs_at_most_once(Story().op(0.1).op(0.2).hangs(0.3).history()) == ("kept", [])


def test_it_is_broken_by_an_operation_that_two_workers_began() -> None:
    verdict, _ = runs_at_most_once(Story().op(0.1).ran(0, 12, 0.5, 0.6).history())
    assert verdict == "broken"


def test_it_is_broken_by_an_operation_that_one_worker_began_twice() -> None:
    verdict, _ = runs_at_most_once(Story().op(0.1).ran(0, 11, 0.5, None).history())
    assert verdict == "broken"


def test_its_evidence_names_the_operation_the_second_worker_and_the_second_beginning() -> None:
    _, evidence = runs_at_most_once(Story().op(0.1).op(0.2).ran(1, 12, 0.5, 0.6).history())
    assert (evidence[0].op, evidence[0].pid, evidence[0].start_time, evidence[0].at_s) == (1, 12, 1200, 0.5)


def test_its_evidence_tells_every_beginning() -> None:
    _, evidence = runs_at_most_once(Story().op(0.1).ran(0, 12, 0.5, 0.6).history())
    assert evidence[0].text == (
        "operation 0 (predict) was begun 2 times: by worker pid 11 at 0.101 s, by worker pid 12 at 0.500 s"
    )


def test_its_evidence_tells_some_operations_and_counts_all() -> None:
    story = Story().ops(SHOWN + 1, 0.1)
    for op in range(SHOWN + 1):
        story.ran(op, 12, 0.5, 0.6)
    _, evidence = runs_at_most_once(story.history())
    assert [entry.op for entry in evidence] == [*range(SHOWN), None]
    assert evidence[-1].text == f"{SHOWN + 1} operations were begun more than once"


def test_an_idempotent_operation_may_run_again() -> None:
    assert runs_at_most_once(Story().op(0.1, idempotent=True).ran(0, 12, 0.5, 0.6).history())[0] == "kept"


def test_it_is_unknown_when_no_worker_left_a_record() -> None:
    assert runs_at_most_once(Story().op(0.1, by=None).history())[0] == "unknown"


def test_it_is_unknown_when_records_are_damaged() -> None:
    verdict, (evidence,) = runs_at_most_once(Story().op(0.1).damaged(64).history())
    assert (verdict, evidence.text) == ("unknown", "64 bytes of the execution records are damaged")


def test_damaged_records_do_not_hide_an_operation_that_ran_twice() -> None:
    assert runs_at_most_once(Story().op(0.1).ran(0, 12, 0.5, 0.6).damaged(64).history())[0] == "broken"


def test_it_is_unknown_when_an_operation_was_answered_that_nobody_recorded() -> None:
    verdict, (evidence,) = runs_at_most_once(Story().op(0.1).op(0.2, by=None).history())
    assert (verdict, "operation 1 " in evidence.text) == ("unknown", True)


def test_an_operation_that_failed_before_it_began_needs_no_record() -> None:
    assert runs_at_most_once(Story().op(0.1).fails(0.2).history())[0] == "kept"


def test_records_of_operations_that_the_client_does_not_know_are_passed_over() -> None:
    story = Story().op(0.1).ran(7, 12, 0.5, 0.6).ran(-1, 12, 0.7, 0.8)
    assert runs_at_most_once(story.history())[0] == "kept"
