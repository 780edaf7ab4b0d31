import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from poolproof.errors import BaselineError
from poolproof.performance.baselines import APPLICATION_ID, FOLDER, VERSION, Baselines
from poolproof.performance.results import Result
from tests.unit.performance.measured import figure, result

ALIKE: dict[str, Any] = {"target": "sessionpool", "layer": 2, "workers": 4, "is_full": True, "fingerprint": "f1"}
ROOT = Path(__file__).parents[3]


@pytest.fixture
def baselines(tmp_path: Path) -> Baselines:
    return Baselines(tmp_path / FOLDER, patience_s=0.05)


@contextmanager
def opened(baselines: Baselines) -> Iterator[sqlite3.Connection]:
    baselines.folder.mkdir(exist_ok=True)
    with closing(sqlite3.connect(baselines.path, isolation_level=None)) as database:
        yield database


def kept(baselines: Baselines) -> Result | None:
    return baselines.latest("latency", "sessionpool", 2, "f1")


def values(baselines: Baselines, name: str = "response p50", **changed: Any) -> list[float | None]:
    return [point.value for point in baselines.history("latency", name, **{**ALIKE, **changed})]


def test_what_was_added_comes_back_whole(baselines: Baselines) -> None:
    whole = result(figures=(figure(), figure(None, "rate", note="too few")), histograms={"a": "HISTF"}, notes=("one",))
    baselines.add(whole)
    assert kept(baselines) == whole


def test_the_latest_is_the_one_that_was_added_last(baselines: Baselines) -> None:
    for commit in ("1", "2"):
        baselines.add(result(commit=commit))
    found = kept(baselines)
    assert found is not None
    assert found.commit == "2"


@pytest.mark.parametrize("other", [{"benchmark": "x"}, {"target": "x"}, {"layer": 3}, {"fingerprint": "x"}], ids=str)
def test_the_latest_is_of_the_same_benchmark_target_layer_and_machine(baselines: Baselines, other: Any) -> None:
    baselines.add(result(**other))
    assert kept(baselines) is None


def test_a_history_tells_the_oldest_first_by_the_order_in_which_they_came_and_not_by_a_clock(
    baselines: Baselines,
) -> None:
    for value, year in ((1.0, 2026), (2.0, 2024), (3.0, 2025)):
        baselines.add(result(at=f"{year}-01-01T00:00:00+00:00", figures=(figure(value),)))
    assert values(baselines) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "other",
    [
        {"benchmark": "x"},
        {"target": "x"},
        {"layer": 3},
        {"workers": 8},
        {"is_full": False},
        {"fingerprint": "x"},
        {"figures": ()},
    ],
    ids=str,
)
def test_a_history_holds_only_what_may_be_compared(baselines: Baselines, other: Any) -> None:
    baselines.add(result())
    baselines.add(result(**other))
    assert values(baselines) == [12.5]


def test_a_history_keeps_the_commit_and_that_a_figure_could_not_be_told(baselines: Baselines) -> None:
    baselines.add(result(commit="c", is_dirty=True, figures=(figure(None, note="too few"),)))
    (point,) = baselines.history("latency", "response p50", **ALIKE)
    assert (point.commit, point.is_dirty, point.value, point.unit) == ("c", True, None, "ms")


def test_the_latest_of_each_is_one_for_every_benchmark_target_and_layer(baselines: Baselines) -> None:
    added = [
        result(commit="old"),
        result(commit="new"),
        result(commit="quick", is_full=False),
        result(layer=3),
        result(benchmark="capacity"),
        result(target="loky"),
        result(fingerprint="x"),
    ]
    for one in added:
        baselines.add(one)
    found = baselines.latest_of_each("f1", is_full=True)
    assert [(one.benchmark, one.target, one.layer, one.commit[:3]) for one in found] == [
        ("capacity", "sessionpool", 2, "aaa"),
        ("latency", "loky", 2, "aaa"),
        ("latency", "sessionpool", 2, "new"),
        ("latency", "sessionpool", 3, "aaa"),
    ]


def test_where_nothing_was_kept_there_is_an_empty_history_and_no_file_is_made(baselines: Baselines) -> None:
    assert (kept(baselines), values(baselines), baselines.latest_of_each("f1", is_full=True)) == (None, [], ())
    assert not baselines.folder.exists()


def test_a_file_that_another_process_has_only_just_made_is_an_empty_history(baselines: Baselines) -> None:
    with opened(baselines) as database:
        database.execute("VACUUM")
        assert values(baselines) == []
    baselines.add(result())
    assert values(baselines) == [12.5]


def test_a_reader_is_not_held_up_by_who_writes(baselines: Baselines) -> None:
    baselines.add(result())
    with opened(baselines) as database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("DELETE FROM results")
        assert values(baselines) == [12.5]


def test_who_writes_is_not_held_up_by_a_reader(baselines: Baselines) -> None:
    baselines.add(result())
    with opened(baselines) as database:
        database.execute("BEGIN")
        database.execute("SELECT * FROM results").fetchone()
        baselines.add(result())
    assert values(baselines) == [12.5, 12.5]


def test_who_writes_waits_for_another_and_then_says_that_it_is_locked(baselines: Baselines) -> None:
    baselines.add(result())
    with opened(baselines) as database:
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(BaselineError, match=r"held the baselines for 0.05 s; try again") as caught:
            baselines.add(result())
    assert caught.value.path == baselines.path
    assert str(baselines.path) in str(caught.value)


def test_two_that_make_the_file_at_once_both_keep_their_result(
    baselines: Baselines, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Baselines._holds_results
    looks = []

    def overtaken(self: Baselines, database: sqlite3.Connection) -> bool:
        found = looked(self, database)
        looks.append(found)
        if len(looks) == 1:  # the file was empty when this one looked, before it began to write
            monkeypatch.setattr(Baselines, "_holds_results", looked)
            self.add(result(figures=(figure(1.0),)))
        return found

    monkeypatch.setattr(Baselines, "_holds_results", overtaken)
    baselines.add(result(figures=(figure(2.0),)))
    assert looks == [False]
    assert values(baselines) == [1.0, 2.0]


def test_a_result_that_fails_on_its_way_leaves_nothing(baselines: Baselines) -> None:
    baselines.add(result())
    with opened(baselines) as database:
        database.execute("CREATE TRIGGER full AFTER INSERT ON results BEGIN SELECT RAISE(FAIL, 'no room'); END")
    with pytest.raises(BaselineError, match=r"can't be used \(no room\)"):
        baselines.add(result())
    assert values(baselines) == [12.5]


def test_the_file_says_whose_it_is(baselines: Baselines) -> None:
    baselines.add(result())
    with opened(baselines) as database:
        told = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    assert told == [APPLICATION_ID, VERSION]


@pytest.fixture(params=["add", "latest"])
def use(request: pytest.FixtureRequest, baselines: Baselines) -> Any:
    return {"add": lambda: baselines.add(result()), "latest": lambda: kept(baselines)}[request.param]


@pytest.mark.parametrize(("version", "whose"), [(VERSION + 1, "a newer"), (0, "another")])
def test_baselines_of_another_version_are_left_alone_and_it_is_said_what_to_do(
    baselines: Baselines, use: Any, version: int, whose: str
) -> None:
    baselines.add(result())
    with opened(baselines) as database:
        database.execute(f"PRAGMA user_version = {version}")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = baselines.path.read_bytes()
    told = rf"{FOLDER}/baselines.sqlite3: baselines of version {version}, written by {whose} poolproof.*move the file"
    with pytest.raises(BaselineError, match=told):
        use()
    assert baselines.path.read_bytes() == before


def test_a_database_of_somebody_else_is_left_alone(baselines: Baselines, use: Any) -> None:
    with opened(baselines) as database:
        database.execute("CREATE TABLE theirs (a)")
    before = baselines.path.read_bytes()
    with pytest.raises(BaselineError, match="not of baselines; move it aside"):
        use()
    assert baselines.path.read_bytes() == before


def test_a_file_that_is_no_database_is_left_alone(baselines: Baselines, use: Any) -> None:
    baselines.folder.mkdir()
    baselines.path.write_bytes(b"not a database, but longer than a header" * 100)
    before = baselines.path.read_bytes()
    with pytest.raises(BaselineError, match=r"the database is damaged .*move it aside"):
        use()
    assert baselines.path.read_bytes() == before


@pytest.mark.parametrize("hurt", ["cut short", "overwritten", "one page that nobody asks for"])
def test_a_damaged_database_is_left_alone(baselines: Baselines, use: Any, hurt: str) -> None:
    for _ in range(50):
        baselines.add(result())
    whole = baselines.path.read_bytes()
    before = {
        "cut short": whole[: len(whole) // 2],
        "overwritten": whole[:8192] + b"\xff" * (len(whole) - 8192),
        "one page that nobody asks for": whole[: 5 * 4096] + b"\xff" * 4096 + whole[6 * 4096 :],
    }[hurt]
    baselines.path.write_bytes(before)
    with pytest.raises(BaselineError, match=r"the database is damaged .*move it aside"):
        use()
    assert baselines.path.read_bytes() == before


def test_a_damaged_result_is_told_and_not_left_out(baselines: Baselines) -> None:
    baselines.add(result())
    with opened(baselines) as database:
        database.execute("UPDATE results SET result = '{'")
    with pytest.raises(BaselineError, match=r"a result in it is damaged .*move it aside"):
        kept(baselines)


def test_a_folder_that_cannot_be_made_is_told(baselines: Baselines) -> None:
    baselines.folder.write_text("a file")
    with pytest.raises(BaselineError, match=r"\.poolproof: no folder for baselines can be made here: File exists"):
        baselines.add(result())


def test_a_database_that_cannot_be_opened_is_told(baselines: Baselines, use: Any) -> None:
    baselines.path.mkdir(parents=True)
    with pytest.raises(BaselineError, match=r"can't be used \(unable to open database file\).*can be written"):
        use()


def test_a_folder_may_be_called_anything(tmp_path: Path) -> None:
    strange = Baselines(tmp_path / "a?mode=memory&b%20#c ü")
    strange.add(result())
    assert strange.path.exists()
    assert values(strange) == [12.5]


def test_the_baselines_of_a_machine_are_not_committed() -> None:
    assert re.search(rf"^{re.escape(FOLDER)}/$", (ROOT / ".gitignore").read_text(), re.MULTILINE)
