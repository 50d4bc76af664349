"""Shares and correlations: is a probe as important as a real feature, does an intercept follow the class balance."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from armed.data.study import is_probe
from armed.errors import DataError
from armed.registry import SPIRALS
from armed.schemas import table
from armed.statistics import Settings, mean_of

TOP = 10
"""So many features count as the most important ones (paper)."""
Wins = Callable[[pd.DataFrame, list[str]], pd.Series]
"""Importance with a column `probe`, and what to group it by, in: for each group, whether a probe wins."""


def wilson(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson interval of a share; (NaN, NaN) for n = 0."""
    if n == 0:
        return math.nan, math.nan
    from statsmodels.stats.proportion import proportion_confint  # slow to load, and for this alone

    low, high = proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
    return float(low), float(high)


class Correlation(NamedTuple):
    """Pearson's r, its interval (Fisher's z), p, and the number of clusters it rests on."""

    r: float
    ci_low: float
    ci_high: float
    p: float
    n: int


def cluster_correlation(
    x: np.ndarray, y: np.ndarray, clusters: Iterable[Hashable], confidence: float = 0.95
) -> Correlation:
    """Pearson correlation over clusters.

    Parameters
    ----------
    x, y : array, (n,)
        E.g. learned random intercept and class balance; several values of a cluster (seeds, folds) are
        averaged first, so that n is the number of clusters.
    clusters : iterable, (n,)
        Cluster of each value. Clusters of different datasets need different labels.
    confidence : float
        Of the interval.

    Returns
    -------
    Correlation
        All NaN but n where there are fewer than 3 clusters or one side is constant; no interval for 3
        clusters.
    """
    frame = pd.DataFrame({"x": np.asarray(x, float), "y": np.asarray(y, float), "cluster": list(clusters)})
    means = frame.dropna().groupby("cluster", observed=True)[["x", "y"]].mean()
    n = len(means)
    if n < 3 or np.ptp(means["x"]) == 0 or np.ptp(means["y"]) == 0:
        return Correlation(math.nan, math.nan, math.nan, math.nan, n)
    from scipy.stats import pearsonr  # slow to load, and for this alone

    result = pearsonr(means["x"], means["y"])
    bounds = result.confidence_interval(confidence) if n > 3 else (math.nan, math.nan)
    return Correlation(float(result.statistic), float(bounds[0]), float(bounds[1]), float(result.pvalue), n)


def intercepts_with_balance(random_effects: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Put learned random intercepts beside the class balance of their clusters.

    Parameters
    ----------
    random_effects : pandas.DataFrame
        Rows of `random_effects.tsv` of one study and variant.
    truth : pandas.DataFrame
        `StudyData.truth` (dataset, cluster, ratio) of the seen part of that variant. A seed uses the dataset of its number;
        where there is only one dataset, all seeds use it.

    Returns
    -------
    pandas.DataFrame
        model, seed, cluster, mean (of the intercept, over folds), dataset, ratio.
    """
    rows = random_effects[random_effects["effect"] == "intercept"]
    means = rows.groupby(["model", "seed", "cluster"], sort=False)["mean"].mean().reset_index()
    several = truth["dataset"].nunique() > 1
    means["dataset"] = means["seed"] if several else truth["dataset"].iloc[0]
    means["cluster"] = means["cluster"].astype(str)
    known = truth[["dataset", "cluster", "ratio"]].assign(cluster=truth["cluster"].astype(str))
    return means.merge(known, on=["dataset", "cluster"], how="inner", validate="many_to_one")


def slope_sds(random_effects: pd.DataFrame) -> pd.DataFrame:
    """S.d. over clusters of each learned random slope, averaged over folds and seeds.

    Parameters
    ----------
    random_effects : pandas.DataFrame
        Rows of `results/random_effects.tsv` of one study and variant.

    Returns
    -------
    pandas.DataFrame
        model, feature, sd.
    """
    slopes = random_effects[random_effects["effect"] == "slope"]
    per_fit = slopes.groupby(["model", "seed", "fold", "feature"], sort=False)["mean"].std()
    return per_fit.groupby(["model", "feature"], sort=False).mean().rename("sd").reset_index()


def deconfounding_shares(
    importance: pd.DataFrame, probes: Collection[str] | None = None, settings: Settings | None = None
) -> pd.DataFrame:
    """Share of datasets in which a probe is more important than the weakest real feature.

    Parameters
    ----------
    importance : pandas.DataFrame
        `importance.tsv`. Studies without probes are left out.
    probes : collection of str, optional
        Names of the probe features; by default those that `is_probe` tells.
    settings : Settings, optional
        Its confidence counts.

    Returns
    -------
    pandas.DataFrame
        study, model, variant, unit, share, ci_low, ci_high, n_seeds, n_folds. `unit` ``dataset``: importance averaged
        over a seed's folds; ``fold``: each fold alone. Wilson intervals with n = seeds for both: folds of one dataset
        are not independent, so that more folds do not make a share surer.

    Raises
    ------
    DataError
        A study has probes, and no real feature to compare them with.
    """
    marked = _marked(importance, probes)
    for study, of_study in marked.groupby("study", sort=False, observed=True):
        if of_study["probe"].all():
            raise DataError(
                f"Study '{study}' has importance of probes only ({sorted(of_study['feature'].unique())});"
                " real features are needed beside them."
            )
    return _all_shares(marked, _beats_the_weakest, settings or Settings())


def probe_in_top_ten(
    importance: pd.DataFrame,
    probes: Collection[str] | None = None,
    settings: Settings | None = None,
    *,
    top: int = TOP,
) -> pd.DataFrame:
    """Share of datasets in which a probe is among the most important features (paper, MCI study with probes).

    The yardstick where there are many real features, of which the weakest says nothing.

    Parameters
    ----------
    importance, probes, settings
        As in `deconfounding_shares`.
    top : int
        How many features count as the most important.

    Returns
    -------
    pandas.DataFrame
        As in `deconfounding_shares`, and so are the units. `n_seeds` of variant ``main`` counts seeds of one dataset where
        the study has only one.
    """
    is_in_top = functools.partial(_is_in_top, top=top)
    return _all_shares(_marked(importance, probes), is_in_top, settings or Settings())


def probe_wins(importance: pd.DataFrame, study: str, *, by_fold: bool = False) -> pd.Series:
    """Tell where a probe is taken for a real feature, by the criterion of `probe_shares`.

    Parameters
    ----------
    importance : pandas.DataFrame
        Rows of `importance.tsv` of one study, model and variant.
    study : str
        Decides on the criterion.
    by_fold : bool
        Each fold alone; else importance is averaged over the folds of a seed.

    Returns
    -------
    pandas.Series
        Bool by seed, or by seed and fold; empty without probes.
    """
    marked = _marked(importance, None).dropna(subset="importance")
    by = ["seed", "fold"] if by_fold else ["seed"]
    if not marked["probe"].any():
        return pd.Series([], index=pd.MultiIndex.from_arrays([[]] * len(by), names=by), dtype=bool)
    rows = marked.groupby([*by, "feature", "probe"], as_index=False)["importance"].mean()
    return (_beats_the_weakest if study in SPIRALS else _is_in_top)(rows, by)


def probe_shares(
    importance: pd.DataFrame, probes: Collection[str] | None = None, settings: Settings | None = None
) -> pd.DataFrame:
    """Table `deconfounding`: spirals by their weakest real feature, other studies by their ten most important features.

    Parameters, returned columns and errors are those of `deconfounding_shares`; `armed.labels.probe_criterion` says in words
    which criterion a study has.
    """
    is_spirals = importance["study"].isin(SPIRALS)
    found = [
        deconfounding_shares(importance[is_spirals], probes, settings),
        probe_in_top_ten(importance[~is_spirals], probes, settings),
    ]
    return pd.concat([part for part in found if len(part)] or found[:1], ignore_index=True)


def chance_in_top(n_features: int, n_probes: int, top: int = TOP) -> float:
    """Chance that of features ranked at random a probe is among the first `top`."""
    if top >= n_features:
        return 1.0
    return 1.0 - math.comb(n_features - n_probes, top) / math.comb(n_features, top)


def _marked(importance: pd.DataFrame, probes: Collection[str] | None) -> pd.DataFrame:
    known = {f: is_probe(f) if probes is None else f in set(probes) for f in importance["feature"].unique()}
    return importance.assign(probe=importance["feature"].map(known).astype(bool))


def _all_shares(marked: pd.DataFrame, wins: Wins, settings: Settings) -> pd.DataFrame:
    """Table `deconfounding` of the studies that have probes."""
    rows = []
    for study, of_study in marked.groupby("study", sort=False, observed=True):
        if of_study["probe"].any():
            for key, group in of_study.groupby(["model", "variant"], sort=False, observed=True):
                rows += [(study, *key, *shares) for shares in _shares(group, wins, settings)]
    return pd.DataFrame(rows, columns=list(table("deconfounding").columns))


def _shares(importance: pd.DataFrame, wins: Wins, settings: Settings) -> list[tuple]:
    """unit, share, ci_low, ci_high, n_seeds, n_folds of one model."""
    folds = importance.dropna(subset="importance")
    averaged = folds.groupby(["seed", "feature", "probe"], as_index=False)["importance"].mean()
    per_dataset, per_fold = wins(averaged, ["seed"]), wins(folds, ["seed", "fold"])
    n, n_folds = len(per_dataset), int(per_fold.groupby("seed").size().max()) if len(per_fold) else 0
    found = []
    for unit, won in (("dataset", per_dataset), ("fold", per_fold)):
        share = mean_of(won.groupby("seed").mean().to_numpy(float))
        low, high = wilson(share * n, n, settings.confidence)
        found.append((unit, share, low, high, n, n_folds))
    return found


def _is_in_top(importance: pd.DataFrame, by: list[str], top: int = TOP) -> pd.Series:
    rank = importance.groupby(by)["importance"].rank(ascending=False, method="first")
    return importance.assign(won=importance["probe"] & (rank <= top)).groupby(by)["won"].any()


def _beats_the_weakest(importance: pd.DataFrame, by: list[str]) -> pd.Series:
    largest = importance[importance["probe"]].groupby(by)["importance"].max()
    weakest = importance[~importance["probe"]].groupby(by)["importance"].min()
    largest, weakest = largest.align(weakest, join="inner")
    return largest > weakest
