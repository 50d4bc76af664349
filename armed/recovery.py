"""How well fits recover what a generator knows to be true: slopes' s.d., clusters' intercepts, predictive features.

All functions take many fits at once, one per row; a value that is undefined is NaN and comes with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

FEWEST = 3
"""Pairs that a correlation or a median is taken of, at least."""
FEWEST_SLOPES = 5
"""Slopes on features that a model has, at least, to be scored by them: of three named ones a correlation says nothing."""
COLUMNS = ("seed", "fold", "partition", "metric", "value", "n", "note")
_FIT = ["seed", "fold"]


class Scores(NamedTuple):
    """One metric of each fit: value (NaN where undefined), number of features or clusters it rests on, and why it is NaN."""

    value: np.ndarray
    n: np.ndarray
    note: np.ndarray


def slope_recovery(learned_sd: np.ndarray, true_sd: np.ndarray) -> Scores:
    """Pearson correlation over features of the s.d. of learned slopes over clusters with the true one.

    Parameters
    ----------
    learned_sd, true_sd : array, shape (fits, features)
        NaN where a fit has no slope on a feature, or nothing is known of it.
    """
    return _correlation(learned_sd, true_sd, "features")


def slope_ratio(learned_sd: np.ndarray, true_sd: np.ndarray) -> Scores:
    """Median over features of learned s.d. by true s.d.; arguments as for `slope_recovery`."""
    learned_sd, true_sd = _pairs(learned_sd, true_sd)
    ratio = np.where(true_sd > 0, learned_sd / np.where(true_sd > 0, true_sd, 1), np.nan)
    n = (~np.isnan(ratio)).sum(1)
    enough = n >= FEWEST
    value = np.full(len(ratio), np.nan)
    value[enough] = np.nanmedian(ratio[enough], axis=1)
    return Scores(value, n, np.where(enough, "", _too_few("features")))


def intercept_recovery(learned: np.ndarray, true: np.ndarray) -> Scores:
    """Pearson correlation over seen clusters of learned and true intercepts, both (fits, clusters)."""
    return _correlation(learned, true, "clusters")


def feature_recovery(importance: np.ndarray, predictive: np.ndarray) -> Scores:
    """Area under the ROC curve of importance as a detector of the truly predictive features; ties count half.

    Parameters
    ----------
    importance, predictive : array, shape (fits, features)
        `predictive`: 1 or 0; NaN for features of which it is not known.
    """
    from scipy.stats import rankdata  # slow to load, and for this alone

    importance, predictive = _pairs(importance, predictive)
    there = ~np.isnan(importance)
    positive = there & (predictive == 1)
    n, n_positive = there.sum(1), positive.sum(1)
    ranks = np.nan_to_num(rankdata(importance, axis=1, nan_policy="omit"))
    pairs = n_positive * (n - n_positive)
    above = (ranks * positive).sum(1) - n_positive * (n_positive + 1) / 2
    value = np.where(pairs > 0, above / np.maximum(pairs, 1), np.nan)
    return Scores(value, n, np.where(pairs > 0, "", "no features that are, or none that are not, predictive"))


def truth_metrics(
    random_effects: pd.DataFrame | None,
    importance: pd.DataFrame | None,
    feature_truth: pd.DataFrame,
    truth: pd.DataFrame,
    datasets: Mapping[int, int],
    kinds: Mapping[str, str],
) -> pd.DataFrame:
    """Score all fits of a model against what is true of their data.

    Slopes count where they are on input features by name and per s.d. of the feature, as the true ones are: a model with
    fewer than five such slopes gets no slope metrics. Features and clusters of which nothing is known do not count.

    Parameters
    ----------
    random_effects : DataFrame or None
        seed, fold, cluster, effect, feature, mean.
    importance : DataFrame or None
        seed, fold, feature, importance.
    feature_truth : DataFrame
        As in `StudyData`.
    truth : DataFrame
        Of the seen clusters: cluster, dataset, intercept (NaN where not known).
    datasets : mapping of int to int
        Seed to dataset.
    kinds : mapping of str to str
        Feature to its kind (`armed.univariate.feature_kinds`); slopes of continuous features count.

    Returns
    -------
    DataFrame
        seed, fold, partition (``seen``), metric, value, n, note; without a row where there is nothing to score or no truth.
    """
    found = []
    if random_effects is not None and len(random_effects):
        effects = random_effects.assign(dataset=random_effects["seed"].map(datasets))
        known = truth.loc[truth["intercept"].notna(), ["dataset", "cluster", "intercept"]]
        effects = effects.merge(known.drop_duplicates(["dataset", "cluster"]), on=["dataset", "cluster"])
        found += _slope_rows(effects, feature_truth, kinds)
        intercepts = effects[effects["effect"] == "intercept"]
        if len(intercepts):
            learned, true = (_wide(intercepts, "cluster", value) for value in ("mean", "intercept"))
            found.append(_rows(learned.index, "intercept_recovery", intercept_recovery(learned, true)))
    if importance is not None and len(importance):
        told = importance.assign(dataset=importance["seed"].map(datasets))
        told = told.merge(feature_truth[["dataset", "feature", "predictive"]], on=["dataset", "feature"])
        if len(told):
            weight, predictive = (_wide(told, "feature", value) for value in ("importance", "predictive"))
            found.append(_rows(weight.index, "feature_recovery", feature_recovery(weight, predictive)))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(COLUMNS))


def _slope_rows(effects: pd.DataFrame, feature_truth: pd.DataFrame, kinds: Mapping[str, str]) -> list[pd.DataFrame]:
    continuous = [feature for feature, kind in kinds.items() if kind == "continuous"]
    slopes = effects[(effects["effect"] == "slope") & effects["feature"].isin(continuous)]
    if slopes["feature"].nunique() < FEWEST_SLOPES:
        return []
    spread = slopes.groupby([*_FIT, "dataset", "feature"])["mean"].std().rename("learned").reset_index()
    spread = spread.merge(feature_truth[["dataset", "feature", "slope_sd"]], how="left", on=["dataset", "feature"])
    learned, true = (_wide(spread, "feature", value) for value in ("learned", "slope_sd"))
    scores = {"slope_recovery": slope_recovery(learned, true), "slope_ratio": slope_ratio(learned, true)}
    return [_rows(learned.index, metric, of_metric) for metric, of_metric in scores.items()]


def _wide(long: pd.DataFrame, columns: str, value: str) -> pd.DataFrame:
    """One row per fit."""
    return long.set_index([*_FIT, columns])[value].astype(float).unstack(columns)


def _rows(fits: pd.MultiIndex, metric: str, scores: Scores) -> pd.DataFrame:
    frame = fits.to_frame(index=False)
    return frame.assign(partition="seen", metric=metric, **scores._asdict())[list(COLUMNS)]


def _pairs(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float (fits, items), NaN in both where either is not finite."""
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    there = np.isfinite(x) & np.isfinite(y)
    return np.where(there, x, np.nan), np.where(there, y, np.nan)


def _correlation(x: np.ndarray, y: np.ndarray, what: str) -> Scores:
    x, y = _pairs(x, y)
    there = ~np.isnan(x)
    n = there.sum(1)
    dx, dy = (np.where(there, a - _mean(a, n)[:, None], 0.0) for a in (x, y))
    # Whether values are constant is told by their range: their spread about the mean is not 0 by rounding.
    constant = [
        np.where(there, a, -np.inf).max(1, initial=-np.inf) <= np.where(there, a, np.inf).min(1, initial=np.inf)
        for a in (x, y)
    ]
    note = np.select(
        [n < FEWEST, constant[0], constant[1]],
        [_too_few(what), "all learned values are equal", "all true values are equal"],
        "",
    )
    defined = note == ""
    scale = np.sqrt((dx**2).sum(1) * (dy**2).sum(1))
    value = np.where(defined, (dx * dy).sum(1) / np.where(defined, scale, 1), np.nan)
    return Scores(value, n, note)


def _mean(a: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.nansum(a, axis=1) / np.maximum(n, 1)


def _too_few(what: str) -> str:
    return f"fewer than {FEWEST} {what} with a learned and a true value"
