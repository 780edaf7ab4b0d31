"""Reports of proofs: for a terminal, for a program, in Markdown, and as a page."""

from poolproof.report.advice import ADVICE
from poolproof.report.machine import as_object, comparison, expect_json, write_json
from poolproof.report.markdown import as_markdown, write_markdown
from poolproof.report.page import write_page
from poolproof.report.terminal import show_comparison, show_proof

__all__ = [
    "ADVICE",
    "as_markdown",
    "as_object",
    "comparison",
    "expect_json",
    "show_comparison",
    "show_proof",
    "write_json",
    "write_markdown",
    "write_page",
]
