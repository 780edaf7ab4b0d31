"""Waiting without guessing: until something holds, woken by whoever changes it."""

from poolproof.waiting.bounded import bounded, stack_of
from poolproof.waiting.stream import Event, EventStream, Publishes, translated
from poolproof.waiting.waits import Drives, wait_for, wait_for_async

__all__ = [
    "Drives",
    "Event",
    "EventStream",
    "Publishes",
    "bounded",
    "stack_of",
    "translated",
    "wait_for",
    "wait_for_async",
]
