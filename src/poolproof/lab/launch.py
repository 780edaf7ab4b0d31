"""The caller's side of a run: starts the keeper, hears it out, and sweeps if it dies."""

import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from poolproof.clock import SECOND_NS, now_ns
from poolproof.errors import PlatformError, TargetError, UsageError
from poolproof.history import write_plan
from poolproof.history.records import FOLDER as RECORDS
from poolproof.lab import boot, sweep
from poolproof.lab.channel import Channel
from poolproof.plan import Plan

ORDERS: Final = "orders.json"
_GRACE_S: Final = 15.0
_ABORT_S: Final = 5.0
_FRAMES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is known while a run goes on: its stage, and the operations sent, done and failed so far."""

    stage: str
    sent: int = 0
    done: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended.

    Attributes:
        reason: why its record is incomplete, so that nothing can be called kept; empty where it went its whole way.
        hung: the stage in which the lab exceeded its bound and was ended.
        own_doing: whether the lab ended itself against the plan: the pool took its own process along.
    """

    reason: str = ""
    hung: str = ""
    own_doing: bool = False


def run_plan(
    plan: Plan,
    folder: Path,
    *,
    discard: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    stop: int | None = None,
) -> Ended:
    """Carry out a plan in processes of its own; its raw record is then in `folder`.

    Args:
        plan: what to do.
        folder: an existing empty folder.
        discard: a folder that is removed where this process dies.
        on_progress: called a few times a second.
        stop: a descriptor; once it can be read, the run is ended as by an interrupt: a thread can't be sent one.

    Raises:
        TargetError: the target or the workload can't be loaded, built or prepared.
        PlatformError: this machine is no Linux, or too old a one.
        KeyboardInterrupt: after every fault was undone and every process of the run ended.
    """
    if sys.argv[:1] == ["poolproof-lab"]:
        raise UsageError(
            "a proof was begun while its own lab imported this script: put the call under `if __name__ == '__main__':`"
        )
    if not hasattr(os, "pidfd_open"):
        raise PlatformError(
            "poolproof needs Linux 5.3 or later, for pidfds; `poolproof doctor` tells what else is there"
        )
    try:
        directory = str(Path.cwd())
    except FileNotFoundError as error:
        raise UsageError("the working directory is gone: change to one that exists") from error
    write_plan(plan, folder)
    (folder / RECORDS).mkdir()  # before any process of the run: workers write there from their first operation on
    token = secrets.token_hex(8)
    orders = boot.Orders(
        folder=str(folder.resolve()),
        token=token,
        sys_path=[directory if entry == "" else entry for entry in sys.path],
        directory=directory,
        caller_pid=os.getpid(),
        total_s=plan.bounds.total_s + plan.scenario.load.seconds,
        outlive_s=plan.bounds.outlive_s,
        temporary=tempfile.mkdtemp(prefix="poolproof-"),
        discard="" if discard is None else str(discard.resolve()),
    )
    (folder / ORDERS).write_text(json.dumps(orders._asdict()), encoding="utf-8")
    ours, keepers = Channel.pair()
    keeper: subprocess.Popen[bytes] | None = None
    message: dict[str, Any] | None = None
    try:
        keeper = _start_keeper(orders, keepers)
        keepers.close()
        message = _listen(ours, orders.total_s + orders.outlive_s + _GRACE_S, on_progress, stop)
    finally:
        # Whatever happened here (Ctrl-C, an error of the caller's own): the keeper sees the end of the channel, undoes
        # every fault and ends every process. Where it is dead itself, or was only half started, this process sweeps.
        ours.close()
        _outlast(keeper, orders)
        (folder / ORDERS).unlink(missing_ok=True)
    if message is None:
        return Ended(reason=f"the keeper died ({_status(keeper.returncode)}) before the run was over")
    failure = message.get("failure")
    if failure is not None:
        raise TargetError(failure["target"], failure["why"])
    if message.get("hung") == "prepare":
        raise TargetError(
            plan.workload,
            f"the workload {plan.workload} was not ready within bounds.open_s = {plan.bounds.open_s:g} s; "
            f"it was in {where_it_hung(folder)}",
        )
    if message.get("hung") == "open" and not _was_opened(folder):
        raise TargetError(
            plan.target.name,
            f"the factory {plan.target.factory} did not return a pool within bounds.open_s = {plan.bounds.open_s:g} s; "
            f"it was in {where_it_hung(folder)}",
        )
    if message.get("own_doing") and not _was_opened(folder):
        raise TargetError(
            plan.target.name,
            f"the factory {plan.target.factory} ended its own process: {message['reason']}; it must return a pool",
        )
    return Ended(reason=message["reason"], hung=message.get("hung", ""), own_doing=bool(message.get("own_doing")))


def _start_keeper(orders: boot.Orders, channel: Channel) -> "subprocess.Popen[bytes]":
    folder = Path(orders.folder)
    with (folder / "output.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, boot.__file__, "keeper", str(folder / ORDERS), str(channel.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(os.environ) | {sweep.variable(orders.token): "1"},
            pass_fds=(channel.fileno(),),
            start_new_session=True,  # a Ctrl-C of the terminal is the caller's alone
        )


def _listen(
    channel: Channel, total_s: float, on_progress: Callable[[Progress], None], stop: int | None
) -> dict[str, Any] | None:
    """Hear the keeper out; its last message, or None where it died or exceeded every bound without one."""
    deadline = now_ns() + round(total_s * SECOND_NS)
    progress = Progress(stage="start")
    while (remaining := deadline - now_ns()) > 0:
        heard = [channel.fileno()] if stop is None else [channel.fileno(), stop]
        readable, _, _ = select.select(heard, [], [], remaining / SECOND_NS)
        if stop in readable:
            raise KeyboardInterrupt
        if not readable:
            continue
        received = channel.receive()
        if received is None:
            return None
        message, _ = received
        match message["kind"]:
            case "ended":
                return message
            case "stage":
                progress = Progress(
                    stage=message["stage"], sent=progress.sent, done=progress.done, failed=progress.failed
                )
                on_progress(progress)
            case "progress":
                progress = Progress(
                    stage=progress.stage, sent=message["sent"], done=message["done"], failed=message["failed"]
                )
                on_progress(progress)
    return None


def _outlast(keeper: "subprocess.Popen[bytes] | None", orders: boot.Orders) -> None:
    """Return once the keeper is gone and nothing of the run lives."""
    interrupted: KeyboardInterrupt | None = None
    deadline = now_ns() + round(_ABORT_S * SECOND_NS)
    while keeper is not None and keeper.returncode is None:
        try:
            keeper.wait(max(0.1, (deadline - now_ns()) / SECOND_NS))
        except subprocess.TimeoutExpired:
            keeper.kill()
        except KeyboardInterrupt as again:  # a second Ctrl-C must not leave a stopped worker behind
            interrupted = again
    sweep.sweep(orders.token)
    shutil.rmtree(orders.temporary, ignore_errors=True)
    if interrupted is not None:
        raise interrupted


def where_it_hung(folder: Path) -> str:
    """The innermost calls of the thread that was ended, from the stacks that faulthandler wrote; empty without any."""
    stacks = folder / "stacks.txt"
    lines = stacks.read_text(errors="replace").splitlines() if stacks.exists() else []
    current = next((number for number, line in enumerate(lines) if line.startswith("Current thread")), None)
    if current is None:
        return "unknown code: its stacks could not be written"
    frames = [line.strip() for line in lines[current + 1 :]]
    frames = frames[: frames.index("")] if "" in frames else frames
    outside = [frame for frame in frames if "/poolproof/lab/" not in frame]
    return ", called from ".join(outside[:_FRAMES])


def _was_opened(folder: Path) -> bool:
    return (folder / "claims.json").exists()


def _status(returncode: int | None) -> str:
    if returncode is None or returncode >= 0:
        return f"exit status {returncode}"
    return signal.Signals(-returncode).name
