"""The generator with operations that do nothing: `python -m tests.performance.generator_noop`; orders as `locust_noop`.

Its orders name users too; it has none.
"""

import json
import random
import sys
from contextlib import closing
from typing import Any, Final

from poolproof.clock import SECOND_NS, best_timer, now_ns
from poolproof.load import release
from poolproof.load.schedule import constant
from poolproof.plan import Step

LEAD_NS: Final = 20_000_000


def take(*, rate: float, users: int, warm_up_s: float, seconds: float, tell: str) -> Any:
    """Send at a rate; [when each was sent, when it was due] of those that were due in the window, or their share.

    Only what was sent before the window ended counts for the share: what comes later was not offered at that rate.
    """
    after_s = constant(Step(rate=rate, seconds=warm_up_s + seconds), random.Random(0))
    sent_ns: list[int] = []
    with closing(best_timer()) as timer:
        start = now_ns() + LEAD_NS + len(after_s) * 200  # which is what the next line takes
        due_ns = ((after_s * SECOND_NS).astype(int) + start).tolist()
        release(lambda op: sent_ns.append(now_ns()), 0, due_ns, timer)
    begin, end = start + round(warm_up_s * SECOND_NS), start + round((warm_up_s + seconds) * SECOND_NS)
    first = next(at for at, due in enumerate(due_ns) if due >= begin)
    if tell == "share":
        return sum(moment < end for moment in sent_ns[first:]) / (rate * seconds)
    return sent_ns[first:], due_ns[first:]


def main() -> None:
    """Measure once for each order."""

    def tell(what: Any) -> None:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()

    tell("ready")
    for line in sys.stdin:
        tell(take(**json.loads(line)))


if __name__ == "__main__":
    main()
