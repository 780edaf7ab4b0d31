import sys
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof import references
from poolproof.errors import TargetError
from tests.unit import samples

HERE = "tests.unit.samples"


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever a test puts on the path, or imports of what it wrote, is forgotten with it."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    home = str(tmp_path_factory.getbasetemp())
    for name, module in [*sys.modules.items()]:
        if str(getattr(module, "__dict__", {}).get("__file__")).startswith(home):
            del sys.modules[name]


# --- the form -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["m:f", "a.b.c:d", "a:b.c", "_a:_b", "pool.py:make", "/there/pool.py:make", "a b/p-q.py:A.b", "C:/p.py:f"]
)
def test_a_module_or_a_script_with_a_name_in_it_is_a_reference(text: str) -> None:
    assert references.is_reference(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "a", "a:", ":b", "a:b:c", "a b:c", "a..b:c", ".a:b", "a.:b", "a:.b", "a:b.", "a:b-c", "a/b:c"),
        *("p.py", "p.py:", "p.py:a b", "/p.pyc:a", "3:a", "a:3"),
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert not references.is_reference(text)


@given(st.lists(st.sampled_from(["a", "_b", "c3", "4", "", "é", "x y", "-"]), min_size=1, max_size=4), st.booleans())
def test_each_part_of_a_reference_is_an_identifier(parts: list[str], in_module: bool) -> None:
    dotted = ".".join(parts)
    text = f"{dotted}:name" if in_module else f"module:{dotted}"
    assert references.is_reference(text) == all(part.isidentifier() for part in parts)


# --- from a function to its reference -----------------------------------------------------------------------------


def function_here() -> None:
    """Something at the top level of a module."""


@pytest.mark.parametrize(
    ("made", "reference"),
    [
        (samples.executor, f"{HERE}:executor"),
        (samples.InlinePool, f"{HERE}:InlinePool"),
        (samples.Factories.pool, f"{HERE}:Factories.pool"),
        (samples.Factories.of_class, f"{HERE}:Factories.of_class"),
        (samples.MoreFactories.of_class, f"{HERE}:MoreFactories.of_class"),
        (references.refer, "poolproof.references:refer"),
        (Path, "pathlib:Path"),
        (len, "builtins:len"),
    ],
)
def test_what_a_module_holds_is_referred_to_by_it(made: Callable[..., Any], reference: str) -> None:
    assert references.refer(made) == reference


@pytest.mark.parametrize("made", [samples.executor, samples.InlinePool, samples.Factories.pool, Path])
def test_what_was_referred_to_is_found_again(made: Callable[..., Any]) -> None:
    assert references.load(references.refer(made)) is made


@pytest.mark.parametrize("home", [samples.Factories, samples.MoreFactories])
def test_a_class_method_is_found_again_as_that_of_the_same_class(home: type[samples.Factories]) -> None:
    assert references.load(references.refer(home.of_class))() is home


def module_of(name: str, text: str, file: Path | None, spec: str | None = None) -> Callable[..., Any]:
    """The function `make` of a module that Python holds as `name`, made from a text."""
    module = types.ModuleType(name)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        module.__file__ = str(file)
    if spec is not None:
        module.__spec__ = types.SimpleNamespace(name=spec)  # type: ignore[assignment]  # only its name is asked for
    sys.modules[name] = module
    exec(compile(text, str(file or "<stdin>"), "exec"), module.__dict__)
    made: Callable[..., Any] = module.__dict__["make"]
    return made


MAKE = "def make(workers): return workers\n"


def test_what_a_script_holds_is_referred_to_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    made = module_of("__main__", MAKE, tmp_path / "run_me.py")
    assert references.refer(made) == f"{tmp_path}/run_me.py:make"


def test_the_file_of_a_script_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.chdir(tmp_path)
    assert references.refer(module_of("__main__", MAKE, Path("run_me.py"))) == f"{tmp_path}/run_me.py:make"


def test_what_a_module_run_by_name_holds_is_referred_to_by_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "a_package").mkdir()
    (tmp_path / "a_package" / "__init__.py").touch()
    made = module_of("__main__", MAKE, tmp_path / "a_package" / "tool.py", spec="a_package.tool")
    assert references.refer(made) == "a_package.tool:make"


def test_a_module_to_which_no_path_leads_is_referred_to_by_its_file(tmp_path: Path) -> None:
    made = module_of("held_by_pytest", MAKE, tmp_path / "held_by_pytest.py", spec="held_by_pytest")
    assert references.refer(made) == f"{tmp_path}/held_by_pytest.py:make"


def test_a_module_whose_name_leads_to_another_file_is_referred_to_by_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "two_of_it.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "first")
    made = module_of("two_of_it", MAKE, tmp_path / "second" / "two_of_it.py", spec="two_of_it")
    assert references.refer(made) == f"{tmp_path}/second/two_of_it.py:make"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("top.py", "top"),
        ("top/__init__.py", "top"),
        ("top/deep/under.py", "top.deep.under"),
        ("top/deep/__init__.py", "top.deep"),
    ],
)
def test_a_module_to_which_a_path_leads_is_referred_to_by_its_name(
    file: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = module_of("held", MAKE, tmp_path / file, spec=name)
    monkeypatch.syspath_prepend(tmp_path)
    assert references.refer(made) == f"{name}:make"


def test_a_path_that_leads_there_through_a_link_leads_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = module_of("held", MAKE, tmp_path / "real" / "linked.py", spec="linked")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.syspath_prepend(tmp_path / "link")
    assert references.refer(made) == "linked:make"


@pytest.mark.parametrize("file", ["top/deep.py", "top/deeper/__init__.py"])
def test_a_file_beside_the_one_that_its_name_leads_to_is_not_taken_for_it(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = module_of("held", MAKE, tmp_path / file, spec="top.other")
    monkeypatch.syspath_prepend(tmp_path)
    assert references.refer(made) == f"{tmp_path}/{file}:make"


# --- what no other process finds ----------------------------------------------------------------------------------


def refusal(made: Any) -> TargetError:
    with pytest.raises(TargetError) as caught:
        references.refer(made)
    return caught.value


def test_a_lambda_is_refused_with_where_it_stands() -> None:
    made = lambda workers: workers  # noqa: E731 - that it is one is the point
    error = refusal(made)
    assert str(error).startswith(
        f"test_a_lambda_is_refused_with_where_it_stands.<locals>.<lambda> ({__file__}:{made.__code__.co_firstlineno}) "
        "is a lambda: the pool is built in a process of its own, which could not find it; write a function"
    )


a_lambda = lambda workers: workers  # noqa: E731 - that it is one is the point


def test_a_lambda_at_the_top_level_is_refused_too() -> None:
    assert " is a lambda: " in str(refusal(a_lambda))


def test_a_closure_is_refused_with_where_it_stands() -> None:
    def made(workers: int) -> int:
        return workers

    error = refusal(made)
    name = "test_a_closure_is_refused_with_where_it_stands.<locals>.made"
    assert (error.target, str(error).startswith(f"{name} ({__file__}:")) == (name, True)
    assert " is local to a function: the pool is built in a process of its own, " in str(error)


def test_a_local_class_is_refused_though_nobody_knows_where_it_stands() -> None:
    class Made:
        """A class that no module holds."""

    assert "<locals>.Made is local to a function: " in str(refusal(Made))


def test_what_was_typed_at_a_prompt_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    error = refusal(module_of("__main__", MAKE, None))
    assert (error.target, str(error)) == (
        "make",
        "make was typed at a prompt, where no other process finds it: put it into a file and name that",
    )


@pytest.mark.parametrize("made", [partial(samples.executor, 3), samples.InlinePool(3), 7, None, HERE])
def test_what_has_no_name_is_refused_by_its_type(made: Any) -> None:
    error = refusal(made)
    assert (error.target, str(error).startswith(f"{made!r} is of type {type(made).__name__}, which has no name")) == (
        repr(made),
        True,
    )


def test_a_method_of_an_object_is_refused() -> None:
    error = refusal(samples.Factories().of_object)
    assert (error.target, str(error).partition(":")[0]) == (
        "Factories.of_object",
        "Factories.of_object is a method of one object, which is in this process alone",
    )


def test_a_class_method_of_a_local_class_is_refused() -> None:
    class Local(samples.Factories):
        """A class that no module holds, with what it inherited from one that a module does hold."""

    assert "<locals>.Local.of_class" in str(refusal(Local.of_class))


def test_what_says_that_it_belongs_to_a_module_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function_here, "__module__", "no.such.module")
    assert "which has no name in a module" in str(refusal(function_here))


def test_what_belongs_to_no_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function_here, "__module__", None)
    assert "which has no name in a module" in str(refusal(function_here))


# --- from a reference to what it names ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "found"), [(f"{HERE}:executor", samples.executor), (f"{HERE}:Factories.pool", samples.Factories.pool)]
)
def test_a_reference_leads_to_what_it_names(reference: str, found: object) -> None:
    assert references.load(reference) is found


@pytest.mark.parametrize("reference", ["", "module", ".samples:executor", "a:b:c"])
def test_what_is_no_reference_is_not_loaded(reference: str) -> None:
    with pytest.raises(TargetError, match=r"is no reference: expected module:name or script\.py:name") as caught:
        references.load(reference)
    assert caught.value.target == reference


def test_what_a_module_raises_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaves_at_once.py").write_text("raise SystemExit(3)", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit):
        references.load("leaves_at_once:make")


def test_a_name_that_is_not_there_is_an_error_of_the_users_module() -> None:
    with pytest.raises(AttributeError):
        references.load(f"{HERE}:nothing")


def script(folder: Path, name: str = "a_script.py", text: str = MAKE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_what_a_script_holds_is_found(tmp_path: Path) -> None:
    assert references.load(f"{script(tmp_path)}:make")(3) == 3


def test_a_script_is_imported_under_its_own_name_and_does_not_run_as_the_main_one(tmp_path: Path) -> None:
    path = script(tmp_path, text="name = __name__\nif name == '__main__': raise AssertionError\n")
    assert references.load(f"{path}:name") == "a_script"


def test_a_script_may_have_a_name_that_no_module_has(tmp_path: Path) -> None:
    assert references.load(f"{script(tmp_path, 'my-script.py')}:make")(3) == 3


def test_a_module_is_importable_as_it_is() -> None:
    path = [*sys.path]
    assert (references.importable("no.such.module:make"), sys.path) == ("no.such.module:make", path)


def test_a_script_is_importable_as_a_module_of_its_folder(tmp_path: Path) -> None:
    path = script(tmp_path)
    assert references.importable(f"{path}:A.make") == "a_script:A.make"
    assert sys.path[0] == str(tmp_path)


def test_the_folder_of_a_script_is_put_on_the_path_once(tmp_path: Path) -> None:
    path = script(tmp_path)
    for _ in range(2):
        references.importable(f"{path}:make")
    assert sys.path.count(str(tmp_path)) == 1


def test_a_script_is_found_before_a_module_of_its_name_that_comes_earlier_on_the_path(tmp_path: Path) -> None:
    other = script(tmp_path / "other", text="def make(workers): return 'not this one'\n")
    path = script(tmp_path / "its own")
    sys.path[:] = [str(other.parent), str(path.parent), *sys.path]
    assert references.load(f"{path}:make")(3) == 3
    assert sys.path.count(str(path.parent)) == 1


def test_a_script_that_no_path_leads_to_is_refused(tmp_path: Path) -> None:
    path, before = script(tmp_path), [*sys.path]
    (tmp_path / "a_script").mkdir()
    (tmp_path / "a_script" / "__init__.py").touch()
    with pytest.raises(TargetError, match="can't be imported as the module 'a_script', a name that is taken"):
        references.load(f"{path}:make")
    assert sys.path == before


def test_a_script_is_named_as_seen_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "deep")
    monkeypatch.chdir(tmp_path)
    references.importable("deep/a_script.py:make")
    assert sys.path[0] == str(tmp_path / "deep")


def test_a_script_that_is_loaded_already_is_importable_again(tmp_path: Path) -> None:
    path = script(tmp_path)
    made = references.load(f"{path}:make")
    assert references.load(f"{path}:make") is made


def test_a_script_is_known_by_the_file_that_a_link_leads_to(tmp_path: Path) -> None:
    path = script(tmp_path / "real")
    made = references.load(f"{path}:make")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert references.load(f"{tmp_path}/link/a_script.py:make") is made


@pytest.mark.parametrize("name", ["json.py", "sys.py"])
def test_a_script_whose_name_is_taken_is_refused(name: str, tmp_path: Path) -> None:
    path = [*sys.path]
    with pytest.raises(TargetError, match=rf"can't be imported as the module '{name[:-3]}', a name that is taken"):
        references.load(f"{script(tmp_path, name)}:make")
    assert sys.path == path


def test_two_scripts_of_one_name_are_not_taken_for_each_other(tmp_path: Path) -> None:
    references.load(f"{script(tmp_path / 'one')}:make")
    other = script(tmp_path / "other")
    with pytest.raises(TargetError, match="rename it") as caught:
        references.load(f"{other}:make")
    assert caught.value.target == f"{other}:make"


def test_a_script_with_a_dot_in_its_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"can't be imported as the module 'v1\.2'"):
        references.load(f"{script(tmp_path, 'v1.2.py')}:make")


@pytest.mark.parametrize("made", [True, False])
def test_a_script_that_is_not_there_is_refused_with_where_it_was_looked_for(made: bool, tmp_path: Path) -> None:
    path = tmp_path / "nothing.py"
    if made:
        path.mkdir()
    with pytest.raises(TargetError) as caught:
        references.load(f"{path}:make")
    assert str(caught.value) == f"there is no script {path}; is the path right, as seen from {Path.cwd()}?"
    assert caught.value.target == f"{path}:make"
