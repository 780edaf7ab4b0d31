"""Whether sessions stayed where they belong, told from the workers' records."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from poolproof.errors import AffinityError, EvidenceError
from poolproof.history import Executions
from poolproof.rig.rig import Rig
from poolproof.rig.values import Incarnation


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """A session in one worker, in one epoch.

    Attributes:
        operations: how many were begun there.
        first_counter, last_counter: the uses of the state that the first and the last of them found.
    """

    worker: Incarnation
    epoch: int
    operations: int
    first_counter: int
    last_counter: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AffinityReport:
    """Where sessions were served.

    Attributes:
        stays: of each session, one after the other.
        moves: how often any went on in another epoch: each a state that was lost.
    """

    stays: dict[Hashable, tuple[Stay, ...]]
    moves: int


def verify_session_affinity(
    pool: Rig, sessions: Iterable[Hashable] | None = None, *, moves: int = 0, excuse_deaths: bool = False
) -> AffinityReport:
    """Verify, from the workers' own records, that sessions kept their worker and their state.

    In each stay every operation must have found the session's own token, in one epoch, in one incarnation, with the
    counter of the state one higher each time; an epoch that was left is never come back to.

    Args:
        pool: the rig.
        sessions: which; all that anything was sent to, if it is not said.
        moves: how many changes of epoch are allowed in all, beside those that `Rig.close_session` asked for.
        excuse_deaths: whether a change of epoch is allowed besides where the worker that was left has died.

    Raises:
        AffinityError: some session was served elsewhere, with another's state, or lost its state too often; every
            such thing is told.
        EvidenceError: a session has no operation on record, or none has more than one: nothing can be told.
    """
    wanted = list(pool.sessions if sessions is None else sessions)
    found = pool.executions()
    asked = {it.op: it.session for it in pool.operations if it.session is not None}
    ops = found.op.tolist()
    problems: list[str] = []
    unknown: list[str] = []
    stays: dict[Hashable, tuple[Stay, ...]] = {}
    for session in wanted:
        rows = np.array([row for row, op in enumerate(ops) if asked.get(op, _NOBODY) == session], dtype=np.int64)
        if not len(rows):
            unknown.append(f"no worker has a record of any operation of session {session!r}: nothing can be told")
            continue
        token = pool.token(session)
        for row in rows[found.session[rows] != token]:
            owner = next((key for key in pool.sessions if pool.token(key) == found.session[row]), "nobody known")
            problems.append(
                f"operation {ops[row]} of session {session!r} found the state of {owner!r} in pid {found.pid[row]}"
            )
        stays[session] = _stays(session, rows, found, problems)
    changes = sum(len(it) - 1 for it in stays.values())
    living = set(pool.workers())
    unexcused = 0
    for session, many in stays.items():  # one by one: what one session was allowed is no excuse for another
        deaths = sum(excuse_deaths and a.worker not in living for a, _ in pairwise(many))
        unexcused += max(0, len(many) - 1 - deaths - pool.closings(session))
    if unexcused > moves:
        told = [
            f"{session!r} went from {a.worker} (epoch {a.epoch:x}, {a.operations} operations) to {b.worker}"
            for session, many in stays.items()
            for a, b in pairwise(many)
        ]
        problems.append(f"{unexcused} changes of epoch, {moves} allowed: {'; '.join(told[:5])}")
    if problems:
        raise AffinityError(problems)
    if unknown:
        raise EvidenceError(unknown[0])
    if all(len(it) == 1 and it[0].operations < 2 for it in stays.values()):
        raise EvidenceError("no session has more than one operation on record: whether they stay cannot be told")
    return AffinityReport(stays=stays, moves=changes)


_NOBODY = object()


def _stays(session: Hashable, rows: npt.NDArray[np.int64], found: Executions, problems: list[str]) -> tuple[Stay, ...]:
    many: list[Stay] = []
    left: set[int] = set()
    for row in rows:
        worker = Incarnation(int(found.pid[row]), int(found.start_time[row]), int(found.tid[row]))
        epoch, counter = int(found.epoch[row]), int(found.counter[row])
        last = many[-1] if many else None
        if last is None or last.epoch != epoch:
            if epoch in left:
                problems.append(f"session {session!r} came back to epoch {epoch:x} in {worker}, which it had left")
            if last is not None:
                left.add(last.epoch)
            if counter != 1:
                problems.append(
                    f"session {session!r} in {worker}: the first operation of epoch {epoch:x} found its state used "
                    f"{counter - 1} times before"
                )
            many.append(Stay(worker=worker, epoch=epoch, operations=1, first_counter=counter, last_counter=counter))
            continue
        if worker != last.worker:
            problems.append(f"session {session!r}: epoch {epoch:x} was served by {last.worker} and by {worker}")
        if counter != last.last_counter + 1:
            problems.append(
                f"session {session!r} in {worker}: its state was used {counter} times after {last.last_counter}"
            )
        many[-1] = Stay(
            worker=worker,
            epoch=epoch,
            operations=last.operations + 1,
            first_counter=last.first_counter,
            last_counter=counter,
        )
    return tuple(many)
