"""Faults, made to happen in a small run: it goes on to the same results, or stops with a sentence; never with a wrong table.

``python -m benchmarks.reliability.faults --output results/reliability``
"""

from __future__ import annotations

import argparse
import logging
import re
import shutil
import tempfile
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import pandas as pd

from armed.run_folder import ADVICE
from benchmarks.reliability.fault_cases import AGAIN, CASES, CannotBeTriedError, Case
from benchmarks.reliability.small_run import SmallRun, differences, undisturbed

log = logging.getLogger(__name__)

COLUMNS = ["fault", "where", "outcome", "message", "identical"]
SAME, STOPPED = "same results", "stopped with a sentence"
NOT_TRIED = "not tried"


def measure(
    folder: Path, cases: Iterable[Case] = CASES, kept: Path | None = None, whole: SmallRun | None = None
) -> pd.DataFrame:
    """Put each fault into a run, look at what the run says, take the fault away, and compare what a further run ends with.

    Parameters
    ----------
    folder : Path
        For the runs.
    cases : iterable of Case
        Those with the same `again` that follow one another share a folder.
    kept : Path, optional
        File that the table is written to as it grows.
    whole : SmallRun, optional
        An undisturbed run, where it is there already.

    Returns
    -------
    DataFrame
        One row for each fault: `COLUMNS`. `identical`: when the fault is gone, a run ends with the results of an undisturbed
        one, byte for byte.
    """
    whole = whole or undisturbed(folder / "undisturbed")
    expected, rows = whole.contents(), []
    for number, (again, together) in enumerate(groupby(cases, key=lambda case: case.again)):
        run = whole.copy(folder / f"{number}_{again}")
        of_group = _group(run, again, list(together), expected)
        rows += of_group
        if kept is not None:
            pd.DataFrame(rows, columns=COLUMNS).to_csv(kept, sep="\t", index=False)
        shutil.rmtree(run.folder)
    return pd.DataFrame(rows, columns=COLUMNS)


def _group(run: SmallRun, again: str, cases: list[Case], expected: dict[str, str]) -> list[dict]:
    rows = []
    for case in cases:
        _undo(run, again)
        outcome, message = _tried(run, case, expected)
        log.info("%s (%s): %s. %s", case.fault, case.where, outcome, message)
        rows.append({"fault": case.fault, "where": case.where, "outcome": outcome, "message": message})
    done = run.run()
    wrong = differences(run.contents(), expected)
    if done or wrong:
        log.warning("After all faults of '%s' the run says %s; different: %s", again, run.told()[-2000:], wrong)
    return [{**row, "identical": not done and not wrong} for row in rows]


def _undo(run: SmallRun, again: str) -> None:
    """Remove results, so that there is something to do."""
    for name in AGAIN[again]:
        path = run.results / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _tried(run: SmallRun, case: Case, expected: dict[str, str]) -> tuple[str, str]:
    """Outcome and message of a run with the fault."""
    try:
        with case.put(run):
            status, told = case.act(run), run.told()
            found = run.contents()
    except CannotBeTriedError as reason:
        return NOT_TRIED, str(reason)
    tables = {name for name in found if "/" not in name}
    if wrong := sorted(name for name in tables if found[name] != expected.get(name)):
        return f"wrong tables: {', '.join(wrong)}", ""
    if status == 0:
        return (SAME if not differences(found, expected) else "other results"), warning(told) or "nothing"
    message = sentence(told)
    return (STOPPED if message else "stopped without a sentence"), message


def sentence(told: str) -> str:
    """The sentence for people in what a run said: of a job, of the run's folder, of Snakemake, or the advice at the end."""
    of_job = re.findall(r" CRITICAL (?!The job failed)(.+(?:\n {2,}- .+)*)", told)
    of_folder = re.findall(r"RunFolderError[^\n]*:\n(.+)", told)
    of_rule = re.findall(r"WorkflowError in rule[^\n]*\n(.+)", told)
    advice = [ADVICE] if ADVICE.strip() in told else []
    return " ".join(next(iter([*of_job, *of_folder, *of_rule, *advice]), "").split())


def warning(told: str) -> str:
    """The first warning in what a run said."""
    found = re.search(r" WARNING (.+)", told)
    return found[1].strip() if found else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder that faults.tsv is written to")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    given.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="faults") as folder:
        measure(Path(folder), kept=given.output / "faults.tsv")


if __name__ == "__main__":
    main()
