import json
import os
from pathlib import Path
from typing import Any

import pytest

from poolproof.errors import UsageError
from poolproof.plan import PROMISES
from poolproof.report import as_object, comparison, expect_json, write_json
from tests.unit.report.proofs import proof


def written(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    write_json(content, folder / "out.json")
    made: dict[str, Any] = json.loads((folder / "out.json").read_text())
    return made


def test_a_proof_has_the_documented_keys(tmp_path: Path) -> None:
    assert {
        "schema",
        "target",
        "layer",
        "seed",
        "verdict",
        "promises",
        "scenarios",
        "environment",
    } <= written(tmp_path, as_object(proof())).keys()


def test_a_proof_names_its_schema(tmp_path: Path) -> None:
    assert written(tmp_path, as_object(proof()))["schema"] == "poolproof/run-1"


def test_every_promise_has_how_it_was_made_a_verdict_and_evidence(tmp_path: Path) -> None:
    promises = written(tmp_path, as_object(proof()))["promises"]
    assert tuple(promises) == PROMISES
    assert all({"made", "verdict", "evidence"} <= promise.keys() for promise in promises.values())


def test_a_promise_that_was_not_examined_has_the_verdict_null(tmp_path: Path) -> None:
    assert written(tmp_path, as_object(proof()))["promises"]["closes-cleanly"]["verdict"] is None


def test_evidence_carries_its_words_and_what_it_speaks_of(tmp_path: Path) -> None:
    evidence = written(tmp_path, as_object(proof()))["promises"]["restores-capacity"]["evidence"]
    assert evidence[1]["text"].startswith("4 operations ran at once before the load, 2 after it")
    assert (evidence[1]["scenario"], evidence[1]["at_s"]) == ("story", 9.0)


@pytest.mark.parametrize("faults", [True, False])
def test_a_scenario_has_the_documented_keys(faults: bool, tmp_path: Path) -> None:
    (scenario,) = written(tmp_path, as_object(proof(faults=faults)))["scenarios"]
    assert {"name", "verdict", "load", "faults", "recovery"} <= scenario.keys()
    load = scenario["load"]
    assert {"offered", "completed", "failed", "unresolved", "response_ms", "lag_ms", "throughput"} <= load.keys()
    assert {"p50", "p90", "p95", "p99", "max"} <= load["response_ms"].keys()
    assert "p99" in load["lag_ms"]
    assert {"detect_ms", "capacity_ms", "steady_ms"} <= scenario["recovery"].keys()


def test_a_fault_has_the_documented_keys(tmp_path: Path) -> None:
    (fault,) = written(tmp_path, as_object(proof()))["scenarios"][0]["faults"]
    assert {"kind", "target", "begin_s", "end_s", "effective", "in_flight"} <= fault.keys()
    assert (fault["kind"], fault["begin_s"], fault["in_flight"]) == ("kill", 1.0, 1)


def test_a_scenario_without_faults_has_no_moments_of_recovery(tmp_path: Path) -> None:
    (scenario,) = written(tmp_path, as_object(proof(faults=False)))["scenarios"]
    assert scenario["recovery"] == {"detect_ms": None, "capacity_ms": None, "steady_ms": None}


def test_a_moment_that_never_came_is_null_and_not_zero(tmp_path: Path) -> None:
    (scenario,) = written(tmp_path, as_object(proof()))["scenarios"]
    assert scenario["recovery"]["capacity_ms"] is None


def test_a_comparison_holds_one_object_for_each_target(tmp_path: Path) -> None:
    made = written(tmp_path, comparison([proof(target="a"), proof(target="b")]))
    assert made["schema"] == "poolproof/compare-1"
    assert [run["target"] for run in made["runs"]] == ["a", "b"]


def test_the_file_ends_with_a_line_end(tmp_path: Path) -> None:
    written(tmp_path, as_object(proof()))
    assert (tmp_path / "out.json").read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("place", ["none/out.json", ".", "a-file/out.json", "/proc/out.json", "x" * 300])
def test_a_place_where_no_file_can_be_written_is_refused_beforehand(place: str, tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    with pytest.raises(UsageError, match=r"the JSON can't be written to .*: .*; name a file that you may write"):
        expect_json(tmp_path / place)


def test_looking_whether_a_file_can_be_written_leaves_none(tmp_path: Path) -> None:
    expect_json(tmp_path / "out.json")
    assert list(tmp_path.iterdir()) == []


def test_looking_whether_a_file_can_be_written_changes_none(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text("of an earlier run")
    expect_json(tmp_path / "out.json")
    assert (tmp_path / "out.json").read_text() == "of an earlier run"


def test_a_pipe_is_looked_at_without_a_wait_for_its_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    expect_json(tmp_path / "pipe")


def test_a_file_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the JSON can't be written to .*: .*; name a file that you may write"):
        write_json({}, tmp_path / "none" / "out.json")
