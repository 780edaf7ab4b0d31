import importlib.util
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.checks import judge
from poolproof.errors import UsageError
from poolproof.exploration import Keepsake, keep, read, replay
from poolproof.history import digest
from poolproof.plan import FaultSpec, Plan, Target
from poolproof.simulation import simulate
from tests.unit.simulation.test_lab import against
from tests.unit.simulation.worlds import make_plan

PROMISE = "closes-cleanly"
KILL = FaultSpec(kind="kill", count=1, at_s=0.3)


def kept(plan: Plan, promise: str = PROMISE) -> Keepsake:
    return Keepsake(promise=promise, seed=7, said="it hung", digest=digest(simulate(plan)), plan=plan)


BROKEN = kept(against("ignoring"))
SOUND = kept(make_plan(KILL, rate=50))


def written(folder: Path, change: Any = None, keepsake: Keepsake = SOUND) -> Path:
    """A kept plan whose JSON was tampered with."""
    content = msgspec.to_builtins(keepsake)
    if change is not None:
        change(content)
    path = folder / "kept.json"
    path.write_bytes(msgspec.json.encode(content))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        replay(path)
    return str(caught.value)


# --- keeping ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keepsake", [BROKEN, SOUND])
def test_what_is_kept_is_read_back_as_it_was(tmp_path: Path, keepsake: Keepsake) -> None:
    assert read(keep(keepsake, tmp_path)) == keepsake


def test_what_is_kept_is_named_after_its_promise_and_its_seed(tmp_path: Path) -> None:
    assert keep(SOUND, tmp_path / "new" / "folder") == tmp_path / "new" / "folder" / "closes_cleanly_7.json"


def test_what_is_kept_is_written_for_people(tmp_path: Path) -> None:
    lines = keep(SOUND, tmp_path).read_text().splitlines()
    assert max(map(len, lines)) <= 120
    assert '  "seed": 7,' in lines


def test_what_is_kept_is_as_long_as_what_it_says_and_no_longer(tmp_path: Path) -> None:
    assert len(keep(SOUND, tmp_path).read_text().splitlines()) < 50


@pytest.mark.parametrize(("keepsake", "passes"), [(BROKEN, False), (SOUND, True)])
def test_a_test_is_kept_beside_it_that_fails_as_long_as_the_promise_is_broken(
    tmp_path: Path, keepsake: Keepsake, passes: bool
) -> None:
    keep(keepsake, tmp_path)
    spec = importlib.util.spec_from_file_location("kept", tmp_path / "test_closes_cleanly_7.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = True
    try:
        module.test_closes_cleanly_7()
    except AssertionError:
        found = False
    assert found is passes


# --- replaying --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keepsake", "verdict"), [(BROKEN, "broken"), (SOUND, "kept")])
def test_a_replay_is_the_same_to_the_byte(tmp_path: Path, keepsake: Keepsake, verdict: str) -> None:
    again = replay(keep(keepsake, tmp_path))
    assert (again.promise, again.verdict, again.is_same) == (PROMISE, verdict, True)


def test_a_replay_tells_the_evidence_of_its_promise(tmp_path: Path) -> None:
    found = next(it for it in judge(simulate(BROKEN.plan)) if it.promise == PROMISE)
    assert replay(keep(BROKEN, tmp_path)).evidence == found.evidence != ()


def test_a_replay_of_another_history_says_so(tmp_path: Path) -> None:
    changed = msgspec.structs.replace(SOUND, plan=msgspec.structs.replace(SOUND.plan, seed=8))
    assert replay(keep(changed, tmp_path)).is_same is False


def test_a_replay_calls_the_pool_that_its_name_says(tmp_path: Path) -> None:
    def forge(content: Any) -> None:
        content["plan"]["target"] = msgspec.to_builtins(Target(name="sessionpool", factory="os:getcwd"))

    assert replay(written(tmp_path, forge)).is_same


# --- what is no kept plan ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"", b"{", b"not json", b"\xff\xfe", b'{"schema": '])
def test_what_is_no_json_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "kept.json"
    path.write_bytes(text)
    assert refusal(path).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"3", "it is no plan that `poolproof explore` kept"),
        (b"[]", "it is no plan that `poolproof explore` kept"),
        (b"null", "it is no plan that `poolproof explore` kept"),
        (b"{}", "it is no plan that `poolproof explore` kept"),
        (b'{"schema": "poolproof/plan-3"}', "name the run's folder"),
        (b'{"schema": "poolproof/replay-0"}', "this program reads 'poolproof/replay-1'; replay it with the version"),
    ],
)
def test_what_is_of_no_or_another_version_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "kept.json"
    path.write_bytes(content)
    assert told in refusal(path)


def test_a_file_that_there_is_not_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.json") == f"{tmp_path / 'none.json'}: it can't be read: No such file or directory"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "it can't be read: Is a directory" in refusal(tmp_path)


def test_what_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_bytes(b"[" * 100_000)
    refusal(path)


def faults(content: Any, *specs: dict[str, Any]) -> None:
    content["plan"]["scenario"]["faults"] = [{"kind": "kill", "count": 1, "at_s": 0.1} | spec for spec in specs]


def starts(content: Any) -> None:
    one = {"kind": "hang-start", "target": "pool", "count": 0, "at_s": 0.1, "for_s": 0.5}
    faults(content, one, one | {"kind": "fail-start", "at_s": 0.3})


def many(content: Any) -> None:
    content["plan"]["scenario"]["load"]["steps"] = [{"rate": 1e9, "seconds": 100}]


def senseless_twice(content: Any) -> None:
    faults(content, {"at_s": -1}, {"share": 2.0, "count": 0})
    content["plan"]["workers"] = 0


def misshapen_twice(content: Any) -> None:
    faults(content, {"kind": "explode"}, {"at_s": "soon"})
    content["plan"]["scenario"]["load"]["placed"] = [{"kind": "predict"}]


def misshapen_and_senseless(content: Any) -> None:
    faults(content, {"kind": "explode"}, {"at_s": -1})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda it: faults(it, {"kind": "explode"}), ["scenario.faults[0] ('explode')", "Invalid enum value"]),
        (lambda it: faults(it, {"at_s": -1}), ["scenario.faults[0] (kill): at_s = -1: expected 0 or more"]),
        (starts, ["scenario.faults[0] (hang-start) and scenario.faults[1] (fail-start) overlap"]),
        (many, ["100,000,000,000 operations, the most is 20,000,000"]),
        (lambda it: it["plan"].update(schema="poolproof/plan-1"), ["schema 'poolproof/plan-1'"]),
        (lambda it: it.update(plan=None), ["a plan is an object"]),
        (lambda it: it.pop("plan"), ["a plan is an object"]),
        (lambda it: it["plan"].update(layer=2), ["a plan for layer 2, and only layer 1 repeats itself"]),
        (lambda it: it.update(promise="serves-fairly"), ["its plan does not examine 'serves-fairly'"]),
        (lambda it: it.pop("digest"), ["digest"]),
        (lambda it: it.update(seed="seven"), ["seed"]),
        (lambda it: it["plan"].update(colour="red"), ["colour"]),
        (lambda it: it["plan"].update(workload="nothing"), ["nothing"]),
        (lambda it: it["plan"].update(options={"colour": "red"}), ["colour"]),
        (lambda it: it["plan"].update(target={"name": "loky", "factory": ""}), ["sans-I/O core"]),
        (misshapen_and_senseless, ["explode", "at_s = -1"]),
        (senseless_twice, ["at_s = -1", "share = 2: expected at most 1", "workers = 0"]),
        (misshapen_twice, ["faults[0] ('explode')", "faults[1] ('kill')", "placed[0] ('predict'): Object missing"]),
    ],
)
def test_what_is_wrong_with_it_is_told(tmp_path: Path, change: Any, words: list[str]) -> None:
    told = refusal(written(tmp_path, change))
    assert [word for word in words if word not in told] == []


def wrong_inside_and_outside(content: Any) -> None:
    faults(content, {"kind": "explode"})
    content["seed"] = "seven"


def senseless_and_another_promise(content: Any) -> None:
    faults(content, {"at_s": -1})
    content["promise"] = "serves-fairly"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (wrong_inside_and_outside, ["explode", "seed"]),
        (senseless_and_another_promise, ["at_s = -1", "does not examine"]),
    ],
)
def test_everything_that_is_wrong_with_it_is_told_at_once(tmp_path: Path, change: Any, words: list[str]) -> None:
    told = refusal(written(tmp_path, change))
    assert [word for word in words if word not in told] == []


def test_what_stands_in_a_file_is_not_changed_by_reading_it(tmp_path: Path) -> None:
    path = keep(SOUND, tmp_path)
    before = path.read_bytes()
    replay(path)
    assert path.read_bytes() == before
