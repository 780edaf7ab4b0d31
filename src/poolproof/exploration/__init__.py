"""Random plans, seeded: many are carried out and judged, and what fails is made small and kept."""

from poolproof.exploration.explore import Exploration, Failure, explore
from poolproof.exploration.keepsake import Keepsake, Replayed, keep, read, replay

__all__ = ["Exploration", "Failure", "Keepsake", "Replayed", "explore", "keep", "read", "replay"]
