"""The page `docs/reliability.md`: its tables and figures made again from the measurements that are there.

`python -m benchmarks.reliability.page` after measurements; the text between the tables is the document's own.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from armed.errors import DataError
from armed.plotting import style
from armed.reproducibility import ROOT
from benchmarks.reliability import figures, scale_figure, sections

log = logging.getLogger("benchmarks.reliability")
PAGE = ROOT / "docs" / "reliability.md"
FOLDER = Path("results/reliability")

# Each measurement: what is written of it, and how it is drawn.
SECTIONS: dict[str, tuple[Callable[[pd.DataFrame], str], Callable | None]] = {
    "kills": (sections.kills, figures.kills),
    "faults": (sections.faults, figures.faults),
    "hostile": (sections.hostile, figures.hostile),
    "scale": (sections.scale, scale_figure.scale),
    "planning": (sections.planning, None),
    "paper_plan": (sections.paper_plan, None),
    "repeat": (sections.repeat, None),
    "processors": (sections.processors, None),
    "slurm": (sections.slurm, None),
}


def write(folder: Path, page: Path = PAGE) -> list[str]:
    """Write the page's tables and figures anew from the tables in a folder.

    Parameters
    ----------
    folder : Path
        Holds ``NAME.tsv`` of each measurement; what it does not hold stays on the page as it is.
    page : Path
        Document with the lines ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->`` around what is written; figures
        go beside it.

    Returns
    -------
    list of str
        Measurements that were written.

    Raises
    ------
    DataError
        If the folder has none of the tables, or the page lacks the place of one.
    """
    tables = {name: Path(folder) / f"{name}.tsv" for name in SECTIONS}
    found = {name: pd.read_csv(path, sep="\t") for name, path in tables.items() if path.is_file()}
    if not found:
        raise DataError(f"{folder} has no measurements; make them by `python -m benchmarks.reliability`.")
    text = page.read_text(encoding="utf-8")
    lacking = [name for name in found if any(f"<!-- {name}:{edge} -->" not in text for edge in ("begin", "end"))]
    if lacking:
        raise DataError(
            f"{page} has no place for {', '.join(lacking)}: lines <!-- NAME:begin --> and <!-- NAME:end -->."
        )
    for name, table in found.items():
        tell, draw = SECTIONS[name]
        before, after = (text.index(f"<!-- {name}:{edge} -->") for edge in ("begin", "end"))
        text = f"{text[:before]}<!-- {name}:begin -->\n{tell(table).strip()}\n{text[after:]}"
        if draw:
            _, png = style.save(draw(table), folder / "figures" / name)
            shutil.copy(png, page.with_name(f"reliability_{name}.png"))
    page.write_text(text, encoding="utf-8")
    return list(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; returns 1 where there is nothing to write, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability.page", description=__doc__)
    parser.add_argument("--measurements", type=Path, default=FOLDER, help="folder of the tables")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        log.info("Written of: %s.", ", ".join(write(given.measurements)))
    except DataError as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
