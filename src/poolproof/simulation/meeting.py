"""Where operations wait for each other, so that it is seen how many run at once: the rendezvous of layer 1."""

from poolproof.simulation.process import Process


class Meeting:
    """One attempt of a probe of capacity.

    Attributes:
        most: the most that were seen there at once.
    """

    __slots__ = ("_guests", "_is_over", "most")

    def __init__(self) -> None:
        self._guests: list[Process] = []
        self._is_over = False
        self.most = 0

    @property
    def present(self) -> int:
        """How many are there; one that died is not."""
        return sum(not process.is_dead and process.at is not None for process in self._guests)

    def join(self, process: Process) -> None:
        """A worker has begun an operation that stays until it is released."""
        if self._is_over:
            process.finish()
            return
        self._guests.append(process)
        self.most = max(self.most, self.present)

    def rejoin(self, process: Process) -> None:
        """A worker that was stopped goes on."""
        if self._is_over:
            process.finish()

    def release(self) -> None:
        """All go, and whoever is still to come does not stay."""
        self._is_over = True
        for process in self._guests:
            if process.stopped_at is None:
                process.finish()
