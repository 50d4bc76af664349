"""What came of repeating a run: parts that are the same or not, what differs around it, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from armed import results
from armed.archive.compare import compare
from armed.repetition.again import Again
from armed.repetition.stored import StoredRun
from armed.same import DIFFERENT, IDENTICAL, MISSING, compare_files, digest
from armed.tolerance import excess

ROUNDING = (
    "compiled steps",
    "device",
    "instructions",
    "packages",
    "platform",
    "processor",
    "python",
    "torch",
    "variables",
)
"""Of the surroundings (the first words of their names), what can change how numbers are rounded; others are told only."""
CODE = "source digest"


class Part(NamedTuple):
    """A file of the run, or a table of what it scored.

    Attributes
    ----------
    name : str
    outcome : {"identical", "different", "missing"}
    largest : float
        Largest difference between numbers, relative to those above 1; NaN where not to be told.
    """

    name: str
    outcome: str
    largest: float


class Surrounding(NamedTuple):
    """One thing of code, versions or machine that is not as recorded."""

    name: str
    recorded: object
    here: object

    @property
    def explains(self) -> bool:
        """Whether numbers can differ by rounding because of it."""
        return self.name.startswith(ROUNDING)


@dataclass(frozen=True)
class Findings:
    """Of one repetition.

    Parameters
    ----------
    run : StoredRun
    parts : list of Part
    surroundings : list of Surrounding
    beyond : list of str
        Means of scores and losses that are farther apart than the tolerance (`armed.tolerance`).
    """

    run: StoredRun
    parts: list[Part]
    surroundings: list[Surrounding]
    beyond: list[str]

    @property
    def identical(self) -> bool:
        """All is the same, bit for bit."""
        return all(part.outcome == IDENTICAL for part in self.parts)

    @property
    def elsewhere(self) -> list[Surrounding]:
        """What may explain rounding: machine, versions."""
        return [s for s in self.surroundings if s.explains]

    @property
    def agrees(self) -> bool:
        """The same, or within the tolerance where the machine or versions are others and the code is not."""
        code = any(s.name == CODE for s in self.surroundings)
        whole = not any(part.outcome == MISSING or part.largest == math.inf for part in self.parts)
        return self.identical or (bool(self.elsewhere) and not code and whole and not self.beyond)


def find(run: StoredRun, again: Again) -> Findings:
    """Compare a stored run with its repetition.

    Parameters
    ----------
    run : StoredRun
    again : Again

    Returns
    -------
    Findings
    """
    parts, beyond = list(_fits(run, again)), list(_losses(run.folder, again.folder))
    if again.predictions is not None:
        parts.append(Part("predictions", *compare_files(run.predictions, again.predictions)))
    for name, table in again.tables.items():
        stored = _stored(run, name)
        parts.append(_table(name, stored, table))
        if name == "metrics":
            beyond += excess(stored, table, ["variant", "partition", "metric"])
    return Findings(run, parts, list(_surroundings(run.record, again.record)), beyond)


def _fits(run: StoredRun, again: Again) -> Iterator[Part]:
    """Each file of the fits; where the stored one is not there, by its recorded digest."""
    recorded = run.record.get("files", {})
    for name in sorted({*recorded, *again.record["files"]}):
        stored, new = run.folder / name, again.folder / name
        if stored.is_file() and name in recorded and digest(stored) != recorded[name]:
            yield Part(f"{name} (changed since the run wrote it)", DIFFERENT, compare_files(stored, new).largest)
        elif stored.is_file() or name not in recorded or not new.is_file():
            yield Part(name, *compare_files(stored, new))
        else:
            same = digest(new) == recorded[name]
            yield Part(f"{name} (by its digest)", IDENTICAL if same else DIFFERENT, 0.0 if same else math.nan)


def _stored(run: StoredRun, name: str) -> pd.DataFrame:
    path = run.results / f"{name}.tsv"
    table = results.read(name, path) if path.is_file() else results.empty(name)
    return table[(table["study"] == run.study) & (table["model"] == run.model)]


def _table(name: str, stored: pd.DataFrame, again: pd.DataFrame) -> Part:
    """A table's rows of this model; those that other jobs have added are not compared."""
    found = compare(name, stored, again, why=lambda rows: pd.Series("of another job", rows.index))
    exact = found.agrees and not (found.largest > 0)
    return Part(f"{name}.tsv", IDENTICAL if exact else DIFFERENT, found.largest)


def _losses(stored: Path, again: Path) -> Iterator[str]:
    """Final losses of networks, by variant; what tells of Z-predictors and autoencoders, which have no table here."""
    for path in sorted(stored.glob("*/history.tsv")):
        other = again / path.relative_to(stored)
        if other.is_file():
            last = [_last(pd.read_csv(p, sep="\t")).assign(variant=path.parent.name) for p in (path, other)]
            yield from excess(*last, ["variant", "metric"])


def _last(history: pd.DataFrame) -> pd.DataFrame:
    found = history.sort_values("epoch", kind="stable").groupby(["seed", "fold"], as_index=False).last()
    return found.assign(metric="training loss", value=found["loss"])


def _surroundings(recorded: Mapping, here: Mapping) -> Iterator[Surrounding]:
    """What is not as recorded; what a record does not tell is no difference."""
    before, now = (_flat(record) for record in (recorded, here))
    for name in now:
        if name in before and before[name] != now[name]:
            yield Surrounding(name, before[name], now[name])


def _flat(record: Mapping) -> dict[str, object]:
    told = {CODE: record.get("source_digest"), "device": record.get("device")}
    if "compiled_steps" in record:
        told["compiled steps"] = len(record["compiled_steps"])
    if record.get("torch"):
        told |= {f"torch {name}": value for name, value in record["torch"].items()}
    environment = dict(record.get("environment", {}))
    packages = environment.pop("packages", {})
    variables = environment.pop("variables", None)
    told |= {name.replace("_", " "): value for name, value in environment.items()}
    told |= {f"packages {name}": version for name, version in packages.items()}
    return told if variables is None else told | {"variables": variables}
