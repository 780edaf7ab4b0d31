"""The pool behind an event loop."""

import asyncio
from functools import partial

import pytest

from sessionpool import SessionPool, WorkerDied
from tests.integration.sessionpool import deeds
from tests.integration.sessionpool.conftest import Disturbance, Hold
from tests.integration.sessionpool.witnesses import LONG_S, Diary, Meeting, kill


def test_an_operation_is_awaited(pool: SessionPool) -> None:
    async def main() -> int:
        return await asyncio.wait_for(asyncio.wrap_future(pool.submit(deeds.add, 1, 2)), LONG_S)

    assert asyncio.run(main()) == 3


def test_a_loop_runs_in_the_pool_as_in_any_executor(pool: SessionPool) -> None:
    async def main() -> int:
        return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(pool, deeds.add, 1, 2), LONG_S)

    assert asyncio.run(main()) == 3


def test_many_operations_are_awaited_at_once(pool: SessionPool, disturb: Disturbance) -> None:
    view = pool.options(idempotent=True)

    async def main() -> list[int]:
        futures = [asyncio.wrap_future(view.submit(deeds.echo, number)) for number in range(100)]
        disturb(pool)
        return await asyncio.wait_for(asyncio.gather(*futures), LONG_S)

    assert asyncio.run(main()) == list(range(100))


def test_an_exception_is_raised_where_it_is_awaited_with_its_cause(pool: SessionPool) -> None:
    async def main() -> None:
        await asyncio.wait_for(asyncio.wrap_future(pool.submit(deeds.fail, KeyError("a"))), LONG_S)

    with pytest.raises(KeyError) as caught:
        asyncio.run(main())

    assert "in fail" in str(caught.value.__cause__)


def test_a_death_is_raised_where_it_is_awaited(pool: SessionPool) -> None:
    async def main() -> None:
        await asyncio.wait_for(asyncio.wrap_future(pool.submit(deeds.exit_at_once, 1)), LONG_S)

    with pytest.raises(WorkerDied):
        asyncio.run(main())


def test_a_cancelled_task_cancels_its_queued_operation(one_worker: SessionPool, hold: Hold, diary: Diary) -> None:
    [(_, guest)] = hold(one_worker)

    async def main() -> None:
        future = asyncio.wrap_future(one_worker.submit(deeds.note, diary.path, "ran"))
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future

    asyncio.run(main())

    guest.release()
    one_worker.submit(deeds.echo, 1).result(LONG_S)
    assert diary.lines() == []


def test_a_task_that_gives_up_on_a_running_operation_leaves_the_worker_alone(
    one_worker: SessionPool, meeting: Meeting
) -> None:
    running = one_worker.submit(deeds.meet, meeting.address)
    guest = meeting.guest()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(running), 0.1)

    asyncio.run(main())

    guest.release("late")
    assert running.result(LONG_S) == "late"
    assert one_worker.submit(deeds.pid).result(LONG_S) == guest.pid


def test_operations_of_a_session_are_awaited_in_their_order(pool: SessionPool) -> None:
    session = pool.session("s")

    async def main() -> list[tuple[int, int]]:
        futures = [asyncio.wrap_future(session.submit(deeds.count)) for _ in range(20)]
        return await asyncio.wait_for(asyncio.gather(*futures), LONG_S)

    assert [count for count, _ in asyncio.run(main())] == list(range(1, 21))


def test_one_pool_serves_one_loop_after_the_other(pool: SessionPool) -> None:
    async def main(value: int) -> int:
        return await asyncio.wait_for(asyncio.wrap_future(pool.submit(deeds.echo, value)), LONG_S)

    assert [asyncio.run(main(value)) for value in range(3)] == [0, 1, 2]


def test_the_loop_goes_on_while_an_operation_runs(pool: SessionPool, hold: Hold) -> None:
    [(held, guest)] = hold(pool)

    async def main() -> tuple[int, str]:
        loop = asyncio.get_running_loop()
        other = await asyncio.wait_for(loop.run_in_executor(pool, partial(deeds.add, 1, right=1)), LONG_S)
        guest.release("done")
        return other, await asyncio.wait_for(asyncio.wrap_future(held), LONG_S)

    assert asyncio.run(main()) == (2, "done")


def test_a_shutdown_may_be_awaited_in_a_thread_while_its_operations_are_awaited_in_the_loop(pool: SessionPool) -> None:
    async def main() -> list[int]:
        futures = [asyncio.wrap_future(pool.submit(deeds.echo, number)) for number in range(20)]
        await asyncio.wait_for(asyncio.to_thread(pool.shutdown), LONG_S)
        return [await future for future in futures]

    assert asyncio.run(main()) == list(range(20))


def test_a_loop_that_ended_before_the_answer_came_harms_nobody(pool: SessionPool, hold: Hold) -> None:
    [(held, guest)] = hold(pool)

    async def main() -> None:
        asyncio.ensure_future(asyncio.wrap_future(held))  # noqa: RUF006 - it is to be left behind

    asyncio.run(main())
    kill(pool.workers()[0].pid if pool.workers()[0].pid != guest.pid else pool.workers()[1].pid)
    guest.release("late")

    assert held.result(LONG_S) == "late"
    assert pool.submit(deeds.echo, 1).result(LONG_S) == 1
