import pytest

from poolproof.errors import UsageError
from poolproof.performance.document import GENERATED, command, document
from tests.unit.performance.measured import figure, result


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| ")]


def test_it_begins_by_saying_that_and_by_what_it_was_generated() -> None:
    assert document([result()]).startswith(f"{GENERATED}\n")
    assert GENERATED.startswith("<!-- Generated")
    assert "poolproof.performance.document" in GENERATED


def test_it_describes_the_machine() -> None:
    text = document([result()])
    assert "| processor | a CPU |" in text
    assert "| memory, GiB | 7.8 |" in text
    assert "| fingerprint | `f1` |" in text


def test_the_machine_is_described_as_it_was_last() -> None:
    old = result(at="2025-01-01T00:00:00+00:00", machine={"cpu": "as told then"})
    assert "| processor | a CPU |" in document([old, result(layer=3)])


def test_the_layers_of_a_benchmark_stand_side_by_side() -> None:
    text = document([result(layer=3, figures=(figure(250.4),)), result(layer=1, figures=(figure(0.01234),)), result()])
    assert rows(text)[-2:] == [
        "| figure | better | layer 1 | layer 2 | layer 3 |",
        "| response p50, ms | lower | 0.0123 | 12.5 | 250 |",
    ]


def test_every_benchmark_and_target_has_its_own_table() -> None:
    text = document([result(), result(benchmark="capacity"), result(target="loky")])
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["## capacity: sessionpool", "## latency: loky", "## latency: sessionpool"]


def test_a_figure_that_one_layer_does_not_have_is_a_dash_there() -> None:
    text = document([result(layer=1, figures=(figure(1.0, "steps"),)), result(layer=2)])
    assert rows(text)[-2:] == ["| steps, ms | lower | 1 | – |", "| response p50, ms | lower | – | 12.5 |"]


def test_the_same_name_in_another_unit_is_another_row() -> None:
    text = document([result(layer=1, figures=(figure(1.0, unit="s"),)), result(layer=2)])
    assert rows(text)[-2:] == ["| response p50, s | lower | 1 | – |", "| response p50, ms | lower | – | 12.5 |"]


def test_a_figure_that_could_not_be_told_is_not_available_and_says_why() -> None:
    text = document([result(figures=(figure(None, note="too few samples"),))])
    assert "| response p50, ms | lower | n/a |" in text
    assert "  - response p50: n/a, too few samples" in text


def test_the_notes_of_figures_and_of_the_result_are_told() -> None:
    text = document([result(figures=(figure(1.0, note="of 30"),), notes=("the machine\nwas loaded",))])
    assert "  - response p50: of 30\n  - the machine was loaded\n" in text


def test_each_result_has_its_commit_date_and_the_command_that_yields_it() -> None:
    told = (
        f"- layer 2: commit `{'a' * 12}`, 2026-01-02T03:04:05+00:00, in full: "
        "`poolproof bench latency --target sessionpool --layer 2 --workers 4 --full`"
    )
    assert told in document([result()]).splitlines()


def test_a_quick_result_says_so_and_its_command_is_the_quick_one() -> None:
    text = document([result(is_full=False)])
    assert "quick: shortened" in text
    assert "--full" not in text


def test_a_dirty_tree_is_marked() -> None:
    assert f"commit `{'a' * 12}` **with uncommitted changes**" in document([result(is_dirty=True)])
    assert "uncommitted" not in document([result()])


def test_an_unknown_commit_is_marked() -> None:
    assert "**commit unknown**" in document([result(commit="")])


def test_columns_of_the_same_layer_are_told_apart_by_their_workers() -> None:
    text = document([result(workers=8), result(workers=4)])
    assert "| figure | better | layer 2, 4 workers | layer 2, 8 workers |" in text


def test_what_would_break_a_table_is_escaped() -> None:
    text = document([result(figures=(figure(1.0, "a|b\nc"),), machine={"cpu": "x|y"})])
    assert "| a\\|b c, ms | lower | 1 |" in text
    assert "| processor | x\\|y |" in text


def test_a_command_quotes_what_a_shell_would_take_apart() -> None:
    assert "--target 'my pools:make'" in command(result(target="my pools:make"))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (99.4, "99.4"), (0.000123456, "0.000123"), (99.95, "100"), (12345.6, "12,346"), (-250.0, "-250")],
)
def test_a_figure_has_three_digits_or_its_whole_units(value: float, shown: str) -> None:
    assert f"| lower | {shown} |" in document([result(figures=(figure(value),))])


def test_the_same_results_make_the_same_document_in_whatever_order() -> None:
    results = [result(), result(layer=3), result(benchmark="capacity"), result(target="loky")]
    assert document(results) == document(results[::-1])


def test_without_results_there_is_no_document_but_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"nothing has been measured on this machine.*poolproof bench"):
        document([])


def test_results_of_several_machines_make_no_document() -> None:
    with pytest.raises(UsageError, match="several machines"):
        document([result(), result(fingerprint="f2")])
