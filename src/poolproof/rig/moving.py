"""Moving a pool to another layer: what was sent is awaited, and its open sessions follow their mode."""

from collections.abc import Iterator
from contextlib import contextmanager

from poolproof.errors import UsageError
from poolproof.rig.rig import Rig
from poolproof.rig.setup import Configured, configuration, handed_out, open_rig
from poolproof.rig.waits import wait_for_pool_idle
from poolproof.waiting import Event, bounded


@contextmanager
def move_pool(
    pool: Rig, to: int, *, workload: str | None = None, config: Configured | None = None, timeout: float = 30.0
) -> Iterator[Rig]:
    """Replace a pool by one of another layer, of the same name, target, size, options and seed.

    The new one is opened first: where it cannot be, on no layer that the configuration falls back to, the old one goes
    on as if nothing had been asked. Then the old one is left to end what it has, and closed; what it was is still
    known. Its open sessions are known to the new one by the same keys, without their states: what is `strict` is
    refused by the pool's own error until it is closed, what is not goes on afresh and is counted (`Rig.renewals`).

    Args:
        pool: the rig.
        to: the layer.
        workload: bundled, or `module:name`; by the configuration if it is not said.
        config: as for `setup_isolated_pool`.
        timeout: within how many seconds the old one must have ended what it has.

    Yields:
        the new rig, gone when the block is left.

    Raises:
        UsageError: it is on that layer, or closed.
        TargetError: it cannot be opened there.
        WaitTimeoutError: it did not end what it has; it goes on.
    """
    if to not in (1, 2, 3) or to == pool.layer or pool.is_closed:
        state = "closed" if pool.is_closed else f"on layer {pool.layer}"
        raise UsageError(f"move_pool: {pool.name} is {state}, to = {to!r}: expected an open pool, and another layer")
    bounds = configuration(config, to).config.bounds
    new = open_rig(pool.order, to, workload, config)
    with handed_out(new, bounds.close_s):
        wait_for_pool_idle(pool, timeout=timeout)
        if pool.is_virtual:
            pool.close()
        else:
            bounded(pool.close, bounds.close_s, f"closing the pool {pool.name} on layer {pool.layer}")
        new.take_over(pool, f"its pool was replaced by one of layer {new.layer}, which does not hold its state")
        told = f"from layer {pool.layer} to layer {new.layer}, with {len(new.open_sessions)} open sessions"
        for rig in (pool, new):
            rig.events.publish(Event(at_ns=rig.now_ns(), source=rig.name, subject="pool", what="moved", detail=told))
        yield new
