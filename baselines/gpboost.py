"""Boosted trees with a random intercept of each cluster (GPBoost; Sigrist, JMLR 2022)."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from armed.data.arrays import read_arrays
from baselines.boosted_trees import BoostedTrees
from baselines.one_by_one import MOST_ESTIMATES, cluster_effects

LIKELIHOODS = {"binary": ("bernoulli_logit", "binary"), "continuous": ("gaussian", "regression_l2")}
STATE = ("effects_", "effect_sds_", "variances_")


class GPBoost(BoostedTrees):
    """A sum of trees over the features, and a random intercept of each cluster, estimated together.

    Before each tree the variance of the intercepts is estimated anew by marginal likelihood, given the trees there are
    (Laplace's approximation for binary labels). The fixed effects prediction is that of the trees; the mixed one adds the
    posterior mean of the intercept of the row's cluster, Z times intercepts where Z is soft. A cluster that has no training
    rows in a fold has mean 0 and the s.d. over clusters there.

    Intercepts alone, as in Sigrist's examples: trees have no linear term, so that random slopes, of mean 0 over clusters, would
    take up what is common to all clusters.

    For continuous labels GPBoost's `leaves_newton_update`, off by default, is on. Else a step depends on the unit of the label
    and overshoots where the error variance is small. For binary labels there are gradient steps alone, where LightGBM takes
    Newton's: as many trees go less far.

    Where boosting stops early, the model is fitted once more with the number of trees that was best: the variance would be that
    of the last tree otherwise.

    Parameters as for `baselines.boosted_trees.BoostedTrees`.

    Attributes
    ----------
    effects_, effect_sds_ : array, shape (R, q)
        Posterior means and s.d. of the intercepts of q clusters in R fits.
    variances_ : array, shape (R,)
        Variance of the intercepts over clusters.
    """

    labels = ("binary", "continuous")
    library = "gpboost"

    def _allocate(self, data, n):
        super()._allocate(data, n)
        self.effects_, self.effect_sds_ = np.zeros((n, len(self.levels_))), np.zeros((n, len(self.levels_)))
        self.variances_ = np.zeros(n)

    def _fit_fold(self, i, fold, data, codes, settings):
        most = int(settings["trees"])
        booster = self._boost(fold, data, codes, settings, most, stops=len(fold.validation) > 0)
        if 0 < booster.best_iteration < booster.current_iteration():
            booster = self._boost(fold, data, codes, settings, booster.best_iteration, stops=False)
        every = np.arange(len(self.levels_))
        any_row = np.repeat(data.X[fold.train[:1]], len(every), axis=0)
        found = booster.predict(any_row, group_data_pred=every, predict_var=True, pred_latent=True)
        self.effects_[i] = found["random_effect_mean"]
        self.effect_sds_[i] = np.sqrt(found["random_effect_cov"])
        self.variances_[i] = booster.gp_model.get_cov_pars()["Group_1"].iloc[0]
        self.models_[i] = json.loads(booster.model_to_string())["booster_str"]

    def _boost(self, fold, data, codes, settings, trees: int, stops: bool):
        """The library's object after so many trees, or fewer where the validation rows stop it."""
        gpb, (likelihood, objective) = self._library, LIKELIHOODS[self.label]
        train, held, stopping = fold.train, fold.validation, {}
        effects = gpb.GPModel(group_data=codes[train], likelihood=likelihood, num_parallel_threads=1)
        rows = gpb.Dataset(data.X[train], data.y[train].astype(float), free_raw_data=False)
        if stops:
            effects.set_prediction_data(group_data_pred=codes[held])
            others = gpb.Dataset(data.X[held], data.y[held].astype(float), reference=rows)
            stopping = {"valid_sets": [others], "early_stopping_rounds": int(settings["patience"])}
        parameters = {**self._parameters(settings), "objective": objective, "verbose": -1}
        if self.label == "continuous":
            parameters["leaves_newton_update"] = True
        return gpb.train(parameters, rows, trees, gp_model=effects, verbose_eval=False, **stopping)

    def _read(self, text):
        return self._library.Booster(model_str=text, silent=True)

    def _fixed(self, i, X):
        found = self._boosters[i].predict(X, pred_latent=True, num_threads=1) if len(X) else np.zeros(0)
        return np.asarray(found).reshape(len(X), 1)

    def _outputs(self, data, keys, rows, clusters):
        outputs = []
        for i, r, membership in zip(self._positions(keys), rows, clusters, strict=True):
            fixed = self._fixed(i, data.X[r])
            outputs.append((fixed, fixed + cluster_effects(self.effects_[i][:, None], membership)))
        return outputs

    @property
    def random_effects_(self):
        self._check_fitted()
        keys = np.repeat(np.array(self.replicas_).reshape(-1, 2), len(self.levels_), axis=0)
        return pd.DataFrame(
            {
                "seed": keys[:, 0],
                "fold": keys[:, 1],
                "cluster": np.tile(self.levels_, len(self.replicas_)),
                "effect": "intercept",
                "feature": "",
                "mean": self.effects_.ravel(),
                "sd": self.effect_sds_.ravel(),
            }
        )

    def _save(self, folder):
        super()._save(folder)
        np.savez(folder / "estimates.npz", **{name: getattr(self, name) for name in STATE})

    def _load(self, folder):
        super()._load(folder)
        found = read_arrays(folder / "estimates.npz", MOST_ESTIMATES)
        for name in STATE:
            setattr(self, name, found[name])
