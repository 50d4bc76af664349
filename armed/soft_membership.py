"""Soft Z of many samples, made for some rows at a time: all of it would be samples x clusters numbers. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from armed.data.clustered import ClusteredData

MOST_NUMBERS = 20_000_000
"""A Z of more numbers than this is made some rows at a time."""


class InfersClusters(Protocol):
    """What a Z-predictor does (`armed.ClusterInference`)."""

    def infer(self, data: ClusteredData, rows: dict, levels: np.ndarray) -> dict:
        """Soft Z (n, q) of the rows of each (seed, fold)."""


@dataclass(frozen=True, eq=False)
class SoftMembership:
    """Z (n, q) of rows of data: one-hot for samples of seen clusters, inferred for others.

    A slice of it is an array; the whole is made only where it is asked for (`numpy.asarray`).

    Parameters
    ----------
    predictor : ClusterInference
    data : ClusteredData
    key : (int, int)
        Seed and fold.
    rows : array of int, (n,)
    codes : array of int, (n,)
        Cluster of each row, -1 where it was not seen.
    levels : array of str, (q,)
        Seen clusters.
    """

    predictor: InfersClusters
    data: ClusteredData
    key: tuple[int, int]
    rows: np.ndarray
    codes: np.ndarray
    levels: np.ndarray
    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and clusters."""
        return len(self.rows), len(self.levels)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> np.ndarray:
        rows, codes = self.rows[part], self.codes[part]
        Z = np.zeros((len(rows), len(self.levels)), np.float32)
        unseen = codes < 0
        Z[np.flatnonzero(~unseen), codes[~unseen]] = 1
        if unseen.any():
            own = self.data.take(rows[unseen])
            Z[unseen] = self.predictor.infer(own, {self.key: np.arange(len(own))}, self.levels)[self.key]
        return Z

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return self[:]
