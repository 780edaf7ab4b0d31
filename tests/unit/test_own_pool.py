from pathlib import Path

import pytest

from poolproof.plan import PROMISES
from poolproof.pools.sessionpool import CLAIMS
from sessionpool import PoolSaturated, SessionPoolError

DOCUMENT = Path(__file__).parents[2] / "docs" / "sessionpool.md"


@pytest.mark.parametrize("promise", PROMISES)
def test_each_promise_of_the_own_pool_is_made_in_its_document(promise: str) -> None:
    promises = DOCUMENT.read_text().partition("## What it promises")[2].partition("\n## ")[0]

    assert promise in promises
    assert CLAIMS.made(promise) in ("implied", "promised")


def test_the_errors_of_the_own_pool_are_listed_by_the_names_that_they_have() -> None:
    named = [f"{kind.__module__}.{kind.__qualname__}" for kind in (SessionPoolError, PoolSaturated)]

    assert [*CLAIMS.errors, *CLAIMS.overload] == named
