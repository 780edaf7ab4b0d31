import io

import pytest
from rich.console import Console

from poolproof.checks import Verdict
from poolproof.checks.verdict import SHOWN
from poolproof.experiment import Proof, combine
from poolproof.plan import PROMISES, Claim, Claims
from poolproof.report import show_comparison, show_proof
from poolproof.report.advice import ADVICE
from poolproof.report.tables import LEGEND, MARKS
from tests.unit.histories import STALL, Story, promised
from tests.unit.report.proofs import proof

DECLINED = Claims(
    promises={name: Claim(made="declined", source="s") for name in ("restores-capacity", "types-every-error")}
)


def shown(*proofs: Proof) -> str:
    console = Console(file=io.StringIO(), width=240, force_terminal=False)
    if len(proofs) == 1:
        show_proof(proofs[0], console)
    else:
        show_comparison(list(proofs), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("kept", "✓ KEPT  some-pool: every promise that counts and was examined was kept"),
        ("broken", "✗ BROKEN  some-pool: broke restores-capacity"),
        ("unknown", "? UNKNOWN  some-pool: could not tell about restores-capacity"),
    ],
)
def test_the_first_line_tells_the_verdict(verdict: Verdict, words: str) -> None:
    first = next(line for line in shown(proof(verdict)).splitlines() if line.strip())
    assert first == f"{words}  (layer 2, workload scripted, seed 1)"


@pytest.mark.parametrize("verdict", ["kept", "broken", "unknown"])
def test_the_table_tells_every_promise(verdict: Verdict) -> None:
    lines = shown(proof(verdict)).splitlines()
    marks = dict.fromkeys(PROMISES, "– ") | {"restores-capacity": f"{MARKS[verdict]} promised"}
    for name in PROMISES:
        assert any(name in line and marks[name] in line for line in lines)


def test_the_marks_of_the_table_are_explained() -> None:
    assert LEGEND in shown(proof())


@pytest.mark.parametrize("verdict", ["broken", "unknown"])
def test_what_was_not_kept_is_told_with_its_evidence(verdict: Verdict) -> None:
    text = shown(proof(verdict))
    assert f"some-pool · restores-capacity: {verdict}" in text
    assert "[story] " in text


def test_what_was_kept_is_not_told_at_length() -> None:
    assert "some-pool · restores-capacity" not in shown(proof("kept"))


def test_a_broken_promise_that_does_not_count_says_so() -> None:
    story = Story.of(claims=Claims(), examines=("restores-capacity",)).capacity(4, 2)
    text = shown(combine([(story.history(), "")]))
    assert "restores-capacity: broken (undeclared: does not count)" in text


@pytest.mark.parametrize(("claims", "lines"), [(promised("types-every-error"), 5), (DECLINED, 2)])
def test_what_counts_is_told_at_greater_length_than_what_does_not(claims: Claims, lines: int) -> None:
    story = Story.of(claims=claims, examines=("types-every-error",)).fails(0.1).ops(SHOWN, 0.2)
    for number in range(SHOWN):
        story.fails(1.0 + number)
    told = shown(combine([(story.history(), "")])).splitlines()
    assert sum(line.startswith("  [story] ") for line in told) == lines


def test_a_broken_promise_is_told_with_what_mends_it() -> None:
    assert f"  To mend it: {ADVICE['restores-capacity']}\n" in shown(proof())


@pytest.mark.parametrize("claims", [Claims(), DECLINED])
def test_nobody_is_advised_to_mend_what_was_not_promised(claims: Claims) -> None:
    story = Story.of(claims=claims, examines=("restores-capacity",)).capacity(4, 2)
    assert "To mend it" not in shown(combine([(story.history(), "")]))


def test_what_could_not_be_told_is_nothing_to_mend() -> None:
    assert "To mend it" not in shown(proof("unknown"))


def test_a_moment_of_recovery_that_never_came_is_told_as_not_seen() -> None:
    assert "0 / not seen / not seen" in shown(proof())


def test_figures_of_too_few_samples_are_not_available() -> None:
    assert "n/a" in shown(proof())


def test_what_was_noticed_is_told() -> None:
    story = Story.of(STALL).op(0.9, 2.5).struck(11, 1.0, 3.0, held=(0,))
    assert "some-pool · story: worker pid 11 was stopped for 2.00 s" in shown(combine([(story.history(), "")]))


def test_a_generator_that_was_the_bottleneck_is_told() -> None:
    story = Story()
    for number in range(200):
        story.op(0.01 * number + 0.005, 0.005, due=0.01 * number)
    assert "some-pool · story: its times can't be judged: own lag p99 was 5.00 ms" in shown(
        combine([(story.history(), "")])
    )


def test_a_comparison_shows_the_targets_side_by_side() -> None:
    text = shown(proof(target="a-pool"), proof("kept", target="b-pool"))
    assert any("a-pool" in line and "b-pool" in line for line in text.splitlines())
    assert any("restores-capacity" in line and "✗" in line and "✓" in line for line in text.splitlines())


def test_a_comparison_tells_the_verdict_on_each_target_first() -> None:
    text = shown(proof(target="a-pool"), proof("kept", target="b-pool"))
    assert [line.split(":")[0] for line in text.splitlines() if line][:2] == ["✗ BROKEN  a-pool", "✓ KEPT  b-pool"]


def test_a_comparison_compares_figures_and_leaves_out_the_details() -> None:
    text = shown(proof(target="a-pool"), proof("kept", target="b-pool"))
    assert "Operations completed" in text
    assert "load and recovery" not in text


@pytest.mark.parametrize("name", ["[/red]", "[bold]x", "a [link=x]b"])
def test_a_strangers_names_are_shown_as_they_are(name: str) -> None:
    text = shown(proof("kept", target=name))
    assert text.count(name) == 6  # in the headline, over the promises, before the error, over three tables of figures


def test_the_errors_of_a_scenario_are_told_by_type_with_the_first_message_on_one_line() -> None:
    story = Story().fails(0.1, "m.E", message="no room\nat all").fails(0.2, "m.E", message="other").op(0.3)
    text = shown(combine([(story.history(), "")]))
    assert "some-pool · story: 2 operations ended with m.E: no room at all\n" in text


def test_evidence_with_brackets_is_shown_as_it_is() -> None:
    story = Story.of(examines=("types-every-error",)).fails(0.1, "m.E", message="[/bold] no")
    assert "m.E: [/bold] no" in shown(combine([(story.history(), "")]))
