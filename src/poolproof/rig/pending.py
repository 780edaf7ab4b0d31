"""An operation that was sent: what it was, and what came of it."""

import asyncio
from collections.abc import Callable, Generator, Hashable
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, Final, Literal

from poolproof.errors import WaitTimeoutError, WrongResultError
from poolproof.waiting import wait_for

if TYPE_CHECKING:
    from poolproof.rig.rig import Rig

_COUNTED_S: Final = 10.0

End = Literal["", "ok", "wrong", "error", "cancelled", "rejected"]


class Pending:
    """One operation of a rig. Made by `Rig.submit`, which its fields belong to until it is handed over.

    `done_ns` and `end` are written by the thread of the pool that resolves it, `end` last.

    Attributes:
        op: its number in the rig; what execution records call it.
        sent_ns: when it was handed over, on the rig's clock.
        done_ns: when its end was seen; 0 before.
        end: how it ended; empty before.
    """

    __slots__ = ("_rig", "_verify", "done_ns", "end", "future", "kind", "op", "payload", "sent_ns", "session")

    def __init__(
        self,
        rig: "Rig",
        op: int,
        kind: str,
        payload: Any,
        session: Hashable,
        verify: Callable[[Any, Any], bool] | None,
    ) -> None:
        self._rig = rig
        self._verify = verify
        self.op = op
        self.kind = kind
        self.payload = payload
        self.session = session
        self.sent_ns = 0
        self.done_ns = 0
        self.end: End = ""
        self.future: Future[Any] = Future()

    def done(self) -> bool:
        """Whether it has ended."""
        return self.future.done()

    def cancel(self) -> bool:
        """Cancel it; whether the pool let that happen."""
        return self.future.cancel()

    def result(self, timeout: float = 30.0) -> Any:
        """What the operation returned.

        Args:
            timeout: seconds, on the rig's clock.

        Raises:
            WaitTimeoutError: it did not end in time; the error tells the state of the pool.
            WrongResultError: what came back is another operation's, or not what this one returns.
            Exception: what the operation failed with.
        """
        self._await_end(timeout)
        answer = self.future.result(0)
        if (wrong := self.wrong(answer)) is not None:
            raise WrongResultError(f"{self.describe()}: {wrong}")
        return answer[1]

    def exception(self, timeout: float = 30.0) -> BaseException | None:
        """What it failed with, or None.

        Raises:
            WaitTimeoutError: it did not end in time.
        """
        self._await_end(timeout)
        return self.future.exception(0)

    def __await__(self) -> Generator[Any, None, Any]:
        if self._rig.is_virtual or self.future.done():
            return self.result()
        answer = yield from asyncio.wrap_future(self.future).__await__()
        if (wrong := self.wrong(answer)) is not None:
            raise WrongResultError(f"{self.describe()}: {wrong}")
        return answer[1]

    def _await_end(self, timeout: float) -> None:
        try:
            self.future.exception(timeout)
        except TimeoutError as error:
            if self.future.done():  # it ended with one of its own
                return
            raise WaitTimeoutError(
                f"the end of {self.describe()}", timeout, f"the state then: {self._rig.state()}", None, ()
            ) from error
        except CancelledError:
            pass  # that is an end too
        # A future wakes whoever waits for it before its callbacks run: so that what is counted by then is counted.
        if not self.end:
            wait_for(lambda: self.end, timeout=_COUNTED_S, on=self._rig, what=f"the count of {self.describe()}")

    def wrong(self, answer: Any) -> str | None:
        """What is wrong with an answer; None where it is right."""
        if not (isinstance(answer, tuple) and len(answer) == 2):
            return f"it was answered with {answer!r:.200}, which no worker of the kit's returns"
        if answer[0] != self.op:
            return f"it was given the result of operation {answer[0]}"
        try:
            is_right = self._verify is None or self._verify(self.payload, answer[1])
        except Exception as error:  # the user's own; nobody hears what it raises in a callback of a future
            return f"its verification raised {error!r:.200}"
        if not is_right:
            return f"the payload {self.payload!r:.200} does not give {answer[1]!r:.200}"
        return None

    def describe(self) -> str:
        """Which operation it is, in words."""
        session = "" if self.session is None else f" of session {self.session!r}"
        return f"operation {self.op} ({self.kind}{session})"

    def __repr__(self) -> str:
        return f"<{self.describe()}: {self.end or ('running' if self.future.running() else 'pending')}>"
