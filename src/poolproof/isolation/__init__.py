"""Isolation: what a test may not change for others is put back, and what it leaves behind is told."""

from poolproof.isolation.modes import MODES, Mode, isolated, resolve, scene_of, setup_pool_testing
from poolproof.isolation.pools import PoolTesting
from poolproof.isolation.scene import Scene
from poolproof.isolation.teardown import Teardown

__all__ = [
    "MODES",
    "Mode",
    "PoolTesting",
    "Scene",
    "Teardown",
    "isolated",
    "resolve",
    "scene_of",
    "setup_pool_testing",
]
