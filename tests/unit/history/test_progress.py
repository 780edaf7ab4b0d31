from collections.abc import Iterator
from pathlib import Path

import pytest

from poolproof.history import ClientColumns, Outcome, Phase, Seen, Watched

ROWS = 9_000


@pytest.fixture
def columns(tmp_path: Path) -> Iterator[ClientColumns]:
    made = ClientColumns(tmp_path, ("predict",), ROWS)
    yield made
    made.close()


def send(columns: ClientColumns, *rows: int, phase: Phase = Phase.MEASURED) -> None:
    for row in rows:
        columns.sent[row], columns.phase[row] = 1000 + row, phase


def end(columns: ClientColumns, *rows: int, outcome: Outcome = Outcome.OK, at: int = 5000) -> None:
    for row in rows:
        columns.outcome[row], columns.done[row] = outcome, at


def test_before_there_are_columns_there_is_nothing_to_see(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    assert (watched.look(), watched.failures(0)) == (None, (0, 0))


def test_what_was_sent_and_what_has_ended_is_counted_again_with_each_look(
    columns: ClientColumns, tmp_path: Path
) -> None:
    watched = Watched(tmp_path)
    assert watched.look() == Seen()
    send(columns, 0, 1, 2)
    end(columns, 1)
    assert watched.look() == Seen(sent=3, done=1)
    end(columns, 0, outcome=Outcome.POOL_ERROR)
    send(columns, 3)
    assert watched.look() == Seen(sent=4, done=2, failed=1)
    end(columns, 2, outcome=Outcome.REJECTED)
    end(columns, 3)
    assert watched.look() == Seen(sent=4, done=4, failed=2)
    assert watched.look() == Seen(sent=4, done=4, failed=2)


def test_what_comes_after_the_close_is_no_failure(columns: ClientColumns, tmp_path: Path) -> None:
    send(columns, 0, phase=Phase.AFTER_CLOSE)
    end(columns, 0, outcome=Outcome.REJECTED)
    assert Watched(tmp_path).look() == Seen(sent=1, done=1)


def test_more_than_one_look_ahead_is_seen_in_one_look(columns: ClientColumns, tmp_path: Path) -> None:
    send(columns, *range(ROWS))
    end(columns, *range(5, ROWS))
    assert Watched(tmp_path).look() == Seen(sent=ROWS, done=ROWS - 5)


def test_a_row_that_was_never_sent_hides_none_behind_it(columns: ClientColumns, tmp_path: Path) -> None:
    send(columns, 0, 2, 3)
    end(columns, 0, 2)
    assert Watched(tmp_path).look() == Seen(sent=3, done=2)


def test_failures_are_those_of_the_window_and_of_the_measured_load(columns: ClientColumns, tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    send(columns, *range(6))
    send(columns, 6, phase=Phase.PROBE)
    end(columns, 0, outcome=Outcome.POOL_ERROR, at=4000)
    end(columns, 1, 2, outcome=Outcome.CANCELLED, at=5000)
    end(columns, 3, 6, outcome=Outcome.WRONG, at=6000)
    end(columns, 4, at=6000)
    watched.look()
    assert watched.failures(5000) == (4, 3)


def test_an_operation_that_was_sent_long_ago_and_ends_now_is_among_the_failures(
    columns: ClientColumns, tmp_path: Path
) -> None:
    watched = Watched(tmp_path)
    send(columns, 0, 1)
    end(columns, 1, at=2000)
    watched.look()
    late = 1000 + 60 * 10**9
    end(columns, 0, outcome=Outcome.POOL_ERROR, at=late)
    assert watched.failures(late - 1) == (1, 1)
