"""Mode `basic`: an id, a source of chance and a folder that are one test's alone."""

import random
import shutil
from pathlib import Path

import pytest

from poolproof.errors import IsolationError
from poolproof.isolation import isolated, scene_of

TEST = "tests/unit/test_it.py::TestIt::test_a_pool[four workers/2]"


def test_the_id_tells_the_test_and_its_worker() -> None:
    with isolated("basic", scene=scene_of(TEST, seed=1)) as basic:
        assert basic.id.startswith("test_a_pool-four-workers-main-")


@pytest.mark.parametrize("name", ["", "::", "[]", "../../etc/passwd", "a b\n\0", "é" * 300, "x::[::]"])
def test_the_id_is_fit_for_a_files_name_whatever_the_test_is_called(name: str, tmp_path: Path) -> None:
    with isolated("basic", scene=scene_of(name, seed=1)) as basic:
        (tmp_path / basic.id).touch()
    assert [path.name for path in tmp_path.iterdir()] == [basic.id]
    assert basic.id.isascii()


def test_no_two_ids_are_the_same_even_of_the_same_test() -> None:
    ids = set()
    for _ in range(50):
        with isolated("basic", scene=scene_of(TEST, seed=1)) as basic:
            ids.add(basic.id)
    assert len(ids) == 50


def draws(test: str, scenes_seed: int, **options: int) -> list[float]:
    with isolated("basic", scene=scene_of(test, seed=scenes_seed), **options) as basic:
        return [basic.random.random() for _ in range(3)]


def test_chance_follows_from_the_seed_and_the_name_of_the_test() -> None:
    assert draws("a", 1) == draws("a", 1)
    assert draws("a", 1) != draws("b", 1)
    assert draws("a", 1) != draws("a", 2)


def test_the_seed_of_a_name_is_the_same_in_every_process() -> None:
    with isolated("basic", scene=scene_of("a", seed=1)) as basic:
        assert basic.seed == 0x9524A66F480A89F3


def test_a_given_seed_is_the_seed() -> None:
    assert draws("a", 1, seed=0) == [(it := random.Random(0)).random(), it.random(), it.random()]


def test_the_seed_that_is_told_makes_the_same_chance_again() -> None:
    with isolated("basic", scene=scene_of("a", seed=1)) as basic:
        first = basic.random.random()
    assert draws("other", 2, seed=basic.seed)[0] == first


def test_the_global_source_of_chance_is_untouched() -> None:
    before = random.getstate()
    draws("a", 1)
    assert random.getstate() == before


def test_one_within_another_draws_otherwise() -> None:
    scene = scene_of("a", seed=1)
    with isolated("basic", scene=scene) as outer, isolated("basic", scene=scene) as inner:
        assert outer.random.random() != inner.random.random()
        assert outer.folder != inner.folder


def test_the_folder_is_empty_and_its_path_is_short() -> None:
    with isolated("basic", scene=scene_of(TEST, seed=1)) as basic:
        assert list(basic.folder.iterdir()) == []
        assert len(basic.folder.name) <= 12


def test_the_folder_is_gone_afterwards_with_all_that_is_in_it() -> None:
    with isolated("basic", scene=scene_of(TEST, seed=1)) as basic:
        (basic.folder / "a" / "b").mkdir(parents=True)
        (basic.folder / "a" / "file").write_text("x")
    assert not basic.folder.exists()


def test_what_a_link_in_the_folder_leads_to_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tmp_path.chmod(0o711)
    with isolated("basic", scene=scene_of(TEST, seed=1)) as basic:
        (basic.folder / "link").symlink_to(tmp_path)
    assert (tmp_path / "file").exists()
    assert tmp_path.stat().st_mode & 0o777 == 0o711


def test_a_folder_that_the_test_removed_is_no_problem() -> None:
    with isolated("basic", scene=scene_of(TEST, seed=1)) as basic:
        basic.folder.rmdir()


def test_a_file_that_the_test_removes_meanwhile_keeps_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    rmtree = shutil.rmtree

    def miss_one(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise FileNotFoundError(2, "No such file or directory", "the file")
        rmtree(path, ignore_errors=True)

    with isolated("basic", scene=scene_of("t", seed=1)) as basic:
        (basic.folder / "other").touch()
        monkeypatch.setattr(shutil, "rmtree", miss_one)
    assert not basic.folder.exists()


def test_what_cannot_be_removed_is_told_and_the_rest_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    rmtree = shutil.rmtree

    def forbid(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError(1, "Operation not permitted", "the file")
        rmtree(path, ignore_errors=True)

    with pytest.raises(IsolationError) as raised, isolated("basic", scene=scene_of("t", seed=1)) as basic:  # noqa: PT012
        (basic.folder / "other").touch()
        monkeypatch.setattr(shutil, "rmtree", forbid)
    assert not basic.folder.exists()
    (told,) = raised.value.problems
    assert f"the temporary folder {basic.folder} could not be removed" in told
    assert "'the file'" in told


def test_a_folder_that_cannot_be_made_names_the_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with (
        pytest.raises(IsolationError, match="basic could not be set up, at the stage 'the temporary folder'"),
        isolated("basic", scene=scene_of("t", seed=1)),
    ):
        pytest.fail("it was entered")
