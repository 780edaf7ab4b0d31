import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.experiment import SCENARIOS
from poolproof.plan import IMPLIED, PROMISES, Claim, Claims, FaultSpec, Load, Made, Step, decode, encode
from tests.unit.histories import KILL, STALL, make_plan


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_plan_of_every_scenario_is_read_back_as_it_was_written(name: str) -> None:
    plan = msgspec.structs.replace(make_plan(), scenario=SCENARIOS[name]((100.0, 4.0, "poisson", 8)))
    assert decode(encode(plan)) == plan


@given(st.floats(0, 1e6), st.floats(0.001, 1e4), st.integers(0, 1 << 62))
def test_the_numbers_of_a_plan_survive_writing(rate: float, seconds: float, seed: int) -> None:
    scenario = msgspec.structs.replace(make_plan().scenario, load=Load(steps=(Step(rate=rate, seconds=seconds),)))
    plan = msgspec.structs.replace(make_plan(), seed=seed, scenario=scenario, service_ms={"predict": seconds})
    assert decode(encode(plan)) == plan


def test_a_plan_is_written_for_people() -> None:
    assert b'\n  "workload": "scripted",\n' in encode(make_plan())


def test_a_plan_of_another_schema_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="schema 'poolproof/plan-0', expected 'poolproof/plan-1'"):
        decode(encode(msgspec.structs.replace(make_plan(), schema="poolproof/plan-0")))


def test_a_plan_with_an_unknown_field_is_refused() -> None:
    content = msgspec.json.decode(encode(make_plan())) | {"colour": "red"}
    with pytest.raises(msgspec.ValidationError, match="colour"):
        decode(msgspec.json.encode(content))


@pytest.mark.parametrize("text", [b"", b"{", b"3"])
def test_what_is_no_plan_is_refused(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(text)


CLAIMS = Claims(
    promises={
        "survives-worker-death": Claim(made="promised", source="there"),
        "contains-the-blast": Claim(made="declined", source="here"),
        "closes-cleanly": Claim(made="declined", source="here"),
    }
)


@pytest.mark.parametrize(
    ("promise", "made"),
    [
        ("survives-worker-death", "promised"),
        ("contains-the-blast", "declined"),
        ("closes-cleanly", "declined"),
        ("restores-capacity", "undeclared"),
        ("returns-the-right-result", "implied"),
    ],
)
def test_a_pool_stands_to_a_promise_as_its_documentation_says(promise: str, made: Made) -> None:
    assert CLAIMS.made(promise) == made


@pytest.mark.parametrize("promise", PROMISES)
def test_a_pool_that_says_nothing_implies_six_promises_and_declares_no_other(promise: str) -> None:
    assert Claims().made(promise) == ("implied" if promise in IMPLIED else "undeclared")


@pytest.mark.parametrize(("detection_s", "patience_s"), [(0.1, 3), (1, 3), (2, 6)])
def test_an_operation_may_take_three_seconds_or_three_times_the_detection(
    detection_s: float, patience_s: float
) -> None:
    assert make_plan().resolution_s(Claims(detection_s=detection_s)) == patience_s


def test_a_load_lasts_as_long_as_its_steps() -> None:
    assert Load(steps=(Step(rate=1, seconds=2), Step(rate=0, seconds=0.5))).seconds == 2.5


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (KILL, "kill 1 worker (in-flight) at 1 s"),
        (STALL, "stall 1 worker (in-flight) at 1 s for 2 s"),
        (FaultSpec(kind="kill", count=2, at_s=0.5, coincide="idle"), "kill 2 workers (idle) at 0.5 s"),
        (FaultSpec(kind="kill", share=0.6, at_s=1), "kill 60% of the workers (in-flight) at 1 s"),
        (FaultSpec(kind="kill", target="parent", at_s=1), "kill the pool's own process (in-flight) at 1 s"),
    ],
)
def test_a_fault_is_told_in_a_few_words(fault: FaultSpec, words: str) -> None:
    assert fault.describe() == words
