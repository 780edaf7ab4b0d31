"""What judging a long run costs: each figure is measured here, printed, and judged by the budgets in `config/`."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from poolproof.config import Effective
from tests.performance.judging import Cost

Say = Callable[[str], None]
Saved = Callable[..., Path]
Judged = Callable[..., list[list[Cost]]]

MILLION = 1_000_000
ROUNDS = 3
LINEAR = 1.3
"""Three times as many operations may take this times three times as long: what fitted into a cache no longer does."""

KEEPS_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(4 << 30)}
"""Lets the allocator of glibc keep what was freed. By default it returns large blocks to the kernel, which clears them
again for the next use: a jump just between the two sizes that are compared, and none of our doing."""


def run_alone(root: Path, module: str, *arguments: str, **environment: str) -> bytes:
    """Run one of the modules beside this one in a process of its own: memory is a process's, and no other's."""
    command = [sys.executable, "-m", f"tests.performance.{module}", *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=root, env=env, stdout=subprocess.PIPE, check=True).stdout


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Saved:
    """Gives the folder of a run of so many operations, made when it is first asked for."""
    home = tmp_path_factory.mktemp("runs")

    def give(count: int, kind: str = "sound") -> Path:
        folder = home / f"{kind}-{count}"
        if not folder.exists():
            run_alone(pytestconfig.rootpath, "long_history", str(folder), str(count), kind)
        return folder

    return give


@pytest.fixture
def judged(pytestconfig: pytest.Config) -> Judged:
    """Judges runs so many times in one fresh process; what each took, run by run."""

    def judge_all(rounds: int, *folders: Path, **environment: str) -> list[list[Cost]]:
        told = run_alone(pytestconfig.rootpath, "judging", str(rounds), *map(str, folders), **environment)
        return list(msgspec.json.decode(told, type=dict[str, list[Cost]]).values())

    return judge_all


def in_words(count: int, cost: Cost) -> str:
    return (
        f"{count:,} operations were read in {cost.load_s:.2f} s and judged in {cost.checks_s:.2f} s, with all figures "
        f"in {cost.whole_s:.2f} s, within {cost.peak_bytes / 1e9:.2f} GB"
    )


@pytest.mark.parametrize(("kind", "verdict"), [("sound", "kept"), ("bad", "broken")])
def test_a_million_operations_are_judged_within_the_budgets(
    kind: str,
    verdict: str,
    saved: Saved,
    judged: Judged,
    layer_config: Effective,
    say: Say,
) -> None:
    ((cost,),) = judged(1, saved(MILLION, kind))

    say(f"{kind}: {in_words(MILLION, cost)}")
    assert cost.verdicts == (verdict,)  # else something was left out, and this measured less than it says
    assert cost.whole_s < layer_config.config.budgets.judge_million_s
    assert cost.peak_bytes / 1e9 < layer_config.config.budgets.judge_million_gb


@pytest.mark.timeout(300)  # most of it goes by while three million operations are made up
def test_the_cost_of_judging_grows_linearly(saved: Saved, judged: Judged, say: Say) -> None:
    runs = {count: saved(count) for count in (MILLION // 10, MILLION, 3 * MILLION)}
    for count, run in runs.items():
        ((alone,),) = judged(1, run)
        say(in_words(count, alone))

    one, three = judged(ROUNDS, runs[MILLION], runs[3 * MILLION], **KEEPS_MEMORY)
    # Time of the processor, and the best of several: whatever else runs on this machine takes from neither.
    ratio = min(cost.whole_cpu_s for cost in three) / min(cost.whole_cpu_s for cost in one)

    say(f"three million operations take {ratio:.2f} times as long as one million")
    assert ratio < 3 * LINEAR
