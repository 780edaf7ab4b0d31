"""Layer 1: a pool's own decisions in a simulated world, under a virtual clock, everything from one seed."""

from poolproof.simulation.guard import RealTimeError, no_real_world
from poolproof.simulation.lab import materialise, simulate
from poolproof.simulation.marks import SOMETIMES, Marks
from poolproof.simulation.meeting import Meeting
from poolproof.simulation.pool import NeverError, SimulatedFuture, SimulatedPool
from poolproof.simulation.world import StuckError

__all__ = [
    "SOMETIMES",
    "Marks",
    "Meeting",
    "NeverError",
    "RealTimeError",
    "SimulatedFuture",
    "SimulatedPool",
    "StuckError",
    "materialise",
    "no_real_world",
    "simulate",
]
