"""Intervals and tests: what the numbers of many seeds, folds and clusters say, and how surely.

Five situations, by what varies between two seeds:

- *one dataset*: seeds are other folds (or Monte Carlo splits) and other initial weights of the same samples. Values
  share training data, so their plain standard error is too small: Nadeau-Bengio corrected resampled t over all seeds x
  folds.
- *a dataset per seed* (variant ``resampled``, or a study that draws its data anew): seeds are independent,
  folds are not: t over the seeds' means. This holds for unseen clusters too, as each dataset has its own.
- *unseen clusters of one dataset*: what varies is which clusters one meets, and how training went: bootstrap over
  clusters (shared by all seeds) and over seeds, drawn independently of each other. The interval is conditional on the
  training data. The same is done for metrics with one value per seed (``within_cluster_auroc``), which leave no folds
  to compare.
- *the same, with many small clusters* (fewer than 50 samples on average): metrics of single clusters are mostly undefined.
  Whole clusters are drawn, and the metric of all rows drawn is taken (`armed.bootstrap`), and seeds as before.
- *the same, with fewer than 10 clusters*: too few to draw from. Bootstrap over the subjects of each cluster
  (`armed.bootstrap` makes the draws, table ``draws``), and over seeds as before. The interval is conditional on
  the training data and on the clusters met: it says how surely the metric is known *on these*, and nothing of a further
  cluster.

Numbers of a whole latent space (partitions `latents` and `latents_unseen`) have no values of single clusters to draw: those of
splits are compared as on seen clusters, so that on unseen ones the interval holds for the clusters met.

Of Monte Carlo splits every one is a training of its own, and given the data independent of the others: where draws are made
over seeds they are then made over splits (a study has few seeds of a few splits), and their spread is widened to that of
Student's t, as so few are drawn from.
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
from scipy.special import ndtri, stdtrit

from armed.intervals import ROUNDING, Estimate, Values, corrected_t, mean_of, paper_interval, t_interval
from armed.metrics import limits
from armed.reproducibility import derive_seed
from armed.schemas import table

logger = logging.getLogger(__name__)

UNSEEN = ("unseen", "unseen_population")
RESAMPLED = "resampled"
GROUP = ["study", "source", "model", "variant", "partition", "metric"]
DRAW_KEY = [column for column in GROUP if column != "source"]
FEW_CLUSTERS = 10
_SHARE_DEFINED = 0.5  # of draws, for an interval; with more of them undefined the rest are no sample of what may happen


@dataclass(frozen=True)
class Settings:
    """Settings of intervals and tests.

    Parameters
    ----------
    confidence : float
        Of all intervals but `paper`'s, which is 1.96 standard errors.
    bootstrap : int
        Draws over clusters, or over subjects.
    tolerance : float
        Half-width assumed for published numbers printed without an interval.
    dataset_per_seed : collection of str
        Studies whose seeds have a dataset each (variant ``resampled`` always does).
    test_to_train : mapping of str to float
        Ratio of test to training samples in a fold or Monte Carlo split, by study; by default 1 / (folds - 1) of the
        folds there are, that of cross-validation.
    random_splits : collection of str
        Studies whose folds are Monte Carlo splits.
    """

    confidence: float = 0.95
    bootstrap: int = 2000
    tolerance: float = 0.02
    dataset_per_seed: Collection[str] = ()
    test_to_train: Mapping[str, float] = field(default_factory=dict)
    random_splits: Collection[str] = ()

    @classmethod
    def from_config(cls, config: Mapping) -> Settings:
        """Settings from the workflow's config.

        Block `statistics`; studies whose `data.dataset_seed` is null have a dataset per seed (those without that key
        have one dataset). The test to train ratio is that of a study's `folds`, however many times they are repeated in
        a seed (``heart``: once per hospital left out); where it has a `test_fraction` f, and so Monte Carlo splits, it is
        f / (1 - f), however many they are. Validation samples are part of training.
        """
        anew = frozenset(
            name
            for name, study in config["studies"].items()
            if (study.get("data") or {}).get("dataset_seed", "none given") is None
        )
        found = {name: _test_to_train(study) for name, study in config["studies"].items()}
        ratios = {name: ratio for name, ratio in found.items() if ratio is not None}
        drawn = frozenset(n for n, study in config["studies"].items() if study.get("test_fraction") is not None)
        return cls(**config["statistics"], dataset_per_seed=anew, test_to_train=ratios, random_splits=drawn)

    def is_resampled(self, study: str, variant: str) -> bool:
        """Whether seeds of a study and variant have a dataset each."""
        return variant == RESAMPLED or study in self.dataset_per_seed

    def ratio(self, study: str, n_folds: int) -> float:
        """Test to train ratio of a fold; NaN where it is not known (a single fold)."""
        return self.test_to_train.get(study, 1 / (n_folds - 1) if n_folds > 1 else math.nan)

    def widening(self, study: str, n: int) -> float:
        """Factor of the spread over draws of n trainings: 1, but of few random splits that of Student's t."""
        if study not in self.random_splits or n < 2:
            return 1.0
        tail = (1 + self.confidence) / 2
        return float(stdtrit(n - 1, tail) / ndtri(tail)) * math.sqrt(n / (n - 1))


def _test_to_train(study: Mapping) -> float | None:
    """Ratio of test to training samples that a study's block tells; None where it tells none."""
    if (fraction := study.get("test_fraction")) is not None:
        return fraction / (1 - fraction)
    folds = study.get("folds") or 0
    return 1 / (folds - 1) if folds > 1 else None


class ClusterSums(NamedTuple):
    """Sums of weight x value and of weights over the folds of each seed: arrays (seeds, clusters).

    Of studies with random splits each split counts as a seed.
    """

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
    by_split = rows["study"].isin(list(settings.random_splits))
    rows["seed"] = rows["seed"].where(~by_split, rows["seed"] * 2**20 + rows["fold"])
    by_cluster = rows.groupby([*GROUP, "seed", "cluster"], observed=True)[["weighted", "weights"]]
    sums = by_cluster.sum().reset_index()
    return {key: _matrix(group) for key, group in sums.groupby(GROUP, sort=False, observed=True)}


def _matrix(rows: pd.DataFrame) -> ClusterSums:
    seeds, i = np.unique(rows["seed"].to_numpy(), return_inverse=True)
    clusters, j = np.unique(rows["cluster"].to_numpy(str), return_inverse=True)
    weighted, weights = np.zeros((2, len(seeds), len(clusters)))
    weighted[i, j], weights[i, j] = rows["weighted"], rows["weights"]
    return ClusterSums(seeds, clusters, weighted, weights)


def cluster_bootstrap(
    sums: ClusterSums, centre: float, seed: int, settings: Settings, widening: float = 1.0
) -> Estimate:
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
    widening : float
        Factor of the spread over seeds (`Settings.widening`).

    Returns
    -------
    Estimate
        p is twice the smaller share of draws on either side of 0. No interval for fewer than 2 clusters.
    """
    n_seeds, n_clusters = sums.weights.shape
    if n_clusters < 2 or math.isnan(centre):
        return Estimate(centre, math.nan, math.nan, math.nan)
    seeds, clusters = _draws(seed, n_seeds, n_clusters, settings.bootstrap)
    seeds = 1 + widening * (seeds - 1)
    weighted, weights = (((seeds @ x) * clusters).sum(axis=1) for x in (sums.weighted, sums.weights))
    means = weighted[weights > 0] / weights[weights > 0]
    return _percentiles(means + centre - sums.weighted.sum() / sums.weights.sum(), centre, settings)


def _percentiles(draws: np.ndarray, centre: float, settings: Settings) -> Estimate:
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    below, above = (draws < ROUNDING).sum(), (draws > -ROUNDING).sum()
    p = min(1.0, 2 * (1 + min(below, above)) / (1 + len(draws)))
    return Estimate(centre, float(low), float(high), float(p))


@lru_cache(maxsize=64)
def _draws(seed: int, n_seeds: int, n_clusters: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each seed (size, n_seeds) and each cluster (size, n_clusters) is drawn."""
    rng = np.random.default_rng(seed)
    clusters = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=size)
    seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=size)
    return seeds.astype(float), clusters.astype(float)


def draw_key(key: tuple) -> tuple:
    """Key of `draw_values` that belongs to one of `GROUP`."""
    return tuple(name for column, name in zip(GROUP, key, strict=True) if column in DRAW_KEY)


def draw_values(draws: pd.DataFrame | None) -> dict[tuple, np.ndarray]:
    """Values of table `draws` in the order of the draws, by (study, model, variant, partition, metric)."""
    if draws is None or draws.empty:
        return {}
    groups = draws.sort_values("draw", kind="stable").groupby(DRAW_KEY, sort=False, observed=True)["value"]
    return {key: values.to_numpy(np.float64) for key, values in groups}


def draws_interval(draws: np.ndarray, values: Values, seed: int, settings: Settings, study: str = "") -> Estimate:
    """Percentile interval over draws of subjects or clusters, crossed with draws of seeds.

    Parameters
    ----------
    draws : array, (draws,)
        Metric, or difference of two models' metrics draw by draw, on subjects or clusters drawn; means over
        seeds and folds, as `armed.bootstrap` makes them. NaN where undefined: left out.
    values : Values
        The metric, or difference, itself on each (seed, fold).
    seed : int
        Equal seeds draw equal seeds of training.
    settings : Settings
        Confidence.
    study : str, optional
        Tells whether its folds are random splits: then these are drawn in place of seeds.

    Returns
    -------
    Estimate
        For the mean over seeds of the means over folds. The draws are shifted so that their mean is the estimate: a
        metric that is biased on repeated rows (``ece``) would else have an interval beside it. To each is added how far
        the mean of as many seeds drawn with replacement lies from that of all, so that the luck of training counts.
        Conditional on the training data, and where subjects are drawn on the clusters met. No interval where more than
        half of the draws are undefined. p is twice the smaller share on either side of 0.
    """
    _, means, _ = values.by_seed()
    centre, defined = mean_of(means), ~np.isnan(draws)
    if math.isnan(centre) or defined.sum() < max(2, _SHARE_DEFINED * len(draws)):
        return Estimate(centre, math.nan, math.nan, math.nan)
    trained = values.value if study in settings.random_splits else means
    luck = _seed_draws(seed, len(trained), len(draws)) @ (trained - trained.mean()) / len(trained)
    luck *= settings.widening(study, len(trained))
    return _percentiles(centre + (draws - draws[defined].mean() + luck)[defined], centre, settings)


@lru_cache(maxsize=64)
def _seed_draws(seed: int, n_seeds: int, size: int) -> np.ndarray:
    """How often each seed is drawn (size, n_seeds)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=size).astype(float)


def estimate(
    values: Values,
    study: str,
    variant: str,
    partition: str,
    sums: ClusterSums | None,
    settings: Settings,
    draws: np.ndarray | None = None,
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
    draws : array, optional
        Its values on draws of subjects or clusters, where there are any: they go before `sums`.

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
        if draws is not None:
            return draws_interval(draws, values, derive_seed("seed bootstrap", study, 0), settings, study)
        if sums is None:
            return Estimate(mean, math.nan, math.nan, math.nan)
        widening = settings.widening(study, len(sums.seeds))
        return cluster_bootstrap(sums, mean, derive_seed("cluster bootstrap", study, 0), settings, widening)
    ratio = settings.ratio(study, int(count.max(initial=0)))
    result = corrected_t(values.value, ratio, settings.confidence)
    # Centred on the mean over seeds, as all others are; the two differ only where some folds are undefined.
    shift = mean - result.mean
    return Estimate(mean, result.ci_low + shift, result.ci_high + shift, result.p)


def summarise(
    metrics: pd.DataFrame,
    cluster_metrics: pd.DataFrame,
    settings: Settings | None = None,
    draws: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Summarise metrics over seeds and folds, with the paper's interval and the corrected one.

    Parameters
    ----------
    metrics, cluster_metrics : pandas.DataFrame
        `metrics.tsv` and `cluster_metrics.tsv`. Undefined values are left out; `n_seeds` and `n_folds` (of
        the seed with the most; 0 for metrics with one value per seed) count what is left.
    settings : Settings, optional
        Defaults where not given.
    draws : pandas.DataFrame, optional
        Table `draws`: where it has values the interval is over these, not over metrics of single clusters.

    Returns
    -------
    pandas.DataFrame
        `summary.tsv`. Bounds are NaN where an interval is not defined: one fold, one seed, one cluster. Those of the
        corrected interval end where the metric's values do.
    """
    settings = settings or Settings()
    sums, drawn = cluster_sums(cluster_metrics, settings), draw_values(draws)
    _warn_of_few_clusters({key: s for key, s in sums.items() if draw_key(key) not in drawn})
    rows = []
    for key, group in metrics.groupby(GROUP, sort=False, observed=True):
        study, _, _, variant, partition, _ = key
        values = Values.of(group)
        count, _, _ = values.by_seed()
        n_folds = int(count.max(initial=0)) if (values.fold >= 0).any() else 0
        both = {
            "paper": paper_interval(values),
            "corrected": estimate(values, study, variant, partition, sums.get(key), settings, drawn.get(draw_key(key))),
        }
        for method, result in both.items():
            bounds = result[1:3] if method == "paper" else np.clip(result[1:3], *limits(key[-1]))
            rows.append((*key, method, result.mean, *bounds, len(count), n_folds))
    return pd.DataFrame(rows, columns=list(table("summary").columns))


def _warn_of_few_clusters(sums: Mapping[tuple, ClusterSums]) -> None:
    few = {(key[0], len(s.clusters)) for key, s in sums.items() if len(s.clusters) < FEW_CLUSTERS}
    for study, count in sorted(few):
        logger.warning(
            "%s: intervals are bootstrapped over %d clusters only; they are too narrow with so few", study, count
        )
