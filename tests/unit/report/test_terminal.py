import io

import pytest
from rich.console import Console

from poolproof.checks import Verdict
from poolproof.experiment import Proof, combine
from poolproof.plan import PROMISES, Claims
from poolproof.report import show_comparison, show_proof
from poolproof.report.terminal import headline
from tests.unit.histories import STALL, Story
from tests.unit.report.proofs import proof


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
        ("kept", "✓ KEPT  some-pool: every promise that counts was kept"),
        ("broken", "✗ BROKEN  some-pool: broke restores-capacity"),
        ("unknown", "? UNKNOWN  some-pool: could not tell about restores-capacity"),
    ],
)
def test_the_headline_tells_the_verdict(verdict: Verdict, words: str) -> None:
    assert headline(proof(verdict)).plain == f"{words}  (layer 2, workload scripted, seed 1)"


def test_the_headline_of_a_proof_of_nothing_could_not_tell_anything() -> None:
    nothing = combine([(Story().history(), "")])
    assert "could not tell about anything" in headline(nothing).plain


@pytest.mark.parametrize("verdict", ["kept", "broken", "unknown"])
def test_the_table_tells_every_promise(verdict: Verdict) -> None:
    lines = shown(proof(verdict)).splitlines()
    for name in PROMISES:
        assert any(name in line and ("not examined" in line or verdict in line) for line in lines)


@pytest.mark.parametrize("verdict", ["broken", "unknown"])
def test_what_was_not_kept_is_told_with_its_evidence(verdict: Verdict) -> None:
    text = shown(proof(verdict))
    assert f"some-pool · restores-capacity: {verdict}" in text
    assert "[story] " in text


def test_what_was_kept_is_not_told_at_length() -> None:
    assert "some-pool · restores-capacity" not in shown(proof("kept"))


def test_a_broken_promise_that_does_not_count_says_so() -> None:
    story = Story.of(claims=Claims(), examines=("restores-capacity",)).capacity(4, 2)
    assert "restores-capacity: broken, undeclared: it does not count" in shown(combine([(story.history(), "")]))


def test_a_moment_of_recovery_that_never_came_is_told_as_never() -> None:
    assert "never" in shown(proof())


def test_figures_of_too_few_samples_are_not_available() -> None:
    assert "n/a" in shown(proof())


def test_what_was_noticed_is_told() -> None:
    story = Story.of(STALL).op(0.9, 2.5).struck(11, 1.0, 3.0, held=(0,))
    assert "noticed in story" in shown(combine([(story.history(), "")]))


def test_a_generator_that_was_the_bottleneck_is_told() -> None:
    story = Story()
    for number in range(200):
        story.op(0.01 * number + 0.005, 0.005, due=0.01 * number)
    assert "its times can't be judged, own lag p99 was 5.00 ms" in shown(combine([(story.history(), "")]))


def test_a_comparison_shows_the_targets_side_by_side() -> None:
    text = shown(proof(target="a-pool"), proof("kept", target="b-pool"))
    assert any("a-pool" in line and "b-pool" in line for line in text.splitlines())


@pytest.mark.parametrize("name", ["[/red]", "[bold]x", "a [link=x]b"])
def test_a_strangers_names_are_shown_as_they_are(name: str) -> None:
    text = shown(proof("kept", target=name))
    assert text.count(name) == 4  # in the headline, in the table of promises, over that of figures, before the error


def test_the_errors_of_a_scenario_are_told_by_type_with_the_first_line_of_the_first_message() -> None:
    story = Story().fails(0.1, "m.E", message="no room\nat all").fails(0.2, "m.E", message="other").op(0.3)
    text = shown(combine([(story.history(), "")]))
    assert "story: 2 operations ended with m.E: no room\n" in text


def test_evidence_with_brackets_is_shown_as_it_is() -> None:
    story = Story.of(examines=("types-every-error",)).fails(0.1, "m.E", message="[/bold] no")
    assert "m.E: [/bold] no" in shown(combine([(story.history(), "")]))
