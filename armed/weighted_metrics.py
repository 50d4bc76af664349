"""Metrics of one set of predictions under thousands of weightings of its rows, as a bootstrap needs them.

A weighting repeats each row a whole number of times. All weightings are computed together: sums are matrix products, and
metrics of ranks read cumulative sums over rows that are sorted once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from armed.cells import Cells, ratio
from armed.metrics import ECE_BINS, METRICS

_SAME_LABELS = 1e-12  # a spread of labels below this share of their squares comes from rounding


@dataclass(frozen=True)
class Ranking:
    """Rows by falling score, and how many of either class lie above each; equal scores are one operating point.

    Parameters
    ----------
    positives, negatives : numpy.ndarray of int, (n_pos,), (n_neg,)
        Rows of either class by falling score.
    negatives_above, negatives_reached, positives_reached : numpy.ndarray of int, (n_pos,)
        For each positive: negatives of a higher score; negatives and positives of a score as high or higher.
    positives_above : numpy.ndarray of int, (n_neg + 1,)
        For each negative: positives of a higher score; last, all positives.
    """

    positives: np.ndarray
    negatives: np.ndarray
    negatives_above: np.ndarray
    negatives_reached: np.ndarray
    positives_reached: np.ndarray
    positives_above: np.ndarray

    @classmethod
    def of(cls, positive: np.ndarray, score: np.ndarray) -> Ranking:
        """Rank rows (n,) by their scores."""
        order = np.argsort(-score, kind="stable")
        positives, negatives = order[positive[order]], order[~positive[order]]
        p, q = -score[positives], -score[negatives]
        above, reached = np.searchsorted(q, p, "left"), np.searchsorted(q, p, "right")
        own = np.searchsorted(p, p, "right")
        return cls(positives, negatives, above, reached, own, np.append(np.searchsorted(p, q, "left"), len(p)))

    @classmethod
    def all_of(cls, cells: Cells) -> tuple[Ranking, ...]:
        """Rankings of one cell: one for binary labels, one per class against the rest where K > 2."""
        if cells.n_classes == 2:
            return (cls.of(cells.y == 1, cells.output),)
        classes = (cells.one_against_rest(k) for k in range(cells.n_classes))
        return tuple(cls.of(c.y == 1, c.output) for c in classes)


@dataclass(frozen=True)
class WeightedCurve:
    """Cumulative weights along a ranking.

    Parameters
    ----------
    ranking : Ranking
        Of n rows.
    weights : numpy.ndarray, (n, draws)
        How often each row counts.
    """

    ranking: Ranking
    weights: np.ndarray

    @cached_property
    def of_positives(self) -> np.ndarray:
        """Weights of positives by falling score (n_pos, draws)."""
        return self.weights[self.ranking.positives]

    @cached_property
    def tp(self) -> np.ndarray:
        """Weight of the first 0, 1, .. n_pos positives (n_pos + 1, draws)."""
        return _cumulative(self.of_positives)

    @cached_property
    def fp(self) -> np.ndarray:
        """Weight of the first 0, 1, .. n_neg negatives (n_neg + 1, draws)."""
        return _cumulative(self.weights[self.ranking.negatives])

    @cached_property
    def reached(self) -> np.ndarray:
        """Weight of the negatives at or above each positive (n_pos, draws)."""
        return self.fp[self.ranking.negatives_reached]

    def concordance(self) -> tuple[np.ndarray, np.ndarray]:
        """Concordant pairs (a tie counts half) and all pairs (draws,)."""
        rank = self.ranking
        tied = (rank.negatives_above != rank.negatives_reached).any()
        discordant = (self.fp[rank.negatives_above] + self.reached) / 2 if tied else self.reached
        pairs = self.tp[-1] * self.fp[-1]
        return pairs - np.einsum("nd,nd->d", self.of_positives, discordant), pairs

    def average_precision(self) -> np.ndarray:
        """Average precision (draws,)."""
        tp = self.tp[self.ranking.positives_reached]
        # At least 1 wherever the positive itself counts.
        precision = tp / np.maximum(tp + self.reached, 1.0)
        return ratio(np.einsum("nd,nd->d", self.of_positives, precision), self.tp[-1])

    def sensitivity_at_specificity_80(self) -> np.ndarray:
        """Share of positives above the first negative that is one too many (draws,)."""
        allowed = np.floor(0.2 * self.fp[-1] + 1e-9)
        first = np.count_nonzero(self.fp[1:] <= allowed, axis=0)
        best = self.tp[self.ranking.positives_above[first], np.arange(len(first))]
        return np.where(self.fp[-1] > 0, ratio(best, self.tp[-1]), np.nan)

    def specificity_at_sensitivity_80(self) -> np.ndarray:
        """Share of negatives below the first positive that completes four fifths (draws,)."""
        needed = np.ceil(0.8 * self.tp[-1] - 1e-9)
        first = np.count_nonzero(self.tp[1:] < needed, axis=0)
        reached = np.append(self.ranking.negatives_reached, len(self.ranking.negatives))
        fewest = self.fp[reached[first], np.arange(len(first))]
        return np.where(self.tp[-1] > 0, ratio(self.fp[-1] - fewest, self.fp[-1]), np.nan)


def _cumulative(weights: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, .. n rows (n + 1, draws)."""
    total = np.zeros((len(weights) + 1, weights.shape[1]))
    for i, row in enumerate(weights):  # several times as fast as `cumsum`, which goes down the columns
        np.add(total[i], row, out=total[i + 1])
    return total


@dataclass(frozen=True)
class Weighted(Cells):
    """One cell under many weightings, which stand for as many cells: what `armed.metrics` sums, it sums under each.

    Parameters
    ----------
    weights : numpy.ndarray, (n, draws)
        How often each row counts: whole numbers, as floats.
    rankings : tuple of Ranking
        Of the rows, as `Ranking.all_of` gives them; () where no metric of ranks is asked for.
    """

    weights: np.ndarray
    rankings: tuple[Ranking, ...]

    @classmethod
    def of_cell(cls, cell: Cells, weights: np.ndarray, rankings: tuple[Ranking, ...] = ()) -> Weighted:
        """Weight the rows of `cell`, which is one cell without NaN predictions."""
        n = weights.shape[1]
        return cls(cell.cell, n, cell.y, cell.output, cell.threshold, np.zeros(n, bool), weights, rankings)

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Sum values (n,) under each weighting: (draws,)."""
        return np.asarray(values, np.float64) @ self.weights

    @cached_property
    def size(self) -> np.ndarray:
        """Rows counted under each weighting."""
        return self.weights.sum(axis=0)

    @cached_property
    def curves(self) -> tuple[WeightedCurve, ...]:
        """Curve of each ranking."""
        return tuple(WeightedCurve(ranking, self.weights) for ranking in self.rankings)


def _auroc(cells: Weighted) -> np.ndarray:
    return np.mean([ratio(*curve.concordance()) for curve in cells.curves], axis=0)


def _auprc(cells: Weighted) -> np.ndarray:
    return np.mean([curve.average_precision() for curve in cells.curves], axis=0)


def _sensitivity_at_specificity_80(cells: Weighted) -> np.ndarray:
    return cells.curves[0].sensitivity_at_specificity_80()


def _specificity_at_sensitivity_80(cells: Weighted) -> np.ndarray:
    return cells.curves[0].specificity_at_sensitivity_80()


def _ece(cells: Weighted) -> np.ndarray:
    if cells.n_classes == 2:
        p, hit = cells.probability, cells.y
    else:
        p, hit = cells.probability.max(axis=1), cells.called == cells.y
    bins = np.minimum((p * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    total = np.zeros(cells.n_cells)
    # Bin by bin: one product of all bins is shared among threads, which takes longer than the product.
    for b in np.unique(bins):
        rows = np.flatnonzero(bins == b)
        total += np.abs((hit[rows] - p[rows]) @ cells.weights[rows])
    return ratio(total, cells.size)


def _r2(cells: Weighted) -> np.ndarray:
    centred = cells.y - cells.y.mean() if len(cells.y) else cells.y
    squares = cells.sum(centred**2)
    total = squares - ratio(cells.sum(centred) ** 2, cells.size)
    # Labels may all be equal under one weighting; squares about a mean close by are then 0 but for rounding.
    total = np.where(total > _SAME_LABELS * squares, total, 0.0)
    return 1 - ratio(cells.sum((cells.output - cells.y) ** 2), total)


_OWN: dict[str, Callable[[Weighted], np.ndarray]] = {
    "auroc": _auroc,
    "auprc": _auprc,
    "sensitivity_at_specificity_80": _sensitivity_at_specificity_80,
    "specificity_at_sensitivity_80": _specificity_at_sensitivity_80,
    "ece": _ece,
    "r2": _r2,
}
"""Metrics that are more than sums over rows; the definition of all others serves as it is."""
RANKED = ("auroc", "auprc", "sensitivity_at_specificity_80", "specificity_at_sensitivity_80")
"""Metrics that need rankings."""


def compute(cells: Weighted, metric: str) -> np.ndarray:
    """Compute one metric under each weighting.

    Parameters
    ----------
    cells : Weighted
        Predictions and weights.
    metric : str
        One of `armed.metrics.METRICS`.

    Returns
    -------
    numpy.ndarray, (draws,)
        As `armed.metrics` computes it of rows repeated so often; NaN where undefined.
    """
    return _OWN.get(metric, METRICS[metric].compute)(cells)
