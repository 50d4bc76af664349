"""What methods share that a library fits, one fold after another: checks, the loop, and which fit predicts which rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
from tqdm import tqdm

from armed.data.clustered import ClusteredData
from armed.data.splits import Fold
from armed.errors import DataError, Problems
from armed.method import Method

MOST_ESTIMATES = 10**9
"""Bytes of the estimates of a saved model."""


class OneByOne(Method):
    """Models fitted one after another to the training rows of each fold; parameters as for `armed.method.Method`.

    They draw nothing at random.
    """

    def fit(self, data, splits, seeds=None, *, checkpoint=None, assign=None):
        """As for `armed.method.Method.fit`.

        Parameters
        ----------
        assign : mapping, optional
            (seed, fold) to settings that replace the method's own in that fit, as a search chose them.
        """
        self._check(data)
        folds = self._begin(data, splits, seeds)
        self._allocate(data, len(folds))
        codes = data.codes(self.levels_)
        alone = len(folds) == 1 or None  # one fit needs no bar
        for i, fold in enumerate(tqdm(folds, desc=type(self).__name__, unit="fit", disable=alone)):
            y = data.y[fold.train]
            if (y == y[0]).all():
                raise DataError(
                    f"All training labels of seed {fold.seed}, fold {fold.fold} are {y[0]:g}; expected two or more."
                )
            chosen = (assign or {}).get((fold.seed, fold.fold), {})
            self._fit_fold(i, fold, data, codes, {**self.settings, **chosen})
        return self

    @abstractmethod
    def _allocate(self, data: ClusteredData, n: int) -> None:
        """Make room for the results of n fits."""

    @abstractmethod
    def _fit_fold(
        self, i: int, fold: Fold, data: ClusteredData, codes: np.ndarray, settings: Mapping[str, object]
    ) -> None:
        """Fit model i, given the cluster code of each row of the data (-1: not in training) and the settings of this fit."""

    def _check(self, data: ClusteredData) -> None:
        """Check the data before any fit."""
        name = type(self).__name__
        data.check(fitting=True, where="the training data")
        problems = Problems(DataError, "the training data")
        n_classes = len(np.unique(data.y)) if data.is_classification else None
        fits = {"binary": n_classes == 2, "multiclass": n_classes is not None, "continuous": n_classes != 2}
        if not fits[self.label]:
            found = f"{n_classes} classes" if n_classes else "continuous values"
            problems.add(f"the method expects {self.label} labels, but y holds {found}")
        if data.X.ndim != 2:
            problems.add(f"X has shape {data.X.shape}; {name} needs a table (samples, features)")
        elif not np.isfinite(data.X).all():
            problems.add(f"X has {(~np.isfinite(data.X)).sum()} NaN values; impute them first")
        problems.raise_if_any()

    def _positions(self, keys) -> list[int]:
        position = {key: i for i, key in enumerate(self.replicas_)}
        for key in keys:
            if key not in position:
                raise DataError(f"No model was fitted for seed {key[0]}, fold {key[1]}.")
        return [position[key] for key in keys]


def cluster_effects(effects: np.ndarray, membership: np.ndarray) -> np.ndarray:
    """Effects (q, ...) of the cluster of each row, 0 for code -1 (population); blended where membership is a soft Z (n, q)."""
    if membership.dtype.kind == "f":
        return membership @ effects
    # The last row, of zeros, is what code -1 gets.
    return np.vstack([effects, np.zeros((1, *effects.shape[1:]))])[membership]
