"""What the methods of gradient-boosted trees share: settings, text of the models, importance by shuffling."""

from __future__ import annotations

import gzip
import importlib
import json
from abc import abstractmethod
from functools import cached_property
from types import ModuleType

import numpy as np
import pandas as pd

from armed.errors import ConfigError, DamagedError
from armed.reproducibility import derive_seed
from baselines import tree_text
from baselines.one_by_one import OneByOne

MODELS = "trees.json.gz"
LARGEST = 2 * 10**9  # bytes of it, unpacked
SHUFFLES = 5
# Mean |x - x'| of two draws from a normal distribution, in its s.d.
SHUFFLED_DISTANCE = 2 / np.sqrt(np.pi)
# No bagging, one thread and one order of summation: the same trees every time.
REPEATABLE = {"num_threads": 1, "deterministic": True, "force_col_wise": True, "seed": 0}


class BoostedTrees(OneByOne):
    """Gradient-boosted trees, with the library's defaults but for the settings below.

    Where a fold has validation rows, boosting stops when their loss has not improved for `patience` trees, and the best number
    of trees is kept; else all are. Classes are not weighted: the loss is that of the data.

    Parameters
    ----------
    trees : int
        Most trees (of each class, for several).
    learning_rate : float
    leaves : int
        Leaves of a tree, at most.
    min_samples_leaf : int
        Training rows of a leaf, at least.
    patience : int
    **common : object
        As for `armed.method.Method`.

    Attributes
    ----------
    models_ : list of str
        Of each fit, the trees in the library's text format, which is data and never executed.
    """

    uses_clusters = True
    library = ""

    def __init__(
        self,
        *,
        trees: int = 100,
        learning_rate: float = 0.1,
        leaves: int = 31,
        min_samples_leaf: int = 20,
        patience: int = 10,
        **common: object,
    ) -> None:
        super().__init__(**common)
        self.trees = trees
        self.learning_rate = learning_rate
        self.leaves = leaves
        self.min_samples_leaf = min_samples_leaf
        self.patience = patience

    @abstractmethod
    def _fixed(self, i: int, X: np.ndarray) -> np.ndarray:
        """Output (n, K) of model i without the cluster."""

    @cached_property
    def _library(self) -> ModuleType:
        try:
            return importlib.import_module(self.library)
        except (ImportError, OSError) as error:
            raise ConfigError(
                f"{type(self).__name__} needs the package {self.library}, which cannot be imported ({error}). Install it "
                f"(pip install {self.library}), or leave the method out of run.models."
            ) from error

    @cached_property
    def _boosters(self) -> list:
        return [self._read(text) for text in self.models_]

    @abstractmethod
    def _read(self, text: str) -> object:
        """The library's object for the text of one fit."""

    def _parameters(self, settings: dict) -> dict[str, object]:
        """The library's parameters for the settings of a fit."""
        return {
            **REPEATABLE,
            "learning_rate": settings["learning_rate"],
            "num_leaves": int(settings["leaves"]),
            "min_data_in_leaf": int(settings["min_samples_leaf"]),
        }

    def _allocate(self, data, n):
        _ = self._library  # before any fit, where it is missing
        self.models_ = [""] * n
        self.__dict__.pop("_boosters", None)

    def importance(self, data, rows):
        """As for `armed.method.Method.importance`: mean change of the fixed effects prediction as a feature is shuffled.

        Trees have no gradient. The mean of ``|change|`` is divided by that of ``|x - x'|`` for normal x in its s.d.: of a
        linear function of normal features it is ``|coefficient|`` times the s.d., as for the other methods.
        """
        self._check_fitted()
        frames = []
        for (seed, fold), i in zip(rows, self._positions(rows), strict=True):
            X = data.X[np.asarray(rows[seed, fold])]
            rng = np.random.default_rng(derive_seed("importance", self.study, seed, fold))
            before = self._fixed(i, X)
            change = np.zeros(X.shape[1])
            for _ in range(SHUFFLES):
                order = rng.permutation(len(X))
                shuffled = np.repeat(X[None], X.shape[1], axis=0)
                for j, copy in enumerate(shuffled):
                    copy[:, j] = X[order, j]
                after = self._fixed(i, shuffled.reshape(-1, X.shape[1])).reshape(len(shuffled), *before.shape)
                change += np.abs(after - before).mean(axis=(1, 2))
            told = {"feature": self.feature_names_, "importance": change / SHUFFLES / SHUFFLED_DISTANCE}
            frames.append(pd.DataFrame({"seed": seed, "fold": fold, **told}))
        return pd.concat(frames, ignore_index=True)

    def _save(self, folder):
        with gzip.GzipFile(folder / MODELS, "wb", mtime=0) as file:
            file.write(json.dumps(self.models_).encode())

    def _load(self, folder):
        with gzip.open(folder / MODELS, "rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise DamagedError(f"{folder / MODELS} has more than {LARGEST} bytes unpacked; it is not read.")
        self.models_ = json.loads(content)
        for text in self.models_:
            tree_text.check(text)
