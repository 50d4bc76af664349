"""Check an archive for deposit: `make verify ARCHIVE=path`, or `python -m armed.verify path`."""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from armed.archive.compare import TOLERANCE, TOLERANCE_OF
from armed.archive.verify import Verification, verify
from armed.errors import ArchiveError
from armed.files import atomic

AGREES, DIFFERS, NOT_READ = 0, 1, 2
"""Exit statuses."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check an archive and tell what was found.

    Returns
    -------
    int
        0 if all that can be computed again agrees, 1 if something differs, 2 if the archive cannot be read.
    """
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if given.verbose else logging.ERROR, format="%(message)s", stream=sys.stderr)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if not given.verbose else "default")
        try:
            found = verify(given.archive)
        except ArchiveError as error:
            sys.stderr.write(f"{error}\n")
            return NOT_READ
    sys.stdout.write("\n".join(lines(found)) + "\n")
    if given.report:
        with atomic(given.report) as temporary:
            temporary.write_text(json.dumps(told(found), indent=1) + "\n", encoding="utf-8")
    return AGREES if found.agrees else DIFFERS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m armed.verify", description=__doc__)
    parser.add_argument("archive", type=Path, help="the zip file that `make archive` wrote")
    parser.add_argument("--report", type=Path, help="also write what was found to this file, as JSON")
    parser.add_argument("--verbose", action="store_true", help="tell what is being done")
    return parser


def lines(found: Verification) -> Iterator[str]:
    """What a person reads."""
    rows = [("table", "rows", "recomputed", "agree", "largest difference", "cannot be recomputed")]
    for o in found.outcomes:
        rest = sum(o.reasons.values())
        largest = "" if math.isnan(o.largest) else f"{o.largest:.2g}"
        rows.append((o.table, f"{o.rows}", f"{o.recomputed}", f"{o.agree}", largest, f"{rest}" if rest else ""))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        yield "  ".join(cells).rstrip()
    exceptions = ", ".join(f"{value:g} for {name}" for name, value in TOLERANCE_OF.items())
    yield f"\nNumbers agree within {TOLERANCE:g}, relative to those above 1 ({exceptions}); text agrees exactly."
    if any(o.reasons for o in found.outcomes):
        yield "\nCannot be recomputed:"
        yield from (f"  {o.table}: {n} rows: {reason}" for o in found.outcomes for reason, n in o.reasons.items())
        yield "  report.html, figures: drawn from the tables; not compared"
    if found.remarks:
        yield "\nTo be known:"
        yield from (f"  {remark}" for remark in found.remarks)
    for o in found.outcomes:
        if not o.agrees:
            yield f"\n{o.wrong} differences in {o.table}:"
            yield from (f"  {difference}" for difference in o.differences)
    yield "\nAll that can be recomputed agrees." if found.agrees else "\nThe archive does NOT agree with itself."


def told(found: Verification) -> dict:
    """The same for programs."""
    outcomes = [asdict(o) | {"largest": None if math.isnan(o.largest) else o.largest} for o in found.outcomes]
    manifest = {key: found.archive.manifest.get(key) for key in ("title", "commit", "version", "studies")}
    return {"agrees": found.agrees, "archive": manifest, "remarks": found.remarks, "tables": outcomes}


if __name__ == "__main__":
    sys.exit(main())
