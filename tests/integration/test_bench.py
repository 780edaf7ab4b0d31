"""`poolproof bench` as a user runs it, what it keeps, and what real processes are seen to use."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from poolproof.config import load_config
from poolproof.experiment import Experiment
from poolproof.load import hold
from poolproof.performance import PerformanceBenchmark, benchmark_pool_operations
from poolproof.performance.baselines import FOLDER, Baselines
from poolproof.plan import memory, p99


def bench(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "poolproof", "bench", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)


@pytest.mark.layer(2)
def test_a_benchmark_is_told_judged_kept_and_written_down(tmp_path: Path) -> None:
    document, out = tmp_path / "baselines.md", tmp_path / "out.json"
    found = bench(tmp_path, "latency", "--layer", "1", "--seed", "1", "--json", str(out), "--document", str(document))
    assert (found.returncode, found.stderr.count("Traceback")) == (0, 0), found.stderr
    lines = [line.split("\t") for line in found.stdout.splitlines()]
    assert lines[0] == ["benchmark", "latency", "kept", "layer 1"]
    assert [line[2] for line in lines if line[0] == "objective"] == ["kept", "kept"]
    told = json.loads(out.read_text())
    assert (told["schema"], told["verdict"], told["seed"]) == ("poolproof/bench-run-1", "kept", 1)
    (one,) = told["benchmarks"]
    figures = {it["name"]: it["value"] for it in one["result"]["figures"]}
    (kept,) = Baselines(folder=tmp_path / FOLDER).latest_of_each(one["result"]["fingerprint"], is_full=False)
    assert {it.name: it.value for it in kept.figures} == figures
    assert "latency p99" in document.read_text()


@pytest.mark.layer(2)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("latencies",), "unknown benchmark 'latencies': name one of latency, throughput"),
        (("latency", "--layer", "1", "--target", "loky"), "sans-I/O core"),
        (("latency", "--forget", "--document", "x.md"), "leave one of them out"),
        (("scaling", "--layer", "2", "--target", "process-pool-executor"), "scaling: only sessionpool"),
    ],
)
def test_what_can_not_be_measured_is_refused_in_a_line(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    found = bench(tmp_path, *arguments)
    assert found.returncode == 2
    assert words in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1


@pytest.mark.layer(2)
def test_what_another_version_kept_is_left_alone_and_told(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    database = tmp_path / FOLDER / "baselines.sqlite3"
    database.write_bytes(b"another version's")
    found = bench(tmp_path, "latency", "--layer", "1")
    assert found.returncode == 2
    assert str(Path(FOLDER) / "baselines.sqlite3") in found.stderr
    assert database.read_bytes() == b"another version's"


@pytest.mark.layer(2)
def test_metrics_tell_what_the_workers_the_pool_and_the_machine_were_at() -> None:
    experiment = Experiment(effective=load_config(2, options={"watch.usage_interval_s": 0.2}), layer=2, seed=1)
    benchmark = PerformanceBenchmark(
        name="metrics", shape=hold(100, "2s"), workers=2, thresholds=(p99() < "10s", memory() < 4000)
    )
    found = benchmark_pool_operations(benchmark, experiment)
    metrics = found.metrics
    assert metrics.unknown == {}
    # Two workers, of a few MB each that are theirs alone, with a socket and a few files.
    assert metrics.worker_uss_mb is not None
    assert 1 < metrics.worker_uss_mb < 200
    assert metrics.worker_pss_mb is not None
    assert metrics.worker_pss_mb >= metrics.worker_uss_mb
    assert metrics.lab_pss_mb is not None
    assert metrics.lab_pss_mb > metrics.worker_uss_mb / 2
    assert metrics.files is not None
    assert metrics.files >= 6
    assert metrics.threads is not None
    assert metrics.threads >= 2
    # Each operation of 10 ms is waited for at least once, by its worker.
    assert metrics.waits_per_s is not None
    assert metrics.waits_per_s > 100
    assert metrics.host_cpu is not None
    assert 0 < metrics.host_cpu <= 1
    # 100 a second of 14 ms on average, on two workers.
    assert metrics.utilisation is not None
    assert 0.4 < metrics.utilisation <= 1
    assert metrics.success == 1
