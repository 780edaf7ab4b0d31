"""Client columns: preallocated memory-mapped files, so that the death of the lab loses no operation."""

import mmap
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np

from poolproof.errors import HistoryError
from poolproof.history.schema import Operations, column_types

FOLDER: Final = "client"
_FORMATS: Final[dict[type[np.generic], Literal["q", "i", "B"]]] = {np.int64: "q", np.int32: "i", np.uint8: "B"}


class Kinds(msgspec.Struct, frozen=True, kw_only=True):
    """The dictionary of the `kind` column, and how many rows were preallocated."""

    kinds: tuple[str, ...]
    rows: int


class ClientColumns:
    """The `operations` table while it is written: one memory view a column, each backed by a file.

    A row counts as resolved once its `done` is set, which the writer stores last: whoever reads the files at any moment
    sees either no outcome or a whole one.
    """

    def __init__(self, folder: Path, kinds: tuple[str, ...], rows: int) -> None:
        self.kinds = kinds
        self.rows = rows
        home = folder / FOLDER
        home.mkdir()
        self._maps: list[mmap.mmap] = []
        views: dict[str, memoryview] = {}
        for name, kind in column_types(Operations).items():
            size = max(1, rows) * np.dtype(kind).itemsize
            with (home / name).open("w+b") as file:
                file.truncate(size)
                mapped = mmap.mmap(file.fileno(), size)
            self._maps.append(mapped)
            views[name] = memoryview(mapped).cast(_FORMATS[kind])
        self.op, self.kind, self.phase = views["op"], views["kind"], views["phase"]
        self.session, self.session_seq = views["session"], views["session_seq"]
        self.deadline, self.idempotent = views["deadline"], views["idempotent"]
        self.due, self.sent, self.accepted, self.done = views["due"], views["sent"], views["accepted"], views["done"]
        self.cancelled_at, self.outcome = views["cancelled_at"], views["outcome"]
        self.error, self.echoed = views["error"], views["echoed"]
        (home / "kinds.json").write_bytes(msgspec.json.encode(Kinds(kinds=kinds, rows=rows)))

    def close(self) -> None:
        """Release the mappings; the kernel keeps what was written."""
        for view in (getattr(self, name) for name in column_types(Operations)):
            view.release()
        for mapped in self._maps:
            mapped.close()


def map_column(folder: Path, name: str) -> np.ndarray | None:
    """A live, read-only view of one column while the lab writes it, or None before the lab has made it."""
    path = folder / FOLDER / name
    if not (folder / FOLDER / "kinds.json").exists():
        return None
    return np.memmap(path, dtype=column_types(Operations)[name], mode="r")


def read_columns(folder: Path) -> tuple[Operations, tuple[str, ...]]:
    """The operations that were sent or were due to be, and their kinds; none where the lab never got so far.

    Raises:
        HistoryError: a column is missing or has another length than the others.
    """
    home = folder / FOLDER
    types = column_types(Operations)
    if not (home / "kinds.json").exists():
        return Operations(**{name: np.zeros(0, dtype=kind) for name, kind in types.items()}), ()
    meta = msgspec.json.decode((home / "kinds.json").read_bytes(), type=Kinds)
    columns = {}
    for name, kind in types.items():
        try:
            column = np.fromfile(home / name, dtype=kind)
        except OSError as error:
            raise HistoryError(folder, f"column {name} can't be read: {error.strerror}; run it again") from error
        if len(column) < meta.rows:
            raise HistoryError(folder, f"column {name} has {len(column)} of {meta.rows} rows; run it again")
        columns[name] = column[: meta.rows]
    # Rows that were preallocated and never used have neither a due time nor a sending time.
    used = np.flatnonzero((columns["due"] != 0) | (columns["sent"] != 0))
    rows = int(used[-1]) + 1 if len(used) else 0
    return Operations(**{name: column[:rows] for name, column in columns.items()}), meta.kinds
