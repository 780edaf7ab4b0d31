"""Executions as workers would have recorded them, and a rig that has them."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from poolproof.history import Executions, column_types
from poolproof.rig import Incarnation


def executions(*rows: dict[str, int]) -> Executions:
    """Rows by the names of their columns; what is not said is 0, and `session` -1."""
    types = column_types(Executions)
    return Executions(
        **{
            name: np.array([row.get(name, -1 if name == "session" else 0) for row in rows], dtype=kind)
            for name, kind in types.items()
        }
    )


@dataclass
class Sent:
    op: int
    session: Hashable


@dataclass
class Recorded:
    """As much of a rig as a look at its records needs."""

    rows: list[dict[str, int]] = field(default_factory=list)
    operations: list[Sent] = field(default_factory=list)
    closed: dict[Hashable, int] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)

    def begun(self, session: str, pid: int, epoch: int, counter: int, *, found: str | None = None) -> "Recorded":
        """An operation of a session that a worker began; `found` is whose state it found there."""
        op = len(self.operations)
        self.operations.append(Sent(op, session))
        token = self.token(session if found is None else found)
        row = {"op": op, "pid": pid, "start_time": 1, "tid": pid, "epoch": epoch, "counter": counter, "session": token}
        self.rows.append(row | {"started": op})
        return self

    @property
    def sessions(self) -> tuple[Hashable, ...]:
        return tuple(dict.fromkeys(it.session for it in self.operations))

    def token(self, session: Hashable) -> int:
        return 1 + sorted(map(str, {*self.sessions, session})).index(str(session)) if session != "x" else 99

    def executions(self) -> Any:
        return executions(*self.rows)

    def workers(self) -> tuple[Incarnation, ...]:
        pids = dict.fromkeys(row["pid"] for row in self.rows)
        return tuple(Incarnation(pid, 1, pid) for pid in pids if pid not in self.dead)

    def closings(self, session: Hashable) -> int:
        return self.closed.get(session, 0)
