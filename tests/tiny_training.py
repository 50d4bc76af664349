"""Small clustered data, ragged folds and small networks, to train in tests."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import armed
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.models import MLP, MixedEffects

SIZES = (31, 26, 22, 17)  # ragged clusters
HIDDEN = (4, 4, 4)


def simulated(seed: int = 0) -> ClusteredData:
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(SIZES)), SIZES)
    X = rng.normal(size=(len(codes), 2))
    y = (X[:, 0] + 0.8 * X[:, 1] * (codes - 1.5) + 0.5 * rng.normal(size=len(codes)) > 0).astype(int)
    return ClusteredData(X, y, np.array([f"c{c}" for c in codes]))


DATA = simulated()


def ragged_splits(n_seeds: int = 2, validation: bool = False) -> Splits:
    """Folds of different sizes, so that replicas have different numbers of batches."""
    folds = []
    for seed in range(n_seeds):
        rows = np.random.default_rng(100 + seed).permutation(len(DATA))
        for fold, n_train in enumerate((40, 52, 45)):
            held = rows[n_train : n_train + 9 + 5 * fold] if validation else rows[:0]
            used = n_train + len(held)
            folds.append(Fold(seed, fold, np.sort(rows[:n_train]), np.sort(held), np.sort(rows[used:])))
    return Splits(tuple(folds))


def only(splits: Splits, seed: int, fold: int) -> Splits:
    return Splits(tuple(f for f in splits if (f.seed, f.fold) == (seed, fold)))


def network(hidden=HIDDEN, slopes: str = "hidden.2") -> MixedEffects:
    net = MLP(2, hidden)
    reads = armed.Adversary([f"hidden.{i}" for i in range(len(hidden))], (4,))
    return MixedEffects(net, len(SIZES), [armed.RandomSlopes(slopes, 0.3, 0.3), armed.RandomIntercept()], reads)


def normalised() -> MixedEffects:
    """A network with running statistics."""
    net = nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 1))
    return MixedEffects(net, len(SIZES), [armed.RandomIntercept()])


def assert_same(one: dict, i: int, other: dict, j: int) -> None:
    """Bit for bit, NaN included."""
    assert one.keys() == other.keys()
    for name in one:
        a, b = one[name][i], other[name][j]
        assert torch.equal(a.nan_to_num(123.0), b.nan_to_num(123.0)), name


def weights(model: nn.Module) -> dict:
    return {name: t.unsqueeze(0) for name, t in model.state_dict().items()}
