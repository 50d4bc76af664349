"""What one feature alone tells of the cluster or of the label: the measures behind the data check's warnings."""

from __future__ import annotations

import numpy as np
import pandas as pd


def group_told_by_value(X: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Balanced accuracy of telling a sample's group from the value of one feature alone.

    Each sample is given the group that is the most frequent of the others with the same value; where no other has
    it, that of the next lower and of the next higher value, half each. So a continuous feature tells the group only
    where the groups' values lie apart, however many values there are.

    Parameters
    ----------
    X : array, shape (n, p)
        May hold NaN, which is left out.
    groups : array, shape (n,)
        Clusters, or class labels.

    Returns
    -------
    array of float64, shape (p,)
        Mean over the groups with at least two samples with a value; NaN where there are less than two such groups.
    """
    codes = pd.factorize(groups)[0]
    return np.array([_told_by(column, codes) for column in X.T])


def _told_by(column: np.ndarray, codes: np.ndarray) -> float:
    there = ~np.isnan(column)
    values, group = column[there], codes[there]
    sizes = np.bincount(group)
    if (sizes >= 2).sum() < 2:
        return np.nan
    order = np.lexsort((group, values))
    values, group = values[order], group[order]
    value = np.cumsum(np.r_[False, values[1:] != values[:-1]])
    cells, of_sample, counts = np.unique(value * len(sizes) + group, return_inverse=True, return_counts=True)
    right = counts[of_sample] - 1 > _largest_other(cells // len(sizes), counts)[of_sample]
    same_as_next = np.r_[False, group[1:] == group[:-1], False].astype(float)
    neighbours = np.full(len(group), 2.0)
    neighbours[[0, -1]] = 1.0
    alone = np.bincount(value)[value] == 1
    right = np.where(alone, (same_as_next[:-1] + same_as_next[1:]) / neighbours, right)
    several = sizes >= 2
    return float((np.bincount(group, weights=right, minlength=len(sizes))[several] / sizes[several]).mean())


def _largest_other(value: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of each cell (value, group): the largest count among the other groups of the same value, 0 where there is none."""
    order = np.lexsort((-counts, value))
    first = np.r_[True, value[order][1:] != value[order][:-1]]
    start = np.flatnonzero(first)
    n_groups = np.diff(np.r_[start, len(order)])
    largest = counts[order][start]
    second = np.where(n_groups > 1, counts[order][np.minimum(start + 1, len(order) - 1)], 0)
    of_value = np.cumsum(first) - 1
    other = np.empty_like(counts)
    other[order] = np.where(first, second[of_value], largest[of_value])
    return other


def auroc(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """AUROC of each feature as a score of class 1, over the samples with a value.

    Parameters
    ----------
    X : array, shape (n, p)
    y : array of 0 and 1, shape (n,)

    Returns
    -------
    array of float64, shape (p,)
        NaN where one of the classes has no value.
    """
    ranks = pd.DataFrame(X).rank().to_numpy()
    there, positive = ~np.isnan(X), (y == 1)[:, None]
    n_positive, n_negative = (there & positive).sum(axis=0), (there & ~positive).sum(axis=0)
    above = np.where(there & positive, ranks, 0.0).sum(axis=0) - n_positive * (n_positive + 1) / 2
    pairs = n_positive * n_negative
    return np.where(pairs > 0, above / np.maximum(pairs, 1), np.nan)


def correlation(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson correlation of each feature with a continuous label, over the samples with a value; NaN where constant."""
    there = ~np.isnan(X)
    n = np.maximum(there.sum(axis=0), 1)
    outcome = np.where(there, y[:, None], 0.0)
    x = np.where(there, X - np.where(there, X, 0.0).sum(axis=0) / n, 0.0)
    outcome = np.where(there, outcome - outcome.sum(axis=0) / n, 0.0)
    scale = np.sqrt((x**2).sum(axis=0) * (outcome**2).sum(axis=0))
    return np.where(scale > 0, (x * outcome).sum(axis=0) / np.where(scale > 0, scale, 1.0), np.nan)
