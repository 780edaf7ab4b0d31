"""Reports of a proof: for a terminal, for a program, and as a page."""

from poolproof.report.machine import as_object, comparison, write_json
from poolproof.report.page import write_page
from poolproof.report.terminal import show_comparison, show_proof

__all__ = ["as_object", "comparison", "show_comparison", "show_proof", "write_json", "write_page"]
