from pathlib import Path

import pytest

from poolproof.errors import HistoryError
from poolproof.history import Error, Fault, Host, Incarnation, Journal, Leftover, Lifecycle, Sample, Usage
from poolproof.history import journal as journals
from poolproof.history.schema import Row

ROWS: list[Row] = [
    Error(error=0, type="m.E", bases=("m.B",), message="no\nway", cause=""),
    Incarnation(pid=1, start_time=2, ppid=3, seen=4, gone=0, command="python"),
    Fault(
        fault=0,
        kind="kill",
        target="one",
        pid=1,
        start_time=2,
        begin=3,
        end=4,
        effective="yes",
        why="seen",
        held=(1, 2),
    ),
    Sample(at=1, processes=2, zombies=0, memory_bytes=3, generator_ticks=4, lab_threads=5, lab_files=6),
    Usage(
        at=1,
        pid=2,
        start_time=3,
        role="lab",
        cpu_s=0.5,
        rss_bytes=4,
        pss_bytes=5,
        uss_bytes=6,
        threads=7,
        files=8,
        waits=9,
        preemptions=10,
    ),
    Host(at=1, busy_s=0.5, idle_s=1.5, available_bytes=2),
    Lifecycle(event="stage", at=1, stage="load", value=None, detail="ü"),
    Leftover(after="close", what="process", owner="python", detail="alive"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_what_was_written_is_read_back(row: Row, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(row)
    journal.close()
    assert journals.read(tmp_path, type(row)) == (row,)


def test_there_is_a_table_for_every_kind_of_row() -> None:
    assert set(journals.TABLES.values()) == {type(row) for row in ROWS}


def test_rows_stay_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for at in (3, 1, 2):
        journal.write(Lifecycle(event="e", at=at))
    journal.close()
    assert [row.at for row in journals.read(tmp_path, Lifecycle)] == [3, 1, 2]


def test_several_writers_share_a_table(tmp_path: Path) -> None:
    one, other = Journal(tmp_path), Journal(tmp_path)
    for at, journal in enumerate((one, other, one)):
        journal.write(Lifecycle(event="e", at=at))
    one.close()
    other.close()
    assert [row.at for row in journals.read(tmp_path, Lifecycle)] == [0, 1, 2]


def test_a_row_is_in_the_file_before_the_journal_is_closed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(Lifecycle(event="e", at=1))
    assert len(journals.read(tmp_path, Lifecycle)) == 1
    journal.close()


def test_a_journal_that_was_closed_can_be_written_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for at in range(2):
        journal.write(Lifecycle(event="e", at=at))
        journal.close()
    assert len(journals.read(tmp_path, Lifecycle)) == 2


def test_a_table_that_was_never_written_has_no_rows(tmp_path: Path) -> None:
    assert journals.read(tmp_path, Fault) == ()


def test_a_last_line_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "lifecycle.jsonl").write_bytes(b'{"event":"e","at":1}\n{"event":"e","a')
    assert [row.at for row in journals.read(tmp_path, Lifecycle)] == [1]


@pytest.mark.parametrize("line", [b"{nonsense", b"[]", b'{"event":"e"}', b'{"event":"e","at":1,"odd":2}', b"\xff\xfe"])
def test_a_whole_line_that_is_no_row_is_damage(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "lifecycle.jsonl").write_bytes(line + b'\n{"event":"e","at":1}\n')
    with pytest.raises(HistoryError, match=r"lifecycle\.jsonl is damaged") as caught:
        journals.read(tmp_path, Lifecycle)
    assert caught.value.folder == tmp_path
