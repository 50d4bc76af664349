"""The Z-predictor: soft cluster membership of samples from clusters never seen in training (paper, Methods)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import softmax

from armed.convolutional import as_pool
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.errors import ConfigError, DataError
from armed.losses import Objective
from armed.method import Rows
from armed.models import MixedEffects
from armed.reproducibility import derive_seed
from armed.stack import predictions
from armed.stack_method import StackMethod


class ClusterInference(StackMethod):
    """Softmax classifier of the seen clusters from X, one for each fold of each seed.

    It sees the training rows of the fold only, of which it holds some out for early stopping (the authors' code for the
    dementia study has neither validation nor regularisation).

    Parameters
    ----------
    validation_fraction : float
        Share of the training subjects held out for early stopping.
    **common : object
        As for `armed.stack_method.StackMethod`.
    """

    def __init__(self, *, validation_fraction: float = 0.1, **common: object) -> None:
        super().__init__(**common)
        if not 0 < validation_fraction < 1:
            raise ConfigError(f"validation_fraction is {validation_fraction}; expected a number between 0 and 1.")
        self.label = "multiclass"
        self.validation_fraction = validation_fraction

    def objective(self):
        return Objective(label="multiclass", lambda_F=0.0, lambda_K=0.0)

    def build(self, sample_shape, n_clusters, n_outputs):
        return MixedEffects(self.build_net(sample_shape, n_outputs), n_clusters, input_shape=sample_shape)

    def fit(self, data, splits, seeds=None, *, checkpoint=None, steps_elsewhere=0):
        """Train on the clusters of the training rows of each fold; labels are not looked at.

        Parameters
        ----------
        data : ClusteredData
        splits : Splits
        seeds : sequence of int, optional
            Those of `splits` where not given.
        checkpoint : path, optional
            File from which an interrupted call goes on.
        steps_elsewhere : int
            See `armed.fit_stack`.

        Returns
        -------
        self
        """
        folds = [f for f in splits if seeds is None or f.seed in set(seeds)]
        levels = np.unique(np.concatenate([data.clusters[f.train] for f in folds]))
        used = np.flatnonzero(data.codes(levels) >= 0)
        position = np.full(len(data), -1)
        position[used] = np.arange(len(used))
        kept = data if len(used) == len(data) else data.take(used)
        task = ClusteredData(
            kept.X, kept.codes(levels), np.full(len(kept), ""), feature_names=kept.feature_names, dataset=kept.dataset
        )
        held = [self._hold_out(f, data, position) for f in folds]
        inner = Splits(tuple(Fold(f.seed, f.fold, t, v, t[:0]) for f, t, v in held))
        super().fit(task, inner, seeds, checkpoint=checkpoint, steps_elsewhere=steps_elsewhere)
        self.levels_ = levels
        return self

    def infer(self, data: ClusteredData, rows: Rows, levels: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
        """Soft Z of samples, whichever clusters they are of.

        Parameters
        ----------
        data : ClusteredData
        rows : mapping
            (seed, fold) to row ids: whom each model judges.
        levels : array of str, (q,)
            Clusters of the method that is to use Z, in its order.

        Returns
        -------
        dict
            (seed, fold) to Z (n, q); rows sum to 1.

        Raises
        ------
        DataError
            If it was not trained on one of `levels`.
        """
        return self._inferred(data, rows, levels, lambda Z: Z)

    def guesses(self, data: ClusteredData, rows: Rows, levels: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
        """The likeliest cluster (n,) of samples, as positions in `levels`; arguments as for `infer`."""
        return self._inferred(data, rows, levels, lambda Z: Z.argmax(1))

    def _inferred(self, data: ClusteredData, rows: Rows, levels: np.ndarray, of_z: Callable) -> dict:
        """What is wanted of the Z of samples, or of some of them."""
        self._check_fitted()
        self._check_features(data)
        keys, index = self._select(rows)
        unknown = sorted(set(levels) - set(self.levels_))
        if unknown:
            raise DataError(
                f"The Z-predictor was not trained on these clusters of the method: {', '.join(unknown[:5])}."
            )
        order = np.searchsorted(self.levels_, levels)

        def wanted(out: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
            return {"wanted": of_z(softmax(out["mixed"], axis=1)[:, order])}

        X = as_pool(data.X, self.stack_.device)
        ids = [np.asarray(rows[k]) for k in keys]
        outputs = self.stack_.evaluate(predictions, X, ids, [np.full(len(r), -1) for r in ids], index, wanted)
        return {key: out["wanted"] for key, out in zip(keys, outputs, strict=True)}

    def _hold_out(self, fold: Fold, data: ClusteredData, position: np.ndarray) -> tuple[Fold, np.ndarray, np.ndarray]:
        """Positions in the task's data of the rows to train on and of those held out, by subject."""
        rng = np.random.default_rng(derive_seed("cluster_inference", self.study, fold.seed, fold.fold))
        rows = np.concatenate([fold.train, fold.validation])
        rows = rows[position[rows] >= 0]  # a validation row may be of a cluster that no training row has
        subjects = np.unique(data.subject[rows])
        held = rng.permutation(subjects)[: max(1, round(self.validation_fraction * len(subjects)))]
        mask = np.isin(data.subject[rows], held)
        return fold, position[rows[~mask]], position[rows[mask]]
