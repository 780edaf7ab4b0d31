"""Mode `registry`: names that cannot clash; none is left taken.

The sockets that stand for names are opened here, since they are names and nothing else: nothing is sent over them.
"""

import os
import pickle
import socket
import threading
from collections.abc import Iterator

import pytest

from poolproof.errors import IsolationError, UsageError
from poolproof.isolation import isolated, scene_of
from poolproof.isolation.names import NameTakenError, Registry


@pytest.fixture
def name() -> str:
    return Registry().unique("test-names")


@pytest.fixture
def registry() -> Iterator[Registry]:
    with isolated("registry", scene=scene_of("t", seed=1)) as registry:
        yield registry
        registry.release_all()


def test_names_that_are_made_differ_and_tell_their_prefixes() -> None:
    with isolated("registry", scene=scene_of("t", seed=1), prefix="own-") as registry:
        names = [registry.unique("pool") for _ in range(50)]
    assert len(set(names)) == 50
    assert all(name.startswith(f"own-pool-{os.getpid()}-") for name in names)


def test_a_name_can_be_made_without_any_prefix(registry: Registry) -> None:
    assert registry.unique().startswith(f"name-{os.getpid()}-")


def test_a_name_that_is_made_is_not_taken_yet(registry: Registry) -> None:
    registry.unique()
    assert registry.names == ()


def test_a_name_that_is_released_leaves_nothing_to_tell(name: str) -> None:
    with isolated("registry", scene=scene_of("t", seed=1)) as registry:
        assert registry.register(name) == name
        registry.release(name)


def test_a_name_that_is_left_taken_fails_the_test_with_the_line_that_took_it_and_is_free_again(name: str) -> None:
    with pytest.raises(IsolationError) as raised, isolated("registry", scene=scene_of("t", seed=1)) as registry:
        registry.register(name)
    (told,) = raised.value.problems
    assert told.startswith(f"the name {name!r} was left taken; it was taken at ")
    assert "test_names.py:" in told
    with isolated("registry", scene=scene_of("t", seed=1)) as registry:
        registry.register(name)
        registry.release(name)


def test_a_name_is_had_by_one_registry_at_a_time(registry: Registry, name: str) -> None:
    registry.register(name)
    with (
        pytest.raises(NameTakenError) as raised,
        isolated("registry", scene=scene_of("t", seed=1)) as other,
    ):
        other.register(name)
    assert raised.value.name == name
    assert f"this process (pid {os.getpid()}), since " in raised.value.holder
    assert "test_names.py:" in raised.value.holder
    assert f"the name {name!r} is taken by this process" in str(raised.value)


def test_a_name_cannot_be_taken_twice(registry: Registry, name: str) -> None:
    registry.register(name)
    with pytest.raises(NameTakenError):
        registry.register(name)
    assert registry.names == (name,)


def test_who_has_a_name_that_no_registry_knows_of_is_told_by_its_process(registry: Registry, name: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as holder:
        holder.bind(f"\0poolproof-name-{os.getuid()}-{name}")
        with pytest.raises(NameTakenError) as raised:
            registry.register(name)
    assert raised.value.holder.startswith(f"pid {os.getpid()} (")


def test_only_one_of_many_threads_gets_a_name(registry: Registry, name: str) -> None:
    begin = threading.Barrier(4)
    got: list[object] = []

    def take() -> None:
        begin.wait()
        try:
            got.append(registry.register(name))
        except NameTakenError as error:
            got.append(type(error))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, got)) == sorted(map(str, [name, *[NameTakenError] * 3]))


@pytest.mark.parametrize("held", [(), ("other",)])
def test_a_name_that_was_not_taken_cannot_be_released(registry: Registry, name: str, held: tuple[str, ...]) -> None:
    for other in held:
        registry.register(f"{name}{other}")
    taken = ", ".join(repr(f"{name}{other}") for other in held) or "none"
    with pytest.raises(UsageError) as raised:
        registry.release(name)
    assert str(raised.value).endswith(f"is not taken by this registry, and can't be released; taken: {taken}")


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("", "expected at least one letter"),
        (3, "expected a text, got int"),
        (b"x", "expected a text, got bytes"),
        (None, "expected a text, got NoneType"),
        ("x" * 200, "it has 200 bytes, "),
        ("é" * 60, "it has 120 bytes, "),
        ("a\0b", "characters that can be printed"),
        ("\ud800", "characters that can be printed"),
    ],
)
def test_what_is_no_name_is_refused(registry: Registry, bad: str, told: str) -> None:
    with pytest.raises(UsageError) as raised:
        registry.register(bad)
    assert told in str(raised.value)


@pytest.mark.parametrize(("bad", "told"), [(3, "got int"), ("x" * 99, "bytes, "), ("\n", "can be printed")])
def test_a_prefix_that_makes_no_name_is_refused(registry: Registry, bad: str, told: str) -> None:
    with pytest.raises(UsageError) as raised:
        registry.unique(bad)
    assert told in str(raised.value)


def test_the_longest_name_can_be_taken_and_one_letter_more_cannot(registry: Registry, name: str) -> None:
    longest = name + "x" * (107 - len(f"poolproof-name-{os.getuid()}-") - len(name))
    registry.register(longest)
    registry.release(longest)
    with pytest.raises(UsageError, match="bytes"):
        registry.register(longest + "x")


def test_a_name_may_have_blanks_and_letters_of_any_alphabet(registry: Registry, name: str) -> None:
    registry.register(f"{name} drei Wörter 名")
    assert registry.names == (f"{name} drei Wörter 名",)
    with pytest.raises(NameTakenError, match="this process"):
        registry.register(f"{name} drei Wörter 名")


def test_another_error_of_the_socket_is_raised_as_it_is(
    registry: Registry, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> bytes:
        raise MemoryError

    monkeypatch.setattr("poolproof.isolation.names._address", refuse)
    with pytest.raises(MemoryError):
        registry.register(name)
    assert registry.names == ()


def test_the_error_of_a_clash_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(NameTakenError("a", "somebody")))
    assert (error.name, error.holder, str(error)) == ("a", "somebody", str(NameTakenError("a", "somebody")))


def test_one_within_another_has_names_of_its_own(registry: Registry, name: str) -> None:
    scene = scene_of("t", seed=1)
    with isolated("registry", scene=scene) as outer:
        outer.register(name)
        with isolated("registry", scene=scene) as inner, pytest.raises(UsageError):
            inner.release(name)
        outer.release(name)
