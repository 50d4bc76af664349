"""The job that assembles what the searches for hyperparameters tried and chose."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from armed import results


def collect_tuning(runs: Sequence[Path], out: Path) -> None:
    """Write the table `tuning` from the folders of the tuned models' fits.

    Parameters
    ----------
    runs : sequence of Path
        Folders that `armed.jobs.fit` wrote, of tuned models.
    out : Path
        `tuning.tsv` to write; without rows where nothing was tuned.
    """
    frames = [_named(Path(run)) for run in runs]
    results.write("tuning", pd.concat(frames, ignore_index=True) if frames else results.empty("tuning"), out)


def _named(run: Path) -> pd.DataFrame:
    """A run's own table, with what its record says of it."""
    settings = json.loads((run / "run.json").read_text(encoding="utf-8"))["settings"]
    plan = settings["tuning"]
    frame = pd.read_csv(run / "tuning.tsv", sep="\t")
    names = {"study": settings["study"], "model": settings["model"]}
    return frame.assign(**names, policy=plan["policy"], metric=plan["metric"], n=plan["inner_folds"])
