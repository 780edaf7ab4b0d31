"""The append-only record of a run: written by workers, lab, conductor and keeper, judged by checks."""

from poolproof.history.canonical import canonical, digest
from poolproof.history.columns import ClientColumns, map_column, read_columns
from poolproof.history.journal import Journal
from poolproof.history.progress import Seen, Watched
from poolproof.history.records import Follower, Worker, pair, read_records
from poolproof.history.schema import (
    SCHEMA,
    Error,
    Executions,
    Fault,
    Host,
    Incarnation,
    Leftover,
    Lifecycle,
    Operations,
    Outcome,
    Phase,
    Sample,
    Usage,
    column_types,
)
from poolproof.history.store import History, collect, load, read_plan, save, write_claims, write_plan

__all__ = [
    "SCHEMA",
    "ClientColumns",
    "Error",
    "Executions",
    "Fault",
    "Follower",
    "History",
    "Host",
    "Incarnation",
    "Journal",
    "Leftover",
    "Lifecycle",
    "Operations",
    "Outcome",
    "Phase",
    "Sample",
    "Seen",
    "Usage",
    "Watched",
    "Worker",
    "canonical",
    "collect",
    "column_types",
    "digest",
    "load",
    "map_column",
    "pair",
    "read_columns",
    "read_plan",
    "read_records",
    "save",
    "write_claims",
    "write_plan",
]
