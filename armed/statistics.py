"""Intervals and tests: what the numbers of many seeds, folds and clusters say, and how surely.

Three situations, by what varies between two seeds:

- *one dataset*: seeds are other folds and other initial weights of the same samples. Values share training
  data, so their plain standard error is too small: Nadeau-Bengio corrected resampled t over all seeds x
  folds.
- *a dataset per seed* (variant ``resampled``, or a study that draws its data anew): seeds are independent,
  folds are not: t over the seeds' means. This holds for unseen clusters too, as each dataset has its own.
- *unseen clusters of one dataset*: what varies is which clusters one meets, and how training went: bootstrap over
  clusters (shared by all seeds) and over seeds, drawn independently of each other. The interval is conditional on the
  training data. The same is done for metrics with one value per seed (``within_cluster_auroc``), which leave no folds
  to compare.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit  # Student's t; scipy.stats takes longer to load than a summary to make

from armed.reproducibility import derive_seed
from armed.schemas import table

logger = logging.getLogger(__name__)

UNSEEN = ("unseen", "unseen_population", "latents_unseen")
RESAMPLED = "resampled"
GROUP = ["study", "source", "model", "variant", "partition", "metric"]
FEW_CLUSTERS = 10
ROUNDING = 1e-12  # numbers closer than this are equal: a difference made by rounding is no evidence


@dataclass(frozen=True)
class Settings:
    """Settings of intervals and tests.

    Parameters
    ----------
    confidence : float
        Of all intervals but `paper`'s, which is 1.96 standard errors.
    bootstrap : int
        Draws over clusters.
    tolerance : float
        Half-width assumed for published numbers printed without an interval.
    dataset_per_seed : collection of str
        Studies whose seeds have a dataset each (variant ``resampled`` always does).
    test_to_train : mapping of str to float
        Ratio of test to training samples in a fold, by study; by default 1 / (folds - 1), that of
        cross-validation.
    """

    confidence: float = 0.95
    bootstrap: int = 2000
    tolerance: float = 0.02
    dataset_per_seed: Collection[str] = ()
    test_to_train: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: Mapping) -> Settings:
        """Settings from the workflow's config: block `statistics`, and studies whose `data.dataset_seed` is null."""
        anew = frozenset(
            name
            for name, study in config["studies"].items()
            if (study.get("data") or {}).get("dataset_seed", "none given") is None
        )
        return cls(**config["statistics"], dataset_per_seed=anew)

    def is_resampled(self, study: str, variant: str) -> bool:
        """Whether seeds of a study and variant have a dataset each."""
        return variant == RESAMPLED or study in self.dataset_per_seed

    def ratio(self, study: str, n_folds: int) -> float:
        """Test to train ratio of a fold; NaN where it is not known (a single fold)."""
        return self.test_to_train.get(study, 1 / (n_folds - 1) if n_folds > 1 else math.nan)


class Estimate(NamedTuple):
    """A mean with its interval, and the two-sided p value against 0."""

    mean: float
    ci_low: float
    ci_high: float
    p: float


def _from_t(mean: float, se: float, df: int, confidence: float) -> Estimate:
    if math.isnan(se):
        return Estimate(mean, math.nan, math.nan, math.nan)
    if se < ROUNDING:
        return Estimate(mean, mean, mean, 1.0 if abs(mean) < ROUNDING else 0.0)
    half = float(stdtrit(df, (1 + confidence) / 2)) * se
    return Estimate(mean, mean - half, mean + half, float(2 * stdtr(df, -abs(mean) / se)))


def t_interval(values: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Student's t over independent values (n,); no interval for n < 2."""
    return corrected_t(values, 0.0, confidence)


def corrected_t(values: np.ndarray, ratio: float, confidence: float = 0.95) -> Estimate:
    """Nadeau-Bengio corrected resampled t.

    Parameters
    ----------
    values : array, (n,)
        Metric, or difference of two models' metrics, on the test part of each of n resamples of one dataset.
    ratio : float
        Test to training samples of a resample.
    confidence : float
        Of the interval.

    Returns
    -------
    Estimate
        Variance of the mean (1/n + ratio) s^2, n - 1 degrees of freedom (Nadeau and Bengio, Machine Learning
        52, 2003).
    """
    values = np.asarray(values, np.float64)
    n = len(values)
    mean = mean_of(values)
    se = float(values.std(ddof=1)) * math.sqrt(1 / n + ratio) if n > 1 else math.nan
    return _from_t(mean, se, n - 1, confidence)


class Values(NamedTuple):
    """A metric on each (seed, fold), undefined ones left out: three arrays (n,)."""

    seed: np.ndarray
    fold: np.ndarray
    value: np.ndarray

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Values:
        """From rows of `metrics.tsv` of one model, variant, partition and metric."""
        rows = rows[rows["value"].notna()]
        return cls(*(rows[c].to_numpy() for c in ("seed", "fold", "value")))

    def minus(self, other: Values) -> Values:
        """Differences on the (seed, fold) that both have."""
        mine, theirs = (v.seed.astype(np.int64) * 2**20 + v.fold for v in (self, other))
        _, i, j = np.intersect1d(mine, theirs, return_indices=True)
        return Values(self.seed[i], self.fold[i], self.value[i] - other.value[j])

    def by_seed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Number, mean and s.d. (NaN for one value) of each seed's values."""
        _, seed = np.unique(self.seed, return_inverse=True)
        count = np.bincount(seed)
        mean = np.bincount(seed, weights=self.value) / count
        squares = np.bincount(seed, weights=(self.value - mean[seed]) ** 2)
        return count, mean, np.sqrt(squares / np.where(count > 1, count - 1, np.nan))


def paper_interval(values: Values) -> Estimate:
    """Return the paper's interval: mean +- 1.96 s.d. over folds / sqrt(folds) per seed, averaged over seeds.

    Parameters
    ----------
    values : Values
        Metric of each fold.

    Returns
    -------
    Estimate
        Without p. Whether the s.d. divides by n or n - 1 is not stated in the paper; we take n - 1, as for a sample.
    """
    count, means, sd = values.by_seed()
    half = 1.96 * sd / np.sqrt(count)
    mean, half = mean_of(means), mean_of(half[~np.isnan(half)])
    return Estimate(mean, mean - half, mean + half, math.nan)


class ClusterSums(NamedTuple):
    """Sums of weight x value and of weights over the folds of each seed: arrays (seeds, clusters)."""

    seeds: np.ndarray
    clusters: np.ndarray
    weighted: np.ndarray
    weights: np.ndarray

    def minus(self, other: ClusterSums) -> ClusterSums:
        """Differences in the seeds and clusters that both have, weighted as this one's values."""
        seeds, i, k = np.intersect1d(self.seeds, other.seeds, return_indices=True)
        clusters, j, m = np.intersect1d(self.clusters, other.clusters, return_indices=True)
        mine, theirs = np.ix_(i, j), np.ix_(k, m)
        both = (self.weights[mine] > 0) & (other.weights[theirs] > 0)
        weights = np.where(both, self.weights[mine], 0.0)
        share = np.divide(weights, other.weights[theirs], out=np.zeros_like(weights), where=both)
        return ClusterSums(
            seeds, clusters, np.where(both, self.weighted[mine], 0.0) - share * other.weighted[theirs], weights
        )


def cluster_sums(cluster_metrics: pd.DataFrame, settings: Settings) -> dict[tuple, ClusterSums]:
    """Sum cluster metrics over folds, where intervals are bootstrapped over clusters.

    Parameters
    ----------
    cluster_metrics : pandas.DataFrame
        `cluster_metrics.tsv`; undefined rows do not count.
    settings : Settings
        Tells studies with a dataset per seed, which need no bootstrap.

    Returns
    -------
    dict
        By (study, source, model, variant, partition, metric).
    """
    anew = cluster_metrics["study"].isin(list(settings.dataset_per_seed))
    anew |= cluster_metrics["variant"] == RESAMPLED
    needed = cluster_metrics["partition"].isin(UNSEEN) | (cluster_metrics["fold"] < 0)
    rows = cluster_metrics[needed & ~anew & cluster_metrics["value"].notna() & (cluster_metrics["n"] > 0)]
    rows = rows.assign(weighted=rows["value"] * rows["n"], weights=rows["n"].astype(float))
    by_cluster = rows.groupby([*GROUP, "seed", "cluster"], observed=True)[["weighted", "weights"]]
    sums = by_cluster.sum().reset_index()
    return {key: _matrix(group) for key, group in sums.groupby(GROUP, sort=False, observed=True)}


def _matrix(rows: pd.DataFrame) -> ClusterSums:
    seeds, i = np.unique(rows["seed"].to_numpy(), return_inverse=True)
    clusters, j = np.unique(rows["cluster"].to_numpy(str), return_inverse=True)
    weighted, weights = np.zeros((2, len(seeds), len(clusters)))
    weighted[i, j], weights[i, j] = rows["weighted"], rows["weights"]
    return ClusterSums(seeds, clusters, weighted, weights)


def cluster_bootstrap(sums: ClusterSums, centre: float, seed: int, settings: Settings) -> Estimate:
    """Percentile bootstrap of a weighted mean over clusters and seeds, crossed (Owen, Ann. Appl. Stat. 1, 2007).

    Parameters
    ----------
    sums : ClusterSums
        Values and weights of clusters.
    centre : float
        Estimate that the interval is for. Where it is not the weighted mean itself (AUROC of all clusters pooled), the
        draws are shifted to it: the spread over clusters is that of the weighted mean.
    seed : int
        Equal seeds draw equal clusters, so that models are compared on the same draws.
    settings : Settings
        Draws and confidence.

    Returns
    -------
    Estimate
        p is twice the smaller share of draws on either side of 0. No interval for fewer than 2 clusters.
    """
    n_seeds, n_clusters = sums.weights.shape
    if n_clusters < 2 or math.isnan(centre):
        return Estimate(centre, math.nan, math.nan, math.nan)
    seeds, clusters = _draws(seed, n_seeds, n_clusters, settings.bootstrap)
    weighted, weights = (((seeds @ x) * clusters).sum(axis=1) for x in (sums.weighted, sums.weights))
    means = weighted[weights > 0] / weights[weights > 0]
    means += centre - sums.weighted.sum() / sums.weights.sum()
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    below, above = (means < ROUNDING).sum(), (means > -ROUNDING).sum()
    p = min(1.0, 2 * (1 + min(below, above)) / (1 + len(means)))
    return Estimate(centre, float(low), float(high), float(p))


@lru_cache(maxsize=64)
def _draws(seed: int, n_seeds: int, n_clusters: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each seed (size, n_seeds) and each cluster (size, n_clusters) is drawn."""
    rng = np.random.default_rng(seed)
    clusters = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=size)
    seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=size)
    return seeds.astype(float), clusters.astype(float)


def estimate(
    values: Values, study: str, variant: str, partition: str, sums: ClusterSums | None, settings: Settings
) -> Estimate:
    """Choose and compute the `corrected` interval of one metric (or difference) of one model and partition.

    Parameters
    ----------
    values : Values
        Metric, or difference, on each (seed, fold).
    study, variant, partition : str
        What it is of; see the module for which interval applies.
    sums : ClusterSums or None
        Its values by cluster, where there are any.
    settings : Settings
        Confidence, draws, and which studies have a dataset per seed.

    Returns
    -------
    Estimate
        Mean over seeds of the means over folds.
    """
    count, means, _ = values.by_seed()
    mean = mean_of(means)
    if settings.is_resampled(study, variant):
        return t_interval(means, settings.confidence)
    if partition in UNSEEN or (values.fold < 0).any():
        if sums is None:
            return Estimate(mean, math.nan, math.nan, math.nan)
        return cluster_bootstrap(sums, mean, derive_seed("cluster bootstrap", study, 0), settings)
    ratio = settings.ratio(study, int(count.max(initial=0)))
    result = corrected_t(values.value, ratio, settings.confidence)
    # Centred on the mean over seeds, as all others are; the two differ only where some folds are undefined.
    shift = mean - result.mean
    return Estimate(mean, result.ci_low + shift, result.ci_high + shift, result.p)


def summarise(metrics: pd.DataFrame, cluster_metrics: pd.DataFrame, settings: Settings | None = None) -> pd.DataFrame:
    """Summarise metrics over seeds and folds, with the paper's interval and the corrected one.

    Parameters
    ----------
    metrics, cluster_metrics : pandas.DataFrame
        `metrics.tsv` and `cluster_metrics.tsv`. Undefined values are left out; `n_seeds` and `n_folds` (of
        the seed with the most; 0 for metrics with one value per seed) count what is left.
    settings : Settings, optional
        Defaults where not given.

    Returns
    -------
    pandas.DataFrame
        `summary.tsv`. Bounds are NaN where an interval is not defined: one fold, one seed, one cluster.
    """
    settings = settings or Settings()
    sums = cluster_sums(cluster_metrics, settings)
    _warn_of_few_clusters(sums)
    rows = []
    for key, group in metrics.groupby(GROUP, sort=False, observed=True):
        study, _, _, variant, partition, _ = key
        values = Values.of(group)
        count, _, _ = values.by_seed()
        n_folds = int(count.max(initial=0)) if (values.fold >= 0).any() else 0
        both = {
            "paper": paper_interval(values),
            "corrected": estimate(values, study, variant, partition, sums.get(key), settings),
        }
        for method, result in both.items():
            rows.append((*key, method, *result[:3], len(count), n_folds))
    return pd.DataFrame(rows, columns=list(table("summary").columns))


def _warn_of_few_clusters(sums: Mapping[tuple, ClusterSums]) -> None:
    few = {(key[0], len(s.clusters)) for key, s in sums.items() if len(s.clusters) < FEW_CLUSTERS}
    for study, count in sorted(few):
        logger.warning(
            "%s: intervals are bootstrapped over %d clusters only; they are too narrow with so few", study, count
        )


def mean_of(values: np.ndarray) -> float:
    """Mean of values (n,); NaN where there are none."""
    return float(np.mean(values)) if len(values) else math.nan
