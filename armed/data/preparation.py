"""What is done to features inside each fold, with numbers from its training rows alone.

Every fold then has features of its own. So that methods need not know, `Preparation` hands out data in which each fold has its
own copy of its rows, and the row ids that go with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.errors import ConfigError, DataError, did_you_mean
from armed.reproducibility import derive_seed

logger = logging.getLogger(__name__)

PROBES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "Probe: p": lambda p: p,
    "Probe: p^2": np.square,
    "Probe: 1/p": np.reciprocal,
    "Probe: cos p": np.cos,
    "Probe: sin p": np.sin,
}
"""Features that depend on the cluster alone, through its share p of positive labels (paper, MCI study)."""
PROBE_NOISE_SD = 0.05

Key = tuple[int, int]


class Prepared(NamedTuple):
    """Rows of several folds, each fold with its own copy.

    Attributes
    ----------
    data : ClusteredData
        The copies, one fold after another.
    rows : dict of (int, int) to array of int
        (seed, fold) to its rows in `data`, in the order they were asked for.
    source : array of int
        For each row of `data`, its row in the data given.
    """

    data: ClusteredData
    rows: dict[Key, np.ndarray]
    source: np.ndarray


class _Moments(NamedTuple):
    mean: np.ndarray
    sd: np.ndarray


@dataclass(frozen=True)
class _Fitted:
    """What one fold's training rows say."""

    shares: Mapping[str, float]
    features: _Moments | None
    label: _Moments | None


@dataclass(frozen=True)
class Preparation:
    """Steps that are fitted to the training rows of each fold and applied to all of its rows.

    Parameters
    ----------
    steps : sequence of str
        In any order; they are done in this one:

        ``site_probes``
            Adds `PROBES` of the share of positive labels among a cluster's n training rows, clipped to
            [1 / 2n, 1 - 1 / 2n], plus N(0, 0.05^2) for each sample. A cluster without training rows has none (NaN).
        ``standardise``
            To mean 0 and s.d. 1 of the values there are; a constant feature becomes 0. What is missing becomes the training
            mean (paper: standardise, then impute by the mean).
        ``standardise_label``
            A continuous label to mean 0 and s.d. 1, so that loss weights and priors mean the same whatever its unit;
            `restore` takes predictions back. Not in the paper, which has no continuous label.
    study : str
        Enters the seed of the probes' noise.

    Raises
    ------
    ConfigError
        A step is not known.
    """

    steps: tuple[str, ...] = ()
    study: str = ""

    def __post_init__(self) -> None:
        for step in self.steps:
            if step not in STEPS:
                raise ConfigError(
                    f"Unknown preparation '{step}'.{did_you_mean(step, STEPS)} Known: {', '.join(STEPS)}."
                )

    def fit(self, data: ClusteredData, splits: Splits) -> FittedPreparation:
        """Learn from the training rows of each fold; validation and test rows are not looked at."""
        fitted = {(f.seed, f.fold): self._fit_fold(data, f) for f in splits} if self.steps else {}
        return FittedPreparation(self, fitted)

    def _fit_fold(self, data: ClusteredData, fold: Fold) -> _Fitted:
        y, clusters = data.y[fold.train], data.clusters[fold.train]
        shares, features, label = {}, None, None
        if "site_probes" in self.steps:
            if not data.is_classification or y.max() > 1:
                raise DataError("Probes of a cluster's share of positives need labels 0 and 1.")
            levels, of_row, n = np.unique(clusters, return_inverse=True, return_counts=True)
            share = np.clip(np.bincount(of_row, weights=y) / n, 1 / (2 * n), 1 - 1 / (2 * n))
            shares = dict(zip(levels.tolist(), share.tolist(), strict=True))
        if "standardise" in self.steps:
            features = _moments(self._with_probes(data, fold.train, shares))
        if "standardise_label" in self.steps:
            label = _moments(y[:, None])
        return _Fitted(shares, features, label)

    def _with_probes(self, data: ClusteredData, rows: np.ndarray, shares: Mapping[str, float]) -> np.ndarray:
        X = data.X[rows]
        if "site_probes" not in self.steps:
            return X
        share = np.array([shares.get(c, np.nan) for c in data.clusters[rows].tolist()])
        # Drawn for all samples, so that a sample's noise is the same in every fold.
        rng = np.random.default_rng(derive_seed("site probes", self.study, 0))
        noise = rng.normal(scale=PROBE_NOISE_SD, size=(len(data), len(PROBES)))[rows]
        return np.column_stack([X, np.column_stack([f(share) for f in PROBES.values()]) + noise])


STEPS = ("site_probes", "standardise", "standardise_label")


@dataclass(frozen=True)
class FittedPreparation:
    """A `Preparation` fitted to the folds of some splits; made by `Preparation.fit`."""

    preparation: Preparation
    fitted: Mapping[Key, _Fitted]

    def apply(self, data: ClusteredData, rows: Mapping[Key, np.ndarray]) -> Prepared:
        """Prepare some rows for each fold as its training rows say.

        Parameters
        ----------
        data : ClusteredData
            With the features of the data fitted to; of seen or unseen clusters.
        rows : mapping of (int, int) to array of int
            (seed, fold) to rows of `data`. Where nothing is to be done these and the data come back as they are.

        Raises
        ------
        DataError
            A fold was not fitted.
        """
        if not self.fitted:
            return Prepared(data, {k: np.asarray(r) for k, r in rows.items()}, np.arange(len(data)))
        unknown = [key for key in rows if key not in self.fitted]
        if unknown:
            raise DataError(f"Seed {unknown[0][0]}, fold {unknown[0][1]} was not among the folds prepared.")
        source = np.concatenate([np.asarray(r, dtype=np.int64) for r in rows.values()])
        ends = np.cumsum([len(r) for r in rows.values()])
        own = {k: np.arange(end - len(r), end) for (k, r), end in zip(rows.items(), ends, strict=True)}
        X = np.concatenate([self._features(data, np.asarray(r), self.fitted[k]) for k, r in rows.items()])
        taken = data.take(source)
        y = taken.y
        if "standardise_label" in self.preparation.steps:
            y = np.concatenate([(data.y[r] - f.label.mean[0]) / f.label.sd[0] for f, r in self._pairs(rows)])
        names = taken.feature_names + tuple(PROBES) * ("site_probes" in self.preparation.steps)
        missing = "standardise" not in self.preparation.steps and data.allow_missing
        copies = replace(taken, X=X, y=y, sample_id=np.arange(len(X)), feature_names=names, allow_missing=bool(missing))
        return Prepared(copies, own, source)

    def training(self, data: ClusteredData, splits: Splits) -> tuple[ClusteredData, Splits]:
        """Prepare the training and validation rows of each fold; test rows are left out of the data returned."""
        if not self.fitted:
            return data, splits
        rows = {(f.seed, f.fold): np.concatenate([f.train, f.validation]) for f in splits}
        prepared = self.apply(data, rows)
        folds = []
        for f in splits:
            own, n = prepared.rows[f.seed, f.fold], len(f.train)
            folds.append(Fold(f.seed, f.fold, own[:n], own[n:], own[:0]))
        return prepared.data, Splits(tuple(folds))

    def restore(self, values: np.ndarray, seed: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """Take predictions (n,) of the models (seed, fold), each (n,), back to the label's unit."""
        if "standardise_label" not in self.preparation.steps:
            return values
        restored = np.empty_like(values)
        for key in self.fitted:
            rows = (seed == key[0]) & (fold == key[1])
            restored[rows] = values[rows] * self.fitted[key].label.sd[0] + self.fitted[key].label.mean[0]
        return restored

    def _features(self, data: ClusteredData, rows: np.ndarray, fitted: _Fitted) -> np.ndarray:
        X = self.preparation._with_probes(data, rows, fitted.shares)
        if fitted.features is None:
            return X
        return np.nan_to_num((X - fitted.features.mean) / fitted.features.sd, nan=0.0)

    def _pairs(self, rows: Mapping[Key, np.ndarray]) -> list[tuple[_Fitted, np.ndarray]]:
        return [(self.fitted[key], np.asarray(r)) for key, r in rows.items()]


def _moments(X: np.ndarray) -> _Moments:
    """Mean and s.d. of the values there are; 0 and 1 for features without any, s.d. 1 for constant ones."""
    there = ~np.isnan(X)
    n = np.maximum(there.sum(0), 1)
    mean = np.where(there, X, 0.0).sum(0) / n
    sd = np.sqrt((np.where(there, X - mean, 0.0) ** 2).sum(0) / n)
    return _Moments(mean, np.where(sd > 1e-10 * np.maximum(np.abs(mean), 1.0), sd, 1.0))
