from itertools import pairwise
from pathlib import Path

import pytest

from poolproof.checks import Verdict
from poolproof.errors import UsageError
from poolproof.experiment import combine
from poolproof.plan import PROMISES
from poolproof.report import as_markdown, write_markdown
from poolproof.report.advice import ADVICE
from poolproof.report.tables import LEGEND
from tests.unit.histories import KILL, Story
from tests.unit.report.proofs import proof


@pytest.mark.parametrize(("verdict", "mark"), [("kept", "✓"), ("broken", "✗"), ("unknown", "?")])
def test_it_begins_with_the_verdict_on_each_target(verdict: Verdict, mark: str) -> None:
    title, _, first, second, *_ = as_markdown([proof(verdict, target="a"), proof(verdict, target="b")]).splitlines()
    assert title == "# poolproof"
    assert first.startswith(f"- **{mark} {verdict}** a: ")
    assert second.startswith(f"- **{mark} {verdict}** b: ")


def test_its_tables_have_as_many_cells_in_every_row() -> None:
    rows = [line for line in as_markdown([proof(target="a"), proof(target="b")]).splitlines() if line[:1] == "|"]
    assert rows
    assert {row.count("|") for row in rows} == {4}


def test_its_tables_have_a_row_for_every_promise() -> None:
    lines = as_markdown([proof()]).splitlines()
    assert [line.split(" | ")[0] for line in lines if any(f" {name} " in line[:30] for name in PROMISES)] == [
        f"| {name}" for name in PROMISES
    ]


def test_what_begins_a_part_stands_apart_from_the_one_before() -> None:
    lines = as_markdown([proof(), proof("unknown")]).splitlines()
    assert all(not before for before, line in pairwise(lines) if line.startswith("#") or line[:2] == "*T")
    assert all(before[:1] in ("", "|") for before, line in pairwise(lines) if line.startswith("|"))
    assert all(after[:1] in ("", "|") for line, after in pairwise(lines) if line.startswith("|"))
    assert (lines[-2], lines[-1][:7]) == ("", "python:")


def test_it_explains_its_marks() -> None:
    assert f"\n{LEGEND}\n" in as_markdown([proof()])


def test_it_tells_what_was_broken_with_its_evidence_and_what_mends_it() -> None:
    text = as_markdown([proof()])
    assert "### some-pool · restores-capacity: broken\n" in text
    assert "- \\[story] 4 operations ran at once before the load, 2 after it (best of three)" in text
    assert f"*To mend it: {ADVICE['restores-capacity']}*" in text


def test_it_advises_nobody_to_mend_what_was_not_promised() -> None:
    text = as_markdown([combine([(Story.of(examines=("restores-capacity",)).capacity(4, 2).history(), "")])])
    assert "restores-capacity: broken (undeclared: does not count)" in text
    assert "To mend it" not in text


def test_it_tells_what_else_was_seen() -> None:
    odd = Story.of(KILL, name="kill-one").struck(0, 1.0, effective="inapplicable")
    text = as_markdown([combine([(Story().fails(0.1, "m.E").history(), ""), (odd.history(), "")])])
    assert "## Also seen: some-pool\n" in text
    assert "- kill-one: does not apply: the pool works inside its own process" in text
    assert "- story: 1 operations ended with m.E: it failed" in text


def test_it_says_nothing_of_what_was_not_seen() -> None:
    assert "Also seen" not in as_markdown([combine([(Story().op(0.1).history(), "")])])


def test_it_ends_with_the_machine() -> None:
    assert as_markdown([proof()]).endswith("\npython: CPython\n")


@pytest.mark.parametrize("name", ["*x*", "a_b_c", "`x`", "<b>x", "[x](http://y)", "a\\b", "a|b"])
def test_what_came_from_outside_is_no_markup(name: str) -> None:
    escaped = name
    for special in "\\`*_<[|":
        escaped = escaped.replace(special, f"\\{special}")
    text = as_markdown([proof(target=name)])
    assert f"{escaped}: broke " in text
    assert f"| promise | {escaped} |" in text


def test_evidence_with_line_ends_stays_on_its_line() -> None:
    story = Story.of(examines=("types-every-error",)).fails(0.1, "m.E", message="# no <b>room</b>")
    text = as_markdown([combine([(story.history(), "")])])
    assert "failed with m.E: # no \\<b>room\\</b>, which" in text


def test_it_is_written_beside_the_runs(tmp_path: Path) -> None:
    page = write_markdown([proof()], tmp_path)
    assert (page, page.read_text(encoding="utf-8")) == (tmp_path / "report.md", as_markdown([proof()]))


def test_one_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the report can't be written to .*report.md: No such file"):
        write_markdown([proof()], tmp_path / "none")
