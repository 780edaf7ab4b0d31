"""What stays of a failure: a plan of a few lines in a file that `poolproof replay` reproduces, and a test of it."""

import json
from pathlib import Path
from string import Template
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from poolproof import plan as plans
from poolproof.checks import Evidence, Verdict, judge
from poolproof.errors import UsageError
from poolproof.history import digest
from poolproof.plan import Plan
from poolproof.pools import find_core
from poolproof.simulation import simulate

SCHEMA: Final = "poolproof/replay-1"

_TEST: Final = Template('''\
"""Found by `poolproof explore` with seed $seed: $promise was broken. The plan stands beside this file."""

from pathlib import Path

from poolproof.exploration import replay


def test_$name() -> None:
    again = replay(Path(__file__).with_name("$file"))

    assert again.verdict != "broken", again.evidence
''')


class _Around(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema: str = SCHEMA
    promise: str
    seed: int
    said: str
    digest: str


class Keepsake(_Around, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan that broke a promise, as it is kept.

    Attributes:
        promise: the one.
        seed: of the exploration's run that found it.
        said: the first evidence, as it was then.
        digest: of the history's canonical bytes.
        plan: as small as it could be made.
    """

    plan: Plan


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What a kept plan shows today.

    Attributes:
        promise: the one that it is about.
        verdict: on that one.
        is_same: whether the history is the recorded one, to the byte.
    """

    promise: str
    verdict: Verdict
    evidence: tuple[Evidence, ...]
    is_same: bool


def keep(keepsake: Keepsake, folder: Path) -> Path:
    """Write a failure down, as a plan and as a test; where the plan is."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{keepsake.promise.replace('-', '_')}_{keepsake.seed}"
    path = folder / f"{name}.json"
    path.write_text(_lines(msgspec.to_builtins(keepsake)) + "\n", encoding="utf-8")
    test = _TEST.substitute(seed=keepsake.seed, promise=keepsake.promise, name=name, file=path.name)
    (folder / f"test_{name}.py").write_text(test, encoding="utf-8")
    return path


def replay(path: Path) -> Replayed:
    """Carry a kept plan out once more.

    Raises:
        UsageError: there is no such file, or it is none of this version; everything that is wrong with it is told.
    """
    kept = read(path)
    # By its name, so that a file can't say one target and mean another; the code that it names is run all the same.
    history = simulate(replace(kept.plan, target=find_core(kept.plan.target.name)))
    finding = next(it for it in judge(history) if it.promise == kept.promise)
    return Replayed(
        promise=kept.promise,
        verdict=finding.verdict,
        evidence=finding.evidence,
        is_same=digest(history) == kept.digest,
    )


def read(path: Path) -> Keepsake:
    """A kept plan.

    Raises:
        UsageError: as `replay` does.
    """
    try:
        content = msgspec.json.decode(path.read_bytes())
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            found = content.get("schema") if isinstance(content, dict) else None
            if found == plans.SCHEMA:
                raise msgspec.ValidationError("it is the plan of a run: name the run's folder")
            if found is None:
                raise msgspec.ValidationError("it is no plan that `poolproof explore` kept")
            raise msgspec.ValidationError(
                f"it is of version {found!r}, this program reads {SCHEMA!r}; replay it with the version that wrote it"
            )
        return _convert(content)
    except OSError as error:
        raise UsageError(f"{path}: it can't be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{path}: it is nested too deeply to be a plan") from error


def _convert(content: dict[str, Any]) -> Keepsake:
    """A kept plan, or everything that is wrong with it, of the plan and of what is around it."""
    wrong: list[str] = []
    plan: Plan | None = None
    try:
        plan = plans.convert(content.get("plan"))
    except msgspec.ValidationError as error:
        wrong.append(str(error))
    try:
        around = msgspec.convert({key: value for key, value in content.items() if key != "plan"}, _Around)
    except msgspec.ValidationError as error:
        wrong.append(str(error))
    else:
        if plan is not None and plan.layer != 1:
            wrong.append(f"it is a plan for layer {plan.layer}, and only layer 1 repeats itself")
        if around.promise not in _examined(content.get("plan")):
            wrong.append(f"its plan does not examine {around.promise!r}")
        if plan is not None and not wrong:
            return Keepsake(plan=plan, **msgspec.structs.asdict(around))
    raise msgspec.ValidationError("; ".join(wrong))


def _examined(plan: Any) -> list[Any]:
    """The promises that a plan examines, whatever else is wrong with it."""
    scenario = plan.get("scenario") if isinstance(plan, dict) else None
    examines = scenario.get("examines") if isinstance(scenario, dict) else None
    return examines if isinstance(examines, list) else []


_WIDTH: Final = 150


def _lines(value: Any, indent: int = 0) -> str:
    """JSON for people: what fits on a line stands on one."""
    flat = json.dumps(value)
    if len(flat) + indent <= _WIDTH or not isinstance(value, dict | list | tuple) or not value:
        return flat
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        entries = [f"{json.dumps(key)}: {_lines(entry, indent + 2)}" for key, entry in value.items()]
        return "{\n" + ",\n".join(inner + entry for entry in entries) + "\n" + " " * indent + "}"
    return "[\n" + ",\n".join(inner + _lines(entry, indent + 2) for entry in value) + "\n" + " " * indent + "]"
