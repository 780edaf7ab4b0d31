"""The processes of a run: keeper, conductor and lab, and how the caller starts and outlives them."""

from poolproof.lab.launch import Ended, Progress, run_plan

__all__ = ["Ended", "Progress", "run_plan"]
