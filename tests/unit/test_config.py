from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from poolproof.config import Effective, load_config
from poolproof.errors import ConfigError, UsageError


def problems(overlay: Path | None = None, options: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(2, overlay, options)
    return caught.value.problems


def overlay(folder: Path, text: str, name: str = "defaults.toml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_the_shipped_defaults_of_every_layer_are_valid(layer: int) -> None:
    assert load_config(layer).config.pool.workers >= 2


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_the_overlay_of_this_repository_is_valid(layer: int) -> None:
    assert isinstance(load_config(layer, Path(__file__).parents[2] / "config"), Effective)


def test_a_layers_file_precedes_the_defaults() -> None:
    assert load_config(2).origins["load.workload"] == "poolproof/layer_2.toml"


def test_each_value_has_the_origin_that_set_it(tmp_path: Path) -> None:
    found = load_config(2, overlay(tmp_path, "[pool]\nworkers = 9\n"), {"load.rate_per_worker_per_s": 7.0})
    assert (
        found.origins["pool.workers"],
        found.origins["load.rate_per_worker_per_s"],
        found.origins["load.seconds"],
    ) == (
        str(tmp_path / "defaults.toml"),
        "command line",
        "poolproof/defaults.toml",
    )


def test_every_value_is_told_with_its_origin() -> None:
    effective = load_config(2)
    rows = {key: (value, origin) for key, value, origin in effective.rows()}
    assert rows["pool.workers"] == (effective.config.pool.workers, "poolproof/defaults.toml")
    assert set(rows) == set(effective.origins)


def test_an_overlay_precedes_what_ships(tmp_path: Path) -> None:
    assert load_config(2, overlay(tmp_path, "[pool]\nworkers = 9\n")).config.pool.workers == 9


def test_an_overlay_leaves_what_it_does_not_name(tmp_path: Path) -> None:
    assert load_config(2, overlay(tmp_path, "[pool]\nworkers = 9\n")).config.load == load_config(2).config.load


def test_the_layers_file_of_an_overlay_precedes_its_defaults(tmp_path: Path) -> None:
    overlay(tmp_path, "[pool]\nworkers = 9\n")
    overlay(tmp_path, "[pool]\nworkers = 5\n", "layer_2.toml")
    assert load_config(2, tmp_path).config.pool.workers == 5


def test_what_ships_for_a_layer_precedes_the_defaults_of_an_overlay(tmp_path: Path) -> None:
    overlay(tmp_path, '[load]\nworkload = "mine:workload"\n')
    assert load_config(2, tmp_path).config.load.workload == "scripted"


def test_the_file_of_another_layer_is_not_read(tmp_path: Path) -> None:
    overlay(tmp_path, "nonsense", "layer_3.toml")
    assert load_config(2, tmp_path) == load_config(2)


def test_options_precede_files(tmp_path: Path) -> None:
    overlay(tmp_path, "[pool]\nworkers = 9\n", "layer_2.toml")
    assert load_config(2, tmp_path, {"pool.workers": 3}).config.pool.workers == 3


def test_an_option_that_was_not_given_is_passed_over() -> None:
    assert load_config(2, None, {"pool.workers": None}) == load_config(2)


def test_every_error_of_every_file_and_option_is_told_at_once(tmp_path: Path) -> None:
    overlay(tmp_path, '[pool]\nworkers = 1\n[load]\narrivals = "bursty"\n')
    overlay(tmp_path, "[watch]\ninterval_s = -1\n", "layer_2.toml")
    assert problems(tmp_path, {"load.rate_per_worker_per_s": -3.0}) == (
        f"{tmp_path}/defaults.toml: pool.workers = 1: expected `int` >= 2",
        f"{tmp_path}/defaults.toml: load.arrivals = 'bursty': invalid enum value 'bursty'",
        f"{tmp_path}/layer_2.toml: watch.interval_s = -1: expected `float` >= 0.01",
        "command line: load.rate_per_worker_per_s = -3.0: expected `float` > 0.0",
    )


def test_the_message_counts_and_lists_all_problems(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^the configuration has 2 errors: .*pool\.workers.*; .*pool\.odd"):
        load_config(2, overlay(tmp_path, "[pool]\nworkers = 1\nodd = 2\n"))


def test_an_unknown_key_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    assert problems(overlay(tmp_path, "[pool]\nworker = 3\n")) == (
        f"{tmp_path}/defaults.toml: pool.worker = 3: unknown, expected one of pool.fallback, pool.workers",
    )


def test_an_unknown_section_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    (problem,) = problems(overlay(tmp_path, "[pools]\nworkers = 3\n"))
    assert "pools.workers = 3: unknown, expected one of bounds, " in problem


def test_an_unknown_section_without_keys_is_told(tmp_path: Path) -> None:
    (problem,) = problems(overlay(tmp_path, "[pools]\n"))
    assert "[pools]: unknown section, expected one of bounds, " in problem


def test_a_value_where_a_section_belongs_is_told(tmp_path: Path) -> None:
    (problem,) = problems(overlay(tmp_path, "pool = 3\n"))
    assert problem == f"{tmp_path}/defaults.toml: pool = 3: expected a section [pool], found a value"


@pytest.mark.parametrize(("value", "expectation"), [('"4"', "expected `int`"), ("4.5", "expected `int`")])
def test_a_value_of_another_type_is_told(value: str, expectation: str, tmp_path: Path) -> None:
    (problem,) = problems(overlay(tmp_path, f"[pool]\nworkers = {value}\n"))
    assert expectation in problem


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_value_that_is_no_finite_number_is_told(value: str, tmp_path: Path) -> None:
    (problem,) = problems(overlay(tmp_path, f"[load]\nrate_per_worker_per_s = {value}\n"))
    assert f"load.rate_per_worker_per_s = {value}: expected" in problem


def test_a_whole_number_serves_as_a_float(tmp_path: Path) -> None:
    assert (
        load_config(2, overlay(tmp_path, "[load]\nrate_per_worker_per_s = 50\n")).config.load.rate_per_worker_per_s
        == 50.0
    )


def test_a_file_that_is_not_toml_is_told_with_where_it_fails(tmp_path: Path) -> None:
    (problem,) = problems(overlay(tmp_path, "[pool]\nworkers 3\n"))
    assert problem.startswith(f"{tmp_path}/defaults.toml: not TOML: ")
    assert "line 2" in problem


def test_a_file_that_is_not_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "defaults.toml").write_bytes(b"[pool]\nworkers = 3 # \xff\n")
    (problem,) = problems(tmp_path)
    assert problem.startswith(f"{tmp_path}/defaults.toml: not TOML")


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no configuration folder at"):
        load_config(2, tmp_path / "none")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no configuration folder at"):
        load_config(2, overlay(tmp_path, "") / "defaults.toml")


@pytest.mark.parametrize("layer", [0, 4, -1])
def test_an_unknown_layer_is_refused(layer: int) -> None:
    with pytest.raises(UsageError, match=f"unknown layer {layer}: there are layers 1, 2, 3"):
        load_config(layer)
