from html.parser import HTMLParser
from pathlib import Path

import pytest

from poolproof.checks import Verdict
from poolproof.errors import UsageError
from poolproof.experiment import combine
from poolproof.report import write_page
from tests.unit.histories import STALL, Story
from tests.unit.report.proofs import proof


class Tags(HTMLParser):
    """Which elements a page has, and whether each is closed in order."""

    VOID = frozenset({"meta", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("verdict", ["kept", "broken", "unknown"])
@pytest.mark.parametrize("faults", [True, False])
def test_a_page_is_well_formed(verdict: Verdict, faults: bool, tmp_path: Path) -> None:
    tags = Tags()
    tags.feed(write_page([proof(verdict, faults=faults)], tmp_path).read_text())
    assert tags.open == []


def test_it_is_the_index_of_its_folder(tmp_path: Path) -> None:
    assert write_page([proof()], tmp_path) == tmp_path / "index.html"


def test_it_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = write_page([proof()], tmp_path).read_text()
    assert "http" not in page
    assert not {"script", "link", "img", "iframe"} & {*_tags(page)}


def _tags(page: str) -> list[str]:
    tags = Tags()
    tags.feed(page)
    return tags.seen


def test_it_tells_targets_promises_and_evidence(tmp_path: Path) -> None:
    page = write_page([proof(target="one-pool"), proof("kept", target="other-pool")], tmp_path).read_text()
    for words in ("one-pool", "other-pool", "restores-capacity: broken", "4 operations ran at once before the load"):
        assert words in page


def test_it_tells_of_a_moment_that_never_came(tmp_path: Path) -> None:
    assert ">0 / not seen / not seen<" in write_page([proof()], tmp_path).read_text()


def test_what_came_from_outside_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    page = write_page([proof(target=evil)], tmp_path).read_text()
    assert evil not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_evidence_is_escaped(tmp_path: Path) -> None:
    story = Story.of(examines=("types-every-error",)).fails(0.1, "m.E", message="<img src=x onerror=alert(1)>")
    page = write_page([combine([(story.history(), "")])], tmp_path).read_text()
    assert "<img" not in page
    assert "&lt;img src=x" in page


def test_it_tells_what_was_noticed(tmp_path: Path) -> None:
    story = Story.of(STALL).op(0.9, 2.5).struck(11, 1.0, 3.0, held=(0,))
    assert "nobody noticed" in write_page([combine([(story.history(), "")])], tmp_path).read_text()


def test_a_page_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the report can't be written to .*index.html"):
        write_page([proof()], tmp_path / "none")
