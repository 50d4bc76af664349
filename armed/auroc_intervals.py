"""Intervals of an AUROC of many frames of few cells: DeLong's, as in the paper, and one by drawing whole cells beside it.

DeLong's takes samples as independent, which frames of a cell are not. Drawing subjects with replacement, each with all its
frames, takes only cells as independent. Both are made for each fit on its own and their limits averaged over fits, so that they
differ in nothing else: what training adds to what is not known is in neither. The interval that verdicts use, the ``corrected``
one of `armed.statistics`, has it.

Not stated in the paper is over how many fits its limits are; ours are averaged.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from armed import results
from armed.bootstrap import draw_metrics
from armed.delong import delong
from armed.errors import DataError, Problems
from armed.scoring import CELL

METHODS = ("delong", "cells")
_NEEDED = (*CELL, "subject", "y_true", "mixed")
_MATCH = ["study", "model", "variant", "partition"]


def auroc_intervals(
    predictions: pd.DataFrame, *, study: str, source: str, model: str, draws: int = 2000, confidence: float = 0.95
) -> pd.DataFrame:
    """Both intervals of one model on each partition.

    Parameters
    ----------
    predictions : DataFrame
        Columns variant, partition, seed, fold, subject, y_true (0 and 1) and mixed (logits).
    study, source, model : str
        Written into the rows. The draws of cells depend on the study alone: they are the same for all models.
    draws : int
        Of cells.
    confidence : float

    Returns
    -------
    DataFrame
        Table `auroc_intervals`: ``mean`` is that of the fits' AUROC, ``n_fits`` counts those with an AUROC. Bounds are means
        over the fits that have some; NaN where none has: one class, or, for cells, more draws than not of one class.

    Raises
    ------
    DataError
        Columns missing, or labels other than 0 and 1.
    """
    problems = Problems(DataError, f"the predictions of {model}")
    for column in _NEEDED:
        if column not in predictions.columns:
            problems.add(f"column '{column}' is missing")
    problems.raise_if_any()
    rows = []
    for (variant, partition), own in predictions.groupby(["variant", "partition"], sort=True, observed=True):
        fits = [_of_fit(fit, study, draws, confidence) for _, fit in own.groupby(["seed", "fold"], sort=True)]
        fits = [fit for fit in fits if not math.isnan(fit[0])]
        mean = float(np.mean([fit[0] for fit in fits])) if fits else math.nan
        for k, method in enumerate(METHODS, 1):
            bounds = np.array([fit[k] for fit in fits if not math.isnan(fit[k][0])]).reshape(-1, 2)
            low, high = bounds.mean(0) if len(bounds) else (math.nan, math.nan)
            rows.append((study, source, model, variant, partition, method, mean, low, high, len(fits)))
    return pd.DataFrame(rows, columns=list(results.table("auroc_intervals").columns))


def _of_fit(
    fit: pd.DataFrame, study: str, draws: int, confidence: float
) -> tuple[float, tuple[float, float], tuple[float, float]]:
    """AUROC of one fit's rows, and its limits by both methods."""
    found = delong(fit["y_true"].to_numpy(), fit["mixed"].to_numpy())
    if math.isnan(found.auroc):
        return found.auroc, (math.nan, math.nan), (math.nan, math.nan)
    # Cells are the clusters that are drawn whole: from all there are, as DeLong's interval holds for samples from all dates.
    drawn = draw_metrics(fit.assign(cluster=fit["subject"]), ["auroc"], study=study, draws=draws, unit="cluster")
    values = drawn["value"].dropna().to_numpy()
    tail = (1 - confidence) / 2
    enough = len(values) > draws / 2
    cells = tuple(float(q) for q in np.quantile(values, [tail, 1 - tail])) if enough else (math.nan, math.nan)
    return found.auroc, found.interval(confidence), cells


def with_delong(summary: pd.DataFrame, intervals: pd.DataFrame) -> pd.DataFrame:
    """Put DeLong's limits in place of the bounds of `paper` where the paper used them.

    Parameters
    ----------
    summary : DataFrame
        `summary.tsv`.
    intervals : DataFrame
        Table `auroc_intervals`: its studies are those in which the paper used DeLong's interval.

    Returns
    -------
    DataFrame
        The summary; only bounds of rows of ``paper`` and ``auroc`` are changed.
    """
    limits = intervals.loc[intervals["method"] == "delong", [*_MATCH, "ci_low", "ci_high"]].set_index(_MATCH)
    wanted = (summary["metric"] == "auroc") & (summary["ci_method"] == "paper")
    keys = pd.MultiIndex.from_frame(summary[_MATCH].astype(str))
    wanted &= keys.isin(limits.index)
    summary = summary.copy()
    summary.loc[wanted, ["ci_low", "ci_high"]] = limits.reindex(keys[wanted]).to_numpy()
    return summary
