"""How a process ended, for people."""

import contextlib
import os
import signal


def in_words(status: int) -> str:
    """A status of `waitpid`: `exit status 3`, `SIGKILL`."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit status {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
