"""Networks of convolutions: trained one at a time, on bytes, to the results of a plain loop."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from armed.convolutional import as_inputs, as_pool, channels_last, keep_memory, one_by_one, seeded
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.engines import compiles
from armed.errors import ConfigError
from armed.layers.random_effects import RandomIntercept, RandomSlopes
from armed.losses import Objective
from armed.models import MixedEffects
from armed.optimisers import Adam, Nadam
from armed.parameters import Parameters
from armed.training import Training, fit_stack


class SmallNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.PReLU(4), nn.MaxPool2d(2), nn.Dropout(0.25)
        )
        self.dense = nn.Sequential(nn.Flatten(), nn.Linear(4 * 16, 6), nn.ReLU())
        self.output = nn.Linear(6, 1)

    def forward(self, X):
        return self.output(self.dense(self.features(X)))


def factory():
    return MixedEffects(SmallNet(), 3, [RandomSlopes(on="dense"), RandomIntercept()], input_shape=(1, 8, 8))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(3)
    y = np.tile([0, 1], 30)
    X = rng.integers(0, 120, (60, 1, 8, 8)) + 100 * (y[:, None, None, None] * (np.arange(8) < 4))
    return ClusteredData(X.astype(np.uint8), y, np.repeat(["a", "b", "c"], 20))


def folds(n=2):
    rows = np.random.default_rng(0).permutation(60)
    return Splits(tuple(Fold(0, k, np.roll(rows, 7 * k)[:40], np.roll(rows, 7 * k)[40:50], rows[:0]) for k in range(n)))


def trained(images, n=2, epochs=3, checkpoint=None, engine="auto", **settings):
    training = Training(epochs=epochs, batch_size=16, learning_rate=3e-3, optimiser="nadam", **settings)
    objective = Objective(lambda_F=0.5, lambda_K=1e-3)
    return fit_stack(
        factory, images, folds(n), objective=objective, training=training, checkpoint=checkpoint, engine=engine
    )


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, t in first.items():
        assert torch.equal(t, second[name]), name


class TestTraining:
    def test_a_replica_of_many_is_the_replica_alone(self, images):
        both, alone = trained(images, 2), trained(images, 1)
        assert_same(alone.stack.state(), {name: t[:1] for name, t in both.stack.state().items()})

    def test_bytes_train_as_the_numbers_they_stand_for(self, images):
        numbers = ClusteredData(images.X.astype(np.float32) / 255, images.y, images.clusters)
        assert_same(trained(images).stack.state(), trained(numbers).stack.state())

    def test_training_lowers_the_loss_and_tells_classes_apart(self, images):
        fit = trained(images, 1, epochs=20, patience=20, monitor="auroc")
        assert fit.history["loss"].iloc[-1] < 0.7 * fit.history["loss"].iloc[0]
        assert fit.history["validation"].max() > 0.9

    def test_global_generator_is_left_alone(self, images):
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        trained(images, 1, epochs=1)
        assert torch.equal(torch.rand(3), expected)

    def test_dropout_draws_anew_in_each_epoch_and_replica(self, images):
        histories = [trained(images, 2, epochs=2).history["loss"].to_numpy() for _ in range(2)]
        np.testing.assert_array_equal(*histories)
        assert len(set(histories[0])) == 4

    @pytest.mark.parametrize("killed_after", [0, 1])
    def test_resumed_training_ends_as_an_uninterrupted_one(self, images, tmp_path, killed_after, monkeypatch):
        whole = trained(images, 1, patience=3).stack.state()

        def save(path, setup, state, stopping, history, epoch, _save=None):
            original(path, setup, state, stopping, history, epoch)
            if epoch == killed_after:
                raise KeyboardInterrupt

        from armed import loop

        original = loop._save_checkpoint
        monkeypatch.setattr(loop, "_save_checkpoint", save)
        with pytest.raises(KeyboardInterrupt):
            trained(images, 1, checkpoint=tmp_path / "point", patience=3)
        monkeypatch.undo()
        assert list(tmp_path.iterdir())
        assert_same(whole, trained(images, 1, checkpoint=tmp_path / "point", patience=3).stack.state())
        assert not list(tmp_path.iterdir())

    def test_mixed_precision_keeps_float32_weights_and_learns_the_same(self, images):
        single, mixed = trained(images, 1, epochs=10), trained(images, 1, epochs=10, precision="mixed")
        assert all(t.dtype in (torch.float32, torch.int64) for t in mixed.stack.state().values())
        losses = [f.history["loss"].iloc[-1] for f in (single, mixed)]
        assert losses[0] != losses[1]
        assert losses[1] == pytest.approx(losses[0], abs=0.05)

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
    def test_compiled_calls_give_the_same(self, images):
        plain, compiled = trained(images, 1), trained(images, 1, engine="compiled")
        # Not the weights: what batch normalisation takes away has gradients of rounding only, whose sign Nadam follows.
        np.testing.assert_allclose(compiled.history["loss"], plain.history["loss"], rtol=1e-5)
        assert all(m._compiled_call_impl is None for m in compiled.stack.replica(0).modules())

    def test_running_statistics_are_updated_once_a_step(self, images):
        state = trained(images, 1, epochs=3).stack.state()
        assert state["net.features.1.num_batches_tracked"].item() == 3 * 3  # 40 rows in batches of 16

    def test_penalty_is_the_factor_times_the_sum_of_absolute_weights(self, images):
        stack = trained(images, 1, epochs=1).stack
        stack.module.net.output.l1 = 0.01
        from armed.stack import Stack

        again = Stack(stack.module, stack.state())
        params = {name: t[0] for name, t in again.main.detached().items()}
        assert again.penalty(params).item() == pytest.approx(0.01 * params["net.output.weight"].abs().sum().item())
        assert stack.penalty(params) == 0

    def test_evaluation_in_pieces_equals_the_module_itself(self, images, monkeypatch):
        from armed import stack as stacks

        fit = trained(images, 2, epochs=1)
        monkeypatch.setattr(stacks, "EVALUATED_AT_ONCE", 7)
        rows = [np.arange(60), np.arange(5)]
        out = fit.stack.evaluate(stacks.predictions, as_pool(images.X), rows, [np.zeros(len(r), int) for r in rows])
        for r, each in enumerate(out):
            with torch.no_grad():
                own = fit.stack.replica(r)(
                    as_inputs(as_pool(images.X))[rows[r]], torch.zeros(len(rows[r]), dtype=torch.long)
                )
            np.testing.assert_allclose(each["mixed"], own.mixed, atol=1e-5)


class TestOptimiser:
    def of(self, kind, values, **how):
        parameters = Parameters.of({"w": values.clone().unsqueeze(0)})
        return parameters, kind(parameters, torch.tensor([0.01]), **how)

    def test_nadam_is_torchs(self):
        torch.manual_seed(0)
        values, gradients = torch.randn(7), torch.randn(50, 7)
        parameters, ours = self.of(Nadam, values)
        theirs = nn.Parameter(values.clone())
        optimiser = torch.optim.NAdam([theirs], lr=0.01, eps=1e-7)
        for g in gradients:
            ours.step(g)
            theirs.grad = g.clone()
            optimiser.step()
        torch.testing.assert_close(parameters.flat, theirs.detach(), atol=1e-6, rtol=1e-5)

    def test_nadam_of_stacked_replicas_is_that_of_each(self):
        torch.manual_seed(1)
        stacked = torch.randn(3, 5)
        parameters = Parameters.of({"w": stacked})
        optimiser = Nadam(parameters, torch.tensor([0.01, 0.02, 0.03]))
        gradients = torch.randn(9, 3, 5)
        active = torch.tensor([True, True, False])
        for t, g in enumerate(gradients):
            optimiser.step(g.flatten(), torch.ones(3, dtype=torch.bool) if t % 2 else active)
        for r in range(3):
            one = Parameters.of({"w": stacked[r : r + 1]})
            alone = Nadam(one, torch.tensor([0.01 * (r + 1)]))
            for t, g in enumerate(gradients):
                if r < 2 or t % 2:
                    alone.step(g[r])
            torch.testing.assert_close(parameters.views["w"][r].detach(), one.flat)

    def test_one_replica_is_updated_without_an_index(self):
        parameters, adam = self.of(Adam, torch.ones(4))
        adam.step(torch.ones(4))
        torch.testing.assert_close(parameters.flat, torch.full((4,), 0.99))
        assert parameters.by_replica(parameters.flat).shape == (1, 4)


def test_no_compiled_engine_for_nadam_of_dense_networks():
    net = nn.Linear(2, 1)
    assert not compiles("auto", "cpu", net, 10**9, optimiser="nadam")
    with pytest.raises(ConfigError, match="optimiser 'adam' only, but 'nadam'"):
        compiles("compiled", "cpu", net, 1, optimiser="nadam")


class TestHelpers:
    def test_one_by_one_is_vmap(self):
        x, w = torch.randn(3, 4), {"w": torch.randn(3, 4)}

        def function(x, p):
            return {"y": (x * p["w"]).sum()}

        expected = torch.func.vmap(function)(x, w)
        torch.testing.assert_close(one_by_one(function, (x, w)), expected)
        torch.testing.assert_close(one_by_one(function, (x[:1], {"w": w["w"][:1]}))["y"], expected["y"][:1])

    def test_one_alone_has_the_gradients_of_one_among_others(self):
        generator = torch.Generator().manual_seed(0)
        w, x = (torch.randn(2, 4, 3, 5, 5, generator=generator) for _ in range(2))
        found = []
        for n in (1, 2):
            own = w[:n].clone().requires_grad_()
            loss = one_by_one(lambda w, x: torch.nn.functional.conv2d(x, w).square().sum(), (own, x[:n]))
            found.append(torch.autograd.grad(loss.sum(), own)[0][0])
        assert torch.equal(*found)

    def test_channels_last_changes_the_layout_only(self):
        w = torch.randn(4, 3, 3, 3)
        found = channels_last({"w": w, "b": torch.zeros(4)})
        assert found["w"].is_contiguous(memory_format=torch.channels_last) and torch.equal(found["w"], w)

    def test_maps_of_a_network_on_one_channel_are_channels_last_from_the_first_on(self):
        layer, X = nn.Conv2d(1, 4, 3, padding=1), torch.rand(2, 1, 8, 8)
        weights = channels_last(dict(layer.named_parameters()))
        found = torch.func.functional_call(layer, weights, (X,))
        assert found.is_contiguous(memory_format=torch.channels_last) and not found.is_contiguous()
        torch.testing.assert_close(found, layer(X))
        gradient = torch.autograd.grad(found.sum(), layer.weight)[0]
        torch.testing.assert_close(gradient, torch.autograd.grad(layer(X).sum(), layer.weight)[0])

    def test_mapped_images_are_not_read_into_memory(self, tmp_path):
        path = tmp_path / "images.npy"
        np.save(path, np.arange(2 * 16, dtype=np.uint8).reshape(2, 1, 4, 4))
        mapped = np.load(path, mmap_mode="c")
        pool = as_pool(mapped)
        assert pool.dtype == torch.uint8 and pool.data_ptr() == mapped.ctypes.data
        assert as_inputs(pool)[1, 0, 3, 3] == pytest.approx(31 / 255)

    def test_seeded_restores_the_generator(self):
        before = copy.deepcopy(torch.get_rng_state())
        with seeded(3, torch.device("cpu")):
            first = torch.rand(2)
        assert torch.equal(before, torch.get_rng_state())
        with seeded(3, torch.device("cpu")):
            assert torch.equal(first, torch.rand(2))

    def test_keeping_memory_is_harmless(self):
        keep_memory()
        assert torch.ones(3_000_000).sum() == 3_000_000
