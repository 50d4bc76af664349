"""What each feature says of the label by itself: univariate mixed logistic models, log odds, and sites' relative risks.

On a stand-in the mixed models are the oracle that a network's random effects are held against: its generator draws every
feature so that, given that feature alone, the label follows a logistic model with normal site intercepts and site slopes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from armed import registry
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits

METHOD = registry.model("mixed_logit").method
COLUMNS = (
    *("dataset", "feature", "kind", "n", "coefficient", "coefficient_sd", "slope_sd", "relative_risk_sd"),
    *("true_coefficient", "true_slope_sd", "predictive", "note"),
)
UNKNOWN = -1
"""Value of `predictive` where it is not known."""


class Effect(NamedTuple):
    """What one feature says; NaN where undefined, and then the note says why."""

    n: int
    coefficient: float = np.nan
    coefficient_sd: float = np.nan
    slope_sd: float = np.nan
    relative_risk_sd: float = np.nan
    note: str = ""


def feature_kinds(data: ClusteredData) -> dict[str, str]:
    """Tell each feature's kind: ``categorical`` where all values there are 0 or 1 (an indicator), else ``continuous``."""
    indicator = (np.isnan(data.X) | np.isin(data.X, (0, 1))).all(0)
    return dict(zip(data.feature_names, np.where(indicator, "categorical", "continuous").tolist(), strict=True))


def univariate(data: ClusteredData, feature_truth: pd.DataFrame | None = None) -> pd.DataFrame:
    """Fit each feature by itself, leaving out the rows where it is missing.

    Parameters
    ----------
    data : ClusteredData
        The seen clusters of one dataset, labels 0 and 1; X may hold NaN.
    feature_truth : DataFrame, optional
        As in `StudyData`; rows of other datasets are left out.

    Returns
    -------
    DataFrame
        Columns of the table `univariate` but study and source, one row per feature. Continuous: `mixed_effect`. Categorical:
        `indicator_effect`. `predictive` is -1, and what is true NaN, where it is not known.
    """
    kinds, dataset = feature_kinds(data), int(data.dataset[0])
    found = []
    for j, kind in enumerate(kinds.values()):
        rows = np.flatnonzero(~np.isnan(data.X[:, j]))
        effect = mixed_effect if kind == "continuous" else indicator_effect
        found.append(effect(data.X[rows, j], data.y[rows], data.clusters[rows])._asdict())
    frame = pd.DataFrame(found).assign(dataset=dataset, feature=list(kinds), kind=list(kinds.values()))
    known = pd.DataFrame(columns=["feature", "coefficient", "slope_sd", "predictive"])
    if feature_truth is not None:
        known = feature_truth[feature_truth["dataset"] == dataset]
    known = known.set_index("feature").reindex(frame["feature"])
    frame["true_coefficient"] = known["coefficient"].to_numpy(float)
    frame["true_slope_sd"] = known["slope_sd"].to_numpy(float)
    predictive = known["predictive"].to_numpy(float)
    frame["predictive"] = np.where(np.isnan(predictive), UNKNOWN, predictive).astype(int)
    return frame[list(COLUMNS)]


def mixed_effect(x: np.ndarray, y: np.ndarray, clusters: np.ndarray) -> Effect:
    """Fit a logistic mixed model of one continuous feature, with cluster intercepts and cluster slopes.

    Parameters
    ----------
    x, y, clusters : array, shape (n,)
        The feature, without missing values; labels 0 and 1; cluster labels.

    Returns
    -------
    Effect
        `coefficient` and its posterior s.d., and `slope_sd`, the estimated s.d. of the slopes over clusters: log odds per s.d.
        of the feature over these rows.
    """
    n = len(x)
    if n == 0 or np.ptp(x) == 0:
        return Effect(n, note="the feature is constant")
    if np.ptp(y) == 0:
        return Effect(n, note="all labels are equal")
    fitted = _fit(((x - x.mean()) / x.std())[:, None], y, clusters)
    coefficient = fitted.coefficients_.iloc[1]
    sd = np.sqrt(fitted.components_.query("first == 'x1' and second == 'x1'")["vcov"].iloc[0])
    return Effect(n, coefficient["coefficient"], coefficient["sd"], float(sd), note=fitted.notes_.get((0, 0), ""))


def indicator_effect(x: np.ndarray, y: np.ndarray, clusters: np.ndarray) -> Effect:
    """Pooled log odds ratio of an indicator, and the s.d. over clusters of the cluster's relative risk.

    Parameters
    ----------
    x, y, clusters : array, shape (n,)
        The indicator (0 or 1), labels 0 and 1, cluster labels.

    Returns
    -------
    Effect
        `coefficient`: log odds ratio of all rows together, with Woolf's s.d.; undefined where a cell of the table of x by y is
        empty. `relative_risk_sd`: over the clusters where `relative_risks` is defined, at least two. No `slope_sd`: clusters
        often have too few people of a level.
    """
    cells = np.bincount(2 * x.astype(int) + y.astype(int), minlength=4).astype(float)
    notes, coefficient, sd = [], np.nan, np.nan
    if (cells > 0).all():
        coefficient, sd = np.log(cells[3] * cells[0] / (cells[1] * cells[2])), np.sqrt((1 / cells).sum())
    else:
        notes.append("no log odds: with or without the level, all labels are equal")
    risks, n_clusters = relative_risks(x, y, clusters), len(np.unique(clusters))
    notes.append(f"relative risk defined in {len(risks)} of {n_clusters} clusters")
    spread = risks.std() if len(risks) > 1 else np.nan
    return Effect(len(x), float(coefficient), float(sd), np.nan, float(spread), "; ".join(notes))


def relative_risks(x: np.ndarray, y: np.ndarray, clusters: np.ndarray) -> pd.Series:
    """P(y = 1 | x = 1) / P(y = 1 | x = 0) of each cluster.

    Defined where a cluster has rows of both levels and a positive one among those with x = 0. How the paper dealt with the
    other clusters is not stated; here they are left out.

    Returns
    -------
    Series, index = cluster
        The clusters where it is defined.
    """
    rows = pd.DataFrame({"cluster": clusters, "x": x.astype(int), "y": y})
    risk = rows.groupby(["cluster", "x"])["y"].mean().unstack("x").reindex(columns=[0, 1])
    return (risk[1] / risk[0])[(risk[0] > 0) & risk[1].notna()]


def cluster_intercepts(data: ClusteredData) -> pd.Series:
    """Intercept of each cluster by a logistic mixed model without features; clusters in order (the index)."""
    fitted = _fit(np.zeros((len(data), 0)), data.y, data.clusters, slopes=None)
    return fitted.random_effects_.set_index("cluster")["mean"]


def _fit(X: np.ndarray, y: np.ndarray, clusters: np.ndarray, **settings: object) -> object:
    rows = np.arange(len(y))
    one = Splits((Fold(0, 0, rows, rows[:0], rows[:0]),))
    return registry.load(METHOD)(**settings).fit(ClusteredData(X, y, clusters), one)
