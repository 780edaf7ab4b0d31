"""Reads the configuration: shipped defaults, the layer's, the overlay of a `config/` folder, then the caller's."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final, get_type_hints

import msgspec

from poolproof.config.schema import Config
from poolproof.errors import ConfigError, UsageError

LAYERS: Final = (1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """A validated configuration and where each value of it came from.

    Attributes:
        config: the values.
        origins: `section.key` to the file, or the option, that set it.
    """

    config: Config
    origins: Mapping[str, str]

    def rows(self) -> Iterator[tuple[str, Any, str]]:
        """`section.key`, value and origin of every setting."""
        for section, keys in msgspec.to_builtins(self.config).items():
            for key, value in keys.items():
                yield f"{section}.{key}", value, self.origins[f"{section}.{key}"]


def load_config(layer: int, overlay: Path | None = None, options: Mapping[str, Any] | None = None) -> Effective:
    """The effective configuration of a layer.

    Args:
        layer: 1, 2 or 3.
        overlay: a folder with `defaults.toml` and `layer_N.toml`, each optional; it overlays what ships.
        options: `section.key` to value, from the command line; None values are passed over.

    Raises:
        ConfigError: with every problem found in any of the files.
        UsageError: there is no such layer, or no such folder.
    """
    if layer not in LAYERS:
        raise UsageError(f"unknown layer {layer}: there are layers {', '.join(map(str, LAYERS))}")
    if overlay is not None and not overlay.is_dir():
        raise UsageError(f"no configuration folder at {overlay}: name an existing one, or leave the option out")
    problems: list[str] = []
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, content in _files(layer, overlay):
        for key, value in _flatten(origin, content, problems):
            _accept(values, origins, key, value, origin, problems)
    for key, value in (options or {}).items():
        if value is not None:
            _accept(values, origins, key, value, "command line", problems)
    problems += [f"{section}.{key}: no file sets it" for section, key in _schema() if f"{section}.{key}" not in values]
    if problems:
        raise ConfigError(problems)
    nested: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        nested.setdefault(section, {})[name] = value
    return Effective(config=msgspec.convert(nested, Config), origins=origins)


def _schema() -> dict[tuple[str, str], Any]:
    """Each (section, key) with its annotated type."""
    return {
        (section.name, key): kind
        for section in msgspec.structs.fields(Config)
        for key, kind in get_type_hints(section.type, include_extras=True).items()
    }


def _files(layer: int, overlay: Path | None) -> Iterator[tuple[str, bytes]]:
    shipped = resources.files("poolproof.config") / "defaults"
    for name in ("defaults.toml", f"layer_{layer}.toml"):
        yield f"poolproof/{name}", (shipped / name).read_bytes()
        if overlay is not None and (overlay / name).is_file():
            yield str(overlay / name), (overlay / name).read_bytes()


def _flatten(origin: str, content: bytes, problems: list[str]) -> Iterator[tuple[str, Any]]:
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are such
        problems.append(f"{origin}: not TOML: {error}")
        return
    for section, keys in document.items():
        if not isinstance(keys, dict):
            problems.append(f"{origin}: {section} = {keys!r}: expected a section [{section}], found a value")
            continue
        sections = sorted({name for name, _ in _schema()})
        if section not in sections and not keys:
            problems.append(f"{origin}: [{section}]: unknown section, expected one of {', '.join(sections)}")
        for key, value in keys.items():
            yield f"{section}.{key}", value


def _accept(
    values: dict[str, Any], origins: dict[str, str], key: str, value: Any, origin: str, problems: list[str]
) -> None:
    section, _, name = key.partition(".")
    kind = _schema().get((section, name))
    if kind is None:
        known = sorted(f"{s}.{k}" for s, k in _schema() if s == section) or sorted({s for s, _ in _schema()})
        problems.append(f"{origin}: {key} = {value!r}: unknown, expected one of {', '.join(known)}")
        return
    try:
        values[key] = msgspec.convert(value, kind)
        origins[key] = origin
    except msgspec.ValidationError as error:
        expectation = str(error)[0].lower() + str(error)[1:]
        problems.append(f"{origin}: {key} = {value!r}: {expectation}")
