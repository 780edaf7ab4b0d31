"""Pools of a program's own `__main__`: its functions are found by workers, and its mistakes are told."""

import pytest

from tests.integration.sessionpool.conftest import RunScript
from tests.integration.sessionpool.witnesses import Mark

GUARDED = """
    import os
    from sessionpool import NotPicklable, NotUnpicklable, SessionPool

    class Own(Exception):
        def __init__(self, code):
            super().__init__(code)
            self.code = code

    class Point:
        def __init__(self, x):
            self.x = x

    def double(value):
        return 2 * value

    def move(point):
        return Point(point.x + 1)

    def fail(code):
        raise Own(code)

    def count(state):
        state["count"] = state.get("count", 0) + 1
        return state["count"]

    def begin(path):
        with open(path, "a") as file:
            file.write("begun\\n")

    def imported():
        with open("imported.txt", "a") as file:
            file.write(f"{__name__} {os.getpid()}\\n")

    imported()

    if __name__ == "__main__":
        with SessionPool(2SETTINGS) as pool:
            BODY
"""


def filled(text: str, **parts: str) -> str:
    """A script with its blanks, in capitals, filled in."""
    for name, part in parts.items():
        text = text.replace(name.upper(), part)
    return text


WAYS = pytest.mark.parametrize("how", ["file", "module"])
PRELOADS = pytest.mark.parametrize("settings", ["", ", preload=()"], ids=["preloaded", "not-preloaded"])


@WAYS
@PRELOADS
def test_the_functions_of_a_script_are_found_by_its_workers(how: str, settings: str, run_script: RunScript) -> None:
    completed = run_script(
        filled(GUARDED, settings=settings, body="print(pool.submit(double, 21).result(10))"), how=how
    )

    assert (completed.returncode, completed.stdout) == (0, "42\n"), completed.stderr


@WAYS
@PRELOADS
def test_the_classes_of_a_script_are_the_same_in_its_workers(how: str, settings: str, run_script: RunScript) -> None:
    body = "point = pool.submit(move, Point(1)).result(10); print(type(point) is Point, point.x)"

    completed = run_script(filled(GUARDED, settings=settings, body=body), how=how)

    assert (completed.returncode, completed.stdout) == (0, "True 2\n"), completed.stderr


@WAYS
@PRELOADS
def test_the_exceptions_of_a_script_are_caught_as_what_they_are(how: str, settings: str, run_script: RunScript) -> None:
    body = "error = pool.submit(fail, 7).exception(10); print(type(error) is Own, error.code)"

    completed = run_script(filled(GUARDED, settings=settings, body=body), how=how)

    assert (completed.returncode, completed.stdout) == (0, "True 7\n"), completed.stderr


def test_the_sessions_of_a_script_run_its_functions(run_script: RunScript) -> None:
    body = "session = pool.session('s'); print([session.submit(count).result(10) for _ in range(3)])"

    completed = run_script(filled(GUARDED, settings="", body=body))

    assert completed.stdout == "[1, 2, 3]\n", completed.stderr


def test_the_initialiser_of_a_script_is_found_by_its_workers(run_script: RunScript) -> None:
    body = "pool.wait_for(lambda seen: seen.ready == 2, 10); print(open('begun.txt').read().count('begun'))"

    completed = run_script(filled(GUARDED, settings=", initializer=begin, initargs=('begun.txt',)", body=body))

    assert completed.stdout == "2\n", completed.stderr


def test_a_preloaded_script_is_imported_once_for_all_of_its_workers(run_script: RunScript) -> None:
    body = (
        "pool.wait_for(lambda seen: seen.ready == 2, 10); pool.submit(double, 1).result(10); "
        "print(len(open('imported.txt').readlines()))"
    )

    completed = run_script(filled(GUARDED, settings="", body=body))

    assert completed.stdout == "2\n", completed.stderr  # here, and in the forkserver


def test_a_script_is_imported_under_another_name_than_main_by_its_workers(run_script: RunScript) -> None:
    body = "pool.submit(double, 1).result(10); print(open('imported.txt').read().count('__main__ '))"

    completed = run_script(filled(GUARDED, settings="", body=body))

    assert completed.stdout == "1\n", completed.stderr


@pytest.mark.parametrize("how", ["command", "input"])
def test_a_program_without_a_file_is_told_that_its_functions_are_not_found(how: str, run_script: RunScript) -> None:
    body = "error = pool.submit(double, 21).exception(10); print(type(error).__name__)"

    completed = run_script(filled(GUARDED, settings="", body=body), how=how)

    assert completed.returncode == 0, completed.stderr
    assert completed.stdout in ("NotPicklable\n", "NotUnpicklable\n")


@pytest.mark.parametrize("how", ["command", "input"])
def test_a_program_without_a_file_may_run_the_functions_of_modules(how: str, run_script: RunScript) -> None:
    completed = run_script(filled(GUARDED, settings="", body="print(pool.submit(len, 'abc').result(10))"), how=how)

    assert (completed.returncode, completed.stdout) == (0, "3\n"), completed.stderr


UNGUARDED = """
    from sessionpool import SessionPool

    with open("imported.txt", "a") as file:
        file.write("imported\\n")
    pool = SessionPool(2SETTINGS)
    print(pool.submit(FUNCTION, "abc").result(10))
"""


def test_a_script_without_the_guard_is_told_what_is_missing(run_script: RunScript, mark: Mark) -> None:
    completed = run_script(filled(UNGUARDED, settings="", function="len"))

    assert completed.returncode == 1
    assert 'if __name__ == "__main__"' in completed.stderr.replace("'", '"')
    assert mark.left_after(2.0) == []


def test_a_script_without_the_guard_forks_no_bomb(run_script: RunScript, mark: Mark) -> None:
    text = filled(UNGUARDED, settings="", function="len").rstrip() + '\n    print("done")\n'

    run_script(text)

    assert mark.left_after(2.0) == []


def test_a_script_without_the_guard_that_preloads_nothing_works_with_the_functions_of_modules(
    run_script: RunScript,
) -> None:
    completed = run_script(filled(UNGUARDED, settings=", preload=()", function="len"))

    assert (completed.returncode, completed.stdout) == (0, "3\n"), completed.stderr


def test_what_a_script_raises_when_it_is_preloaded_is_told(run_script: RunScript) -> None:
    text = """
        from sessionpool import PreloadError, SessionPool

        if __name__ != "__main__":
            raise ValueError("not for workers")
        try:
            SessionPool(2)
        except PreloadError as error:
            print(error.module, "not for workers" in str(error))
    """

    completed = run_script(text)

    assert completed.stdout == "__main__ True\n", completed.stderr


def test_a_script_may_be_elsewhere_than_the_working_directory_when_its_workers_start(run_script: RunScript) -> None:
    body = "os.chdir('/'); pool.submit(os._exit, 1).exception(10); print(pool.submit(double, 4).result(10))"

    completed = run_script(filled(GUARDED, settings="", body=body))

    assert completed.stdout == "8\n", completed.stderr


def test_arguments_of_the_program_are_those_of_its_workers(run_script: RunScript) -> None:
    completed = run_script(
        """
        import sys
        from sessionpool import SessionPool

        def arguments():
            return sys.argv

        if __name__ == "__main__":
            with SessionPool(1) as pool:
                print(pool.submit(arguments).result(10) == sys.argv)
        """
    )

    assert completed.stdout == "True\n", completed.stderr
