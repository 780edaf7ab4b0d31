"""Real work: handwritten digits, told apart by a classifier that each worker fits once. Needs the extra `work`.

The data ship with scikit-learn. The classifier is fitted with a fixed seed, so all processes have the same one, and
every answer is verified against what it says here.
"""

import random
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from poolproof.plan import Kind, Workload

BATCH: Final = 64
_TREES: Final = 100
_SEED: Final = 0

Images = npt.NDArray[np.float64]
"""Shape (images, 64): 8 × 8 grey values each."""


@cache
def images_and_labels() -> tuple[Images, npt.NDArray[np.int64]]:
    """All of them; shapes (images, 64) and (images,)."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images, labels


@cache
def _classifier() -> Any:
    # Trees, since they are fitted and asked on the calling thread alone: OpenMP, which others use, hangs after a fork.
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(n_estimators=_TREES, random_state=_SEED).fit(*images_and_labels())


@cache
def _answers() -> npt.NDArray[np.int64]:
    """What the classifier says of every image; shape (images,)."""
    return np.asarray(_classifier().predict(images_and_labels()[0]))


def prepare() -> None:
    """Fit this process's own classifier: one that was inherited by a fork is not taken over."""
    _classifier.cache_clear()
    _classifier()


def classify(payload: tuple[list[int], Images], state: dict[str, Any]) -> list[int]:
    """The digits on some images, as the classifier sees them."""
    _, images = payload
    return [int(digit) for digit in _classifier().predict(images)]


def payload_of(count: int, learn: Callable[[], object]) -> Callable[[random.Random], tuple[list[int], Images]]:
    """Makes payloads of so many images each, with their numbers, once the client has learnt what to expect."""

    def make(rng: random.Random) -> tuple[list[int], Images]:
        learn()  # the first time, long before the load: only the client makes payloads, and it verifies
        images, _ = images_and_labels()
        rows = [rng.randrange(len(images)) for _ in range(count)]
        return rows, images[rows]

    return make


def verify(payload: tuple[list[int], Images], result: Any) -> bool:
    """Whether these are the classifier's own answers for those very images."""
    rows, _ = payload
    return bool(result == _answers()[rows].tolist())


def workload() -> Workload:
    """`predict` of one image and `batch` of 64, nine to one."""
    return Workload(
        kinds={
            "predict": Kind(weight=9, payload=payload_of(1, _answers), call=classify, verify=verify),
            "batch": Kind(weight=1, payload=payload_of(BATCH, _answers), call=classify, verify=verify),
        },
        setup=prepare,
        modules=(__name__, "sklearn.datasets", "sklearn.ensemble"),
    )
