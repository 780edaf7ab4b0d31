"""Configuration: one typed schema, one loader; files are validated whole and every error is reported at once."""

from poolproof.config.loader import Effective, load_config
from poolproof.config.schema import Bounds, Budgets, Config, Limits, Load, Objectives, Performance, Pool, Service, Watch

__all__ = [
    "Bounds",
    "Budgets",
    "Config",
    "Effective",
    "Limits",
    "Load",
    "Objectives",
    "Performance",
    "Pool",
    "Service",
    "Watch",
    "load_config",
]
