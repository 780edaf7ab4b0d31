"""Plans as JSON: written for the run folder, and read back with every problem told at once."""

from collections.abc import Iterator
from typing import Any, get_args

import msgspec

from poolproof.plan.faults import FaultKind, FaultSpec
from poolproof.plan.load import Placed, Step
from poolproof.plan.sense import problems
from poolproof.plan.value import Value
from poolproof.plan.whole import SCHEMA, Plan


def encode(plan: Plan) -> bytes:
    """The plan as JSON, for its run folder."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=2)


def decode(text: bytes) -> Plan:
    """Read a plan back.

    Raises:
        msgspec.DecodeError: it is no JSON, of another schema, not a plan, or one that makes no sense; everything that
            is wrong is told at once.
    """
    return convert(msgspec.json.decode(text))


def convert(content: Any) -> Plan:
    """A plan from what its JSON holds.

    Raises:
        msgspec.ValidationError: as `decode` does.
    """
    if not isinstance(content, dict):
        raise msgspec.ValidationError("a plan is an object")
    # Its version first: a plan of another version may have another shape.
    if content.get("schema") != SCHEMA:
        raise msgspec.ValidationError(f"schema {content.get('schema')!r}, expected {SCHEMA!r}")
    sound = dict(content)
    wrong = list(_misshapen(sound))
    try:
        plan = msgspec.convert(sound, Plan)
    except msgspec.ValidationError as error:
        wrong.append(str(error))
    else:
        wrong += problems(plan)
    if wrong:
        raise msgspec.ValidationError("; ".join(wrong))
    return plan


def _misshapen(content: dict[str, Any]) -> Iterator[str]:
    """The faults, steps and placed operations that are none; a harmless one takes the place of each in `content`."""
    scenario = content.get("scenario")
    if not isinstance(scenario, dict):
        return
    scenario = content["scenario"] = dict(scenario)
    yield from _each(scenario, "scenario.faults", "faults", FaultSpec, {"kind": "kill", "at_s": 0.0, "count": 1})
    load = scenario.get("load")
    if isinstance(load, dict):
        load = scenario["load"] = dict(load)
        yield from _each(load, "scenario.load.steps", "steps", Step, {"rate": 0.0, "seconds": 1e9})
        yield from _each(load, "scenario.load.placed", "placed", Placed, {"at_s": 0.0, "kind": ""})


def _each(home: dict[str, Any], where: str, key: str, kind: type[Value], harmless: dict[str, Any]) -> Iterator[str]:
    entries = home.get(key)
    if not isinstance(entries, list):
        return
    entries = home[key] = [*entries]
    for number, entry in enumerate(entries):
        try:
            msgspec.convert(entry, kind)
        except msgspec.ValidationError as error:
            named = f" ({entry['kind']!r})" if isinstance(entry, dict) and "kind" in entry else ""
            known = f", expected one of {', '.join(get_args(FaultKind))}" if str(error).endswith("`$.kind`") else ""
            yield f"{where}[{number}]{named}: {error}{known if kind is FaultSpec else ''}"
            entries[number] = harmless
