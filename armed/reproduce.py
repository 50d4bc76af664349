"""Repeat one stored run and compare: `make reproduce RUN=results/runs/STUDY/MODEL`, or `python -m armed.reproduce RUN`."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from armed.repetition.findings import Findings

AGREES, DIFFERS, NOT_REPEATED = 0, 1, 2
"""Exit statuses."""
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> int:
    """Repeat a run and tell what was found.

    Returns
    -------
    int
        0 if all is the same bit for bit, or within the tolerance on another machine or other versions; 1 if not; 2 if there is
        no such run, or it cannot be repeated.
    """
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if given.verbose else logging.ERROR, format="%(message)s", stream=sys.stderr)
    for name in ONE_THREAD:  # as in the jobs of the workflow; before any library is loaded
        os.environ[name] = "1"
    from armed.errors import ArmedError
    from armed.files import atomic
    from armed.repetition.again import repeat
    from armed.repetition.findings import find
    from armed.repetition.stored import StoredRun

    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="armed-reproduce-") as work:
        warnings.simplefilter("ignore" if not given.verbose else "default")
        try:
            run = StoredRun.find(given.run)
            run.check()
            found = find(run, repeat(run, Path(work), engine=given.engine))
        except ArmedError as error:
            sys.stderr.write(f"{error}\n")
            return NOT_REPEATED
    sys.stdout.write("\n".join(lines(found)) + "\n")
    if given.report:
        with atomic(given.report) as temporary:
            temporary.write_text(json.dumps(told(found), indent=1, default=str) + "\n", encoding="utf-8")
    return AGREES if found.agrees else DIFFERS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m armed.reproduce", description=__doc__)
    parser.add_argument("run", help="folder of a run, as results/runs/STUDY/MODEL, or STUDY/MODEL of one in results/")
    parser.add_argument("--engine", choices=("eager", "compiled"), help="train so, in place of what was recorded")
    parser.add_argument("--report", type=Path, help="also write what was found to this file, as JSON")
    parser.add_argument("--verbose", action="store_true", help="tell what is being done")
    return parser


def lines(found: Findings) -> Iterator[str]:
    """What a person reads."""
    from armed.tolerance import MEAN

    yield f"{found.run.folder}, finished {found.run.record.get('finished', 'at a time not recorded')}, was repeated."
    width = max(len(part.name) for part in found.parts)
    for part in found.parts:
        apart = "" if math.isnan(part.largest) or part.outcome == "identical" else f", by {part.largest:.2g} at most"
        yield f"  {part.name.ljust(width)}  {part.outcome}{apart}"
    if found.surroundings:
        yield "\nNot as recorded:"
        yield from (f"  {s.name}: {_short(s.recorded)} then, {_short(s.here)} now" for s in found.surroundings)
    else:
        yield "\nCode, versions and machine are as recorded."
    if found.beyond:
        yield f"\nMeans farther apart than their interval and than {MEAN:g}:"
        yield from (f"  {sentence}" for sentence in found.beyond)
    yield f"\n{verdict(found)}"


def verdict(found: Findings) -> str:
    """The sentence at the end."""
    if found.identical:
        return "The same, bit for bit."
    if found.agrees:
        names = ", ".join(s.name for s in found.elsewhere)
        return f"Not the same bit for bit, but within the tolerance for another machine or other versions ({names})."
    if any(s.name == "source digest" for s in found.surroundings):
        return "It DIFFERS: the code that fits is not that of the run; check out the recorded commit to repeat it."
    if found.elsewhere:
        return "It DIFFERS, by more than another machine or other versions explain."
    return "It DIFFERS, though code, versions and machine are as recorded: files were changed, or something is not repeatable."


def told(found: Findings) -> dict:
    """The same for programs."""
    return {
        "run": str(found.run.folder),
        "agrees": found.agrees,
        "identical": found.identical,
        "verdict": verdict(found),
        "parts": [part._asdict() | {"largest": _finite(part.largest)} for part in found.parts],
        "surroundings": [s._asdict() for s in found.surroundings],
        "beyond": found.beyond,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _short(value: object) -> str:
    text = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


if __name__ == "__main__":
    sys.exit(main())
