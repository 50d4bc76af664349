"""A stored run: the folder of a model's fits in a study, its record, and the data and folds beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from armed import own_studies, registry
from armed.errors import Problems, RunError, did_you_mean, listed
from armed.jobs.record import RECORD
from armed.same import digest

PREDICTOR = "cluster_inference"
"""Stands in the place of a model for a study's Z-predictor."""
RUNS = "runs"


@dataclass(frozen=True)
class StoredRun:
    """Of a model, or of the Z-predictor, in a study.

    Parameters
    ----------
    results : Path
        The results folder.
    study, model : str
    record : dict
        Its `run.json` (`armed.jobs.record.record_of_run`).
    """

    results: Path
    study: str
    model: str
    record: dict

    @classmethod
    def find(cls, given: str | Path) -> StoredRun:
        """Find a run by its folder (``.../runs/STUDY/MODEL``), or as ``STUDY/MODEL`` in ``results/``.

        Raises
        ------
        RunError
            There is none, or it is not complete; with the nearest of those that there are.
        """
        path = Path(given)
        if len(path.parts) < 2:
            raise RunError(f"'{given}' does not name a run; expected STUDY/MODEL, or results/{RUNS}/STUDY/MODEL.")
        results = Path(*path.parts[:-3]) if path.parts[-3:-2] == (RUNS,) else Path("results")
        if len(path.parts) > 2 and path.parts[-3] != RUNS:
            raise RunError(f"'{given}' is no folder of a run: it ends in {RUNS}/STUDY/MODEL, or is STUDY/MODEL alone.")
        study, model = path.parts[-2:]
        return cls(results, study, model, _record(results, study, model))

    @property
    def folder(self) -> Path:
        """Where the fits are."""
        return self.results / RUNS / self.study / self.model

    @property
    def inputs(self) -> dict[str, Path]:
        """Files that it was made from."""
        return {
            "data": self.results / "data" / f"{self.study}.npz",
            "splits": self.results / "splits" / f"{self.study}.parquet",
        }

    @property
    def predictions(self) -> Path:
        return self.results / "predictions" / self.study / f"{self.model}.parquet"

    def has_fits(self) -> bool:
        """Whether all that the run wrote is there; in an archive its record alone is."""
        return bool(self.record.get("files")) and all((self.folder / name).is_file() for name in self.record["files"])

    def check(self) -> None:
        """Make sure that it can be repeated, and make a study of the user's own known.

        Raises
        ------
        RunError
            With all that is missing, or is not what the run was made from.
        """
        problems = Problems(RunError, f"repeating {self.folder}")
        make = "make it again as it was (snakemake with the configuration of the run), or take it from a copy"
        for name, path in self.inputs.items():
            recorded = self.record.get("inputs", {}).get(name)
            if not path.is_file():
                problems.add(f"its {name} are not there: {path}; {make}")
            elif recorded not in (None, found := digest(path)):
                problems.add(
                    f"its {name} were changed since: {path} has the sha256 {found}, the run was made from {recorded}; {make}"
                )
        if self.study not in registry.STUDIES and not self._declare():
            problems.add(
                f"study '{self.study}' is not one of the benchmark, and {self._environment} does not have its configuration"
                f"{did_you_mean(self.study, registry.STUDIES)}"
            )
        problems.raise_if_any()

    @property
    def _environment(self) -> Path:
        return self.results / "environment.json"

    def _declare(self) -> bool:
        if not self._environment.is_file():
            return False
        config = json.loads(self._environment.read_text(encoding="utf-8"))["configuration"]
        own_studies.declare(config)
        return self.study in registry.STUDIES


def _record(results: Path, study: str, model: str) -> dict:
    path = results / RUNS / study / model / RECORD
    known = [f"{p.parent.parent.name}/{p.parent.name}" for p in sorted(results.glob(f"{RUNS}/*/*/{RECORD}"))]
    other = registry.MODELS[model].weights_from if model in registry.MODELS else None
    if other is not None:
        raise RunError(
            f"'{model}' has no fits of its own: it predicts with those of '{other}'. Repeat {study}/{other}."
        )
    if not known:
        raise RunError(
            f"There is no finished run in {results / RUNS}; expected STUDY/MODEL of one in results/, or the path of its folder,"
            f" as in smoke/results/{RUNS}/STUDY/MODEL."
        )
    if not path.is_file():
        what = "is not complete, as it has no run.json" if path.parent.is_dir() else "is not there"
        near = did_you_mean(f"{study}/{model}", known)
        raise RunError(f"The run {path.parent} {what}.{near} There are: {listed(known, 8)}.")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        missing = [name for name in ("settings", "environment", "source_digest") if name not in record]
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise RunError(f"{path} cannot be read: {error}. Make the run again.") from error
    if missing:
        raise RunError(f"{path} does not tell {', '.join(missing)}, which every run records. Make the run again.")
    return record
