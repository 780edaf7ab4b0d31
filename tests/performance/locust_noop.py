"""Locust with users who do nothing: `PYTHON tests/performance/locust_noop.py`, of an environment that has Locust.

It says when it is ready. Then it takes orders, one a line: `{"rate": …, "users": …, "warm_up_s": …, "seconds": …,
"tell": "moments" or "share"}`, operations a second of all users together. It answers each with a line: of each user the
moments of CLOCK_MONOTONIC at which it sent within the seconds after the warm-up; or all users' share of what was asked.
"""

import json
import logging
import sys
import time
from typing import Any

import gevent  # type: ignore[import-untyped]  # like the other two, it is in the environment of Locust alone
from locust import User, constant_throughput  # type: ignore[import-not-found]
from locust.env import Environment  # type: ignore[import-not-found]

SECOND_NS = 1_000_000_000


def take(*, rate: float, users: int, warm_up_s: float, seconds: float, tell: str) -> Any:
    """Have so many users, each with its part of the rate, as `locust --headless` would."""
    moments: list[list[int]] = []

    def do_nothing(user: Any) -> None:
        user.keep(time.monotonic_ns())

    class Idler(User):  # type: ignore[misc]  # no types: not in this environment
        wait_time = constant_throughput(rate / users)
        tasks = (do_nothing,)

        def on_start(self) -> None:
            mine: list[int] = []
            self.keep = mine.append
            moments.append(mine)

    runner = Environment(user_classes=[Idler]).create_local_runner()
    runner.start(users, spawn_rate=users)
    runner.spawning_greenlet.join()  # all of them are there; how long that takes counts for nothing
    begin = time.monotonic_ns() + round(warm_up_s * SECOND_NS)
    gevent.sleep(warm_up_s + seconds)
    runner.quit()
    end = begin + round(seconds * SECOND_NS)
    inside = [[moment for moment in mine if begin <= moment < end] for mine in moments]
    return sum(map(len, inside)) / (rate * seconds) if tell == "share" else inside


def main() -> None:
    """Measure once for each order."""
    # Its log goes to standard error, and warns of every quick start of users.
    logging.getLogger("locust").setLevel(logging.ERROR)

    def tell(what: Any) -> None:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()

    tell("ready")
    # Between two orders no user is left: the process may wait as a whole, without the event loop.
    for line in sys.stdin:
        tell(take(**json.loads(line)))


if __name__ == "__main__":
    main()
