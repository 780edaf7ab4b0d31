"""The command line as a shell sees it: exit statuses, one line for each misuse, plain lines in a pipe, JSON."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.runs import CONFIG, ROOT, on_layer_2

pytestmark = pytest.mark.layer(2)

CLEAN = "tests.pools.clean:make"
KEYS = {"schema", "target", "layer", "seed", "workload", "note", "verdict", "promises", "scenarios", "skipped"}
SCENARIO_KEYS = {"name", "verdict", "load", "generator", "faults", "recovery", "findings", "notes", "folder"}
LOAD_KEYS = {"offered", "completed", "failed", "unresolved", "response_ms", "lag_ms", "throughput"}
FAULT_KEYS = {"kind", "target", "pid", "begin_s", "end_s", "effective", "in_flight", "operations", "why"}

Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    folder = tmp_path / "settings"
    folder.mkdir()
    (folder / "layer_2.toml").write_text(CONFIG, encoding="utf-8")
    return folder


@pytest.fixture
def poolproof(tmp_path: Path) -> Shell:
    """Runs `python -m poolproof …` to its end; names in braces stand for files below the test's own folder."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "poolproof", *(each.format(tmp=tmp_path) for each in on_layer_2(arguments))],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of one proof, with its JSON beside it."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "settings").mkdir()
    (folder / "settings" / "layer_2.toml").write_text(CONFIG, encoding="utf-8")
    subprocess.run(
        [
            *(sys.executable, "-m", "poolproof", "prove", "tests.pools.mutants:fails_innocents_at_a_death"),
            *("--scenario", "kill-one", "--scenario", "shutdown", "--seed", "5", "--layer", "2"),
            *("--config", str(folder / "settings")),
            *("--report", str(folder / "report"), "--json", str(folder / "live.json")),
        ],
        cwd=ROOT,
        check=False,
        capture_output=True,
        timeout=60,
    )
    return folder


def complaints(completed: "subprocess.CompletedProcess[str]") -> list[str]:
    """The lines on standard error that tell of no progress."""
    return [line for line in completed.stderr.splitlines() if not line.endswith("…")]


# --- bad input --------------------------------------------------------------------------------------------------

MISUSES = {
    "unknown target": (("prove", "nope"), "unknown target 'nope'"),
    "target of no module": (("prove", "no.such.module:make", "--scenario", "shutdown"), "can't be loaded"),
    "unknown workload": (("prove", CLEAN, "--workload", "nope"), "unknown workload 'nope'"),
    "workload of no module": (
        ("prove", CLEAN, "--workload", "no.such:it", "--scenario", "shutdown"),
        "can't be loaded",
    ),
    "unknown scenario": (("prove", CLEAN, "--scenario", "nope"), "unknown scenario 'nope'"),
    "unknown layer": (("prove", CLEAN, "--layer", "9"), "unknown layer 9"),
    "layer that is no number": (("prove", CLEAN, "--layer", "two"), "--layer"),
    "unknown option": (("prove", CLEAN, "--nope"), "--nope"),
    "unknown command": (("nope",), "nope"),
    "negative rate": (("prove", CLEAN, "--rate", "-5"), "rate"),
    "rate that is no number": (("prove", CLEAN, "--rate", "fast"), "--rate"),
    "rate of nan": (("prove", CLEAN, "--rate", "nan"), "rate"),
    "no seconds": (("prove", CLEAN, "--seconds", "0"), "load.seconds"),
    "infinitely many seconds": (("prove", CLEAN, "--seconds", "inf"), "load.seconds"),
    "too few workers": (("prove", CLEAN, "--workers", "1"), "pool.workers"),
    "negative seed": (("prove", CLEAN, "--seed", "-1"), "--seed"),
    "JSON into a folder that is missing": (("prove", CLEAN, "--json", "{tmp}/no/out.json"), "can't be written"),
    "JSON where nobody may write": (("prove", CLEAN, "--json", "/proc/out.json"), "can't be written"),
    "JSON of a judgement where nobody may write": (
        ("judge", "{tmp}/other", "--json", "/proc/out.json"),
        "/proc/out.json",
    ),
    "report below a file": (("prove", CLEAN, "--report", "{tmp}/a-file/report"), "can't be written"),
    "report over something else": (("prove", CLEAN, "--scenario", "shutdown", "--report", "{tmp}/other"), "no run of"),
    "comparison of one": (("compare", CLEAN), "two targets"),
    "comparison with an unknown": (("compare", CLEAN, "nope"), "unknown target 'nope'"),
    "configuration folder that is missing": (("config", "--config", "{tmp}/no"), "no configuration folder"),
    "configuration with two errors": (("config", "--config", "{tmp}/wrong"), "2 errors"),
    "judging nothing": (("judge", "{tmp}/no"), "{tmp}/no"),
    "judging what is no run": (("judge", "{tmp}/other"), "{tmp}/other"),
}


@pytest.mark.functional
@pytest.mark.parametrize("misuse", MISUSES)
def test_a_misuse_ends_with_one_line_that_names_it(misuse: str, poolproof: Shell, tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    (tmp_path / "other" / "shutdown").mkdir(parents=True)
    (tmp_path / "other" / "shutdown" / "letter.txt").touch()
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "layer_2.toml").write_text("[pool]\nworkers = 0\n[load]\nsecond = 3\n", encoding="utf-8")
    arguments, cause = MISUSES[misuse]

    completed = poolproof(*arguments)

    assert completed.returncode == 2, completed.stderr
    (line,) = complaints(completed)
    assert line.startswith("poolproof: error: ")
    assert cause.format(tmp=tmp_path) in line
    assert (tmp_path / "other" / "shutdown" / "letter.txt").exists()


def _truncate_table(run: Path) -> None:
    table = next(run.rglob("operations.parquet"))
    table.write_bytes(table.read_bytes()[:100])


def _lose_table(run: Path) -> None:
    next(run.rglob("executions.parquet")).unlink()


def _lose_plan(run: Path) -> None:
    (run / "plan.json").unlink()


def _truncate_plan(run: Path) -> None:
    plan = run / "plan.json"
    plan.write_bytes(plan.read_bytes()[:-20])


def _age_plan(run: Path) -> None:
    plan = run / "plan.json"
    plan.write_text(plan.read_text(encoding="utf-8").replace("poolproof/plan-3", "poolproof/plan-0"), encoding="utf-8")


def _age_history(run: Path) -> None:
    (marker,) = [
        path
        for path in run.rglob("*.json")
        if "poolproof/history-3" in path.read_text(encoding="utf-8", errors="replace")
    ]
    marker.write_text(
        marker.read_text(encoding="utf-8").replace("poolproof/history-3", "poolproof/history-0"), encoding="utf-8"
    )


@pytest.mark.functional
@pytest.mark.parametrize("damage", [_truncate_table, _lose_table, _lose_plan, _truncate_plan, _age_plan, _age_history])
def test_a_damaged_run_is_refused_with_one_line_that_names_its_folder(
    damage: Callable[[Path], None], saved: Path, tmp_path: Path, poolproof: Shell
) -> None:
    run = shutil.copytree(saved / "report" / "shutdown", tmp_path / "run")
    damage(run)

    completed = poolproof("judge", str(run))

    assert completed.returncode == 2, completed.stderr
    (line,) = complaints(completed)
    assert str(run) in line


# --- what comes out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "more", "status"),
    [
        pytest.param(CLEAN, ("--scenario", "shutdown"), 0, id="0-every-promise-is-kept"),
        pytest.param("tests.pools.mutants:raises_in_close", ("--scenario", "shutdown"), 1, id="1-one-is-broken"),
        # So few operations that the kill meets none, or that too few are sent after it.
        pytest.param(CLEAN, ("--scenario", "kill-one", "--rate", "1"), 3, id="3-could-not-tell"),
    ],
)
def test_the_exit_status_tells_the_verdict(
    target: str, more: tuple[str, ...], status: int, poolproof: Shell, settings: Path
) -> None:
    completed = poolproof("prove", target, *more, "--seed", "1", "--config", str(settings))

    assert completed.returncode == status, completed.stdout + completed.stderr
    assert not complaints(completed)


@pytest.mark.functional
def test_the_json_has_the_documented_keys(saved: Path) -> None:
    proof = json.loads((saved / "live.json").read_text(encoding="utf-8"))

    assert proof["schema"] == "poolproof/run-1"
    assert proof.keys() >= KEYS
    for promise in proof["promises"].values():
        assert promise.keys() == {"made", "verdict", "evidence"}
    for scenario in proof["scenarios"]:
        assert scenario.keys() >= SCENARIO_KEYS
        load = scenario["load"]
        assert load.keys() >= LOAD_KEYS
        assert load["response_ms"].keys() == {"p50", "p90", "p95", "p99", "max"}
        assert load["offered"] == load["completed"] + load["failed"] + load["unresolved"]
        assert scenario["recovery"].keys() == {"detect_ms", "capacity_ms", "steady_ms"}
    (fault,) = proof["scenarios"][0]["faults"]
    assert fault.keys() >= FAULT_KEYS


@pytest.mark.functional
def test_a_saved_run_is_judged_as_the_live_one_was(saved: Path, tmp_path: Path, poolproof: Shell) -> None:
    completed = poolproof("judge", str(saved / "report"), "--json", str(tmp_path / "again.json"))

    live, again = (_read(path) for path in (saved / "live.json", tmp_path / "again.json"))
    assert completed.returncode == 1
    assert again == live


@pytest.mark.functional
def test_a_report_has_a_page(saved: Path) -> None:
    assert "fails_innocents_at_a_death" in (saved / "report" / "index.html").read_text(encoding="utf-8")


@pytest.mark.functional
def test_a_report_has_its_tables_and_stories_in_markdown(saved: Path) -> None:
    report = (saved / "report" / "report.md").read_text(encoding="utf-8")

    assert "| contains-the-blast | ✗ promised |" in report
    assert "contains-the-blast: broken" in report
    assert "*To mend it: Fail only what the dead worker had begun" in report


def test_a_comparison_has_one_object_for_each_target_and_the_status_of_the_worst(
    poolproof: Shell, settings: Path, tmp_path: Path
) -> None:
    targets = (CLEAN, "tests.pools.mutants:raises_in_close")

    completed = poolproof(
        *("compare", *targets, "--scenario", "shutdown", "--config", str(settings), "--json", "{tmp}/compared.json")
    )

    compared = _read(tmp_path / "compared.json")
    assert completed.returncode == 1
    assert compared["schema"] == "poolproof/compare-1"
    assert [run["target"] for run in compared["runs"]] == list(targets)


@pytest.mark.functional
@pytest.mark.parametrize("arguments", [("doctor",), ("config",), ("judge",)], ids=" ".join)
def test_what_goes_into_a_pipe_is_plain_lines(arguments: tuple[str, ...], poolproof: Shell, saved: Path) -> None:
    completed = poolproof(*arguments, *([str(saved / "report")] if arguments == ("judge",) else []))

    assert "\x1b" not in completed.stdout
    assert all("\t" in line for line in completed.stdout.splitlines())
    assert completed.stdout


@pytest.mark.functional
def test_doctor_finds_the_means_of_both_faults(poolproof: Shell) -> None:
    told = {line.split("\t")[0]: line.split("\t")[1] for line in poolproof("doctor").stdout.splitlines()}

    assert told["fault kill"] == told["fault stall"] == "yes"


@pytest.mark.functional
def test_config_tells_the_origin_of_each_value(poolproof: Shell, settings: Path) -> None:
    told = [line.split("\t") for line in poolproof("config", "--config", str(settings)).stdout.splitlines()]

    assert ["pool.workers", "3", f"{settings}/layer_2.toml"] in told
    assert ["bounds.outlive_s", "2.0", "poolproof/defaults.toml"] in told


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


# --- exploring ----------------------------------------------------------------------------------------------------


def explored(*arguments: str, home: Path) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([str(ROOT), *sys.path])
    command = [sys.executable, "-m", "poolproof", *arguments]
    environment = dict(os.environ) | {"PYTHONPATH": path}
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)


def test_a_failure_that_was_explored_is_told_kept_and_replayed(tmp_path: Path) -> None:
    arguments = ("--seeds", "60", "--jobs", "2", "--until-first", "--json", "out.json")
    ended = explored("explore", "tests.pools.cores:Amnesiac", *arguments, home=tmp_path)

    assert ended.returncode == 1, ended.stderr
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert (found["schema"], found["verdict"], len(found["failures"])) == ("poolproof/explore-1", "broken", 1)
    assert f"poolproof replay {found['failures'][0]['path']}" in ended.stdout
    ended = explored("replay", found["failures"][0]["path"], home=tmp_path)
    assert ended.returncode == 1, ended.stderr
    assert "the history is the recorded one, to the byte" in ended.stdout


def test_an_exploration_that_did_not_reach_everything_could_not_tell(tmp_path: Path) -> None:
    ended = explored("explore", "--seeds", "3", "--jobs", "1", home=tmp_path)

    assert ended.returncode == 3, ended.stderr
    assert "missed\t" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("explore", "--layer", "3"), "expected 1, simulated, or 2, real processes"),
        (("explore", "--report", "/dev/null/found"), "no folder that you may write to"),
        (("explore", "nowhere:Nothing"), "can't be loaded"),
        (("replay", "nothing.json"), "it can't be read"),
    ],
)
def test_what_can_not_be_explored_is_refused_in_one_line(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    ended = explored(*arguments, home=tmp_path)

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert told in ended.stderr
