"""Real work: handwritten digits, told apart by a classifier that each worker fits once. Needs the extra `work`.

The data ship with scikit-learn. The classifier is fitted with a fixed seed, so all processes have the same one, and
every answer is verified against what it says here.
"""

import random
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
def _digits() -> tuple[Images, npt.NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images, labels


@cache
def _classifier() -> Any:
    # Trees, since they are fitted and asked on the calling thread alone: OpenMP, which others use, hangs after a fork.
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(n_estimators=_TREES, random_state=_SEED).fit(*_digits())


@cache
def _answers() -> npt.NDArray[np.int64]:
    """What the classifier says of every image; shape (images,)."""
    return np.asarray(_classifier().predict(_digits()[0]))


def prepare() -> None:
    """Fit this process's own classifier: one that was inherited by a fork is not taken over."""
    _classifier.cache_clear()
    _classifier()


def classify(payload: tuple[list[int], Images], state: dict[str, Any]) -> list[int]:
    """The digits on some images, as the classifier sees them."""
    _, images = payload
    return [int(digit) for digit in _classifier().predict(images)]


def _images(count: int) -> Any:
    def make(rng: random.Random) -> tuple[list[int], Images]:
        _answers()  # the first time, long before the load: only the client makes payloads, and it verifies
        images, _ = _digits()
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
            "predict": Kind(weight=9, payload=_images(1), call=classify, verify=verify),
            "batch": Kind(weight=1, payload=_images(BATCH), call=classify, verify=verify),
        },
        setup=prepare,
        modules=(__name__, "sklearn.datasets", "sklearn.ensemble"),
    )
