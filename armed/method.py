"""The contract of every method. Loads no torch.

``Method(**settings).fit(data, splits, seeds)`` trains one model for each fold of each seed; `predict` applies each to rows of
its own. Baselines (package `baselines`) obey the same contract.
"""

from __future__ import annotations

import inspect
import json
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from armed.data.clustered import ClusteredData
from armed.data.splits import Splits
from armed.errors import ArmedError, ConfigError, DataError, NotFittedError, UnseenClusterError, did_you_mean
from armed.files import atomic
from armed.soft_membership import MOST_NUMBERS, SoftMembership

NEW_CLUSTERS = ("infer", "population", "error")
Rows = Mapping[tuple[int, int], np.ndarray]
_BROKEN = (OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)
_BROKEN = (*_BROKEN, MemoryError, zipfile.BadZipFile, zlib.error)
"""What reading the files of a method can end with where they are not what `save` wrote."""


@dataclass
class Predictions:
    """Predictions of all models, one entry for each (seed, fold, row).

    Attributes
    ----------
    seed, fold, row : array of int
        (N,); `row` counts in the data given.
    fixed, mixed : array of float32
        (N,) for binary logits and continuous means, (N, K) for K classes.
    """

    seed: np.ndarray
    fold: np.ndarray
    row: np.ndarray
    fixed: np.ndarray
    mixed: np.ndarray


class Method(ABC):
    """What every method does.

    Parameters
    ----------
    study : str
        Enters the derivation of seeds, so that methods of one study share folds and initial draws.
    label : {"binary", "multiclass", "continuous"}
        One of the class's `labels`.

    Raises
    ------
    ConfigError
        If the method has no model for such labels.

    Attributes
    ----------
    replicas_ : list of (int, int)
        (seed, fold) of each fitted model.
    levels_ : array of str
        Seen clusters; position = cluster code.
    sample_shape_ : tuple of int
        Of one sample of X.
    notes_ : dict
        (seed, fold) to what a reader should know: no convergence, divergence.
    """

    uses_clusters: ClassVar[bool] = False
    labels: ClassVar[tuple[str, ...]] = ("binary", "multiclass", "continuous")

    def __init__(self, *, study: str = "", label: str = "binary") -> None:
        if label not in self.labels:
            name, known = type(self).__name__, " or ".join(self.labels)
            raise ConfigError(
                f"label is '{label}', but {name} takes {known} labels only.{did_you_mean(str(label), self.labels)}"
            )
        self.study = study
        self.label = label

    @abstractmethod
    def fit(
        self, data: ClusteredData, splits: Splits, seeds: Sequence[int] | None = None, *, checkpoint: Path | None = None
    ) -> Self:
        """Train one model for each fold of `splits` whose seed is in `seeds` (all where not given).

        Parameters
        ----------
        data : ClusteredData
        splits : Splits
            Only training and validation rows are looked at.
        seeds : sequence of int, optional
        checkpoint : Path, optional
            Where an interrupted training continues from.
        """

    @abstractmethod
    def _outputs(
        self, data: ClusteredData, keys: list[tuple[int, int]], rows: list[np.ndarray], clusters: list[np.ndarray]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Fixed and mixed outputs (n, K) of the models `keys` on their rows; membership as codes (n,) or Z (n, q)."""

    @property
    def random_effects_(self) -> pd.DataFrame | None:
        """seed, fold, cluster, effect, feature, mean, sd; None for methods without random effects."""
        return None

    def importance(self, data: ClusteredData, rows: Rows) -> pd.DataFrame | None:
        """Importance of each feature: the mean of ``|d fixed / d x|`` times the s.d. of x, over the rows given.

        Of the fixed effects, averaged over the data: at the mean point alone, as in the authors' code, the gradient is noisy
        and often exactly 0.

        Parameters
        ----------
        data : ClusteredData
        rows : mapping
            (seed, fold) to row ids.

        Returns
        -------
        DataFrame or None
            seed, fold, feature, importance; None where features are single pixels.
        """
        return None

    @abstractmethod
    def _save(self, folder: Path) -> None:
        """Write the learned state."""

    @abstractmethod
    def _load(self, folder: Path) -> None:
        """Read the learned state."""

    @property
    def settings(self) -> dict[str, object]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in parameters(type(self))}

    def predict(
        self,
        data: ClusteredData,
        rows: Rows | None = None,
        *,
        new_clusters: str = "error",
        cluster_inference: object | None = None,
    ) -> Predictions:
        """Predict with every model.

        Parameters
        ----------
        data : ClusteredData
        rows : mapping, optional
            (seed, fold) to row ids; only these models predict. All models on all rows of their dataset where not given.
        new_clusters : {"error", "population", "infer"}
            For samples of clusters never seen in training: refuse, the fixed effects prediction (Z = 0), or Z inferred from X.
        cluster_inference : ClusterInference, optional
            The fitted Z-predictor that "infer" needs.

        Returns
        -------
        Predictions

        Raises
        ------
        UnseenClusterError
            If there are unseen clusters, the method uses clusters, and `new_clusters` is "error".
        """
        self._check_fitted()
        if rows is None:
            rows = {key: data.rows_of(key[0]) for key in self.replicas_}
        self._check_features(data)
        clusters = self._membership(data, rows, new_clusters, cluster_inference)
        keys = list(rows)
        outputs = self._outputs(data, keys, [np.asarray(rows[k]) for k in keys], [clusters[k] for k in keys])
        counts = [len(rows[k]) for k in keys]
        fixed, mixed = (np.concatenate([o[i] for o in outputs]).astype(np.float32) for i in (0, 1))
        if fixed.ndim == 2 and fixed.shape[1] == 1:
            fixed, mixed = fixed[:, 0], mixed[:, 0]
        return Predictions(
            seed=np.repeat([k[0] for k in keys], counts),
            fold=np.repeat([k[1] for k in keys], counts),
            row=np.concatenate([np.asarray(rows[k]) for k in keys]),
            fixed=fixed,
            mixed=mixed,
        )

    def save(self, folder: Path) -> None:
        """Write settings and learned state into a folder, which appears only when complete.

        Parameters
        ----------
        folder : path
        """
        self._check_fitted()
        content = {
            "class": f"{type(self).__module__}:{type(self).__qualname__}",
            "settings": self.settings,
            "replicas": self.replicas_,
            "levels": [str(level) for level in self.levels_],
            "feature_names": list(self.feature_names_),
            "sample_shape": list(self.sample_shape_),
            "n_outputs": self.n_outputs_,
            "notes": [[*key, note] for key, note in self.notes_.items()],
        }
        with atomic(Path(folder)) as temporary:
            temporary.mkdir(parents=True, exist_ok=True)
            (temporary / "method.json").write_text(json.dumps(content, indent=1))
            self._save(temporary)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        The class called decides how the weights are used (ARMED's may be loaded as `RandomizedZ`). Nothing in the folder
        is run, whoever made it.

        Parameters
        ----------
        folder : path

        Returns
        -------
        Method
            Fitted.

        Raises
        ------
        DataError, DamagedError
            The folder holds no such method, or it is damaged.
        """
        try:
            return cls._from_folder(Path(folder))
        except _BROKEN as error:
            if isinstance(error, ArmedError):
                raise
            told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise DataError(
                f"{folder} holds no {cls.__name__} that can be read ({told}); expected a folder that `save` of that class"
                " wrote: fit and save the model again, or get it again from who made it."
            ) from error

    @classmethod
    def _from_folder(cls, folder: Path) -> Self:
        content = json.loads((folder / "method.json").read_text(encoding="utf-8"))
        method = cls(**content["settings"])
        method.replicas_ = [tuple(pair) for pair in content["replicas"]]
        method.levels_ = np.array(content["levels"])
        method.feature_names_ = tuple(content["feature_names"])
        method.sample_shape_ = tuple(content.get("sample_shape", [len(method.feature_names_)]))
        method.n_outputs_ = content["n_outputs"]
        method.notes_ = {(seed, fold): note for seed, fold, note in content["notes"]}
        method._load(folder)
        return method

    def _begin(self, data: ClusteredData, splits: Splits, seeds: Sequence[int] | None) -> list:
        """Set what all methods learn from the data; returns the folds to fit."""
        folds = [f for f in splits if seeds is None or f.seed in set(seeds)]
        if not folds:
            raise DataError("No fold of the splits has one of the seeds asked for.")
        self.levels_ = np.unique(np.concatenate([data.clusters[f.train] for f in folds]))
        self.feature_names_ = tuple(data.feature_names)
        self.sample_shape_ = tuple(data.X.shape[1:])
        self.n_outputs_ = len(np.unique(data.y)) if self.label == "multiclass" else 1
        self.replicas_ = [(f.seed, f.fold) for f in folds]
        self.notes_ = {}
        return folds

    def _membership(
        self, data: ClusteredData, rows: Rows, new_clusters: str, cluster_inference: object | None
    ) -> dict[tuple[int, int], np.ndarray]:
        """Codes (n,) or Z (n, q) for each model's rows; of many rows and clusters a `SoftMembership`."""
        if new_clusters not in NEW_CLUSTERS:
            raise ConfigError(
                f"new_clusters is '{new_clusters}'; expected one of {', '.join(NEW_CLUSTERS)}."
                f"{did_you_mean(new_clusters, NEW_CLUSTERS)}"
            )
        codes = data.codes(self.levels_)
        used = np.unique(np.concatenate([np.asarray(r) for r in rows.values()])) if rows else np.array([], int)
        unseen = np.unique(data.clusters[used][codes[used] < 0])
        if not self.uses_clusters or not len(unseen) or new_clusters == "population":
            return {key: codes[r] for key, r in rows.items()}
        if new_clusters == "error":
            count = "1 cluster was" if len(unseen) == 1 else f"{len(unseen)} clusters were"
            more = ", ..." if len(unseen) > 5 else ""
            raise UnseenClusterError(
                f"{count} never seen in training ({', '.join(map(str, unseen[:5]))}{more}). Choose "
                "new_clusters='infer' (blend the random effects of similar clusters) or 'population' (fixed effects only)."
            )
        if cluster_inference is None:
            raise ConfigError("new_clusters='infer' needs cluster_inference, a fitted armed.ClusterInference.")
        if max(len(r) for r in rows.values()) * len(self.levels_) > MOST_NUMBERS:
            return {
                key: SoftMembership(cluster_inference, data, key, np.asarray(r), codes[r], self.levels_)
                for key, r in rows.items()
            }
        inferred = cluster_inference.infer(data, rows, self.levels_)
        known = np.eye(len(self.levels_), dtype=np.float32)
        return {
            key: np.where((codes[r] >= 0)[:, None], known[codes[r]], inferred[key]).astype(np.float32)
            for key, r in rows.items()
        }

    def _check_fitted(self) -> None:
        if not hasattr(self, "replicas_"):
            raise NotFittedError(f"This {type(self).__name__} is not fitted yet; call fit(data, splits, seeds) first.")

    def _check_features(self, data: ClusteredData) -> None:
        if self.sample_shape_ != (shape := tuple(data.X.shape[1:])) and max(len(shape), len(self.sample_shape_)) > 1:
            raise DataError(
                f"A sample of the data has shape {shape}, but the method was fitted on samples of shape {self.sample_shape_}."
            )
        if tuple(data.feature_names) != self.feature_names_:
            raise DataError(
                f"The data has features {', '.join(data.feature_names)}, but the method was fitted on "
                f"{', '.join(self.feature_names_)}."
            )


def parameters(cls: type) -> list[str]:
    """Names of the constructor's arguments, those of base classes included."""
    names: dict[str, None] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base) and base is not object:
            for name, p in inspect.signature(base.__init__).parameters.items():
                if name != "self" and p.kind is not p.VAR_KEYWORD:
                    names[name] = None
    return list(names)
