"""Figures of one run: its load, its generator, its recovery, its course in time, and whether they meet objectives."""

from poolproof.figures.generator import Generator, generator, own_lag_ns
from poolproof.figures.load import ErrorCount, Load, errors, load_figures, measured_s
from poolproof.figures.objectives import Judged, judge_objectives
from poolproof.figures.recovery import Injected, Recovery, faults, recovery
from poolproof.figures.series import WINDOW_S, Series, series

__all__ = [
    "WINDOW_S",
    "ErrorCount",
    "Generator",
    "Injected",
    "Judged",
    "Load",
    "Recovery",
    "Series",
    "errors",
    "faults",
    "generator",
    "judge_objectives",
    "load_figures",
    "measured_s",
    "own_lag_ns",
    "recovery",
    "series",
]
