"""Baselines: the history of results, one SQLite file for all machines, of which only alike ones are compared."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Final

import msgspec

from poolproof.errors import BaselineError
from poolproof.performance.results import Better, Result

FOLDER: Final = ".poolproof"
FILE: Final = "baselines.sqlite3"
APPLICATION_ID: Final = 0x706F6F6C  # "pool"
VERSION: Final = 1
PATIENCE_S: Final = 30.0

_TABLE: Final = """
CREATE TABLE results (
    id INTEGER PRIMARY KEY,
    benchmark TEXT NOT NULL,
    target TEXT NOT NULL,
    layer INTEGER NOT NULL,
    workers INTEGER NOT NULL,
    is_full INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    result TEXT NOT NULL
)
"""
_INDEX: Final = "CREATE INDEX alike ON results (fingerprint, benchmark, target, layer)"
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_ASIDE: Final = "move it aside (a new one is begun), or mend it with sqlite3's .recover"


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One figure in one result of its history.

    Attributes:
        at: when it was measured, in ISO 8601 and UTC.
        commit: what was checked out; empty where it could not be told.
        is_dirty: whether tracked files differed from that commit.
        value: in `unit`; None where it could not be told.
    """

    at: str
    commit: str
    is_dirty: bool
    value: float | None
    unit: str
    better: Better


@dataclass(frozen=True, slots=True)
class Baselines:
    """The results that were kept in a folder.

    Each call opens the file and closes it again, so that any number of runs share it; who writes waits for another.
    There is a file from the first `add` on. What can't be used is neither deleted nor written to.

    Every call raises `BaselineError` where the file is damaged, of another version or somebody else's, can't be opened,
    or remains locked.

    Attributes:
        folder: where they are: `FOLDER`, below the root of what is measured.
        patience_s: how long another process is waited for.
    """

    folder: Path
    _: KW_ONLY
    patience_s: float = PATIENCE_S

    @property
    def path(self) -> Path:
        """The database."""
        return self.folder / FILE

    def add(self, result: Result) -> None:
        """Keep one result: all of it, or, if anything fails, none."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = error.strerror or str(error)
            raise BaselineError(self.folder, f"no folder for baselines can be made here: {why}") from error
        row = (
            result.benchmark,
            result.target,
            result.layer,
            result.workers,
            result.is_full,
            result.fingerprint,
            msgspec.json.encode(result).decode(),
        )
        with self._opened("rwc") as database:
            self._begin(database)
            database.execute(
                "INSERT INTO results (benchmark, target, layer, workers, is_full, fingerprint, result)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            database.execute("COMMIT")

    def latest(self, benchmark: str, target: str, layer: int, fingerprint: str) -> Result | None:
        """The result that was added last, of machines with this fingerprint; None where there is none."""
        found = self._results(
            "SELECT result FROM results WHERE fingerprint = ? AND benchmark = ? AND target = ? AND layer = ?"
            " ORDER BY id DESC LIMIT 1",
            (fingerprint, benchmark, target, layer),
        )
        return found[0] if found else None

    def latest_of_each(self, fingerprint: str, *, is_full: bool) -> tuple[Result, ...]:
        """The last result of every benchmark, target and layer, among those measured in full or the quick ones."""
        return self._results(
            "SELECT result FROM results WHERE id IN (SELECT max(id) FROM results"
            " WHERE fingerprint = ? AND is_full = ? GROUP BY benchmark, target, layer)"
            " ORDER BY benchmark, target, layer",
            (fingerprint, is_full),
        )

    def history(
        self, benchmark: str, figure: str, *, target: str, layer: int, workers: int, is_full: bool, fingerprint: str
    ) -> tuple[Point, ...]:
        """One figure in the results that may be compared, in the order in which they were added: oldest first.

        Not by their times: a clock that was set back would put a commit before its own parents.
        """
        results = self._results(
            "SELECT result FROM results WHERE fingerprint = ? AND benchmark = ? AND target = ? AND layer = ?"
            " AND workers = ? AND is_full = ? ORDER BY id",
            (fingerprint, benchmark, target, layer, workers, is_full),
        )
        return tuple(
            Point(
                at=result.at,
                commit=result.commit,
                is_dirty=result.is_dirty,
                value=one.value,
                unit=one.unit,
                better=one.better,
            )
            for result in results
            for one in result.figures
            if one.name == figure
        )

    def _results(self, query: str, values: tuple[str | int, ...]) -> tuple[Result, ...]:
        if not self.path.exists():
            return ()
        with self._opened("rw") as database:
            if not self._holds_results(database):
                return ()
            rows: list[tuple[str]] = database.execute(query, values).fetchall()
        try:
            return tuple(msgspec.json.decode(row, type=Result) for (row,) in rows)
        except msgspec.DecodeError as error:
            raise BaselineError(self.path, f"a result in it is damaged ({error}); {_ASIDE}") from error

    @contextlib.contextmanager
    def _opened(self, mode: str) -> Iterator[sqlite3.Connection]:
        try:
            where = f"{self.path.resolve().as_uri()}?mode={mode}"
            # Without an isolation level nothing is begun or committed but by a statement that says so.
            with contextlib.closing(
                sqlite3.connect(where, uri=True, timeout=self.patience_s, isolation_level=None)
            ) as database:
                yield database  # closing rolls back what was not committed
        except sqlite3.Error as error:
            raise self._told(error) from error

    def _begin(self, database: sqlite3.Connection) -> None:
        """Begin to write, in a file that is ours or has become it; two at once make it one after the other."""
        self._holds_results(database)  # before anything that writes: what is not ours is not even made to be WAL
        database.execute("BEGIN IMMEDIATE")
        if not self._holds_results(database):
            database.execute(_TABLE)
            database.execute(_INDEX)
            database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {VERSION}")
            database.execute("COMMIT")
            # So that who reads and who writes do not wait for each other. It takes the file for itself for a moment;
            # who does not get it keeps the journal that there is, which is as safe.
            with contextlib.suppress(sqlite3.OperationalError):
                database.execute("PRAGMA journal_mode = WAL")
            database.execute("BEGIN IMMEDIATE")

    def _holds_results(self, database: sqlite3.Connection) -> bool:
        """Whether there are tables of this version; False where there is nothing yet.

        Raises:
            BaselineError: it holds something else, or is damaged.
        """
        ((application,),) = database.execute("PRAGMA application_id")
        ((version,),) = database.execute("PRAGMA user_version")
        ((entries,),) = database.execute("SELECT count(*) FROM sqlite_master")
        if (application, version, entries) == (0, 0, 0):
            return False
        if application != APPLICATION_ID:
            raise BaselineError(self.path, "a database, but not of baselines; move it aside, and a new one is begun")
        if version != VERSION:
            written = "a newer" if version > VERSION else "another"
            told = f"baselines of version {version}, written by {written} poolproof; this one reads version {VERSION}: "
            raise BaselineError(self.path, f"{told}use that poolproof, or move the file aside (a new one is begun)")
        found = [told for (told,) in database.execute("PRAGMA quick_check(1)")]
        if found != ["ok"]:
            raise BaselineError(self.path, f"the database is damaged ({' '.join(found[0].split())}); {_ASIDE}")
        return True

    def _told(self, error: sqlite3.Error) -> BaselineError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of it are details
        if code in _BUSY:
            told = f"another process has held the baselines for {self.patience_s:g} s; try again when it has ended"
        elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            told = f"the database is damaged ({error}); {_ASIDE}"
        else:
            told = (
                f"the baselines can't be used ({error}); see that the file and its folder can be written, and the disk"
            )
        return BaselineError(self.path, told)
