"""AUROC with its variance by DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988), as in the paper's live-cell study.

With m positives X and n negatives Y, and psi(X, Y) = 1 where X > Y, 1/2 where X = Y, else 0,

    AUROC = mean of psi over all pairs,    variance = s^2(V10) / m + s^2(V01) / n,

where V10 is the mean of psi over the negatives for each positive, V01 that over the positives for each negative, and s^2 their
variance with m - 1 and n - 1. Both are read off ranks in O(N log N) (Sun and Xu, IEEE Signal Processing Letters 21, 2014).

Samples count as independent. Frames of one cell are not, so that the interval of frames is too narrow: `armed.auroc_intervals`
puts one by drawing whole cells beside it.

Written here because no library fits: ``confidenceinterval`` 1.0 computes ranks in single precision and asserts that both
classes are there, ``MLstatkit`` 0.1 has the test of two models and goes over to a bootstrap by itself; both loop over ranks
in Python.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from armed.errors import DataError, Problems


class DeLong(NamedTuple):
    """AUROC and the variance of its estimate."""

    auroc: float
    variance: float

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Normal interval, cut off at 0 and 1; NaN where the variance is.

        All positives above all negatives have variance 0 and the interval [1, 1]: the method knows nothing better.
        """
        half = float(ndtri((1 + confidence) / 2)) * math.sqrt(self.variance)
        return tuple(float(np.clip(self.auroc + sign * half, 0, 1)) for sign in (-1, 1))


def delong(y: np.ndarray, scores: np.ndarray) -> DeLong:
    """AUROC and its variance by the formulas above.

    Parameters
    ----------
    y : array, (n,)
        Labels 0 and 1.
    scores : array, (n,)
        Logits or probabilities: only their order counts. Ties count half.

    Returns
    -------
    DeLong
        Both NaN without samples of one of the classes, or where a score is NaN; the variance is NaN with one sample of a class.

    Raises
    ------
    DataError
        Other labels, or arrays that are not of one length.
    """
    y, scores = np.asarray(y), np.asarray(scores, np.float64)
    problems = Problems(DataError, "the scores for an AUROC")
    if y.ndim != 1 or y.shape != scores.shape:
        problems.add(
            f"labels are of shape {y.shape}, scores of shape {scores.shape}; expected one of each for every sample"
        )
    if (strange := ~np.isin(y, (0, 1))).any():
        problems.add(f"{int(strange.sum())} labels are not 0 or 1, e.g. {y[strange][0]}")
    problems.raise_if_any()
    positives, negatives = np.sort(scores[y == 1]), np.sort(scores[y == 0])
    if not len(positives) or not len(negatives) or np.isnan(scores).any():
        return DeLong(math.nan, math.nan)
    v10, v01 = _share_below(positives, negatives), 1 - _share_below(negatives, positives)
    variance = math.nan
    if min(len(positives), len(negatives)) > 1:
        variance = float(v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01))
    return DeLong(float(v10.mean()), variance)


def _share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Share of the others, which are sorted, that each value is above; equal ones count half."""
    return sum(np.searchsorted(others, values, side) for side in ("left", "right")) / (2 * len(others))
