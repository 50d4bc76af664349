"""How replicas are cut into stacks, memory, dropout and hyperparameters of a replica's own."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from tiny_training import DATA, SIZES, assert_same, network, only, ragged_splits
from torch import nn

import armed
from armed import stack_sizes
from armed.errors import ConfigError, UnsupportedLayerError
from armed.methods import ARMED
from armed.models import MLP, MixedEffects
from armed.training import Training, fit_stack
from baselines.lmmnn import LMMNN
from baselines.menet import MeNet
from baselines.mldg import MLDG


def test_blocks_cover_all_replicas_once():
    for n, size, together in [(1, 8, False), (70, 32, False), (70, 32, True), (600, 1000, True), (96, 32, True)]:
        parts = stack_sizes.blocks(n, size, network(), together)
        covered = [i for part, _ in parts for i in range(part.start, part.stop)]
        assert covered == list(range(n))
        sizes = [part.stop - part.start + copies for part, copies in parts]
        if together:
            assert len(set(sizes)) == 1 and sizes[0] <= min(size, stack_sizes.CACHED)  # one graph for all
            assert sum(sizes) - n < len(parts)
        else:
            assert all(s % stack_sizes.LANES == 0 for s in sizes)


def test_large_networks_are_not_filled_up():
    assert stack_sizes.filling(3, nn.Linear(500, 500)) == 0


class TestMemory:
    def test_a_stack_over_the_budget_is_split_into_stacks_that_give_the_same(self, caplog):
        splits, training = ragged_splits(12), Training(epochs=2, batch_size=8)
        each = stack_sizes.replica_bytes(network(), (2,), 8, 7)
        whole = fit_stack(network, DATA, splits, training=training)
        with caplog.at_level(logging.INFO):
            parts = fit_stack(network, DATA, splits, training=training, memory_mb=5.5 * each / 2**20)
        assert "more than the budget" in caplog.text and "training 5 at a time" in caplog.text
        for r in range(len(splits)):
            assert_same(whole.stack.state(), r, parts.stack.state(), r)

    def test_one_replica_is_always_trained(self):
        assert stack_sizes.fitting(256, 1.0, 2**30) == 1

    @pytest.mark.parametrize("width", [8, 64])
    def test_the_estimate_is_of_the_order_of_what_is_used(self, width):
        """Tensors alive at once in an eager step, against the estimate without the draws of an epoch."""
        from torch.utils._python_dispatch import TorchDispatchMode

        replicas, batch = 32, 64
        net = network((width, width, width))
        each = stack_sizes.replica_bytes(net, (2,), batch, 0)
        largest = {"total": 0, "peak": 0}

        class Count(TorchDispatchMode):
            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                import weakref

                out = function(*args, **(kwargs or {}))
                for t in out if isinstance(out, tuple | list) else (out,):
                    if isinstance(t, torch.Tensor) and not t._is_view():
                        size = t.numel() * t.element_size()
                        largest["total"] += size
                        largest["peak"] = max(largest["peak"], largest["total"])
                        weakref.finalize(t, lambda s=size: largest.update(total=largest["total"] - s))
                return out

        with Count():
            fit_stack(
                lambda: network((width, width, width)),
                DATA,
                only(ragged_splits(1), 0, 1),
                training=Training(epochs=1, batch_size=batch),
                engine="eager",
            )
        assert 0.3 < replicas * each / largest["peak"] < 6


def dropping() -> MixedEffects:
    net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1))
    return MixedEffects(net, len(SIZES), [armed.RandomSlopes("2")])


class TestDropout:
    def test_draws_are_the_replicas_own(self):
        splits, training = ragged_splits(11), Training(epochs=4, batch_size=8)
        together = fit_stack(dropping, DATA, splits, training=training).stack.state()
        for seed, fold, r in [(0, 0, 0), (10, 2, 32)]:
            alone = fit_stack(dropping, DATA, only(splits, seed, fold), training=training).stack.state()
            assert_same(alone, 0, together, r)

    def test_half_of_the_units_are_dropped_in_training_only(self):
        model, X = dropping(), torch.randn(200, 2)
        h = model.net[:2](X)
        seen = []
        model.net[2].register_forward_hook(lambda module, inputs, output: seen.append(output))
        model.train()(X)
        share = ((seen[-1] == 0) & (h > 0)).float().sum() / (h > 0).sum()
        assert 0.4 < share < 0.6
        kept = seen[-1] != 0
        torch.testing.assert_close(seen[-1][kept], 2 * h[kept])
        model.eval()(X)
        assert torch.equal(seen[-1], h)

    def test_slopes_read_what_is_left(self):
        """Given draws that drop everything, slopes on the dropout layer add nothing."""
        model, X = dropping().train(), torch.randn(5, 2)
        assert model.n_dropout == 8
        out = model(X, torch.zeros(5, dtype=torch.long), keep=torch.zeros(5, 8))
        assert torch.equal(out.random, torch.zeros(5, 1))
        out = model(X, torch.zeros(5, dtype=torch.long), keep=torch.ones(5, 8))
        assert (out.random != 0).any()

    @pytest.mark.parametrize("layer", [nn.AlphaDropout(0.5), nn.FeatureAlphaDropout(0.5)])
    def test_other_random_layers_are_refused(self, layer):
        def factory() -> MixedEffects:
            return MixedEffects(nn.Sequential(nn.Linear(2, 8), layer, nn.Linear(8, 1)), len(SIZES))

        with pytest.raises(UnsupportedLayerError, match=r"draws random numbers.*nn\.Dropout can be used"):
            fit_stack(factory, DATA, ragged_splits(1), training=Training(epochs=1))


class TestHyperparameters:
    """Each equals the same setting given to the method."""

    @pytest.mark.parametrize(
        ("method", "name", "value"),
        [
            (MLDG, "inner_learning_rate", 0.1),
            (MLDG, "meta_weight", 0.25),
            (MeNet, "prior_sd", 0.7),
            (LMMNN, "initial_sd", 0.9),
            (ARMED, "slope_prior_sd", 0.04),
            (ARMED, "intercept_prior_sd", 0.04),
            (ARMED, "lambda_K", 0.3),
        ],
    )
    def test_of_methods(self, method, name, value):
        splits, training = ragged_splits(1), {"epochs": 2, "batch_size": 8, "learning_rate": 0.02}
        varied = method(training=training, lambda_K=0.1) if method is ARMED else method(training=training)
        settings = varied.settings
        found = varied.fit_settings(DATA, splits, [{}, {name: value}])
        for s, expected in enumerate([settings, {**settings, name: value}]):
            state = method(**expected).fit(DATA, splits).stack_.state()
            for r in range(3):
                for key, t in state.items():
                    torch.testing.assert_close(found.stack.state()[key][3 * s + r], t[r], rtol=1e-5, atol=1e-6)
        assert not hasattr(varied, "stack_")

    def test_settings_of_folds(self):
        splits, training = ragged_splits(1), Training(epochs=2, batch_size=8)
        rates = {(0, 0): 1e-3, (0, 1): 1e-2, (0, 2): 3e-2}
        assign = {key: {"learning_rate": rate} for key, rate in rates.items()}
        found = fit_stack(network, DATA, splits, training=training, assign=assign)
        for r, (key, rate) in enumerate(rates.items()):
            other = Training(epochs=2, batch_size=8, learning_rate=rate)
            assert_same(
                found.stack.state(), r, fit_stack(network, DATA, only(splits, *key), training=other).stack.state(), 0
            )

    def test_wrong_ones_are_refused_before_training(self, tmp_path):
        arguments = {"data": DATA, "splits": ragged_splits(1), "checkpoint": tmp_path / "fit.pt"}
        with pytest.raises(ConfigError) as caught:
            fit_stack(network, hyper=[{"slope_prior": 1.0}, {"slope_prior_sd": 0.0, "lambda_g": np.nan}], **arguments)
        for told in (
            "3 problems",
            "Did you mean 'slope_prior_sd'?",
            "slope_prior_sd is 0.0; expected",
            "lambda_g is nan",
        ):
            assert told in str(caught.value)
        with pytest.raises(ConfigError, match="assign has no setting for seed 0, fold 1"):
            fit_stack(network, assign={(0, 0): {}, (0, 2): {}}, **arguments)
        with pytest.raises(ConfigError, match="both hyper and assign"):
            fit_stack(network, assign={}, hyper={"lambda_g": [1.0]}, **arguments)
        with pytest.raises(ConfigError, match="'slope_prior_sd' cannot differ"):
            fit_stack(lambda: MixedEffects(MLP(2), len(SIZES)), hyper={"slope_prior_sd": [0.1]}, **arguments)
        assert not list(tmp_path.iterdir())
