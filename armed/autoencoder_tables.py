"""Tables for readers that only studies with an autoencoder have: what latents hold, and intervals of the AUROC."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from armed import labels
from armed.image_tables import told_in_notes
from armed.registry import WITHOUT_FITS
from armed.tables import interval, number, ordered

PROBE = "cluster_probe_accuracy"
SHARES = {"variance_cluster": "cluster", "variance_group": "group", "variance_phenotype": "phenotype"}
READINGS = (PROBE, *SHARES)
"""Metrics of the table of readings."""
PARTITIONS = ("latents", "latents_unseen")
CHANCE, BY_GROUP = "chance {}", "{} by the group alone"
_OTHER_SHARES = {"Shared": "shared {}", "Rest": "rest {}"}
_AUROC = {"delong": "DeLong: frames", "cells": "bootstrap: cells"}


def probe_levels(metrics: pd.DataFrame, study: str, partition: str) -> dict[str, float]:
    """What the linear probe is to be compared with, as the notes of `metrics.tsv` tell it: `CHANCE` and `BY_GROUP`.

    Parameters
    ----------
    metrics : pandas.DataFrame
        `results/metrics.tsv`.
    study, partition : str

    Returns
    -------
    dict of str to float
        The mean of each that is told: the share of the largest cluster, and what the group alone gets right.
    """
    rows = _rows(metrics, study, PROBE, partition)
    means = {words: told_in_notes(rows, words).mean() for words in (CHANCE, BY_GROUP)}
    return {words: float(mean) for words, mean in means.items() if np.isfinite(mean)}


def readings_table(summary: pd.DataFrame, metrics: pd.DataFrame, study: str, partition: str) -> pd.DataFrame:
    """Lay out what a linear probe tells of clusters, and whose the variance of latents is: models down, readings across.

    Parameters
    ----------
    summary, metrics : pandas.DataFrame
        Tables of `results/`; `corrected` intervals of variant ``main`` are shown, and the notes' shares and levels.
    study, partition : str

    Returns
    -------
    pandas.DataFrame
        Strings; the last rows tell the levels to compare the probe with. Without rows where there are no readings.
    """
    cluster, group = (labels.noun(kind, study) for kind in ("cluster", "group"))
    named = {PROBE: f"{_capital(cluster)}: accuracy of a linear probe"}
    named |= {m: f"Variance: {labels.noun(kind, study)}" for m, kind in SHARES.items()}
    rows = ordered(_rows(summary[summary["ci_method"] == "corrected"], study, READINGS, partition))
    rows = rows[~rows["model"].isin(WITHOUT_FITS)]  # latents of another model
    lines: dict[str, dict[str, str]] = {}
    for row in rows.itertuples():
        lines.setdefault(row.model, {})[named[row.metric]] = interval(row.mean, row.ci_low, row.ci_high)
    told = _rows(metrics, study, tuple(SHARES), partition)
    for name, words in _OTHER_SHARES.items():
        means = told_in_notes(told, words).groupby(told["model"].astype("str")).mean()
        for model in lines:
            lines[model][f"Variance: {name.lower()}"] = number(means.get(model, np.nan))
    columns = [c for c in (*named.values(), *(f"Variance: {n.lower()}" for n in _OTHER_SHARES))]
    shown = {labels.model(model): cells for model, cells in lines.items()}
    if lines:
        levels = probe_levels(metrics, study, partition)
        names = {CHANCE: f"Chance (the largest {cluster})", BY_GROUP: f"The {group} alone"}
        shown |= {names[words]: {named[PROBE]: number(level)} for words, level in levels.items()}
    made = [{"Model": name} | {c: cells.get(c, number(np.nan)) for c in columns} for name, cells in shown.items()]
    return pd.DataFrame(made, columns=["Model", *columns])


def auroc_intervals_table(intervals: pd.DataFrame, study: str) -> pd.DataFrame:
    """Lay out the AUROC with DeLong's interval, as in the paper, beside a bootstrap over cells.

    Parameters
    ----------
    intervals : pandas.DataFrame
        `results/auroc_intervals.tsv`.
    study : str

    Returns
    -------
    pandas.DataFrame
        Strings, by partition and model of variant ``main``.
    """
    rows = ordered(intervals[(intervals["study"] == study) & (intervals["variant"] == "main")])
    lines: dict[tuple[str, str], dict[str, object]] = {}
    for row in rows.itertuples():
        key = (labels.partition_short(row.partition), labels.model(row.model))
        line = lines.setdefault(key, {"Fits": int(row.n_fits)})
        line[_AUROC[row.method]] = interval(row.mean, row.ci_low, row.ci_high)
    columns = [c for c in _AUROC.values() if any(c in line for line in lines.values())]
    made = [
        {"Clusters": clusters, "Model": model}
        | {c: line.get(c, number(np.nan)) for c in columns}
        | {"Fits": line["Fits"]}
        for (clusters, model), line in lines.items()
    ]
    return pd.DataFrame(made, columns=["Clusters", "Model", *columns, "Fits"])


def study_tables(study: str, frames: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Lay out all of these tables that have rows.

    Parameters
    ----------
    study : str
    frames : mapping of str to pandas.DataFrame
        Tables ``summary``, ``metrics`` and ``auroc_intervals`` of `results/`.

    Returns
    -------
    dict of str to pandas.DataFrame
        File name (for `armed.tables.table`) -> table as readers see it.
    """
    made = {
        f"{study}_readings_{partition}": readings_table(frames["summary"], frames["metrics"], study, partition)
        for partition in PARTITIONS
    }
    made[f"{study}_auroc_intervals"] = auroc_intervals_table(frames["auroc_intervals"], study)
    return {name: frame for name, frame in made.items() if len(frame)}


def _rows(frame: pd.DataFrame, study: str, metrics: str | tuple[str, ...], partition: str) -> pd.DataFrame:
    wanted = (metrics,) if isinstance(metrics, str) else metrics
    keep = (frame["study"] == study) & frame["metric"].isin(wanted)
    return frame[keep & (frame["partition"] == partition) & (frame["variant"] == "main")]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
