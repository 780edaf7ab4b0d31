import re
import tomllib
from pathlib import Path

import pytest

from poolproof import extras, pools, workloads
from poolproof.errors import TargetError


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None)


@pytest.mark.parametrize("name", [*pools.BUNDLED, *workloads.BUNDLED])
def test_a_bundled_name_can_be_used_where_its_packages_are_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: module)
    extras.require(name)


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("name", [*pools.BUNDLED, *workloads.BUNDLED])
def test_only_those_with_an_extra_need_packages(name: str) -> None:
    assert extras.installed(name) == (name not in extras.EXTRAS)


@pytest.mark.parametrize(
    ("names", "module"),
    [({"digits", "linear"}, "sklearn"), ({"dspy"}, "dspy"), ({"loky"}, "loky"), ({"pebble"}, "pebble")],
)
def test_each_extra_is_known_by_a_module_of_its_own(
    names: set[str], module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda asked: asked if asked == module else None)
    assert {other for other in extras.EXTRAS if extras.installed(other)} == names


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(
    ("name", "extra"), [("digits", "work"), ("dspy", "dspy"), ("loky", "peers"), ("pebble", "peers")]
)
def test_what_is_missing_is_told_with_the_command_that_installs_it(name: str, extra: str) -> None:
    with pytest.raises(TargetError) as caught:
        extras.require(name)
    assert str(caught.value) == f"{name} needs packages that are not installed here: pip install 'poolproof[{extra}]'"
    assert caught.value.target == name


@pytest.mark.parametrize("name", extras.EXTRAS)
def test_the_command_names_an_extra_that_there_is(name: str) -> None:
    named = re.search(r"\[(.*)\]", extras.install_command(name))
    assert named is not None
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8"))
    assert named[1] in project["project"]["optional-dependencies"]


def test_what_has_an_extra_is_bundled() -> None:
    assert set(extras.EXTRAS) <= {*pools.BUNDLED, *workloads.BUNDLED}
