"""Intervals of a metric over independent values, over folds of one dataset, and as the paper makes them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit  # Student's t; scipy.stats takes longer to load than a summary to make

ROUNDING = 1e-12  # numbers closer than this are equal: a difference made by rounding is no evidence


class Estimate(NamedTuple):
    """A mean with its interval, and the two-sided p value against 0."""

    mean: float
    ci_low: float
    ci_high: float
    p: float


def from_t(mean: float, se: float, df: int, confidence: float) -> Estimate:
    """Student's t interval of a mean, by its standard error and degrees of freedom; none where the error is NaN."""
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
    return from_t(mean, se, n - 1, confidence)


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


def mean_of(values: np.ndarray) -> float:
    """Mean of values (n,); NaN where there are none."""
    return float(np.mean(values)) if len(values) else math.nan
