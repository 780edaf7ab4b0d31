"""A layer that cannot start falls back only where the configuration says so, and says it."""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from poolproof.config import Effective, load_config
from poolproof.errors import ConfigError, TargetError
from poolproof.rig import LayerFallbackWarning, Rig, setup_isolated_pool

# The pools are opened by the tests: what is looked at is how they are.
pytestmark = [pytest.mark.layer(1, 2, 3), pytest.mark.isolation("pool_testing", opens=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unable:
    """A layer that cannot start: what is asked of it, why it cannot, and which other one could."""

    layer: int
    other: int
    why: str
    asked: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def open(self, *fallback: int) -> Iterator[Rig]:
        config = partial(_configured, fallback)
        with setup_isolated_pool(layer=self.layer, workers=2, config=config, **self.asked) as pool:
            yield pool


def _configured(fallback: tuple[int, ...], layer: int) -> Effective:
    # Scripted work on the third layer too: where it is fallen back to, what counts is that it is.
    return load_config(layer, options={"pool.fallback": fallback, "load.workload": "scripted"})


def _raising_once() -> Callable[[int], ThreadPoolExecutor]:
    tried: list[int] = []

    def factory(workers: int) -> ThreadPoolExecutor:
        if not tried:
            tried.append(workers)
            raise OSError("no room for a pool here")
        return ThreadPoolExecutor(workers)

    return factory


@pytest.fixture
def unable(layer: int, monkeypatch: pytest.MonkeyPatch) -> Unable:
    """A target without a core on layer 1, a factory that raises on layer 2, an extra that is missing on layer 3."""
    if layer == 1:
        why = "layer 1 simulates a pool's sans-I/O core, and 'thread-pool-executor' offers none"
        return Unable(layer=1, other=2, why=why, asked={"target": "thread-pool-executor"})
    if layer == 2:
        return Unable(
            layer=2, other=3, why="raised OSError: no room for a pool here", asked={"target": _raising_once()}
        )
    monkeypatch.setattr("poolproof.extras.find_spec", lambda name: None)
    why = "digits needs packages that are not installed here: pip install 'poolproof[work]'"
    return Unable(layer=3, other=1, why=why, asked={"workload": "digits"})


def test_a_layer_that_cannot_start_fails_where_the_configuration_names_no_other(unable: Unable) -> None:
    with pytest.raises(TargetError) as caught, unable.open():
        pass

    assert unable.why in str(caught.value)


@pytest.mark.filterwarnings("ignore::poolproof.rig.LayerFallbackWarning")
def test_the_pool_is_on_the_layer_that_the_configuration_falls_back_to(unable: Unable) -> None:
    with unable.open(unable.other) as pool:
        assert pool.layer == unable.other
        assert pool.submit("predict").exception() is None


def test_a_warning_names_both_layers_and_the_reason(unable: Unable) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with unable.open(unable.other):
            pass

    (warning,) = [it for it in told if it.category is LayerFallbackWarning]
    assert str(warning.message).startswith(f"layer {unable.layer} cannot start (")
    assert f"opened on layer {unable.other}, as pool.fallback in the configuration says" in str(warning.message)
    assert unable.why in str(warning.message)


@pytest.mark.filterwarnings("ignore::poolproof.rig.LayerFallbackWarning")
def test_an_event_names_both_layers_and_the_reason(unable: Unable) -> None:
    with unable.open(unable.other) as pool:
        (event,) = [it for it in pool.events.since() if it.what == "fell-back"]

    assert event.detail.startswith(f"from layer {unable.layer} to layer {unable.other}, as pool.fallback says: ")
    assert unable.why in event.detail


def test_a_layer_that_can_start_needs_no_other_and_says_nothing(layer: int) -> None:
    with Unable(layer=layer, other=0, why="").open(1, 2, 3) as pool:  # a warning would be an error here
        assert pool.layer == layer


@pytest.mark.filterwarnings("ignore::poolproof.rig.LayerFallbackWarning")
@pytest.mark.layer(1)  # what follows is the same loop, whichever layer it begins with
def test_where_none_can_start_the_last_error_stands() -> None:
    def factory() -> None:
        raise OSError("nowhere")

    without_any = Unable(layer=1, other=0, why="", asked={"target": factory})
    with pytest.raises(TargetError, match=r"raised OSError: nowhere$"), without_any.open(2, 3):
        pass


@pytest.mark.layer(1)  # the configuration is read before there is any pool
@pytest.mark.parametrize("value", ["[4]", "[0]", '["2"]', "[true]", "2", "[1.5]"])
def test_a_fallback_that_is_no_layer_is_an_error_of_the_configuration(value: str, tmp_path: Path) -> None:
    (tmp_path / "defaults.toml").write_text(f"[pool]\nfallback = {value}\n", encoding="utf-8")

    with pytest.raises(ConfigError, match=r"defaults\.toml: pool\.fallback = ") as caught:
        load_config(2, tmp_path)

    assert len(caught.value.problems) == 1
