"""Writes record files as probes do."""

from pathlib import Path

from poolproof import probe


class RecordFile:
    """The record file of one incarnation of a run."""

    def __init__(self, folder: Path, pid: int = 11, start_time: int = 1100) -> None:
        home = folder / "executions"
        home.mkdir(exist_ok=True)
        self.pid, self.start_time = pid, start_time
        self.path = home / f"{pid}-{start_time}.bin"
        self.path.touch()

    def write(self, kind: int, op: int, at: int = 0, tid: int = 1, mark: int = 0) -> None:
        """Append one record."""
        line = probe.RECORD.pack(probe.MAGIC, kind, self.pid, tid, 0, self.start_time, op, at, -1, 0, mark)
        self.append(line)

    def append(self, content: bytes) -> None:
        """Append raw bytes."""
        with self.path.open("ab") as file:
            file.write(content)

    def begins(self, op: int, at: int = 0, tid: int = 1) -> None:
        """The worker begins an operation."""
        self.write(probe.STARTED, op, at, tid)

    def raises(self, op: int, at: int, error: str, tid: int = 1) -> None:
        """The call of an operation raises an error of that type."""
        self.write(probe.RAISED, op, at, tid, probe.type_mark(error))

    def ends(self, op: int, at: int = 0, tid: int = 1) -> None:
        """The worker ends an operation."""
        self.write(probe.RETURNED, op, at, tid)
