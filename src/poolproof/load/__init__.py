"""Open-loop load: the schedule laid out beforehand, the generator that keeps it, the client that writes it down."""

from poolproof.load.client import Client, payload_source
from poolproof.load.generator import release
from poolproof.load.schedule import Schedule, mix_and_placed, schedule, stream

__all__ = ["Client", "Schedule", "mix_and_placed", "payload_source", "release", "schedule", "stream"]
