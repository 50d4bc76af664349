"""Logistic regression with one indicator of each cluster (scikit-learn); linear regression for continuous labels."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as Logistic
from sklearn.linear_model import Ridge

from armed.data.arrays import read_arrays
from baselines.one_by_one import MOST_ESTIMATES, OneByOne, cluster_effects

STATE = ("intercepts_", "coefficients_", "clusters_")
MOST_STEPS = 1000  # of the optimiser; scikit-learn's 100 are too few for some folds
NOT_CONVERGED = "the fit did not converge"
ABSENT_CLASS = -20.0  # logit of a class without training rows in a fold


class LogisticRegression(OneByOne):
    """Generalised linear model of the features and of one indicator for each cluster, with a ridge penalty on both.

    The penalty is ``|coefficients|^2 / (2 C)`` beside the sum of log losses or of half the squared errors, scikit-learn's. It
    makes the cluster terms sum to 0, so that the fixed effects prediction, and that for an unseen cluster, all indicators 0, is
    that of a cluster in the middle. Classes are not weighted, and validation rows are not used.

    Parameters
    ----------
    C : float
        Inverse strength of the penalty.
    **common : object
        As for `armed.method.Method`.

    Attributes
    ----------
    intercepts_, coefficients_, clusters_ : array, shape (R, K), (R, p, K), (R, q, K)
        Of R fits with p features, q clusters and K outputs. A cluster without training rows in a fold has 0.
    """

    uses_clusters = True

    def __init__(self, *, C: float = 1.0, **common: object) -> None:
        super().__init__(**common)
        self.C = C

    def _allocate(self, data, n):
        self.intercepts_ = np.zeros((n, self.n_outputs_))
        self.coefficients_ = np.zeros((n, data.X.shape[1], self.n_outputs_))
        self.clusters_ = np.zeros((n, len(self.levels_), self.n_outputs_))

    def _fit_fold(self, i, fold, data, codes, settings):
        C = float(settings["C"])
        model = Ridge(alpha=1 / C) if self.label == "continuous" else Logistic(C=C, max_iter=MOST_STEPS)
        indicators = np.eye(len(self.levels_))[codes[fold.train]]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(np.hstack([data.X[fold.train], indicators]), data.y[fold.train])
        told = [NOT_CONVERGED if issubclass(w.category, ConvergenceWarning) else str(w.message) for w in caught]
        if told:
            self.notes_[fold.seed, fold.fold] = "; ".join(dict.fromkeys(told))
        intercept, weights = np.atleast_1d(model.intercept_), np.atleast_2d(model.coef_).T
        classes = slice(None)
        if self.label == "multiclass":
            classes = model.classes_
            self.intercepts_[i] = ABSENT_CLASS
            if len(classes) == 2:  # scikit-learn has one output then
                intercept, weights = intercept * [-0.5, 0.5], weights * [-0.5, 0.5]
        self.intercepts_[i, classes] = intercept
        self.coefficients_[i][:, classes], self.clusters_[i][:, classes] = np.split(weights, [data.X.shape[1]])

    def _outputs(self, data, keys, rows, clusters):
        outputs = []
        for i, r, membership in zip(self._positions(keys), rows, clusters, strict=True):
            fixed = self.intercepts_[i] + data.X[r] @ self.coefficients_[i]
            outputs.append((fixed, fixed + cluster_effects(self.clusters_[i], membership)))
        return outputs

    def importance(self, data, rows):
        """As for `armed.method.Method.importance`: abs(coefficient), averaged over outputs, times the s.d. of the feature."""
        self._check_fitted()
        frames = []
        for (seed, fold), i in zip(rows, self._positions(rows), strict=True):
            weight = np.abs(self.coefficients_[i]).mean(1) * data.X[np.asarray(rows[seed, fold])].std(0)
            frames.append(
                pd.DataFrame({"seed": seed, "fold": fold, "feature": self.feature_names_, "importance": weight})
            )
        return pd.concat(frames, ignore_index=True)

    def _save(self, folder):
        np.savez(folder / "estimates.npz", **{name: getattr(self, name) for name in STATE})

    def _load(self, folder):
        found = read_arrays(folder / "estimates.npz", MOST_ESTIMATES)
        for name in STATE:
            setattr(self, name, found[name])
