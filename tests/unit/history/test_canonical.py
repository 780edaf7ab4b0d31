import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest

from poolproof.history import (
    Error,
    Executions,
    Fault,
    History,
    Host,
    Incarnation,
    Leftover,
    Lifecycle,
    Operations,
    Usage,
    column_types,
    digest,
)
from poolproof.history.canonical import canonical
from poolproof.history.journal import TABLES
from poolproof.history.schema import Row, Sample
from poolproof.plan import Claims
from tests.unit.histories import make_plan

COLUMNS = [(table, field.name) for table in (Operations, Executions) for field in dataclasses.fields(table)]

ROWS: dict[str, Row] = {
    "errors": Error(error=0, type="a.B", bases=("builtins.Exception",), message="no", cause=""),
    "incarnations": Incarnation(pid=1, start_time=2, ppid=3, seen=4, gone=5, command="worker"),
    "faults": Fault(
        fault=0, kind="kill", target="it", pid=1, start_time=2, begin=3, end=4, effective="yes", why="seen"
    ),
    "samples": Sample(at=1, processes=2, zombies=3, memory_bytes=4, generator_ticks=5, lab_threads=6, lab_files=7),
    "usages": Usage(
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
    "hosts": Host(at=1, busy_s=0.5, idle_s=1.5, available_bytes=2),
    "lifecycle": Lifecycle(event="stage", at=1, stage="load", value=0.5, detail="so"),
    "leftovers": Leftover(after="close", what="process", owner="it", detail="left", pid=1, start_time=2, at=3),
}


def table(kind: Any, change: str = "", row: int = 0, size: int = 2) -> Any:
    columns = {name: np.zeros(size, dtype=dtype) for name, dtype in column_types(kind).items()}
    if change:
        columns[change][row] = 1
    return kind(**columns)


def history(**change: Any) -> History:
    made: dict[str, Any] = {
        "plan": make_plan(),
        "claims": Claims(),
        "kinds": ("predict", "batch"),
        "operations": table(Operations),
        "executions": table(Executions),
        **{name: (row,) for name, row in ROWS.items()},
        "environment": {"python": "3.11"},
    }
    return History(**(made | change))


PLAIN = digest(history())


def test_the_same_history_has_the_same_bytes() -> None:
    assert list(canonical(history())) == list(canonical(history()))


def test_the_machine_is_no_part_of_it() -> None:
    assert digest(history(environment={"python": "3.13", "cores": "64"})) == PLAIN


@pytest.mark.parametrize(("kind", "name"), COLUMNS)
@pytest.mark.parametrize("row", [0, 1])
def test_every_entry_of_every_column_is_part_of_it(kind: Any, name: str, row: int) -> None:
    where = "operations" if kind is Operations else "executions"
    assert digest(history(**{where: table(kind, name, row)})) != PLAIN


@pytest.mark.parametrize("kind", [Operations, Executions])
def test_how_many_rows_there_are_is_part_of_it(kind: Any) -> None:
    where = "operations" if kind is Operations else "executions"
    assert digest(history(**{where: table(kind, size=3)})) != PLAIN


def test_every_small_table_is_told_here() -> None:
    assert ROWS.keys() == TABLES.keys()


def _other(value: Any) -> Any:
    if isinstance(value, str):
        return "no" if value == "yes" else value + "x"
    if isinstance(value, tuple):
        return (*value, "x" if value and isinstance(value[0], str) else 1)
    return value + 1


FIELDS = [(name, field) for name, row in ROWS.items() for field in row.__struct_fields__]


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_every_field_of_every_row_is_part_of_it(name: str, field: str) -> None:
    changed = msgspec.structs.replace(ROWS[name], **{field: _other(getattr(ROWS[name], field))})
    assert digest(history(**{name: (changed,)})) != PLAIN


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("times", [0, 2])
def test_every_row_is_part_of_it(name: str, times: int) -> None:
    assert digest(history(**{name: (ROWS[name],) * times})) != PLAIN


@pytest.mark.parametrize("name", ROWS)
def test_the_order_of_rows_is_part_of_it(name: str) -> None:
    field = ROWS[name].__struct_fields__[0]
    other = msgspec.structs.replace(ROWS[name], **{field: _other(getattr(ROWS[name], field))})
    one, reverse = (digest(history(**{name: rows})) for rows in ((ROWS[name], other), (other, ROWS[name])))
    assert one != reverse


@pytest.mark.parametrize("kinds", [("predict",), ("batch", "predict"), ("predictbatch",), ("predict", "batch", "x")])
def test_the_names_of_kinds_are_part_of_it(kinds: tuple[str, ...]) -> None:
    assert digest(history(kinds=kinds)) != PLAIN


def test_integers_are_little_endian() -> None:
    parts = list(canonical(history(operations=table(Operations, "due", size=1))))
    assert parts[parts.index(b"due") + 1] == b"\x01" + b"\0" * 7


def test_a_digest_is_sixty_four_hexadecimal_digits() -> None:
    assert (len(PLAIN), set(PLAIN) <= set("0123456789abcdef")) == (64, True)
