from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.errors import UsageError
from poolproof.load import Schedule, mix_and_placed, payload_source, schedule, turns
from poolproof.plan import MAX_OPERATIONS, Kind, Load, Placed, Step


def kind(weight: float) -> Kind:
    return Kind(call=lambda payload, state: None, payload=lambda rng: None, weight=weight)


MIX = {"predict": kind(9), "batch": kind(1)}
WITH_PLACED = {**MIX, "odd": kind(0)}


def lay_out(*steps: tuple[float, float], seed: int = 1, **load: object) -> Schedule:
    made = {"steps": tuple(Step(rate=rate, seconds=seconds) for rate, seconds in steps), **load}
    return schedule(Load(**made), WITH_PLACED, seed)  # type: ignore[arg-type]


def assert_same(one: Schedule, other: Schedule) -> None:
    assert one.kinds == other.kinds
    for name in ("due_ns", "kind", "session", "session_seq", "deadline_ns"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def weights(*placed: str, beside: dict[str, Kind] | None = None) -> list[dict[str, float]]:
    """What the kinds of the mix weigh, and those that are placed."""
    load = Load(steps=(), placed=tuple(Placed(at_s=0.5, kind=name) for name in placed))
    return [
        {name: it.weight for name, it in kinds.items()} for kinds in mix_and_placed(load, WITH_PLACED, beside or {})
    ]


def test_the_mix_is_what_has_a_weight() -> None:
    assert weights() == [{"predict": 9, "batch": 1}, {}]


def test_what_is_only_placed_has_no_weight() -> None:
    assert weights("odd", "strange", beside={"strange": kind(5), "unwanted": kind(1)}) == [
        {"predict": 9, "batch": 1},
        {"odd": 0, "strange": 0},
    ]


def test_what_is_placed_of_the_mix_stays_in_it() -> None:
    assert weights("batch") == [{"predict": 9, "batch": 1}, {}]


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_the_same_seed_gives_the_same_schedule(arrivals: str) -> None:
    one, other = (lay_out((200, 2), sessions=5, arrivals=arrivals) for _ in range(2))
    assert_same(one, other)


def test_another_seed_gives_other_moments() -> None:
    assert lay_out((200, 2), seed=1).due_ns.tolist() != lay_out((200, 2), seed=2).due_ns.tolist()


def test_another_seed_gives_other_kinds() -> None:
    one, other = (lay_out((200, 2), seed=seed, arrivals="constant") for seed in (1, 2))
    assert one.kind.tolist() != other.kind.tolist()


def test_constant_arrivals_are_evenly_spaced_from_half_a_gap_on() -> None:
    found = lay_out((100, 0.05), arrivals="constant")
    assert found.due_ns.tolist() == [5_000_000, 15_000_000, 25_000_000, 35_000_000, 45_000_000]


def test_poisson_arrivals_come_as_often_as_their_rate_says() -> None:
    counts = [len(lay_out((50, 2), seed=seed)) for seed in range(400)]
    # 400 draws of a mean of 100: the mean of them lies within 4 of its standard errors (0.5), their variance near 100.
    assert abs(np.mean(counts) - 100) < 2
    assert 75 < np.var(counts) < 130


def test_poisson_arrivals_have_gaps_that_vary_as_much_as_they_are_long() -> None:
    gaps = np.diff(lay_out((2000, 10)).due_ns)
    assert 0.95 < gaps.std() / gaps.mean() < 1.05


@given(st.integers(0, 10_000), st.sampled_from(["constant", "poisson"]))
def test_operations_are_due_in_order_and_within_the_window(seed: int, arrivals: str) -> None:
    found = lay_out((100, 0.5), (400, 0.5), seed=seed, arrivals=arrivals)
    assert np.all(np.diff(found.due_ns) >= 0)
    assert np.all((found.due_ns >= 0) & (found.due_ns < 1_000_000_000))


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_nothing_is_due_in_a_pause(arrivals: str) -> None:
    due = lay_out((100, 1), (0, 1), (100, 1), arrivals=arrivals).due_ns / 1e9
    assert not np.any((due > 1) & (due < 2))
    assert np.any(due < 1)
    assert np.any(due > 2)


def test_each_step_has_its_own_rate() -> None:
    due = lay_out((10, 1), (40, 1), arrivals="constant").due_ns / 1e9
    assert [int(np.count_nonzero(due < 1)), int(np.count_nonzero(due >= 1))] == [10, 40]


@pytest.mark.parametrize(("rate", "to", "early"), [(0, 200, 50), (200, 0, 150), (50, 150, 75), (100, 100, 100)])
def test_a_rate_that_changes_does_so_evenly(rate: float, to: float, early: int) -> None:
    load = Load(steps=(Step(rate=rate, seconds=2, to=to),), arrivals="constant")
    due = schedule(load, WITH_PLACED, 1).due_ns
    assert (len(due), int(np.count_nonzero(due < 1_000_000_000))) == (200, early)


def test_a_load_of_nothing_has_no_operations() -> None:
    assert len(lay_out((0, 0))) == 0


def test_what_is_placed_is_due_at_its_moment() -> None:
    found = lay_out((10, 1), arrivals="constant", placed=(Placed(at_s=0.5, kind="odd"),))
    (place,) = np.flatnonzero(found.kind == found.kinds.index("odd"))
    assert found.due_ns[place] == 500_000_000


def test_what_is_placed_leaves_the_schedule_in_order() -> None:
    found = lay_out((10, 1), arrivals="constant", placed=(Placed(at_s=0.9, kind="odd"), Placed(at_s=0.1, kind="odd")))
    assert np.all(np.diff(found.due_ns) >= 0)


def test_what_is_placed_does_not_come_in_the_mix() -> None:
    found = lay_out((1000, 2))
    assert not np.any(found.kind == found.kinds.index("odd"))


def test_what_is_placed_does_not_reshuffle_the_rest() -> None:
    plain, with_placed = lay_out((100, 1)), lay_out((100, 1), placed=(Placed(at_s=0.5, kind="odd"),))
    ordinary = with_placed.kind != with_placed.kinds.index("odd")
    assert with_placed.due_ns[ordinary].tolist() == plain.due_ns.tolist()
    assert with_placed.kind[ordinary].tolist() == plain.kind.tolist()


def test_kinds_come_as_often_as_their_weights_say() -> None:
    found = lay_out((10_000, 1), arrivals="constant")
    # 10,000 draws of one in ten: 4 standard deviations are 120.
    assert abs(np.count_nonzero(found.kind == 1) - 1000) < 120


def test_no_sessions_means_none_for_each_operation() -> None:
    found = lay_out((100, 1))
    assert (set(found.session.tolist()), set(found.session_seq.tolist())) == ({-1}, {-1})


def test_operations_are_spread_over_all_sessions() -> None:
    assert set(lay_out((500, 1), sessions=4).session.tolist()) == {0, 1, 2, 3}


@given(st.integers(0, 1000), st.integers(1, 6))
def test_the_operations_of_a_session_are_numbered_as_they_are_due(seed: int, sessions: int) -> None:
    found = lay_out((100, 1), seed=seed, sessions=sessions)
    for session in range(sessions):
        mine = found.session_seq[found.session == session]
        assert mine.tolist() == list(range(len(mine)))


def test_adding_sessions_does_not_reshuffle_arrivals_and_kinds() -> None:
    plain, with_sessions = lay_out((200, 1)), lay_out((200, 1), sessions=7)
    assert with_sessions.due_ns.tolist() == plain.due_ns.tolist()
    assert with_sessions.kind.tolist() == plain.kind.tolist()


# --- bursts -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.integers(1, 7), st.sampled_from(["constant", "poisson"]))
def test_each_burst_is_due_at_one_moment_and_belongs_to_one_session(seed: int, burst: int, arrivals: str) -> None:
    found = lay_out((120, 0.5), (40, 0.5), seed=seed, arrivals=arrivals, sessions=5, burst=burst)
    for first in range(0, len(found), burst):
        of_one = slice(first, first + burst)
        assert len(set(zip(found.due_ns[of_one].tolist(), found.session[of_one].tolist(), strict=True))) == 1


@given(st.integers(0, 1000), st.integers(1, 7), st.sampled_from(["constant", "poisson"]))
def test_a_burst_is_due_when_its_first_operation_would_have_been(seed: int, burst: int, arrivals: str) -> None:
    single, found = (lay_out((100, 1), seed=seed, arrivals=arrivals, burst=size) for size in (1, burst))
    assert found.due_ns[::burst].tolist() == single.due_ns[::burst].tolist()


@given(st.integers(0, 1000), st.integers(1, 7))
def test_bursts_change_neither_how_many_operations_there_are_nor_their_kinds(seed: int, burst: int) -> None:
    single, found = (lay_out((100, 1), seed=seed, burst=size) for size in (1, burst))
    assert found.kind.tolist() == single.kind.tolist()


@given(st.integers(0, 1000), st.integers(1, 7), st.integers(1, 6))
def test_the_operations_of_a_session_are_numbered_through_its_bursts(seed: int, burst: int, sessions: int) -> None:
    found = lay_out((100, 1), seed=seed, sessions=sessions, burst=burst)
    for session in range(sessions):
        mine = found.session_seq[found.session == session]
        assert mine.tolist() == list(range(len(mine)))


def test_bursts_are_spread_over_all_sessions() -> None:
    assert set(lay_out((500, 1), sessions=4, burst=3).session.tolist()) == {0, 1, 2, 3}


def test_operations_come_alone_where_nothing_else_was_asked_for() -> None:
    assert len(set(lay_out((100, 1), arrivals="constant").due_ns.tolist())) == 100


# --- deadlines ----------------------------------------------------------------------------------------------------


def test_an_operation_has_no_deadline_where_none_was_asked_for() -> None:
    found = lay_out((100, 1), placed=(Placed(at_s=0.5, kind="odd"),))
    assert set(found.deadline_ns.tolist()) == {0}


def test_every_operation_of_the_mix_has_the_same_deadline() -> None:
    assert set(lay_out((100, 1), deadline_s=0.25).deadline_ns.tolist()) == {250_000_000}


@pytest.mark.parametrize("of_the_mix", [0.0, 0.25])
def test_what_is_placed_has_a_deadline_of_its_own(of_the_mix: float) -> None:
    placed = (Placed(at_s=0.9, kind="odd", deadline_s=0.1), Placed(at_s=0.2, kind="odd"))
    found = lay_out((100, 1), arrivals="constant", deadline_s=of_the_mix, placed=placed)
    odd = found.kind == found.kinds.index("odd")
    assert found.deadline_ns[odd].tolist() == [0, 100_000_000]
    assert set(found.deadline_ns[~odd].tolist()) == {round(of_the_mix * 1e9)}


def test_a_share_of_the_mix_has_a_deadline() -> None:
    deadlines = lay_out((1000, 4), deadline_s=0.5, deadline_share=0.25).deadline_ns
    assert set(deadlines.tolist()) == {0, 500_000_000}
    assert np.count_nonzero(deadlines) == pytest.approx(1000, rel=0.15)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.25, 1000), (1.0, 4000)])
def test_a_share_of_the_mix_is_idempotent(share: float, expected: int) -> None:
    found = lay_out((1000, 4), arrivals="constant", idempotent=share).idempotent
    assert np.count_nonzero(found) == pytest.approx(expected, rel=0.15)


def test_what_is_placed_is_idempotent_where_it_says_so() -> None:
    placed = (Placed(at_s=0.1, kind="odd", idempotent=True), Placed(at_s=0.2, kind="odd"))
    assert lay_out((0, 1), placed=placed, idempotent=1.0).idempotent.tolist() == [1, 0]


def test_deadlines_reshuffle_nothing() -> None:
    plain, with_deadlines = lay_out((100, 1), sessions=3), lay_out((100, 1), sessions=3, deadline_s=1.0)
    assert with_deadlines.due_ns.tolist() == plain.due_ns.tolist()
    assert with_deadlines.kind.tolist() == plain.kind.tolist()
    assert with_deadlines.session.tolist() == plain.session.tolist()


def test_a_schedule_is_as_long_as_its_operations() -> None:
    assert len(lay_out((100, 1), arrivals="constant")) == 100


def test_changing_the_arrivals_does_not_reshuffle_kinds_and_sessions() -> None:
    one = lay_out((300, 1), sessions=7, arrivals="constant")
    other = lay_out((300, 1), sessions=7, arrivals="poisson")
    count = min(len(one), len(other))
    assert one.kind[:count].tolist() == other.kind[:count].tolist()
    assert one.session[:count].tolist() == other.session[:count].tolist()


def test_more_operations_than_fit_are_refused_before_any_is_laid_out() -> None:
    with pytest.raises(UsageError, match=r"has about 20,000,001 operations, the most is 20,000,000: lower the rate"):
        lay_out((MAX_OPERATIONS, 1), (1, 1))


def test_payloads_come_from_the_seed() -> None:
    assert payload_source(1).random() == payload_source(1).random() != payload_source(2).random()


# --- the mix of a load --------------------------------------------------------------------------------------------


def test_the_mix_of_a_load_takes_the_place_of_the_workloads_own() -> None:
    load = Load(steps=(), mix={"batch": 5.0, "odd": 2.0, "predict": 0.0})
    mix, placed = mix_and_placed(load, WITH_PLACED)
    assert ({name: it.weight for name, it in mix.items()}, placed) == ({"batch": 5.0, "odd": 2.0}, {})


def test_what_is_placed_may_be_of_a_kind_that_the_mix_leaves_out() -> None:
    load = Load(steps=(), mix={"batch": 5.0}, placed=(Placed(at_s=0.0, kind="predict"), Placed(at_s=0.0)))
    mix, placed = mix_and_placed(load, WITH_PLACED)
    assert ([*mix], {name: it.weight for name, it in placed.items()}) == (["batch"], {"predict": 0})


@pytest.mark.parametrize(
    "load",
    [
        Load(steps=(), mix={"guess": 1.0, "predict": 1.0}),
        Load(steps=(), placed=(Placed(at_s=0.0, kind="predict"), Placed(at_s=0.0, kind="guess"))),
    ],
)
def test_a_kind_that_the_workload_does_not_have_is_refused(load: Load) -> None:
    told = r"^the load has operations of the kind 'guess': the workload has predict, batch, odd$"
    with pytest.raises(UsageError, match=told):
        mix_and_placed(load, WITH_PLACED)


@pytest.mark.parametrize("name", ["strange", ""])
def test_what_may_only_be_placed_can_not_be_in_the_mix(name: str) -> None:
    with pytest.raises(UsageError, match=f"the load has operations of the kind '{name}'"):
        mix_and_placed(Load(steps=(), mix={name: 1.0}), WITH_PLACED, {"strange": kind(0)})


def test_what_is_placed_without_a_kind_is_drawn_from_the_mix() -> None:
    placed = tuple(Placed(at_s=number / 4000) for number in range(4000))
    found = lay_out((0, 1), placed=placed)
    # 4,000 draws of one in ten: 4 standard deviations are 76.
    assert abs(np.count_nonzero(found.kind == 1) - 400) < 76
    assert not np.any(found.kind == found.kinds.index("odd"))


def test_what_is_placed_with_a_kind_keeps_it_beside_others_that_are_drawn() -> None:
    placed = tuple(Placed(at_s=number / 100, kind="odd" if number % 2 else "") for number in range(100))
    found = lay_out((0, 1), placed=placed)
    odd = found.kind == found.kinds.index("odd")
    assert (set(odd[1::2].tolist()), set(odd[::2].tolist())) == ({True}, {False})


def test_drawing_kinds_for_what_is_placed_reshuffles_no_others() -> None:
    plain, with_placed = lay_out((100, 1)), lay_out((100, 1), placed=(Placed(at_s=2.0),))
    assert with_placed.kind[:-1].tolist() == plain.kind.tolist()


def test_what_is_placed_is_drawn_by_a_stream_of_its_own() -> None:
    placed = tuple(Placed(at_s=2.0) for _ in range(200))
    found = lay_out((200, 1), arrivals="constant", placed=placed)
    assert found.kind[:200].tolist() != found.kind[200:].tolist()


def test_what_is_placed_belongs_to_the_session_that_it_names() -> None:
    placed = (Placed(at_s=0.1, session=7), Placed(at_s=0.2), Placed(at_s=0.3, session=7))
    found = lay_out((0, 1), placed=placed)
    assert (found.session.tolist(), found.session_seq.tolist()) == ([7, -1, 7], [0, -1, 1])


def test_what_placed_operations_obey_is_told_by_their_row() -> None:
    placed = (Placed(at_s=0.9, kind="odd", command=("wait", 2)), Placed(at_s=0.1), Placed(at_s=0.05, command=("x",)))
    found = lay_out((4, 1), arrivals="constant", placed=placed)
    # Due at 0.05, 0.1, 0.125, 0.375, 0.625, 0.875 and 0.9.
    assert dict(found.commands) == {0: ("x",), 6: ("wait", 2)}


# --- popularity -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew", [0.0, 0.5, 1.0, 2.0])
def test_sessions_are_as_popular_as_zipf_says(skew: float) -> None:
    found = lay_out((20_000, 1), arrivals="constant", sessions=5, skew=skew)
    shares = np.arange(1, 6) ** -skew
    expected = shares / shares.sum()
    # 20,000 draws: 4 standard errors are 0.014 at most.
    assert np.abs(np.bincount(found.session, minlength=5) / 20_000 - expected).max() < 0.014


@given(st.integers(0, 1000), st.integers(1, 50), st.sampled_from([0.0, 0.3, 1.0, 5.0]))
def test_every_session_that_is_drawn_is_one_of_them(seed: int, sessions: int, skew: float) -> None:
    found = lay_out((200, 1), seed=seed, sessions=sessions, skew=skew)
    assert np.all((found.session >= 0) & (found.session < sessions))


def test_a_popularity_changes_neither_moments_nor_kinds() -> None:
    plain, skewed = lay_out((200, 1), sessions=7), lay_out((200, 1), sessions=7, skew=1.0)
    assert skewed.due_ns.tolist() == plain.due_ns.tolist()
    assert skewed.kind.tolist() == plain.kind.tolist()


# --- the closed model -------------------------------------------------------------------------------------------------


def test_nothing_of_the_closed_model_has_a_moment_before() -> None:
    assert len(lay_out((100, 1), model="closed")) == 0


def test_many_users_for_long_are_no_more_operations_than_fit() -> None:
    assert len(lay_out((MAX_OPERATIONS, 10), model="closed")) == 0


def test_the_turns_of_users_are_as_many_as_asked_for_and_due_at_no_moment() -> None:
    found = turns(Load(steps=(Step(rate=3, seconds=1),), model="closed"), MIX, 1, 50)
    assert found.due_ns.tolist() == [0] * 50


def test_the_turns_of_users_have_kinds_sessions_and_deadlines_as_any_load() -> None:
    terms: dict[str, Any] = {"sessions": 4, "skew": 1.0, "deadline_s": 0.2, "idempotent": 1.0}
    found = turns(Load(steps=(Step(rate=3, seconds=1),), model="closed", **terms), MIX, 1, 300)
    open_load = lay_out((300, 1), arrivals="constant", **terms)
    for name in ("kind", "session", "session_seq", "deadline_ns", "idempotent"):
        np.testing.assert_array_equal(getattr(found, name), getattr(open_load, name))


def test_more_turns_begin_with_the_same_ones() -> None:
    load = Load(steps=(Step(rate=3, seconds=1),), model="closed", sessions=4)
    few, many = (turns(load, MIX, 1, count) for count in (50, 80))
    assert many.kind[:50].tolist() == few.kind.tolist()
    assert many.session[:50].tolist() == few.session.tolist()


def test_nothing_is_placed_among_turns() -> None:
    load = Load(steps=(Step(rate=3, seconds=1),), placed=(Placed(at_s=0.5),))
    assert len(turns(load, MIX, 1, 10)) == 10
