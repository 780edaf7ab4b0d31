"""Real work: handwritten digits and the classifier that tells them apart; what they need is the extra `work`."""

import pickle
import random
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from poolproof.workloads import digits, linear, load_workload

KINDS = digits.workload().kinds


@pytest.fixture(scope="module", autouse=True)
def _few_trees() -> Any:
    """A classifier of a few trees is fitted in no time and is no other one for that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "_TREES", 3)
        forget()
        yield
    forget()


def forget() -> None:
    digits._classifier.cache_clear()
    digits._answers.cache_clear()


def payload(kind: str, seed: int = 1) -> Any:
    return KINDS[kind].payload(random.Random(seed))


def test_digits_are_found_by_their_name() -> None:
    assert set(load_workload("digits", {}).kinds) == {"predict", "batch"}


def test_predict_comes_nine_times_as_often_as_batch() -> None:
    assert {name: kind.weight for name, kind in KINDS.items()} == {"predict": 9, "batch": 1}


@pytest.mark.parametrize(("kind", "count"), [("predict", 1), ("batch", 64)])
def test_a_payload_is_some_images_with_their_numbers(kind: str, count: int) -> None:
    rows, images = payload(kind)
    assert (len(rows), images.shape) == (count, (count, 64))


def test_a_payload_holds_the_images_of_its_numbers() -> None:
    rows, images = payload("batch")
    np.testing.assert_array_equal(images, digits.images_and_labels()[0][rows])


def test_a_payload_comes_from_the_seed() -> None:
    assert payload("batch", 1)[0] == payload("batch", 1)[0] != payload("batch", 2)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_payload_pickles(kind: str) -> None:
    rows, images = payload(kind)
    again_rows, again_images = pickle.loads(pickle.dumps((rows, images)))
    assert again_rows == rows
    np.testing.assert_array_equal(again_images, images)


@pytest.mark.parametrize("kind", KINDS)
def test_the_classifiers_own_answer_verifies(kind: str) -> None:
    given = payload(kind)
    assert KINDS[kind].verify(given, KINDS[kind].call(given, {}))


def test_an_answer_is_a_list_of_plain_digits() -> None:
    answer = digits.classify(payload("batch"), {})
    assert {type(digit) for digit in answer} == {int}
    assert set(answer) <= set(range(10))


@pytest.mark.parametrize("change", [lambda answer: answer[:-1], lambda answer: [*answer[1:], -1], lambda answer: None])
def test_any_other_answer_does_not_verify(change: Any) -> None:
    given = payload("batch")
    assert not digits.verify(given, change(digits.classify(given, {})))


def test_the_answer_to_other_images_does_not_verify() -> None:
    assert not digits.verify(payload("batch", 1), digits.classify(payload("batch", 2), {}))


def test_each_process_fits_a_classifier_of_its_own_that_answers_alike() -> None:
    inherited = digits._classifier()
    digits.workload().setup()  # type: ignore[misc]  # it has one
    assert digits._classifier() is not inherited
    strange_images = digits.images_and_labels()[0][:, ::-1]
    np.testing.assert_array_equal(digits._classifier().predict(strange_images), inherited.predict(strange_images))


def test_a_process_has_fitted_its_classifier_once_it_is_prepared() -> None:
    digits.prepare()
    assert digits._classifier.cache_info().currsize == 1


def test_the_answers_are_known_once_a_payload_was_made() -> None:
    forget()
    payload("predict")
    assert digits._answers.cache_info().currsize == 1


def test_the_classifier_has_learnt_its_digits() -> None:
    _, labels = digits.images_and_labels()
    assert np.mean(digits._answers() == labels) > 0.95


# --- the linear one -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["predict", "batch"])
def test_the_linear_classifiers_own_answer_verifies_and_no_other_one(kind: str) -> None:
    it = load_workload("linear", {}).kinds[kind]
    given = it.payload(random.Random(1))
    answer = it.call(given, {})
    assert it.verify(given, answer)
    assert not it.verify(given, [*answer[1:], -1])


def test_each_process_fits_a_linear_classifier_of_its_own_that_answers_alike() -> None:
    inherited = linear._classifier()
    linear.prepare()
    images, labels = digits.images_and_labels()
    assert linear._classifier() is not inherited
    np.testing.assert_array_equal(linear._classifier().predict(images[:, ::-1]), inherited.predict(images[:, ::-1]))
    assert np.mean(inherited.predict(images) == labels) > 0.9
