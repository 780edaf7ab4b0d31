from pathlib import Path

import pytest

from poolproof.performance.machine import COMPARABLE, commit_of, commit_told, cpu_model, describe, fingerprint, kernel
from tests.unit.performance.measured import MACHINE


def test_this_machine_is_described_by_all_that_makes_figures_comparable() -> None:
    assert set(describe()) == set(COMPARABLE)
    assert all(describe().values())


def test_the_same_machine_has_the_same_fingerprint_each_time() -> None:
    assert fingerprint(describe()) == fingerprint(describe())


@pytest.mark.parametrize("name", COMPARABLE)
def test_another_machine_has_another_fingerprint(name: str) -> None:
    assert fingerprint({**MACHINE, name: "other"}) != fingerprint(MACHINE)


def test_what_says_nothing_of_the_speed_changes_no_fingerprint() -> None:
    assert fingerprint({**MACHINE, "time": "now", "executable": "/usr/bin/python"}) == fingerprint(MACHINE)


def test_a_kernel_that_keeps_more_memory_to_itself_makes_no_other_machine() -> None:
    assert fingerprint({**MACHINE, "memory_gib": "7.7"}) == fingerprint({**MACHINE, "memory_gib": "7.8"})
    assert fingerprint({**MACHINE, "memory_gib": "15.6"}) != fingerprint({**MACHINE, "memory_gib": "7.8"})


def test_a_fingerprint_is_the_same_wherever_it_is_computed() -> None:
    assert fingerprint(MACHINE) == "63fe65d7c2df"


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        ("processor\t: 0\nmodel\t\t: 85\nmodel name\t: Some(R) CPU  @ 2.00GHz \nflags: a\n", "Some(R) CPU @ 2.00GHz"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\nCPU part\t: 0xd0c\n", ""),
        ("cpu\t\t: POWER9, altivec supported\n", "POWER9, altivec supported"),
        ("model name\t:\nstepping\t: 3\n", ""),
        ("", ""),
    ],
    ids=["x86", "ARM", "POWER", "nameless", "none"],
)
def test_the_processor_is_named_as_the_kernel_names_it(cpuinfo: str, model: str) -> None:
    assert cpu_model(cpuinfo) == model


@pytest.mark.parametrize(
    ("release", "told"), [("6.1.0-18-amd64", "Linux 6.1"), ("6.10", "Linux 6.10"), ("odd", "Linux odd")]
)
def test_a_kernel_is_told_by_its_major_and_minor_version(release: str, told: str) -> None:
    assert kernel("Linux", release) == told


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (f"{'0a' * 20}\n", ("0a" * 20, False)),
        (f"{'0a' * 20}-dirty\n", ("0a" * 20, True)),
        (f"{'0a' * 32}-dirty\n", ("0a" * 32, True)),
        ("v1.0-3-g0a0a0a0\n", ("", False)),
        ("0a0a0a0\n", ("", False)),
        (f"{'0a' * 20}-broken\n", ("", False)),
        ("", ("", False)),
    ],
    ids=["clean", "dirty", "SHA-256", "a tag", "abbreviated", "broken", "nothing"],
)
def test_the_commit_is_what_git_says_and_unknown_otherwise(output: str, told: tuple[str, bool]) -> None:
    assert commit_told(output) == told


def test_where_there_is_no_git_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(tmp_path) == ("", False)
