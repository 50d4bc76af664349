"""Gradient-boosted trees with the cluster as a categorical feature (LightGBM)."""

from __future__ import annotations

import numpy as np

from baselines.boosted_trees import BoostedTrees

OBJECTIVES = {"binary": "binary", "multiclass": "multiclass", "continuous": "regression"}
NO_CLUSTER = -1  # LightGBM takes negative categories as missing


class GradientBoosting(BoostedTrees):
    """LightGBM with the features and, as one more that is categorical, the cluster.

    Splits on the cluster send some clusters to one side and the rest, with those that are missing, to the other. The fixed
    effects prediction, and that for an unseen cluster, is that of a missing cluster: at each such split it goes with the
    clusters that were not singled out. It is a convention, not an average over clusters.

    LightGBM's `min_data_per_group` is set to `min_samples_leaf`: its default, 100, would leave clusters of a few dozen rows out
    of all splits.

    Parameters as for `baselines.boosted_trees.BoostedTrees`.
    """

    library = "lightgbm"

    def _fit_fold(self, i, fold, data, codes, settings):
        lgb, parameters = self._library, self._parameters(settings)
        parameters |= {"objective": OBJECTIVES[self.label], "verbosity": -1}
        parameters["min_data_per_group"] = parameters["min_data_in_leaf"]
        if self.label == "multiclass":
            parameters["num_class"] = self.n_outputs_
        train, held = (
            lgb.Dataset(
                with_cluster(data.X[rows], codes[rows]),
                data.y[rows],
                categorical_feature=[data.X.shape[1]],
                params=parameters,
            )
            for rows in (fold.train, fold.validation)
        )
        stopping = {}
        if len(fold.validation):
            callbacks = [lgb.early_stopping(int(settings["patience"]), verbose=False)]
            stopping = {"valid_sets": [held.set_reference(train)], "callbacks": callbacks}
        self.models_[i] = lgb.train(parameters, train, int(settings["trees"]), **stopping).model_to_string()

    def _read(self, text):
        return self._library.Booster(model_str=text)

    def _raw(self, i: int, X: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Output (n, K) of model i, K = 1 but for classes."""
        if not len(X):
            return np.zeros((0, self.n_outputs_))
        found = self._boosters[i].predict(with_cluster(X, codes), raw_score=True, num_threads=1)
        return found.reshape(len(X), -1)

    def _fixed(self, i, X):
        return self._raw(i, X, np.full(len(X), NO_CLUSTER))

    def _outputs(self, data, keys, rows, clusters):
        outputs = []
        for i, r, membership in zip(self._positions(keys), rows, clusters, strict=True):
            X = data.X[r]
            fixed = self._fixed(i, X)
            if membership.dtype.kind != "f":
                outputs.append((fixed, self._raw(i, X, membership)))
                continue
            mixed = (1 - membership.sum(1))[:, None] * fixed
            for code, share in enumerate(membership.T):
                mixed += share[:, None] * self._raw(i, X, np.full(len(X), code))
            outputs.append((fixed, mixed))
        return outputs


def with_cluster(X: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Features (n, p) and, in one more column, the code of the cluster."""
    return np.column_stack([X, codes])
