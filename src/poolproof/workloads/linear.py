"""Light real work: the digits of `digits`, told apart by a linear classifier in a tenth of a millisecond.

What a pool itself takes shows in it, and two processors do thousands of it a second. Needs the extra `work`.
"""

from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from poolproof.plan import Kind, Workload
from poolproof.workloads.digits import BATCH, Images, images_and_labels, payload_of

_SEED: Final = 0


@cache
def _classifier() -> Any:
    # Fitted and asked on the calling thread alone, as the trees are: see `digits`.
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(random_state=_SEED).fit(*images_and_labels())


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
        modules=(__name__, "sklearn.datasets", "sklearn.linear_model"),
    )
