"""Thousands of clusters: ids are looked up, and no array of samples x clusters is ever made."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from armed import epochs, method, stack
from armed.cluster_inference import ClusterInference
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.layers.random_effects import RandomEffects, RandomIntercept, RandomSlopes, one_hot
from armed.losses import MANY_CLASSES, cross_entropy
from armed.methods import ARMED
from armed.models import MLP, MixedEffects
from armed.optimisers import Adam, Nadam
from armed.parameters import Parameters
from armed.stack_sizes import trains_alone

N, P, Q, BATCH = 3000, 120, 500, 150
TRAINING = {"epochs": 1, "batch_size": BATCH, "learning_rate": 1e-3}


class Largest(TorchDispatchMode):
    """Notes the number of entries of the largest tensor that any operation puts out."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [t.numel() for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        self.entries = max([self.entries, *sizes])
        return out


def data(n: int = N, seed: int = 0, clusters: np.ndarray | None = None) -> ClusteredData:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, P))
    return ClusteredData(X, (X[:, 0] > 0).astype(int), np.arange(n) % Q if clusters is None else clusters)


def whole(n: int) -> Splits:
    rows = np.arange(n)
    return Splits((Fold(0, 0, rows, rows[:0], rows[:0]),))


@pytest.fixture(scope="module")
def fitted() -> ARMED:
    armed = ARMED(network={"hidden": (6,)}, training=TRAINING, slopes="input", engine="eager", lambda_g=0.5)
    return armed.fit(data(), whole(N))


@pytest.fixture(scope="module")
def predictor() -> ClusterInference:
    return ClusterInference(network={"hidden": (6,)}, training=TRAINING, engine="eager").fit(data(), whole(N))


def test_no_tensor_is_as_large_as_a_dense_z(fitted, monkeypatch):
    monkeypatch.setattr(epochs, "_NOISE_AT_ONCE", N * P)  # of noise so much is held, however much a Z would be
    assert trains_alone(fitted.stack_.module)
    with Largest() as largest:
        again = ARMED(**fitted.settings).fit(data(), whole(N))
        again.predict(data())
        assert len(again.random_effects_) == Q * (P + 1)
    # Samples x features (the data) are the largest; the adversary's logits are of a batch.
    assert BATCH * Q <= largest.entries <= 1.02 * N * P < N * Q / 4  # rows are filled up to whole blocks


def test_the_adversary_is_read_some_rows_at_a_time(fitted, monkeypatch):
    expected = fitted.adversary_predictions(data(), {(0, 0): np.arange(N)})[0, 0]
    monkeypatch.setattr(stack, "_ROWS_FLOATS", 1e5)
    monkeypatch.setattr(stack, "_AT_ONCE_FLOATS", 1e5)
    with Largest() as largest:
        found = fitted.adversary_predictions(data(), {(0, 0): np.arange(N)})[0, 0]
    assert largest.entries < N * Q / 2
    assert (found == expected).mean() > 0.999  # logits that are equal up to rounding may change places


def test_a_replica_is_the_same_alone_and_beside_others(fitted):
    two = Splits((*whole(N), Fold(1, 0, np.arange(N // 2), np.arange(0), np.arange(0))))
    both = ARMED(**fitted.settings).fit(data(), two)
    for name, value in fitted.stack_.state().items():
        assert torch.equal(value[0], both.stack_.state()[name][0]), name


@pytest.mark.parametrize("n", [BATCH, 2 * Q])
def test_ids_and_one_hot_rows_are_the_same_model(n):
    torch.manual_seed(0)
    model = MixedEffects(MLP(P, (4,)), Q, [RandomSlopes(on="input"), RandomIntercept()]).train()
    X, ids = torch.randn(n, P), torch.randint(-1, Q, (n,))
    noise = torch.randn(model.n_noise)
    by_id, by_row = (model(X, c, noise) for c in (ids, one_hot(ids, Q, torch.float32)))
    torch.testing.assert_close(by_id.mixed, by_row.mixed)
    gradients = []
    for out in (by_id, by_row):
        model.zero_grad()
        (out.mixed.square().mean() + 1e-3 * out.kl).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    torch.testing.assert_close(*gradients)


def test_cross_entropy_of_many_classes():
    logits = torch.randn(7, MANY_CLASSES + 44, requires_grad=True)
    codes = torch.tensor([0, 1, 299, 5, 5, 17, -1])
    known = codes >= 0
    found, expected = cross_entropy(logits, codes), F.cross_entropy(logits[known], codes[known], reduction="none")
    torch.testing.assert_close(found[known], expected)
    torch.testing.assert_close(found[~known], torch.logsumexp(logits[~known], -1))
    weights = torch.arange(1.0, 8.0)
    (own,) = torch.autograd.grad((found * weights).sum(), logits)
    (theirs,) = torch.autograd.grad(
        (torch.logsumexp(logits, -1) * weights).sum() - (logits[range(6), codes[:6]] * weights[:6]).sum(), logits
    )
    torch.testing.assert_close(own, theirs)
    stacked = torch.func.vmap(cross_entropy)(torch.stack([logits] * 2), torch.stack([codes] * 2))
    torch.testing.assert_close(stacked, torch.stack([found] * 2))


def test_kl_of_many_weights():
    torch.manual_seed(0)
    layer = RandomEffects(1400, 100, 1, 0.3, 0.2)
    sd = F.softplus(layer.raw_scale)
    expected = (torch.log(layer.prior_sd / sd) + (sd**2 + layer.loc**2) / (2 * layer.prior_sd**2) - 0.5).double().sum()
    found = layer.kl()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    found.backward()
    own = layer.loc.grad, layer.raw_scale.grad
    for one, other in zip(own, torch.autograd.grad(expected, (layer.loc, layer.raw_scale)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimiser", [Adam, Nadam])
def test_steps_in_parts_are_those_of_the_whole(optimiser):
    def trained(parts: bool) -> tuple:
        generator = torch.Generator().manual_seed(0)
        start = {"w": torch.randn(1, 50_001, generator=generator)}
        adam = optimiser(Parameters.of(start), torch.tensor([0.01]))
        if not parts:
            adam.parameters.lead = [1]  # as of one replica, but not taken for it
        for step in range(4):
            gradient = torch.randn(50_001, generator=generator)
            if step == 2:
                gradient[7] = math.nan  # then nothing moves
            finite = adam.step(gradient, torch.tensor([step != 3]))
            assert finite.tolist() == [step != 2]
        return adam.parameters.flat, adam.m, adam.v, adam.steps

    for one, other in zip(trained(True), trained(False), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("followed", [False, True])
def test_noise_that_is_drawn_as_it_is_needed_is_the_same(followed, monkeypatch):
    rng = np.random.default_rng(3)
    whole = epochs._normal(rng, 5, 1001, followed)
    after = rng.random()
    monkeypatch.setattr(epochs, "_NOISE_AT_ONCE", 100)
    rng = np.random.default_rng(3)
    drawn = epochs._normal(rng, 5, 1001, followed)
    assert isinstance(drawn, epochs.Noise) and isinstance(whole, np.ndarray)
    assert np.array_equal(np.stack(list(drawn)), whole) and np.array_equal(np.asarray(drawn), whole)
    assert not followed or rng.random() == after
    ids = [np.zeros((5, 1), int)] * 2
    draws = epochs.Draws(ids, [drawn, whole[:2]], [], [], np.array([5, 2]))
    steps = list(draws.noise_of_steps(torch.device("cpu")))
    assert torch.equal(torch.stack(steps), draws.table("noise")) and len(steps) == 5
    assert np.array_equal(steps[2][1].numpy(), whole[0])  # short ones start over


def test_inferred_z_in_pieces_gives_the_same_predictions(fitted, predictor, monkeypatch):
    clusters = np.array(["new"] * 200 + [str(c) for c in range(100)])
    some = data(300, seed=1, clusters=clusters)
    how = {"new_clusters": "infer", "cluster_inference": predictor}
    expected = fitted.predict(some, **how).mixed
    likeliest = predictor.guesses(some, {(0, 0): np.arange(300)}, fitted.levels_)[0, 0]
    assert np.array_equal(likeliest, predictor.infer(some, {(0, 0): np.arange(300)}, fitted.levels_)[0, 0].argmax(1))
    monkeypatch.setattr(method, "MOST_NUMBERS", 1000)
    soft = fitted._membership(some, {(0, 0): np.arange(300)}, "infer", predictor)[0, 0]
    assert soft.shape == (300, Q) and soft[5:7].shape == (2, Q)
    assert np.array_equal(soft[200:].argmax(1), some.codes(fitted.levels_)[200:]) and (soft[200:].max(1) == 1).all()
    for at_once in (5e7, 64 * Q):
        monkeypatch.setattr(stack, "_ROWS_FLOATS", at_once)
        monkeypatch.setattr(stack, "_AT_ONCE_FLOATS", at_once)
        np.testing.assert_allclose(fitted.predict(some, **how).mixed, expected, rtol=1e-4, atol=1e-5)
