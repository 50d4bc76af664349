"""Pages for readers: one HTML file each, with one look, that needs no other file and no network."""

from __future__ import annotations

import base64
import functools
import gzip
from importlib import resources

import jinja2
import pandas as pd
from markupsafe import Markup

from armed import reproducibility, tables

TEMPLATES = reproducibility.ROOT / "workflow" / "report"


def render(template: str, **values: object) -> str:
    """Fill in a template of `workflow/report`; text is escaped, a name without a value is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def html(frame: pd.DataFrame, caption: str = "") -> Markup:
    """Return a table as HTML (`tables.fragment` escapes every cell), or nothing where it has no rows."""
    return Markup(tables.fragment(frame, caption)) if len(frame) else Markup("")


@functools.cache
def sorting() -> Markup:
    """Return DataTables, as itables ships it, compressed: `workflow/report/sorting.js` unpacks it in the reader's browser."""
    library = resources.files("itables").joinpath("html", "dt_bundle.js").read_bytes()
    return Markup(base64.b64encode(gzip.compress(library, mtime=0)).decode())
