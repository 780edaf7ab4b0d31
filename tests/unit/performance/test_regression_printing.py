"""What a comparison looks like, in a pipe and in a terminal."""

import pytest

from poolproof.cli.regressing import STATUS, print_comparison
from poolproof.performance.regression import Build, Comparison, Judgement

FOUND = Comparison(
    verdict="regressed",
    target="some:Pool",
    base=Build(revision="main", commit="a" * 40, file="some.py"),
    head=Build(revision="HEAD", commit="b" * 40, file="some.py"),
    metrics=(
        Judgement(
            metric="p50",
            what="round trip, p50",
            unit="us",
            better="lower",
            verdict="regressed",
            margin=0.1,
            floor=2.0,
            pairs=10,
            base=30.0,
            head=40.0,
            ratio=1.333,
            low=1.3,
            high=1.4,
            noise=0.02,
        ),
        Judgement(
            metric="recovery",
            what="recovery",
            unit="ms",
            better="lower",
            verdict=None,
            margin=0.3,
            floor=2.0,
            pairs=0,
            why="it works inside [the process]",
        ),
    ),
    pairs=10,
    seconds=6.5,
    notes=("one note",),
)


def test_a_pipe_gets_a_line_for_each_thing_with_its_parts_between_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(FOUND)

    assert capsys.readouterr().out.splitlines() == [
        "regress\tsome:Pool\tregressed\t10 pairs\t6.5 s",
        f"base\tmain\t{'a' * 40}\tsome.py",
        f"head\tHEAD\t{'b' * 40}\tsome.py",
        "metric\tp50\tregressed\tbase 30 us\thead 40 us\tratio 1.333\t95 % interval 1.300 – 1.400\t"
        "margin +10% and 2 us\tnoise ±2.0%\tpairs 10",
        "metric\trecovery\tnot there\tbase –\thead –\tratio –\t95 % interval –\tmargin +30% and 2 ms\tnoise –\tpairs 0",
        "why\trecovery\tit works inside [the process]",
        "note\tone note",
    ]


def test_a_terminal_gets_the_verdict_first_and_all_that_is_said_word_by_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "140", "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)

    print_comparison(FOUND)

    first, *rest = capsys.readouterr().out.splitlines()
    assert "REGRESSED" in first
    assert "some:Pool: HEAD (bbbbbbbbbb) against main (aaaaaaaaaa), 10 pairs in 6.5 s" in first
    assert any("1.300 – 1.400" in line for line in rest)
    assert any("recovery: it works inside [the process]" in line for line in rest)
    assert any("note: one note" in line for line in rest)


def test_each_verdict_has_an_exit_status_of_its_own() -> None:
    assert STATUS == {"pass": 0, "regressed": 1, "inconclusive": 3}
