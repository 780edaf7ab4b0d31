import pytest

from poolproof.checks import Evidence, Verdict
from poolproof.experiment import Proof, combine
from poolproof.history import Outcome
from poolproof.plan import PROMISES, Claim, Claims
from poolproof.report import tables
from poolproof.report.advice import ADVICE
from poolproof.report.tables import Cell, Story
from tests.unit import histories
from tests.unit.histories import KILL, STALL, promised
from tests.unit.report.proofs import proof


def proof_of(*stories: histories.Story) -> Proof:
    return combine([(story.history(), "") for story in stories])


def cells(grid: tables.Grid) -> list[list[str]]:
    return [[cell.text for cell in row] for row in grid.rows]


# --- the headline -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("kept", "every promise that counts and was examined was kept"),
        ("broken", "broke restores-capacity"),
        ("unknown", "could not tell about restores-capacity"),
    ],
)
def test_the_headline_tells_the_verdict(verdict: Verdict, words: str) -> None:
    assert tables.headline(proof(verdict)) == f"some-pool: {words}  (layer 2, workload scripted, seed 1)"


def test_the_headline_of_a_proof_of_nothing_could_not_tell_anything() -> None:
    assert "some-pool: could not tell about anything" in tables.headline(proof_of(histories.Story()))


def test_the_headline_tells_what_broke_without_counting_apart() -> None:
    story = histories.Story.of(examines=("restores-capacity", "types-every-error", "closes-cleanly")).fails(0.1)
    told = "some-pool: broke types-every-error; broken without counting: restores-capacity  ("
    assert told in tables.headline(proof_of(story.capacity(4, 2).closes()))


# --- promises -----------------------------------------------------------------------------------------------------


def test_the_promises_are_rows_and_the_targets_columns() -> None:
    grid = tables.promises([proof(target="a"), proof("kept", target="b")])
    assert grid.head == ("promise", "a", "b")
    assert [row[0] for row in cells(grid)] == list(PROMISES)


@pytest.mark.parametrize(("verdict", "mark"), [("kept", "✓"), ("broken", "✗"), ("unknown", "?")])
def test_a_promise_is_told_by_its_mark_and_by_how_it_was_made(verdict: Verdict, mark: str) -> None:
    (row,) = (row for row in tables.promises([proof(verdict)]).rows if row[0].text == "restores-capacity")
    assert row[1] == Cell(f"{mark} promised", verdict, aside=False)


def test_a_promise_that_was_not_examined_has_no_verdict() -> None:
    (row,) = (row for row in tables.promises([proof()]).rows if row[0].text == "closes-cleanly")
    assert row[1] == Cell("– implied", None, aside=False)


def test_a_promise_that_does_not_count_stands_back() -> None:
    rows = {row[0].text: row[1] for row in tables.promises([proof()]).rows}
    assert {name for name, cell in rows.items() if cell.aside} == {
        name for name in PROMISES if Claims().made(name) == "undeclared" and name != "restores-capacity"
    }


# --- figures ------------------------------------------------------------------------------------------------------


def test_figures_are_compared_scenario_by_scenario() -> None:
    one = proof_of(histories.Story.of(name="steady").ops(3, 0.1).fails(0.5), histories.Story.of(name="idle").op(0.1))
    other = proof_of(histories.Story.of(name="steady").hangs(0.1).watched(9))
    completed, *_ = tables.figures([one, other])
    assert cells(completed) == [["steady", "3 of 4", "0 of 1, 1 open"], ["idle", "1 of 1", "–"]]


def test_what_the_death_of_the_parent_left_open_is_not_counted() -> None:
    completed, *_ = tables.figures([proof_of(histories.Story.of(name="parent-death").hangs(0.1).watched(9))])
    assert cells(completed) == [["parent-death", "0 of 1"]]


def test_response_times_are_compared_where_there_are_any() -> None:
    _, response, _ = tables.figures([proof_of(histories.Story().ops(20, 0.1))])
    assert cells(response) == [["story", "100 / 100 / n/a"]]


def test_recovery_is_compared_where_there_was_a_fault() -> None:
    *_, recovery = tables.figures([proof(), proof(faults=False)])
    assert cells(recovery) == [["story", "0 / not seen / not seen", ""]]


def test_a_scenario_that_has_no_such_figure_for_anybody_is_left_out() -> None:
    other = proof_of(histories.Story.of(name="another").hangs(0.1))
    _, response, recovery = tables.figures([proof_of(histories.Story().hangs(0.1)), other])
    assert (response.rows, recovery.rows) == ((), ())


def test_a_scenario_that_was_not_run_for_a_target_stands_back_there() -> None:
    other = proof_of(histories.Story.of(name="another").op(0.1))
    completed, *_ = tables.figures([proof_of(histories.Story().op(0.1)), other])
    assert [[cell.aside for cell in row] for row in completed.rows] == [[False, False, True], [False, True, False]]


@pytest.mark.parametrize(("took", "told"), [(0.0994, "99.4"), (0.1004, "100"), (1.2346, "1235"), (0.0004, "0.4")])
def test_a_figure_has_a_decimal_below_a_hundred(took: float, told: str) -> None:
    (row,) = cells(tables.details(proof_of(histories.Story().ops(3, 0.1, took=took))))
    assert row[6] == told


def test_the_details_tell_every_scenario_with_its_verdict_and_figures() -> None:
    (row,) = tables.details(proof()).rows
    assert [cell.text for cell in row] == [
        *("story", "✗ broken", "21", "20", "1", "0", "100", "100", "n/a", "n/a", "0 / not seen / not seen")
    ]
    assert row[1].verdict == "broken"


def test_the_details_tell_a_scenario_that_was_skipped() -> None:
    odd = histories.Story.of(KILL, name="kill-one").struck(0, 1.0, effective="inapplicable")
    grid = tables.details(proof_of(histories.Story().op(0.1), odd))
    assert cells(grid)[-1][:2] == ["kill-one", "– does not apply"]
    assert {len(row) for row in grid.rows} == {len(grid.head)}


# --- stories ------------------------------------------------------------------------------------------------------


def test_what_was_kept_is_no_story() -> None:
    assert tables.stories([proof("kept")]) == ()


@pytest.mark.parametrize("verdict", ["broken", "unknown"])
def test_what_was_not_kept_is_a_story_with_its_evidence(verdict: Verdict) -> None:
    found = proof(verdict)
    assert tables.stories([found]) == (
        Story(
            target="some-pool",
            promises=("restores-capacity",),
            made=("promised",),
            verdict=verdict,
            evidence=found.promises["restores-capacity"].evidence,
        ),
    )


def examined(*promises: str, claims: Claims | None = None, target: str = "some-pool") -> Proof:
    """A proof of a run that was cut short, which leaves these promises untold for one reason."""
    story = histories.Story.of(examines=promises, claims=claims, target=target).op(0.1)
    return proof_of(story.event("void", 2.0, detail="why"))


def test_what_leaves_several_promises_untold_is_told_once() -> None:
    (story,) = tables.stories([examined("runs-at-most-once", "types-every-error")])
    assert story.promises == ("runs-at-most-once", "types-every-error")
    assert story.headline == "some-pool · runs-at-most-once, types-every-error: unknown"


def test_what_is_told_of_two_targets_is_told_twice() -> None:
    found = [examined("types-every-error", target=target) for target in ("a", "b")]
    assert [story.target for story in tables.stories(found)] == ["a", "b"]


def test_what_counts_is_told_apart_from_what_does_not() -> None:
    declined = Claims(promises={"types-every-error": Claim(made="declined", source="s")})
    one, other = tables.stories([examined("types-every-error", "runs-at-most-once", claims=declined)])
    assert (one.promises, one.counts) == (("runs-at-most-once",), True)
    assert (other.promises, other.counts) == (("types-every-error",), False)


def test_what_counts_is_told_first_and_what_is_broken_before_what_could_not_be_told() -> None:
    story = histories.Story.of(
        examines=("closes-cleanly", "types-every-error", "restores-capacity", "contains-the-blast"),
        claims=promised("restores-capacity"),
    )
    found = tables.stories([proof_of(story.fails(0.1).capacity(4, 2))])
    assert [(story.promises, story.verdict) for story in found] == [
        (("types-every-error",), "broken"),
        (("restores-capacity",), "broken"),
        (("closes-cleanly",), "unknown"),
        (("contains-the-blast",), "unknown"),
    ]


def a_story(*made: str, verdict: Verdict = "broken") -> Story:
    return Story("a-pool", ("serves-fairly", "sheds-overload")[: len(made)], made, verdict, ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "headline"),
    [
        (("promised",), "a-pool · serves-fairly: broken"),
        (("declined",), "a-pool · serves-fairly: broken (declined: does not count)"),
        (
            ("declined", "undeclared"),
            "a-pool · serves-fairly, sheds-overload: broken (declined, undeclared: does not count)",
        ),
        (
            ("undeclared", "undeclared"),
            "a-pool · serves-fairly, sheds-overload: broken (undeclared: does not count)",
        ),
    ],
)
def test_a_story_that_does_not_count_says_so(made: tuple[str, ...], headline: str) -> None:
    assert a_story(*made).headline == headline


def test_a_story_of_what_is_broken_advises_what_mends_it() -> None:
    assert a_story("promised", "promised").advice == f"{ADVICE['serves-fairly']} {ADVICE['sheds-overload']}"


def test_a_story_of_what_could_not_be_told_has_no_advice() -> None:
    assert a_story("promised", verdict="unknown").advice == ""


@pytest.mark.parametrize(
    ("most", "told"),
    [
        (1, "[a] a1, [a] a4, [b] b1, [b] b2"),
        (2, "[a] a1, [a] a2, [a] a4, [b] b1, [b] b2"),
        (3, "[a] a1, [a] a2, [a] a3, [a] a4, [b] b1, [b] b2"),
        (9, "[a] a1, [a] a2, [a] a3, [a] a4, [b] b1, [b] b2"),
    ],
)
def test_a_story_is_told_in_so_many_lines_a_scenario_and_its_sum(most: int, told: str) -> None:
    evidence = tuple(Evidence(text=text, scenario=text[0]) for text in ("a1", "a2", "a3", "a4", "b1", "b2"))
    story = Story("a-pool", ("serves-fairly",), ("implied",), "broken", (Evidence(text="in all"), *evidence))
    assert ", ".join(story.told(most)) == f"in all, {told}"


def test_there_is_advice_for_every_promise() -> None:
    assert tuple(ADVICE) == PROMISES


# --- what else was seen -------------------------------------------------------------------------------------------


def test_nothing_is_noticed_where_all_went_well() -> None:
    assert tables.notices(proof_of(histories.Story().op(0.1))) == []


def test_what_breaks_no_promise_is_noticed() -> None:
    story = histories.Story.of(STALL).op(0.9, 2.5).struck(11, 1.0, 3.0, held=(0,))
    ((where, text),) = tables.notices(proof_of(story))
    assert (where, "nobody noticed" in text) == ("story", True)


def test_why_times_can_not_be_judged_is_noticed() -> None:
    story = histories.Story()
    for number in range(200):
        story.op(0.01 * number + 0.005, 0.005, due=0.01 * number)
    ((where, text),) = tables.notices(proof_of(story))
    assert (where, text.startswith("its times can't be judged: own lag p99 was 5.00 ms")) == ("story", True)


def test_the_workload_and_what_was_skipped_are_noticed_first() -> None:
    odd = histories.Story.of(KILL, name="kill-one").struck(0, 1.0, effective="inapplicable")
    found = proof_of(histories.Story().op(0.1), odd)
    noticed = tables.notices(Proof(**{**{name: getattr(found, name) for name in found.__struct_fields__}, "note": "n"}))
    assert [where for where, _ in noticed] == ["workload", "kill-one"]
    assert noticed[0][1] == "n"
    assert noticed[1][1].startswith("does not apply: the pool works inside its own process")


def test_errors_are_told_on_one_line_each() -> None:
    story = histories.Story().fails(0.1, "m.E", message="no\n  room").fails(0.2, "m.E").fails(0.3, "m.F", message="")
    assert tables.errors(proof_of(story)) == [
        ("story", "2 operations ended with m.E: no room"),
        ("story", "1 operations ended with m.F: "),
    ]


def test_an_error_of_the_users_own_is_told_too() -> None:
    story = histories.Story().fails(0.1, "m.E", kind="raises", outcome=Outcome.USER_ERROR)
    assert tables.errors(proof_of(story)) == [("story", "1 operations ended with m.E: it failed")]
