from typing import Any

import pytest

from poolproof.rig import Pending


def pending(verify: Any = None) -> Pending:
    return Pending(None, 3, "predict", 7, "s", verify)  # type: ignore[arg-type] # a rig is asked for its state only


def test_its_own_result_is_right() -> None:
    assert pending().wrong((3, "whatever")) is None


def test_the_result_of_another_operation_is_told() -> None:
    assert pending().wrong((4, "whatever")) == "it was given the result of operation 4"


@pytest.mark.parametrize("answer", [7, (3,), (3, 7, 7), None])
def test_what_no_worker_of_the_kits_returns_is_told(answer: object) -> None:
    told = pending().wrong(answer)
    assert told is not None
    assert told.endswith("which no worker of the kit's returns")


def test_a_result_that_does_not_verify_is_told_with_its_payload() -> None:
    assert pending(lambda payload, result: payload == result).wrong((3, 8)) == "the payload 7 does not give 8"


def test_a_verification_that_raises_is_told() -> None:
    def fail(payload: object, result: object) -> bool:
        raise KeyError("no such label")

    assert pending(fail).wrong((3, 8)) == "its verification raised KeyError('no such label')"


def test_it_reads_as_what_it_is() -> None:
    assert repr(pending()) == "<operation 3 (predict of session 's'): pending>"
