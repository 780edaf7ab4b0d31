import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.experiment import SCENARIOS
from poolproof.experiment.scenarios import Ingredients
from poolproof.plan import IMPLIED, PROMISES, Claim, Claims, FaultSpec, Load, Made, Placed, Step, decode, encode
from tests.unit.histories import KILL, STALL, make_plan


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_plan_of_every_scenario_is_read_back_as_it_was_written(name: str) -> None:
    given = Ingredients(rate_per_s=100.0, seconds=4.0, arrivals="poisson", warm_up=8, workers=4)
    plan = msgspec.structs.replace(make_plan(), scenario=SCENARIOS[name](given))
    assert decode(encode(plan)) == plan


@given(st.floats(0, 1e3), st.floats(0.001, 1e4), st.integers(0, 1 << 62))
def test_the_numbers_of_a_plan_survive_writing(rate: float, seconds: float, seed: int) -> None:
    scenario = msgspec.structs.replace(make_plan().scenario, load=Load(steps=(Step(rate=rate, seconds=seconds),)))
    plan = msgspec.structs.replace(make_plan(), seed=seed, scenario=scenario, service_ms={"predict": seconds})
    assert decode(encode(plan)) == plan


def test_a_plan_is_written_for_people() -> None:
    assert b'\n  "workload": "scripted",\n' in encode(make_plan())


def test_a_plan_of_another_schema_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="schema 'poolproof/plan-0', expected 'poolproof/plan-3'"):
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
    assert make_plan().resolution_s(Claims(detection_s=detection_s), 0.0) == patience_s


@pytest.mark.parametrize(("detection_s", "start_s", "patience_s"), [(1, 0.5, 4), (1, 10, 23), (2, 0.5, 7)])
def test_an_operation_may_take_twice_as_long_as_the_pool_took_to_start_beside(
    detection_s: float, start_s: float, patience_s: float
) -> None:
    assert make_plan().resolution_s(Claims(detection_s=detection_s), start_s) == patience_s


@pytest.mark.parametrize(
    ("detection_s", "start_s", "bound_s"), [(1.0, 0.0, 4.0), (2.0, 0.0, 6.0), (1.0, 0.5, 5.0), (2.0, 0.5, 7.0)]
)
def test_a_close_may_take_its_bound_or_three_times_the_detection_and_twice_a_start(
    detection_s: float, start_s: float, bound_s: float
) -> None:
    assert make_plan().close_bound_s(Claims(detection_s=detection_s), start_s) == bound_s


@pytest.mark.parametrize(("start_s", "patience_s"), [(0.0, 5.0), (2.0, 5.0), (4.0, 8.0)])
def test_the_first_probe_may_take_a_quarter_of_an_opening_or_twice_a_start(start_s: float, patience_s: float) -> None:
    assert make_plan().first_probe_s(start_s) == patience_s


@pytest.mark.parametrize(("service_s", "count"), [(0.0, 10), (0.2, 10), (0.5, 4), (1.5, 2), (100.0, 2)])
def test_a_pool_is_closed_with_what_it_can_work_off_in_half_the_time_and_neither_little_nor_much(
    service_s: float, count: int
) -> None:
    assert make_plan().shutdown_operations(Claims(), 0.0, service_s) == count


def test_faults_may_take_as_long_as_they_last_and_are_hunted() -> None:
    assert make_plan(faults=(KILL, STALL)).scenario.fault_s == 1.5 + (2.0 + 1.5)


def test_a_load_lasts_as_long_as_its_steps() -> None:
    assert Load(steps=(Step(rate=1, seconds=2), Step(rate=0, seconds=0.5))).seconds == 2.5


def test_a_load_without_a_service_time_has_its_rates_in_operations_a_second() -> None:
    load = Load(steps=(Step(rate=30, seconds=2),))
    assert load.at_capacity(4) is load


def test_the_rates_of_a_load_with_a_service_time_are_multiples_of_what_the_pool_can_do() -> None:
    load = Load(steps=(Step(rate=0.5, seconds=1), Step(rate=3, seconds=2)), service_s=0.02)
    assert load.at_capacity(4).steps == (Step(rate=100, seconds=1), Step(rate=600, seconds=2))


def test_a_pool_of_twice_as_many_workers_is_offered_twice_as_much() -> None:
    load = Load(steps=(Step(rate=0.5, seconds=1),), service_s=0.1)
    assert [load.at_capacity(workers).steps[0].rate for workers in (1, 2, 8)] == [5, 10, 40]


def test_a_load_at_capacity_is_not_multiplied_again() -> None:
    once = Load(steps=(Step(rate=0.5, seconds=1),), service_s=0.1).at_capacity(4)
    assert once.at_capacity(4) == once


def test_a_load_at_capacity_is_else_what_it_was() -> None:
    load = Load(
        steps=(Step(rate=0.5, seconds=1),),
        service_s=0.1,
        arrivals="constant",
        sessions=3,
        burst=2,
        deadline_s=1.5,
        placed=(Placed(at_s=0.5, kind="odd", deadline_s=0.2),),
        warm_up=3,
    )
    at_capacity = load.at_capacity(2)
    assert msgspec.structs.replace(at_capacity, steps=load.steps, service_s=load.service_s) == load


@pytest.mark.parametrize(("own", "works_on"), [("", "scripted"), ("waits", "waits")])
def test_a_plan_works_on_the_workload_of_its_scenario_else_on_that_of_the_run(own: str, works_on: str) -> None:
    assert make_plan(workload=own).works_on == works_on


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
