"""A program in a session, as those who use DSPy have them: made there, run many times, deleted; on layer 3 alone."""

import pytest

from poolproof.rig import Rig, verify_session_affinity
from poolproof.workloads.programs import NoSuchProgramError

pytest.importorskip("dspy", reason="needs the extra dspy: pip install 'poolproof[dspy]'")

pytestmark = [pytest.mark.layer(3), pytest.mark.isolation("pool_testing", workers=2, workload="dspy")]

TIMES = 10


def test_a_program_lives_in_its_session_from_its_creation_to_its_deletion(pool: Rig) -> None:
    created = pool.submit("create", "squares", session="s").result()
    executed = [pool.submit("execute", ("squares", n, "raise"), session="s") for n in range(TIMES)]
    answers = [it.result() for it in executed]
    deleted = pool.submit("delete", "squares", session="s").result()

    assert created == ("squares", ("question", "answer"))
    assert answers == [(n * n, n + 1) for n in range(TIMES)]
    assert deleted == ("squares", TIMES)
    (stay,) = verify_session_affinity(pool).stays["s"]
    assert stay.operations == TIMES + 2


def test_a_program_that_was_deleted_is_gone_and_the_error_arrives_as_itself(pool: Rig) -> None:
    pool.submit("create", "doubles", session="s").result()
    pool.submit("delete", "doubles", session="s").result()

    error = pool.submit("execute", ("doubles", 2, "raise"), session="s").exception()

    assert type(error) is NoSuchProgramError
    assert error.name == "doubles"


def test_a_program_of_one_session_is_not_found_in_another(pool: Rig) -> None:
    pool.submit("create", "sums", session="one").result()

    assert type(pool.submit("execute", ("sums", 3, "raise"), session="other").exception()) is NoSuchProgramError
    assert pool.submit("execute", ("sums", 3, "raise"), session="one").result() == (6, 1)
