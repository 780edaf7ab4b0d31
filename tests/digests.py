"""What explored plans come to, as digests: `python -m tests.digests COUNT` prints one line for all of them.

Two interpreters on which it prints the same simulate the same, to the byte.
"""

import hashlib
import sys
from collections.abc import Iterable

from poolproof.exploration.swarm import random_plan
from poolproof.history import digest
from poolproof.pools import find_core
from poolproof.simulation import simulate


def digests(seeds: Iterable[int]) -> list[str]:
    """The digest of the history of each seed's plan."""
    target = find_core("sessionpool")
    return [digest(simulate(random_plan(target, seed))) for seed in seeds]


if __name__ == "__main__":
    count = int(sys.argv[1])
    whole = hashlib.sha256("".join(digests(range(count))).encode()).hexdigest()
    sys.stdout.write(f"{count} {whole}\n")
