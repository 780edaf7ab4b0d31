"""The planted defects fit the present core; whether they are found, `python -m tests.planted.hunt` tells."""

import ast
from pathlib import Path

import pytest

from tests.planted.hunt import SOURCE, missed, patches, plant

pytestmark = pytest.mark.functional

LEAST = 20


def named(patch: Path) -> str:
    return patch.stem


@pytest.mark.parametrize("patch", [*patches(), *missed()], ids=named)
def test_a_patch_applies_to_the_present_source_and_leaves_a_program(patch: Path, tmp_path: Path) -> None:
    planted = plant(patch, tmp_path, SOURCE)

    changed = [
        file for file in planted.rglob("*.py") if file.read_bytes() != (SOURCE / file.relative_to(planted)).read_bytes()
    ]
    assert [file.relative_to(planted).as_posix() for file in changed] == ["sessionpool/core.py"]
    ast.parse(changed[0].read_text(encoding="utf-8"))


@pytest.mark.parametrize("patch", [*patches(), *missed()], ids=named)
def test_a_patch_says_first_what_it_breaks(patch: Path) -> None:
    said = patch.read_text(encoding="utf-8").partition("--- ")[0].splitlines()

    assert said
    assert all(line.startswith("# ") for line in said)


def test_there_are_enough_defects_to_tell_something() -> None:
    assert len(patches()) >= LEAST
