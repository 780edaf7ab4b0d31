"""Load: shapes of it, the schedule laid out beforehand, the generator that keeps it, the client that writes it down."""

from poolproof.load.client import Client, payload_source
from poolproof.load.generator import STOCK, Stock, Users, most_turns, release, serve
from poolproof.load.mix import Mix, expect_kinds
from poolproof.load.schedule import Schedule, mix_and_placed, schedule, stream, turns
from poolproof.load.shapes import Shape, fault, hold, pause, ramp, replay, steps, users

__all__ = [
    "STOCK",
    "Client",
    "Mix",
    "Schedule",
    "Shape",
    "Stock",
    "Users",
    "expect_kinds",
    "fault",
    "hold",
    "mix_and_placed",
    "most_turns",
    "pause",
    "payload_source",
    "ramp",
    "release",
    "replay",
    "schedule",
    "serve",
    "steps",
    "stream",
    "turns",
    "users",
]
