"""What tests name as targets and workloads: good ones and every kind of bad one."""

from concurrent.futures import Executor, Future
from typing import Any, ClassVar

from poolproof.plan import Claims, Kind, Operation, Workload

NOT_CALLABLE = 7

set_up: list[str] = []
"""One entry for each time that the workload with a setup was set up."""


class InlineExecutor(Executor):
    """Runs what it is given on the spot, and remembers how it was made and closed."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers
        self.closed: list[dict[str, bool]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.closed.append({"wait": wait, "cancel": cancel_futures})


class InlinePool:
    """A pool of the protocol."""

    def __init__(self, workers: int | None = None) -> None:
        self.claims = Claims(detection_s=7)
        self.workers = workers

    def submit(self, operation: Operation) -> "Future[Any]":
        return InlineExecutor().submit(operation.call)

    def close(self, *, cancel: bool = False) -> None:
        """Nothing is held."""


def executor(workers: int) -> InlineExecutor:
    return InlineExecutor(workers)


def executor_of_any_options(**options: int) -> InlineExecutor:
    return InlineExecutor(options["workers"])


def executor_without_options() -> InlineExecutor:
    return InlineExecutor()


def pool(workers: int) -> InlinePool:
    return InlinePool(workers)


class Factories:
    """A place deeper in a module."""

    @staticmethod
    def pool(workers: int) -> InlinePool:
        return InlinePool(workers)

    @classmethod
    def of_class(cls) -> "type[Factories]":
        return cls

    def of_object(self, workers: int) -> InlinePool:
        return InlinePool(workers)


class MoreFactories(Factories):
    """What it inherits is bound to itself."""


def raising(workers: int) -> InlinePool:
    raise OSError("no room")


def exiting(workers: int) -> InlinePool:
    raise SystemExit("enough")


def interrupted(workers: int) -> InlinePool:
    raise KeyboardInterrupt


def no_pool(workers: int) -> list[int]:
    return [workers]


class Unclaiming:
    """Submits and closes, and says nothing of itself."""

    def submit(self, operation: Operation) -> "Future[Any]":
        return Future()

    def close(self, *, cancel: bool = False) -> None:
        """Nothing is held."""


class Misclaiming(Unclaiming):
    """Says of itself what cannot be read."""

    claims: ClassVar = {"survives-worker-death": "promised"}


def double(payload: Any, state: dict[str, Any]) -> Any:
    return 2 * payload


def remember(payload: Any, state: dict[str, Any]) -> Any:
    state[payload] = True
    return sorted(key for key in state if not key.startswith("poolproof"))


def forget(payload: Any, state: dict[str, Any]) -> Any:
    state.clear()
    return len(state)


DOUBLE = Kind(call=double, payload=lambda rng: rng.randrange(100), verify=lambda payload, result: result == 2 * payload)
doubling = Workload(
    kinds={
        "double": DOUBLE,
        "remember": Kind(call=remember, payload=lambda rng: "key"),
        "forget": Kind(call=forget, payload=lambda rng: None),
    },
    setup=lambda: set_up.append("once"),
)
weightless = Workload(kinds={"double": Kind(call=double, payload=lambda rng: 1, weight=0)})
negative = Workload(
    kinds={
        "double": Kind(call=double, payload=lambda rng: 1, weight=2),
        "undo": Kind(call=double, payload=lambda rng: 1, weight=-1),
    }
)


def by_function() -> Workload:
    return doubling


def by_function_with_times(service_ms: dict[str, float]) -> Workload:
    return Workload(kinds=dict.fromkeys(service_ms, DOUBLE))


def by_broken_function() -> Workload:
    raise ValueError("no data here")
