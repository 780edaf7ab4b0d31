from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from poolproof.errors import HistoryError
from poolproof.history import ClientColumns, Operations, column_types, map_column, read_columns


@pytest.fixture
def columns(tmp_path: Path) -> Iterator[ClientColumns]:
    made = ClientColumns(tmp_path, ("predict", "batch"), 8)
    yield made
    made.close()


def test_what_was_written_is_read_back(columns: ClientColumns, tmp_path: Path) -> None:
    for number, name in enumerate(column_types(Operations)):
        getattr(columns, name)[0] = number + 1
    operations, kinds = read_columns(tmp_path)
    assert [int(getattr(operations, name)[0]) for name in column_types(Operations)] == list(range(1, 16))
    assert kinds == ("predict", "batch")


def test_every_column_keeps_its_type(columns: ClientColumns, tmp_path: Path) -> None:
    columns.sent[0] = 1
    operations, _ = read_columns(tmp_path)
    assert {name: getattr(operations, name).dtype for name in column_types(Operations)} == {
        name: np.dtype(kind) for name, kind in column_types(Operations).items()
    }


@pytest.mark.parametrize("column", ["due", "sent"])
def test_rows_after_the_last_one_that_was_planned_or_sent_are_left_out(
    column: str, columns: ClientColumns, tmp_path: Path
) -> None:
    getattr(columns, column)[2] = 5
    assert len(read_columns(tmp_path)[0]) == 3


def test_columns_without_any_row_in_use_are_empty(columns: ClientColumns, tmp_path: Path) -> None:
    assert len(read_columns(tmp_path)[0]) == 0


def test_no_rows_at_all_can_be_preallocated(tmp_path: Path) -> None:
    ClientColumns(tmp_path, (), 0).close()
    assert len(read_columns(tmp_path)[0]) == 0


def test_a_run_that_never_came_to_the_load_has_no_operations(tmp_path: Path) -> None:
    operations, kinds = read_columns(tmp_path)
    assert (len(operations), kinds) == (0, ())


def test_a_column_that_is_truncated_is_damage(columns: ClientColumns, tmp_path: Path) -> None:
    (tmp_path / "client" / "sent").write_bytes(b"\0" * 24)
    with pytest.raises(HistoryError, match="column sent has 3 of 8 rows") as caught:
        read_columns(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_a_column_that_is_missing_is_damage(columns: ClientColumns, tmp_path: Path) -> None:
    (tmp_path / "client" / "sent").unlink()
    with pytest.raises(HistoryError, match="column sent can't be read"):
        read_columns(tmp_path)


def test_what_is_written_shows_at_once_to_who_watches(columns: ClientColumns, tmp_path: Path) -> None:
    live = map_column(tmp_path, "done")
    assert live is not None
    columns.done[3] = 77
    assert live.tolist() == [0, 0, 0, 77, 0, 0, 0, 0]


def test_there_is_nothing_to_watch_before_the_columns_are_made(tmp_path: Path) -> None:
    assert map_column(tmp_path, "done") is None


def test_what_is_closed_stays_in_the_files(tmp_path: Path) -> None:
    columns = ClientColumns(tmp_path, ("predict",), 2)
    columns.sent[1] = 9
    columns.close()
    assert read_columns(tmp_path)[0].sent.tolist() == [0, 9]
