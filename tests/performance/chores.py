"""What the workers of any measured pool are given to do; they import it by name, so it loads next to nothing."""

import os
import socket
import sys
from typing import Any


def same(value: Any) -> Any:
    """Give back what came."""
    return value


def classify(payload: Any) -> list[int]:
    """The digits on these images; each worker has fitted its own classifier, or inherited one, by its second call."""
    from poolproof.workloads import digits  # here, so that who does nothing of the kind need not load it

    return digits.classify(payload, {})


def meet(address: bytes) -> int:
    """Come to the meeting at this socket, tell one's pid, and stay until everyone is let go."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(address)
        line.sendall(os.getpid().to_bytes(8))
        line.recv(1)
    return os.getpid()


def meet_prepared(address: bytes, module: str) -> tuple[int, bool]:
    """The same; its pid, and whether the module had been imported before anything here could ask for it."""
    prepared = module in sys.modules
    return meet(address), prepared


def settle(state: dict[str, Any], key: int) -> None:
    """Open a session: leave its key in its state."""
    state["key"] = key


def recall(state: dict[str, Any]) -> Any:
    """Tell the key that was left in the state of this session."""
    return state["key"]
