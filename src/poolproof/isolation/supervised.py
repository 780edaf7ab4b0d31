"""What a supervised worker of a test runs: it says that it is ready, does as it is told, and ends with its supervisor.

Standard library only, and of that little: it is started as a program of its own, outside the import system, and quick
starts are what tests of restarts need. Its channel is its standard input, a socket of packets.
"""

import os
import select
import signal
import sys
import time

_CHANNEL = 0


def _obey(until: float | None) -> None:
    """Do as told until a moment; without one, for good."""
    poller = select.poll()
    poller.register(_CHANNEL, select.POLLIN)
    while True:
        left_ms = None if until is None else max(0.0, until - time.monotonic()) * 1000
        if not poller.poll(left_ms):
            return
        try:
            word = os.read(_CHANNEL, 64).split()
        except ConnectionError:
            word = []
        if not word:  # end-of-file: the supervisor is gone, however it went
            os._exit(0)
        if word[0] == b"exit":
            os._exit(int(word[1]))


def main(exits: str, after_ms: str, ready_after_ms: str, ignores_sigterm: str, call: str, *path: str) -> None:
    """Behave as described by `poolproof.isolation.supervision.Behaviour`; `-` stands for None."""
    if ignores_sigterm == "1":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if ready_after_ms != "-":
        _obey(time.monotonic() + float(ready_after_ms) / 1000)
        os.write(_CHANNEL, b"ready")
    if call != "-":
        _call(call, path)
    if exits != "-":
        _obey(time.monotonic() + float(after_ms) / 1000)
        os._exit(int(exits))
    _obey(None)


def _call(reference: str, path: tuple[str, ...]) -> None:
    """Run the user's own function, while another thread does as it is told."""
    import importlib
    import threading

    sys.path[:] = path
    threading.Thread(target=_obey, args=(None,), daemon=True).start()
    module, _, name = reference.partition(":")
    getattr(importlib.import_module(module), name)()
    sys.exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
