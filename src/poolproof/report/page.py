"""The report as a page: one plain, self-contained `index.html`."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import jinja2

from poolproof.errors import UsageError
from poolproof.experiment import Proof
from poolproof.report import tables


def write_page(proofs: Sequence[Proof], folder: Path) -> Path:
    """Write `index.html`; where it lies.

    Raises:
        UsageError: it can't be written.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((resources.files("poolproof.report") / "page.html").read_text(encoding="utf-8"))
    page = folder / "index.html"
    try:
        page.write_text(template.render(proofs=proofs, tables=tables), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the report can't be written to {page}: {error.strerror}") from error
    return page
