"""The plain loops train the models that stacks train: from the same start, on the same batches, to the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.methods import ARMED
from armed.reproducibility import derive_seed
from baselines.conventional import Conventional
from baselines.mldg import MLDG
from benchmarks import plain

STEPS = 20
# Torch adds epsilon after the bias correction, Keras before; at a negligible epsilon both are one rule.
TRAINING = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3, "epsilon": 1e-15}
# Large enough that no gradient is lost in rounding, which Adam would scale up.
WEIGHTS = {"lambda_F": 1.0, "lambda_g": 0.5, "lambda_K": 0.01}
N_CLUSTERS = 4
SEED, FOLD = 3, 1


@pytest.fixture(scope="module")
def data() -> ClusteredData:
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(N_CLUSTERS), STEPS * 16 // N_CLUSTERS)
    X = rng.normal(size=(len(codes), 2))
    y = (X[:, 0] + X[:, 1] * (codes - 1.5) + 0.5 * rng.normal(size=len(codes)) > 0).astype(int)
    return ClusteredData(X, y, np.array([f"c{c}" for c in codes]))


def trained_in_a_stack(method, data):
    """Weights of one of two replicas, its start, and the batches and noise (steps, ...) that it met."""
    rows = np.arange(len(data))
    folds = [Fold(SEED, f, rows, rows[:0], rows[:0]) for f in (FOLD, FOLD + 1)]
    method.fit(data, Splits(tuple(folds)))
    torch.manual_seed(derive_seed("init", method.study, SEED, FOLD))
    start = method.build((2,), N_CLUSTERS, 1)
    rng = np.random.default_rng([derive_seed("train", method.study, SEED, FOLD), 0])
    ids = method.program().batches(rng, rows, data.codes(data.levels), TRAINING["batch_size"])
    noise = rng.standard_normal((len(ids), start.n_noise), dtype=np.float32)
    assert len(ids) == STEPS
    return method.stack_.replica(0), start, torch.from_numpy(ids), torch.from_numpy(noise)


def tensors(data):
    return [torch.tensor(a, dtype=torch.float32) for a in (data.X, data.y)]


def assert_same_weights(found, expected, start):
    before = dict(start)
    moved = 0.0
    for name, weights in snapshot(expected):
        torch.testing.assert_close(dict(snapshot(found))[name], weights, atol=1e-5, rtol=0)
        moved = max(moved, float((weights - before[name]).abs().max()))
    assert moved > 0.5 * STEPS * TRAINING["learning_rate"], "nothing was trained"


def snapshot(model):
    return [(name, p.detach().clone()) for name, p in model.named_parameters()]


def test_conventional(data):
    expected, model, ids, _ = trained_in_a_stack(Conventional(network={"hidden": (4, 4)}, training=TRAINING), data)
    start = snapshot(model)
    plain.conventional(model.net, *tensors(data), [ids], TRAINING)
    assert_same_weights(model, expected, start)


def test_armed(data):
    method = ARMED(network={"hidden": (4, 4)}, training=TRAINING, slopes="hidden.1", **WEIGHTS)
    expected, model, ids, noise = trained_in_a_stack(method, data)
    start = snapshot(model)
    codes = torch.from_numpy(data.codes(data.levels))
    plain.armed(model, *tensors(data), codes, [ids], TRAINING, WEIGHTS, [noise])
    assert_same_weights(model, expected, start)


@pytest.mark.parametrize("rates", [(0.5, 2.0), (1e-3, 1.0)])
def test_mldg(data, rates):
    inner, weight = rates
    method = MLDG(
        network={"hidden": (4, 4)},
        training=TRAINING,
        inner_learning_rate=inner,
        meta_weight=weight,
        samples_per_cluster=4,
    )
    expected, model, ids, _ = trained_in_a_stack(method, data)
    start = snapshot(model)
    plain.mldg(model.net, *tensors(data), [ids], TRAINING, 4, inner, weight)
    assert_same_weights(model, expected, start)


class TestBatches:
    def test_shuffled_is_a_permutation_filled_up_from_its_start(self):
        rows = torch.arange(100, 110)
        first, second = plain.shuffled(rows, 4, 2)
        assert first.shape == (3, 4)
        flat = first.flatten()
        assert sorted(flat[:10].tolist()) == rows.tolist()
        assert torch.equal(flat[10:], flat[:2])
        assert not torch.equal(first, second)

    def test_by_cluster_has_each_cluster_in_each_step_and_all_rows_of_the_largest(self):
        codes = torch.tensor([0] * 7 + [1] * 12 + [2] * 5)
        rows = torch.arange(len(codes))
        (ids,) = plain.by_cluster(rows, codes, 4, 1)
        assert ids.shape == (3, 12)
        steps = codes[ids].view(3, 3, 4)
        assert (steps == steps[:, :, :1]).all(), "samples of a cluster lie together"
        assert (steps[:, :, 0].sort(1).values == torch.arange(3)).all()
        assert sorted(ids[codes[ids] == 1].tolist()) == rows[codes == 1].tolist()

    def test_the_cluster_that_comes_last_differs_from_step_to_step(self):
        codes = torch.arange(5).repeat_interleave(200)
        (ids,) = plain.by_cluster(torch.arange(len(codes)), codes, 2, 1)
        share = codes[ids[:, -1]].bincount() / len(ids)
        assert share.min() > 0.1
