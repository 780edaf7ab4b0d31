"""Operations that real programs contain sooner or later and that pools stumble over; standard means, no tricks."""

import random
import sys
from typing import Any, Final

from poolproof.plan import Kind, Workload

REFERENCE: Final = "poolproof.workloads.awkward:workload"
LARGE_BYTES: Final = 64 << 20


class AwkwardError(Exception):
    """An ordinary exception of the user's own."""


class AwkwardExit(BaseException):
    """An exception that is no `Exception`, as KeyboardInterrupt and GeneratorExit are."""


class RefusesToPickleError(Exception):
    """Raised by objects that refuse to pickle: it names the object's own refusal, not a limit of the pool's."""


class Unpicklable:
    """A value that does not pickle."""

    def __reduce__(self) -> Any:
        raise RefusesToPickleError("this object does not pickle")


class UnpicklableError(Exception):
    """An exception that does not pickle."""

    def __reduce__(self) -> Any:
        raise RefusesToPickleError("this exception does not pickle")


class UnloadableError(Exception):
    """An exception that pickles but does not unpickle: the classic one whose `__init__` asks for more than `args`."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"{detail} ({code})")


def _raise(payload: Any, state: dict[str, Any]) -> Any:
    raise AwkwardError("raised by the operation")


def _raise_unpicklable(payload: Any, state: dict[str, Any]) -> Any:
    raise UnpicklableError("raised by the operation")


def _raise_unloadable(payload: Any, state: dict[str, Any]) -> Any:
    raise UnloadableError(7, "raised by the operation")


def _raise_base(payload: Any, state: dict[str, Any]) -> Any:
    raise AwkwardExit("raised by the operation")


def _exit(payload: Any, state: dict[str, Any]) -> Any:
    sys.exit(3)


def _take(payload: Any, state: dict[str, Any]) -> Any:
    return "taken"


def _return_unpicklable(payload: Any, state: dict[str, Any]) -> Any:
    return Unpicklable()


def _return_large(payload: Any, state: dict[str, Any]) -> Any:
    return b"\x5a" * LARGE_BYTES


def _large(payload: Any, result: Any) -> bool:
    return isinstance(result, bytes) and len(result) == LARGE_BYTES and result[:1] == result[-1:] == b"\x5a"


def _nothing(rng: random.Random) -> Any:
    return None


def _is_unpicklable(payload: Any, result: Any) -> bool:
    # A pool of threads pickles nothing and hands the very object over.
    return isinstance(result, Unpicklable)


def _was_taken(payload: Any, result: Any) -> bool:
    return bool(result == "taken")


_HERE: Final = __name__
# The object's own refusal, or the standard library's exception for "can't be pickled", whoever raises it.
_PICKLING: Final = (f"{_HERE}.RefusesToPickleError", "_pickle.PicklingError")

workload: Final = Workload(
    kinds={
        # In the order in which a scenario places them: from those that should cost nothing but their own operation to
        # those that end a worker and those that upset whoever reads the results, so that an early one hides few others.
        "raises": Kind(call=_raise, payload=_nothing, raises=(f"{_HERE}.AwkwardError",)),
        "takes-unpicklable": Kind(
            call=_take, payload=lambda rng: Unpicklable(), verify=_was_taken, raises=_PICKLING, may_return=True
        ),
        "returns-unpicklable": Kind(
            call=_return_unpicklable, payload=_nothing, verify=_is_unpicklable, raises=_PICKLING, may_return=True
        ),
        "raises-unpicklable": Kind(
            call=_raise_unpicklable, payload=_nothing, raises=(*_PICKLING, f"{_HERE}.UnpicklableError")
        ),
        "returns-64-mb": Kind(call=_return_large, payload=_nothing, verify=_large),
        "raises-base-exception": Kind(call=_raise_base, payload=_nothing, raises=(f"{_HERE}.AwkwardExit",)),
        "calls-sys-exit": Kind(call=_exit, payload=_nothing, raises=("builtins.SystemExit",)),
        "raises-unloadable": Kind(
            call=_raise_unloadable, payload=_nothing, raises=(f"{_HERE}.UnloadableError", "builtins.TypeError")
        ),
    }
)
