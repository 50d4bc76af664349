"""The autoencoder-classifier: its shape, and its tied weights through training, saving and loading."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from armed.data.clustered import ClusteredData
from armed.data.splits import Splits, make_splits
from armed.errors import ConfigError, DataError, LayerNotFoundError
from armed.layers.adversary import Adversary
from armed.layers.random_effects import RandomIntercept, RandomScaleBias, RandomSlopes
from armed.methods import ARMED, RandomizedZ
from armed.models import CNN, MLP, AutoencoderClassifier, MixedEffects
from armed.programs import ReconstructionProgram
from baselines.conventional import Conventional
from baselines.domain_adversarial import DomainAdversarial

NETWORK = {"filters": [4, 6, 8], "strided": 2, "latent": 5, "classifier": 6, "norm_momentum": 0.8}
TRAINING = {"epochs": 2, "batch_size": 16, "learning_rate": 0.01}
COMMON = {"study": "cells", "network": NETWORK, "training": TRAINING}
ADVERSARY = {"adversary_units": [8], "adversary_filters": [4, 4, 6]}
EFFECTS = {
    "slopes": "classifier.hidden",
    "scale_bias": True,
    "recogniser_units": [8],
    "recogniser_filters": [4, 4],
    "lambda_g": 0.1,
}
METHODS = {
    "conventional": (Conventional, {}),
    "domain_adversarial": (DomainAdversarial, ADVERSARY),
    "armed": (ARMED, {**EFFECTS, **ADVERSARY}),
    "armed_no_adversary": (ARMED, {**EFFECTS, "adversary_units": None, "lambda_g": 0.0}),
}


def cells() -> ClusteredData:
    """Bytes: a disc in four clusters of other brightness; its size tells the class."""
    rng = np.random.default_rng(0)
    codes, y = np.repeat(np.arange(4), 20), rng.integers(0, 2, 80)
    at = np.hypot(*np.meshgrid(np.arange(16) - 7.5, np.arange(16) - 7.5))
    X = (
        60
        + 20 * codes[:, None, None]
        + 60 * (at < np.where(y == 1, 6, 3)[:, None, None])
        + 10 * rng.random((80, 16, 16))
    )
    return ClusteredData(X.astype(np.uint8)[:, None], y, np.array(list("abcd"))[codes])


DATA = cells()
SPLITS = Splits(make_splits(DATA, [0], 4, "cells").folds[:2])
TEST = SPLITS.folds[0].test


@cache
def fitted(name: str):
    cls, own = METHODS[name]
    return cls(**COMMON, **own).fit(DATA, SPLITS)


@pytest.fixture(params=METHODS)
def name(request):
    return request.param


class TestNetwork:
    def test_shapes_at_the_papers_size(self):
        net = AutoencoderClassifier((1, 256, 256), filters=(4, 4, 4, 8, 8, 8))
        out = net.eval()(torch.zeros(1, 1, 256, 256))
        assert [tuple(t.shape) for t in out] == [(1, 1), (1, 56), (1, 1, 256, 256)]
        assert out.image.min() >= 0 and out.image.max() <= 1

    def test_the_decoder_mirrors_the_encoder(self):
        net = AutoencoderClassifier((1, 16, 16), filters=(4, 6, 8), strided=2, latent=5, classifier=6)
        encoder = [block.conv for block in net.encoder]
        assert [block.conv.weight is conv.weight for block, conv in zip(net.decoder, encoder[::-1], strict=True)] == [
            True
        ] * 3
        tied = {id(conv.weight) for conv in encoder}
        assert sum(id(p) in tied for p in net.parameters()) == 3, "each tied weight is one parameter"
        assert net.hidden_names == ["encoder.0", "encoder.1", "encoder.2"]
        assert net.decoder_convolutions == ["decoder.0.conv", "decoder.1.conv", "decoder.2.conv"]

    def test_all_that_cannot_be_at_once(self):
        with pytest.raises(ConfigError) as told:
            AutoencoderClassifier((1, 18, 16), filters=(4, 8), strided=2, latent=0, norm_momentum=1.0)
        for part in ("18 x 16 pixels", "nearest size that works is 16 x 16", "latent is 0", "norm_momentum is 1.0"):
            assert part in str(told.value)

    @pytest.mark.parametrize("change", [{"filters": []}, {"strided": 4}, {"strided": -1}, {"classifier": 2.5}])
    def test_a_wrong_setting_is_named(self, change):
        with pytest.raises(ConfigError, match=next(iter(change))):
            AutoencoderClassifier((1, 16, 16), **{"filters": [4, 6, 8], "strided": 2} | change)


class TestTraining:
    def test_tied_weights_stay_so(self, name, tmp_path):
        method = fitted(name)
        method.save(tmp_path / "fit")
        start = method.build((1, 16, 16), 4, 1)
        for each in (method, type(method).load(tmp_path / "fit")):
            module = each.stack_.replica(0)
            net = module.net
            for block, conv in zip(net.decoder, reversed([b.conv for b in net.encoder]), strict=True):
                assert block.conv.weight is conv.weight
            assert not torch.equal(net.encoder[1].conv.weight, start.net.encoder[1].conv.weight)
        state = method.stack_.state_views()
        assert not [key for key in state if key.startswith("net.decoder") and key.endswith("conv.weight")]

    def test_loaded_is_what_was_saved(self, name, tmp_path):
        method = fitted(name)
        method.save(tmp_path / "fit")
        rows = {(0, 0): TEST}
        ours, theirs = (m.reconstruct(DATA, rows)[0, 0] for m in (method, type(method).load(tmp_path / "fit")))
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_a_seed_decides_everything(self, name):
        cls, own = METHODS[name]
        with torch.random.fork_rng():
            torch.manual_seed(99)
            again = cls(**COMMON, **own).fit(DATA, SPLITS)
        for key, value in fitted(name).stack_.state().items():
            torch.testing.assert_close(again.stack_.state()[key], value, rtol=0, atol=0)

    def test_images_are_learned(self):
        """Far better than the mean image after some epochs, and the label is read off the codes."""
        method = Conventional(**COMMON | {"training": {**TRAINING, "epochs": 25}}).fit(DATA, Splits(SPLITS.folds[:1]))
        made = method.reconstruct(DATA, {(0, 0): TEST})[0, 0]
        own = DATA.X[TEST] / 255
        mean_image = DATA.X[SPLITS.folds[0].train].mean(0) / 255
        assert ((made.fixed - own) ** 2).mean() < 0.3 * ((mean_image - own) ** 2).mean()
        predicted = method.predict(DATA, {(0, 0): TEST}).mixed > 0
        assert (predicted == DATA.y[TEST]).mean() > 0.8

    def test_running_statistics_are_those_of_the_kept_weights(self, name):
        """In evaluation mode the training images are normalised as a pass over all of them in training mode does it."""
        method = fitted(name)
        module = method.stack_.replica(0)
        rows = SPLITS.folds[0].train
        X = torch.from_numpy(DATA.X[rows] / 255).float()
        block = module.net.encoder[0]
        with torch.no_grad():
            found = block.conv(X)
        expected = found.mean((0, 2, 3))
        spread = found.std((0, 2, 3))
        # Batches overlap where the last is filled up, so not to the last digit.
        assert ((block.norm.running_mean - expected).abs() < 0.05 * spread + 1e-6).all()
        torch.testing.assert_close(block.norm.running_var, found.var((0, 2, 3)), rtol=0.1, atol=1e-6)
        assert block.norm.momentum == pytest.approx(0.2)

    def test_the_recogniser_is_trained_with_the_network(self):
        method = fitted("armed")
        assert isinstance(method.program(), ReconstructionProgram)
        assert method.program().recognition_weight == 0.01 and fitted("conventional").weights_of_losses() == {
            "label_weight": 0.1
        }
        start = method.build((1, 16, 16), 4, 1).recogniser.output.weight
        assert "recogniser.output.weight" in method.stack_.main.views
        assert not torch.equal(method.stack_.state()["recogniser.output.weight"][0], start)

    def test_its_loss_reaches_the_decoder(self):
        torch.manual_seed(0)
        model = fitted("armed").build((1, 16, 16), 4, 1).train()
        out = model(torch.rand(6, 1, 16, 16), torch.tensor([0, 1, 2, 3, 0, 1]))
        out.reconstruction.cluster_logits.square().sum().backward()
        assert model.effects[-1].loc.grad.abs().sum() > 0 and model.net.decoder[0].conv.weight.grad.abs().sum() > 0
        assert model.eval()(torch.rand(2, 1, 16, 16)).reconstruction.cluster_logits is None


class TestEffects:
    def test_the_population_is_the_fixed_effects_exactly(self, name):
        made = fitted(name).reconstruct_as(DATA, (0, 0), TEST, np.full(len(TEST), -1))
        np.testing.assert_array_equal(made.fixed, made.mixed)
        soft = fitted(name).reconstruct_as(DATA, (0, 0), TEST, np.zeros((len(TEST), 4), np.float32))
        np.testing.assert_array_equal(soft.fixed, soft.mixed)

    def test_clusters_change_the_image_and_not_the_code(self):
        method = fitted("armed_no_adversary")
        a, b = (method.reconstruct_as(DATA, (0, 0), TEST, np.full(len(TEST), c)) for c in (0, 3))
        np.testing.assert_array_equal(a.latent, b.latent)
        np.testing.assert_array_equal(a.fixed, b.fixed)
        assert np.abs(a.mixed - b.mixed).max() > 1e-3

    def test_labels_do_not_need_images(self, name):
        """Predictions are those of the whole pass, although no image is made for them."""
        module = fitted(name).stack_.replica(0)
        X, ids = torch.from_numpy(DATA.X[TEST] / 255).float(), torch.from_numpy(DATA.codes(fitted(name).levels_)[TEST])
        whole, labels = module(X, ids), module(X, ids, images=False)
        assert labels.reconstruction.mixed is None and whole.reconstruction.mixed is not None
        assert torch.equal(labels.reconstruction.latent, whole.reconstruction.latent)
        for field in ("fixed", "mixed", "cluster_logits"):
            ours, theirs = getattr(whole, field), getattr(labels, field)
            assert ours is theirs is None or torch.equal(ours, theirs)

    def test_codes_alone(self, name):
        rows = {(0, 0): TEST}
        ours, theirs = fitted(name).latents(DATA, rows)[0, 0], fitted(name).reconstruct(DATA, rows)[0, 0].latent
        np.testing.assert_array_equal(ours, theirs)

    def test_known_clusters_are_used(self):
        method, rows = fitted("armed"), {(0, 0): TEST}
        codes = DATA.codes(method.levels_)[TEST]
        np.testing.assert_array_equal(
            method.reconstruct(DATA, rows)[0, 0].mixed, method.reconstruct_as(DATA, (0, 0), TEST, codes).mixed
        )

    def test_randomised_z(self, tmp_path):
        method, rows = fitted("armed"), {(0, 0): TEST}
        method.save(tmp_path / "fit")
        randomised = RandomizedZ.load(tmp_path / "fit").reconstruct(DATA, rows)[0, 0]
        known = method.reconstruct(DATA, rows)[0, 0]
        np.testing.assert_array_equal(randomised.fixed, known.fixed)
        assert np.abs(randomised.mixed - known.mixed).max() > 1e-3

    def test_table_of_random_effects(self):
        table = fitted("armed").random_effects_
        assert set(table["effect"]) == {"intercept", "slope", "scale", "bias"}
        n_filters = 6 + 4 + 1
        for effect in ("scale", "bias"):
            own = table[table["effect"] == effect]
            assert len(own) == 2 * 4 * n_filters and own["feature"].nunique() == n_filters
            assert own["feature"].str.startswith("decoder.").all() and (own["sd"] > 0).all()

    def test_networks_without_images_say_so(self):
        dense = Conventional(study="x", network={"hidden": [4]}, training={"epochs": 1})
        table = ClusteredData(np.random.default_rng(0).random((40, 3)), DATA.y[:40], DATA.clusters[:40])
        dense.fit(table, make_splits(table, [0], 2, "x"))
        with pytest.raises(ConfigError, match="makes no images"):
            dense.reconstruct(table, {(0, 0): np.arange(3)})
        with pytest.raises(ConfigError, match="has no decoder"):
            ARMED(study="x", network={"hidden": [4]}, scale_bias=True).build((3,), 2, 1)

    def test_samples_of_another_size_are_refused(self):
        other = ClusteredData(DATA.X[:, :, :8, :8], DATA.y, DATA.clusters)
        with pytest.raises(DataError, match="shape"):
            fitted("armed").reconstruct(other, {(0, 0): TEST})


class TestAnyNetwork:
    """Scales and biases on convolutions of networks that are no autoencoders."""

    @staticmethod
    def wrapped(*effects, **more) -> MixedEffects:
        torch.manual_seed(0)
        net = CNN((1, 12, 12), filters=(4, 6, 6), dense=8, norm_momentum=0.8)
        return MixedEffects(net, 3, effects, input_shape=(1, 12, 12), **more).eval()

    def test_by_name(self):
        model = self.wrapped(
            RandomScaleBias("hidden.1.conv", init_scale=0.5), RandomSlopes("hidden.3"), RandomIntercept()
        )
        X = torch.rand(6, 1, 12, 12)
        out = model(X, torch.tensor([0, 1, 2, -1, 0, 1]))
        assert torch.equal(out.mixed[3], out.fixed[3]) and torch.equal(out.fixed, model.net(X))
        assert (out.mixed[[0, 1, 2]] != out.fixed[[0, 1, 2]]).all()
        torch.testing.assert_close(out.mixed, out.fixed + out.random)
        assert torch.equal(model(X).mixed, out.fixed)

    def test_a_convolution_by_hand(self):
        """One layer, known effects: what comes out is the formula's."""
        net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(2 * 25, 1))
        model = MixedEffects(net, 2, [RandomScaleBias("0")], input_shape=(1, 5, 5)).eval()
        with torch.no_grad():
            model.effects[0].loc.copy_(torch.tensor([[[0.5, 1.0], [0.0, -1.0]], [[0.0, 0.0], [0.0, 0.0]]]))
        X = torch.rand(2, 1, 5, 5)
        with torch.no_grad():
            h = net[0](X)
            mean, sd = h.mean((2, 3), keepdim=True), (h.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
            scale, bias = torch.tensor([0.5, 0.0]).view(1, 2, 1, 1), torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
            expected = net[2](net[1](h + scale * (h - mean) + bias * sd))
            out = model(X, torch.tensor([0, 1]))
        torch.testing.assert_close(out.mixed[0], expected[0], rtol=1e-4, atol=1e-5)
        assert torch.equal(out.mixed[1], out.fixed[1])

    def test_a_soft_z_blends(self):
        model = self.wrapped(RandomScaleBias("hidden.0.conv", init_scale=0.5))
        X = torch.rand(2, 1, 12, 12)
        one, soft = model(X, torch.tensor([1, 1])), model(X, torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]]))
        torch.testing.assert_close(one.mixed[0], soft.mixed[0])
        assert not torch.equal(one.mixed[1], soft.mixed[1])

    def test_what_cannot_be_named_or_scaled(self):
        with pytest.raises(LayerNotFoundError, match=r"no layer 'hiden.1.conv'.*hidden.1.conv"):
            self.wrapped(RandomScaleBias("hiden.1.conv"))
        with pytest.raises(LayerNotFoundError, match="expect maps"):
            self.wrapped(RandomScaleBias("hidden.3"))

    def test_a_recogniser_needs_images(self):
        with pytest.raises(ConfigError, match="puts out no images"):
            MixedEffects(MLP(2), 2, recogniser=Adversary("image", (4,), (4,)))


def test_strided_adversaries_read_every_map():
    """Maps of one size, of half, and stages behind the last; gradients reach each."""
    from armed.layers.adversary import ConvAdversary

    adversary = ConvAdversary({"a": (2, 8, 8), "b": (3, 8, 8), "c": (4, 4, 4)}, (4, 4, 4, 5), (6,), 3, strided=True)
    maps = [torch.rand(2, *shape, requires_grad=True) for shape in ((2, 8, 8), (3, 8, 8), (4, 4, 4))]
    adversary(tuple(maps)).square().sum().backward()
    assert all(m.grad.abs().sum() > 0 for m in maps)
    assert [stage[0].stride[0] for stage in adversary.stages] == [1, 2, 2, 2]
    assert adversary.hidden[0][0].in_features == 5  # one pixel is left
