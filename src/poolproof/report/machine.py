"""The JSON of a proof and of a comparison: stable, documented in `docs/json.md`."""

import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final

import msgspec

from poolproof.errors import UsageError
from poolproof.experiment import Proof

COMPARE_SCHEMA: Final = "poolproof/compare-1"


def as_object(proof: Proof) -> dict[str, Any]:
    """One proof as `poolproof/run-1`."""
    made: dict[str, Any] = msgspec.to_builtins(proof)
    for scenario in made["scenarios"]:
        scenario["recovery"] = scenario["recovery"] or {"detect_ms": None, "capacity_ms": None, "steady_ms": None}
    return made


def comparison(proofs: list[Proof]) -> dict[str, Any]:
    """Several proofs as `poolproof/compare-1`."""
    return {"schema": COMPARE_SCHEMA, "runs": [as_object(proof) for proof in proofs]}


def expect_json(path: Path) -> None:
    """Make sure that `write_json` is going to be able to, before a run of minutes; nothing is changed.

    Raises:
        UsageError: the file can't be written.
    """
    target = Path(os.path.realpath(path))
    try:
        if not target.exists():
            TemporaryFile(dir=target.parent).close()  # one without a name: nobody sees it, nothing is to be removed
        elif target.is_file() or target.is_dir():
            target.open("ab").close()  # not a pipe: that would wait for its reader, and closing it would send that away
    except OSError as error:
        raise _unwritable(path, error) from error


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write one object.

    Raises:
        UsageError: the file can't be written.
    """
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"the JSON can't be written to {path}: {error.strerror}; name a file that you may write")
