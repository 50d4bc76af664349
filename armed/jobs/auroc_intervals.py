"""The job that makes the intervals of a model's AUROC by DeLong and by drawing whole subjects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from armed import auroc_intervals, labels, results
from armed.data.study import StudyData


def intervals(
    settings: Mapping, source: str, data: Path, predictions: Path, out: Path, *, draws: int, confidence: float
) -> None:
    """Make the rows of table `auroc_intervals` of one model.

    Parameters
    ----------
    settings : mapping
        `armed.config.settings` of the model, in a study with labels 0 and 1.
    source : str
        What data it is (`armed.config.source`).
    data, predictions : Path
        The study's data, which tell the subject of each sample, and the model's table `predictions`.
    out : Path
        Table to write.
    draws : int
        Of subjects (`statistics.bootstrap`).
    confidence : float
        `statistics.confidence`.
    """
    study, loaded = settings["study"], StudyData.load(data)
    table = results.read("predictions", predictions)
    frames = [table.iloc[:0].assign(subject="")]
    for (variant, partition), own in table.groupby(["variant", "partition"], sort=False, observed=True):
        parts = loaded.parts[labels.data_variant(variant, study)]
        part = parts[partition] if partition in parts else parts["unseen"]
        subject = pd.Series(part.subject, index=part.sample_id)
        frames.append(own.assign(subject=own["sample_id"].astype(str).map(subject)))
    named = {"study": study, "source": source, "model": settings["model"]}
    found = auroc_intervals.auroc_intervals(pd.concat(frames), **named, draws=draws, confidence=confidence)
    results.write("auroc_intervals", found, out)
