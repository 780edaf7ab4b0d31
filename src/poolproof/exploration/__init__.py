"""Random plans, seeded: many are carried out and judged, and what fails is made small and kept."""

from poolproof.exploration.explore import Exploration, Failure, explore
from poolproof.exploration.keepsake import Keepsake, Replayed, keep, read, replay
from poolproof.exploration.shrink import MOST_RUNS

__all__ = ["MOST_RUNS", "Exploration", "Failure", "Keepsake", "Replayed", "explore", "keep", "read", "replay"]
