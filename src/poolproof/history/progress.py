"""How a run gets on while it goes on: counted in the client's columns, of which each look reads only what is new."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from poolproof.history.columns import map_column
from poolproof.history.schema import Outcome, Phase

_COLUMNS: Final = ("sent", "done", "outcome", "phase")
_AHEAD: Final = 4_096
"""How many rows are looked at at once for more that were sent."""
_LONGEST_NS: Final = 10 * 1_000_000_000
"""How long before a window an operation may have been sent that is looked for among those that ended within it."""
_FAILED: Final = (Outcome.WRONG, Outcome.POOL_ERROR, Outcome.REJECTED, Outcome.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How many operations were sent, have ended, and failed so far."""

    sent: int = 0
    done: int = 0
    failed: int = 0


class Watched:
    """The columns of a run that goes on; a million rows are not to be read four times a second."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._columns: dict[str, np.ndarray] = {}
        self._sent = 0
        """All rows before it were sent, or never will be."""
        self._settled = 0
        """All rows before it have ended."""
        self._before = Seen()
        """What those come to."""

    def look(self) -> Seen | None:
        """Count; None before there are any columns."""
        if not self._map():
            return None
        while len(ahead := np.flatnonzero(self._copy("sent", slice(self._sent, self._sent + _AHEAD)))):
            self._sent += int(ahead[-1]) + 1
        still_open = np.flatnonzero(self._copy("done", slice(self._settled, self._sent)) == 0)
        settled = self._settled + int(still_open[0]) if len(still_open) else self._sent
        self._before = self._with(slice(self._settled, settled))
        self._settled = settled
        return self._with(slice(settled, self._sent))

    def failures(self, since: int) -> tuple[int, int]:
        """How many measured operations ended since a moment, ns, and how many of those failed; after a look."""
        if not self._columns:
            return 0, 0
        # Sent in order: what was sent long before has ended before, unless it is open still.
        first = int(np.searchsorted(self._columns["sent"][: self._sent], since - _LONGEST_NS))
        rows = slice(min(first, self._settled), self._sent)
        ended = (self._copy("done", rows) >= since) & (self._copy("phase", rows) == Phase.MEASURED)
        failed = ended & np.isin(self._copy("outcome", rows), _FAILED)
        return int(np.count_nonzero(ended)), int(np.count_nonzero(failed))

    def _map(self) -> bool:
        for name in _COLUMNS:
            if name not in self._columns:
                column = map_column(self._folder, name)
                if column is None:
                    return False
                self._columns[name] = column
        return True

    def _with(self, rows: slice) -> Seen:
        """What is known of the rows before, and of these beside."""
        done = self._copy("done", rows) > 0
        failed = done & np.isin(self._copy("outcome", rows), _FAILED)
        failed &= self._copy("phase", rows) != Phase.AFTER_CLOSE
        return Seen(
            sent=self._before.sent + int(np.count_nonzero(self._copy("sent", rows))),
            done=self._before.done + int(np.count_nonzero(done)),
            failed=self._before.failed + int(np.count_nonzero(failed)),
        )

    def _copy(self, name: str, rows: slice) -> np.ndarray:
        """These rows as they are at this moment: numpy can not search what is being written."""
        return np.array(self._columns[name][rows])
