import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.errors import UsageError
from poolproof.load import Shape, fault, hold, pause, ramp, replay, shapes, steps, users
from poolproof.plan import FaultSpec, Load, Placed, Step

RATES = st.integers(0, 1000).map(float)
LONG = st.integers(1, 100).map(float)
PARTS = st.one_of(st.builds(hold, RATES, LONG), st.builds(ramp, RATES, RATES, LONG), st.builds(pause, LONG))

TRACE = """at_s,kind,session,deadline_s,idempotent
0.5,predict,3,0.2,1
1,,,,
1.0,batch,0,,0
2.5,predict,,,
"""


def spec(shape: Shape) -> FaultSpec:
    (found,) = shape.faults
    return found


@pytest.fixture
def trace(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "trace.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


# --- single shapes ------------------------------------------------------------------------------------------------


def test_a_rate_is_held() -> None:
    assert hold(50, "2s") == Shape(steps=(Step(rate=50.0, seconds=2.0),))


def test_a_ramp_changes_its_rate() -> None:
    assert ramp(0, 100, "1m") == Shape(steps=(Step(rate=0.0, to=100.0, seconds=60.0),))


def test_a_pause_has_no_rate() -> None:
    assert pause("500ms") == Shape(steps=(Step(rate=0.0, seconds=0.5),))


def test_steps_hold_each_rate_equally_long() -> None:
    assert steps([10, 20, 5], "1s") == hold(10, "1s") >> hold(20, "1s") >> hold(5, "1s")


def test_users_are_of_the_closed_model() -> None:
    found = users(8, "5s", think="100ms")
    assert found == Shape(steps=(Step(rate=8.0, seconds=5.0),), model="closed", think_s=0.1)


def test_the_number_of_users_may_change() -> None:
    assert users(2, "5s", to=6).steps == (Step(rate=2.0, to=6.0, seconds=5.0),)


def test_users_may_have_but_so_many_turns() -> None:
    assert users(2, "5s", turns=7).load() == Load(steps=(Step(rate=2.0, seconds=5.0),), model="closed", turns=7)


def test_users_with_other_turns_can_not_be_composed() -> None:
    assert (users(2, "1s", turns=7) >> users(3, "1s", turns=7)).turns == 7
    with pytest.raises(UsageError, match="run two experiments"):
        users(2, "1s", turns=7) >> users(2, "1s")


def test_it_may_change_to_none() -> None:
    assert users(2, "5s", to=0).steps == (Step(rate=2.0, to=0.0, seconds=5.0),)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: hold(-1, "1s"), "hold: -1 is no rate: expected a number of 0 or more"),
        (lambda: ramp(10, -5, "1s"), "ramp(10, -5, …): -5 is no rate: expected a number of 0 or more"),
        (lambda: ramp(-10, 5, "1s"), "ramp(-10, 5, …): -10 is no rate: expected a number of 0 or more"),
        (lambda: users(-1, "1s"), "users(-1, …): -1 is no rate: expected a number of 0 or more"),
        (lambda: users(1, "1s", to=-1), "users(1, …): -1 is no rate: expected a number of 0 or more"),
        (lambda: steps([5, -5], "1s"), "hold: -5 is no rate: expected a number of 0 or more"),
        (lambda: hold(math.nan, "1s"), "hold: nan is no rate: expected a number of 0 or more"),
        (lambda: hold(math.inf, "1s"), "hold: inf is no rate: expected a number of 0 or more"),
        (lambda: hold(True, "1s"), "hold: True is no rate: expected a number of 0 or more"),
        (lambda: steps([], "1s"), "steps([], …): expected at least one rate"),
        (lambda: hold(5, 0), "hold(5, …): it lasts no time: expected a duration above 0"),
        (lambda: users(5, "0s"), "users(5, …): it lasts no time: expected a duration above 0"),
        (lambda: ramp(1, 2, 0), "ramp(1, 2, …): it lasts no time: expected a duration above 0"),
        (lambda: pause(0), "hold(0, …): it lasts no time: expected a duration above 0"),
        (lambda: hold(5, -1), "hold(5, …): -1 is no duration: expected seconds of 0 or more, or text such as '30s'"),
    ],
)
def test_a_shape_that_makes_no_sense_is_refused(make: Callable[[], Shape], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: hold(5, "soon"), r"hold\(5, …\): 'soon' is no duration"),
        (lambda: ramp(1, 2, "soon"), r"ramp\(1, 2, …\): 'soon' is no duration"),
        (lambda: users(5, "1s", think="soon"), r"users\(5, …\) think: 'soon' is no duration"),
        (lambda: fault("stall", lasting="soon"), r"fault\('stall'\): 'soon' is no duration"),
        (lambda: fault("kill", at="soon"), r"fault\('kill'\) at: 'soon' is no duration"),
        (lambda: hold(5, "1s").at("soon", fault("kill")), r"at: 'soon' is no duration"),
    ],
)
def test_a_duration_that_can_not_be_read_is_told_with_what_should_last_so_long(
    make: Callable[[], Shape], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        make()


# --- composed -------------------------------------------------------------------------------------------------------


@given(PARTS, PARTS, PARTS)
def test_composing_is_associative(one: Shape, two: Shape, three: Shape) -> None:
    assert (one >> two) >> three == one >> (two >> three)


@given(PARTS, PARTS)
def test_what_is_composed_lasts_and_offers_as_much_as_its_parts(one: Shape, other: Shape) -> None:
    both = one >> other
    assert (both.seconds, both.operations) == (one.seconds + other.seconds, one.operations + other.operations)


@given(PARTS, PARTS, st.integers(0, 100))
def test_what_follows_has_its_rates_later(one: Shape, other: Shape, moment: int) -> None:
    assert (one >> other).rate_at(one.seconds + moment) == other.rate_at(moment)


@given(PARTS, PARTS)
def test_what_comes_first_keeps_its_rates(one: Shape, other: Shape) -> None:
    assert (one >> other).rate_at(one.seconds / 2) == one.rate_at(one.seconds / 2)


def test_what_is_no_shape_can_not_be_composed() -> None:
    with pytest.raises(TypeError):
        hold(1, "1s") >> 3  # type: ignore[operator]


def test_faults_and_placed_operations_come_as_much_later() -> None:
    placed = Shape(steps=(Step(rate=0.0, seconds=1.0),), placed=(Placed(at_s=0.5),))
    both = hold(1, "2s") >> (placed >> fault("kill"))
    assert ([it.at_s for it in both.placed], [it.at_s for it in both.faults]) == ([2.5], [3.0])


def test_what_came_first_stays_where_it_was() -> None:
    one = Shape(steps=(Step(rate=0.0, seconds=1.0),), placed=(Placed(at_s=0.5),)).at(0.25, fault("kill"))
    both = one >> one
    assert ([it.at_s for it in both.placed], [it.at_s for it in both.faults]) == ([0.5, 1.5], [0.25, 1.25])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (hold(1, "1s"), users(1, "1s")),
        (users(1, "1s"), hold(1, "1s")),
        (users(1, "1s"), users(1, "1s", think="1s")),
    ],
)
def test_rates_and_users_or_users_who_think_differently_can_not_be_composed(one: Shape, other: Shape) -> None:
    with pytest.raises(UsageError, match=r"either of rates .* or of users who all think equally long: run two"):
        one >> other


@pytest.mark.parametrize("make", [lambda it: fault("kill") >> it, lambda it: it >> fault("kill")])
def test_a_fault_stands_among_users_as_well(make: Callable[[Shape], Shape]) -> None:
    found = make(users(3, "1s", think="10ms"))
    assert (found.model, found.think_s, len(found.faults)) == ("closed", 0.01, 1)


def test_faults_alone_can_be_composed() -> None:
    assert [it.kind for it in (fault("kill") >> fault("stall", lasting=1)).faults] == ["kill", "stall"]


# --- rates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("moment", "rate"), [(-0.1, 0), (0, 10), (1, 20), (1.999, 29.99), (2, 5), (4, 5), (5, 0)])
def test_a_shape_has_its_rate_at_each_moment(moment: float, rate: float) -> None:
    assert (ramp(10, 30, 2) >> hold(5, 3)).rate_at(moment) == pytest.approx(rate)


def test_a_shape_offers_the_integral_of_its_rates_and_what_is_placed() -> None:
    shape = ramp(0, 10, 2) >> hold(5, 3) >> Shape(steps=(), placed=(Placed(at_s=0.0), Placed(at_s=0.0)))
    assert shape.operations == 10 + 15 + 2


def test_how_much_users_offer_is_not_known_before() -> None:
    assert math.isnan(users(3, "1s").operations)


# --- compressed -----------------------------------------------------------------------------------------------------


@given(PARTS, PARTS, st.sampled_from([0.1, 0.5, 2.0]), st.integers(0, 200))
def test_a_compressed_shape_goes_through_the_same_rates(one: Shape, other: Shape, scale: float, moment: int) -> None:
    shape = one >> other
    inside = (moment + 0.5) * shape.seconds / 201
    assert shape.compressed(scale).rate_at(inside * scale) == pytest.approx(shape.rate_at(inside))


def test_every_moment_of_a_compressed_shape_is_scaled_and_what_faults_last() -> None:
    shape = (hold(1, 10) >> Shape(steps=(), placed=(Placed(at_s=0.0, deadline_s=1.0),))).at(
        4, fault("stall", lasting=2, patience_s=1.0)
    )
    small = shape.compressed(0.1)
    assert (small.seconds, small.placed) == (1.0, (Placed(at_s=1.0, deadline_s=1.0),))
    assert spec(small) == msgspec.structs.replace(spec(shape), at_s=0.4, for_s=0.2)


@pytest.mark.parametrize("scale", [0, -1, math.inf, math.nan])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(UsageError, match=r"^compressed\(.*\): expected a factor above 0, as 0.1"):
        hold(1, 1).compressed(scale)


# --- faults ---------------------------------------------------------------------------------------------------------


def test_a_fault_befalls_one_worker_where_nothing_else_is_said() -> None:
    assert spec(fault("kill")) == FaultSpec(kind="kill", at_s=0.0, count=1)


def test_a_fault_may_befall_a_share_or_a_number_of_workers() -> None:
    assert spec(fault("stall", share=0.5, lasting="2s")) == FaultSpec(kind="stall", at_s=0.0, share=0.5, for_s=2.0)
    assert spec(fault("kill", count=3)).count == 3


def test_a_fault_on_the_pool_befalls_no_worker() -> None:
    found = spec(fault("jump-clock", target="pool", amount=5.0))
    assert found == FaultSpec(kind="jump-clock", at_s=0.0, target="pool", amount=5.0)


def test_a_fault_lasts_no_time_of_the_shape() -> None:
    assert (fault("kill").seconds, fault("kill").steps) == (0, ())


def test_a_fault_may_come_some_time_after_where_it_stands() -> None:
    assert spec(hold(1, 2) >> fault("kill", at="500ms") >> hold(1, 2)).at_s == 2.5


def test_a_fault_that_stands_in_no_shape_comes_after_the_start_of_the_load() -> None:
    assert spec(fault("kill", at="1.5s")).at_s == 1.5


def test_a_fault_can_be_put_at_a_moment_of_a_shape() -> None:
    shape = hold(1, 4).at("1s", fault("kill"), fault("stall", lasting=1, at="500ms")).at("4s", fault("kill"))
    assert [it.at_s for it in shape.faults] == [1.0, 1.5, 4.0]
    assert shape.steps == hold(1, 4).steps


def test_a_moment_beyond_the_end_is_refused() -> None:
    with pytest.raises(UsageError, match=r"at\('5s'\): the shape is over after 4 s: name an earlier moment"):
        hold(1, 4).at("5s", fault("kill"))


@pytest.mark.parametrize("load", [hold(1, 1), Shape(steps=(), placed=(Placed(at_s=0.0),))])
def test_load_can_not_be_put_at_a_moment(load: Shape) -> None:
    with pytest.raises(UsageError, match=r"at\(1\): only what `fault` makes can be put there: compose shapes by >>"):
        hold(1, 4).at(1, load)


@pytest.mark.parametrize("name", ["worker", "at_s", "for_s"])
def test_a_term_that_no_fault_has_is_refused(name: str) -> None:
    term: Any = {name: 1}
    with pytest.raises(UsageError, match=rf"fault\('kill'\): unknown '{name}': expected at, lasting, amount, coincide"):
        fault("kill", **term)


def test_an_unknown_fault_is_refused() -> None:
    wrong: Any = "explode"
    with pytest.raises(UsageError, match=r"fault\('explode'\): unknown fault: expected one of kill, stall, slow"):
        fault(wrong)


def test_a_fault_that_can_not_befall_its_target_is_refused() -> None:
    with pytest.raises(UsageError, match=r"fault\('kill'\): target = 'pool': expected worker or parent or forkserver"):
        fault("kill", target="pool")


def test_every_other_term_of_a_fault_is_kept() -> None:
    found = spec(fault("delay", lasting=1, amount=0.2, toward="worker", coincide="any", patience_s=3.0))
    assert found == FaultSpec(
        kind="delay", at_s=0.0, count=1, for_s=1.0, amount=0.2, toward="worker", coincide="any", patience_s=3.0
    )


# --- loads and words ------------------------------------------------------------------------------------------------


def test_the_load_of_a_shape_has_its_steps_and_the_other_terms() -> None:
    shape = (hold(5, 1) >> Shape(steps=(), placed=(Placed(at_s=0.0),))).at(0, fault("kill"))
    assert shape.load(sessions=3) == Load(steps=(Step(rate=5.0, seconds=1.0),), placed=(Placed(at_s=1.0),), sessions=3)


def test_the_load_of_users_is_closed() -> None:
    assert users(3, 1, think=0.5).load() == Load(steps=(Step(rate=3.0, seconds=1.0),), model="closed", think_s=0.5)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        (hold(5, "1m"), "5/s for 60 s"),
        (ramp(0, 100, 2) >> hold(100, 3), "0 to 100/s over 2 s, then 100/s for 3 s"),
        (ramp(5, 0, 2), "5 to 0/s over 2 s"),
        (users(4, 2), "4 users for 2 s"),
        (users(4, 2, to=8), "4 to 8 users over 2 s"),
        (hold(5, 1) >> fault("kill"), "5/s for 1 s; kill 1 worker (in-flight) at 1 s"),
        (hold(5, 1) >> Shape(steps=(), placed=(Placed(at_s=0.0),) * 2), "5/s for 1 s, then 2 placed operations"),
    ],
)
def test_a_shape_is_described_in_a_few_words(shape: Shape, told: str) -> None:
    assert shape.describe() == told


# --- traces ---------------------------------------------------------------------------------------------------------


def test_the_operations_of_a_trace_are_placed_at_their_moments(trace: Callable[[str], Path]) -> None:
    assert replay(trace(TRACE)).placed == (
        Placed(at_s=0.5, kind="predict", session=3, deadline_s=0.2, idempotent=True),
        Placed(at_s=1.0),
        Placed(at_s=1.0, kind="batch", session=0),
        Placed(at_s=2.5, kind="predict"),
    )


def test_a_trace_lasts_until_its_last_operation_and_offers_nothing_else(trace: Callable[[str], Path]) -> None:
    found = replay(str(trace(TRACE)))
    assert (found.steps, found.operations) == ((Step(rate=0.0, seconds=2.5),), 4)


def test_a_trace_may_come_from_a_spreadsheet(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_bytes(b"\xef\xbb\xbfkind,at_s\r\n predict , 1.5 \r\n")
    assert replay(path).placed == (Placed(at_s=1.5, kind="predict"),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("at_s\n2\n1\n1.5\n3\n", ["line 3: at_s = 1 comes after 2: sort", "line 4: at_s = 1.5 comes after 2: sort"]),
        ("at_s,kind\n1,a\n,b\n  ,c\n2,d\n", ["line 3: at_s is missing", "line 4: at_s is missing"]),
        ("kind,at_s\npredict\n", ["line 2: at_s is missing"]),
        ("at_s\nsoon\n", ["line 2: at_s = 'soon' is no number"]),
        ("at_s\n-1\n", ["line 2: at_s = -1: expected a number of 0 or more"]),
        ("at_s\nnan\ninf\n", ["line 2: at_s = nan: expected a number", "line 3: at_s = inf: expected a number"]),
        ("at_s,session\n1,me\n", ["line 2: session = 'me' is no number"]),
        ("at_s,session\n1,-1\n", ["line 2: session = -1: expected a number of 0 or more"]),
        ("at_s,deadline_s\n1,late\n", ["line 2: deadline_s = 'late' is no number"]),
        ("at_s,idempotent\n1,yes\n", ["line 2: idempotent = 'yes' is no number"]),
        ("at_s,user\n1,me\n", ["unknown column 'user'"]),
        ("time,kind\n1,a\n", ["unknown column 'time'", "there is no column 'at_s'"]),
        ("", ["there is no column 'at_s'"]),
        ("at_s\n", ["it has no operation"]),
        ("at_s,session\n3,x\n,1\n2,1\n1,1\n", ["line 2: session", "line 3: at_s is missing", "line 5: at_s = 1 comes"]),
    ],
)
def test_all_that_is_wrong_with_a_trace_is_told_at_once_by_line(
    trace: Callable[[str], Path], text: str, told: list[str]
) -> None:
    path = trace(text)
    with pytest.raises(UsageError) as caught:
        replay(path)
    message = str(caught.value)
    assert message.startswith(f"the trace {path}: {told[0]}")
    assert message.endswith(" (columns: at_s, kind, session, deadline_s, idempotent)")
    assert [part for part in told if part not in message] == []
    assert message.count("; ") == len(told) - 1


def test_of_many_problems_the_first_ten_are_told(trace: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match=r"line 11: .*soon' is no number; and 3 more \(columns"):
        replay(trace("at_s\n" + "soon\n" * 13))


def test_ten_problems_are_all_told(trace: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match=r"line 11: at_s = 'soon' is no number \(columns"):
        replay(trace("at_s\n" + "soon\n" * 10))


def test_a_trace_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the trace .*nowhere.csv can't be read: .*No such file"):
        replay(tmp_path / "nowhere.csv")


def test_a_trace_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_bytes(b"at_s\n\xff\xfe\n")
    with pytest.raises(UsageError, match=r"the trace .* can't be read: .*decode"):
        replay(tmp_path / "trace.csv")


def test_a_trace_is_as_long_as_fits(trace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "LONGEST_TRACE", 3)
    assert replay(trace("at_s\n1\n2\n3\n")).operations == 3
    with pytest.raises(UsageError, match=r"line 5: it has more than 3 operations: replay a part of it \(columns"):
        replay(trace("at_s\n1\n2\n3\n4\n5\n"))
