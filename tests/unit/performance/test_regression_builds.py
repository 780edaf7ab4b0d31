"""What a build's many lines of output come to in one line."""

from poolproof.performance.regression.builds import _cause


def test_of_many_lines_those_that_name_an_error_are_told_once() -> None:
    said = """
    Getting requirements to build wheel: started
      Traceback (most recent call last):
      ModuleNotFoundError: No module named 'backend'
      [end of output]
    note: This error originates from a subprocess, and is likely not a problem with pip.
    error: subprocess-exited-with-error
    error: subprocess-exited-with-error
    """

    assert _cause(said) == "ModuleNotFoundError: No module named 'backend'; error: subprocess-exited-with-error"


def test_without_such_a_line_the_last_ones_are_told() -> None:
    assert _cause("one\ntwo\n\nthree\nfour\nfive\n") == "two; three; four; five"


def test_who_said_nothing_is_said_to_have() -> None:
    assert _cause("\n") == "it said nothing"
