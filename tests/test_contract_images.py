"""The contract of the methods that take images: the study's network is convolutional, Z comes in where it can."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
import torch

from armed import registry
from armed.cluster_inference import ClusterInference
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits, make_splits
from armed.errors import ConfigError, DataError, UnseenClusterError
from armed.layers.adversary import ConvAdversary
from armed.methods import ARMED, RandomizedZ
from armed.models import CNN, MLP
from baselines.cluster_input import ClusterInput
from baselines.cluster_input_plus import ClusterInputPlus
from baselines.conventional import Conventional
from baselines.domain_adversarial import DomainAdversarial
from baselines.lmmnn import LMMNN
from baselines.menet import MeNet
from baselines.mldg import MLDG

NETWORK = {"filters": [4, 6, 6], "dense": 8, "norm_momentum": 0.8}
SETTINGS = {
    "study": "images",
    "network": NETWORK,
    "training": {"epochs": 2, "batch_size": 16, "learning_rate": 0.01},
    "engine": "eager",
}
ADVERSARY = {"adversary_units": [8], "adversary_filters": [4, 4, 6]}
METHODS = {
    "conventional": (Conventional, {}),
    "cluster_input": (ClusterInput, {}),
    "cluster_input_plus": (ClusterInputPlus, {}),
    "mldg": (MLDG, {}),
    "domain_adversarial": (DomainAdversarial, ADVERSARY),
    "menet": (MeNet, {"em_rounds": 2}),
    "lmmnn": (LMMNN, {}),
    "armed": (ARMED, {"slopes": "hidden.3", **ADVERSARY}),
    "armed_dense_adversary": (ARMED, {"slopes": "hidden.3", "adversary_units": [4]}),
}


def test_all_methods_for_images_are_here():
    listed = [registry.model(m) for m in registry.models_for("ad_diagnosis")]
    assert {registry.load(m.method) for m in listed} == {cls for cls, _ in METHODS.values()} | {RandomizedZ}


def simulated() -> ClusteredData:
    """Four clusters of ragged sizes and brightness, and e, which no fold has; the upper half tells the class."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(5), (26, 20, 20, 14, 8))
    y = rng.integers(0, 2, len(codes))
    X = 0.5 * rng.random((len(codes), 1, 12, 12)) + 0.1 * codes[:, None, None, None]
    X[y == 1, :, :6] += 0.2
    return ClusteredData(X.astype(np.float32), y, np.array(list("abcde"))[codes])


ALL = simulated()
SEEN, UNSEEN = np.flatnonzero(ALL.clusters != "e"), np.flatnonzero(ALL.clusters == "e")
SPLITS = make_splits(ALL.take(SEEN), [0], 2, "images")
FIRST = Splits(SPLITS.folds[:1])


def create(name: str):
    cls, own = METHODS[name]
    return cls(**SETTINGS, **own)


@cache
def fitted(name: str):
    return create(name).fit(ALL, SPLITS)


@cache
def z_predictor() -> ClusterInference:
    return ClusterInference(**SETTINGS).fit(ALL, SPLITS)


@pytest.fixture(params=METHODS)
def name(request):
    return request.param


def test_predictions(name):
    p = fitted(name).predict(ALL.take(SEEN))
    assert p.mixed.shape == p.fixed.shape == (2 * len(SEEN),)
    assert np.isfinite(p.mixed).all() and p.fixed.std() > 0
    assert np.array_equal(p.fixed, p.mixed) is not fitted(name).uses_clusters


def test_the_network_is_convolutional_and_its_dropout_given(name):
    module = fitted(name).stack_.module
    assert isinstance(module.net, CNN)
    assert module.n_dropout == 6 * 3 * 3  # after the second convolution


def test_a_seed_decides_everything(name):
    """Dropout and posterior draws too, whatever the global generator is at."""
    with torch.random.fork_rng():
        torch.manual_seed(99)
        again = create(name).fit(ALL, SPLITS).predict(ALL.take(SEEN))
    for field in ("fixed", "mixed"):
        np.testing.assert_array_equal(getattr(again, field), getattr(fitted(name).predict(ALL.take(SEEN)), field))


def test_batch_statistics_are_learned(name):
    buffers = fitted(name).stack_.buffers
    for i in range(3):
        assert (buffers[f"net.hidden.{i}.norm.num_batches_tracked"] > 0).all()
        assert (buffers[f"net.hidden.{i}.norm.running_mean"] != 0).any()


def test_unseen_clusters(name):
    method, rows = fitted(name), {(0, 0): UNSEEN}
    population = method.predict(ALL, rows, new_clusters="population")
    np.testing.assert_array_equal(population.mixed, population.fixed)
    if method.uses_clusters:
        with pytest.raises(UnseenClusterError):
            method.predict(ALL, rows)
        p = method.predict(ALL, rows, new_clusters="infer", cluster_inference=z_predictor())
        np.testing.assert_allclose(p.fixed, population.fixed, rtol=1e-5, atol=1e-6)
        assert (p.mixed != p.fixed).any()


def test_saved_models_predict_the_same(name, tmp_path):
    method = fitted(name)
    method.save(tmp_path / "run")
    loaded = type(method).load(tmp_path / "run")
    ours, theirs = (m.predict(ALL.take(SEEN)) for m in (loaded, method))
    np.testing.assert_array_equal(ours.mixed, theirs.mixed)
    assert json.dumps(loaded.settings) == json.dumps(method.settings)
    assert loaded.sample_shape_ == (1, 12, 12)


def test_random_effects_are_named_by_the_layer(name):
    table = fitted(name).random_effects_
    if name not in ("menet", "lmmnn", "armed", "armed_dense_adversary"):
        assert table is None
        return
    slopes = table[table["effect"] == "slope"]["feature"].unique().tolist()
    assert slopes == ([] if name == "lmmnn" else [f"hidden.3[{j}]" for j in range(8)])
    assert (table["effect"] == "intercept").sum() == 2 * 4
    assert np.isfinite(table["mean"]).all() and (table["sd"] > 0).all()


def test_single_pixels_have_no_importance(name):
    assert fitted(name).importance(ALL, {(0, 0): SEEN}) is None


def test_adversaries(name):
    method = fitted(name)
    predicted = method.adversary_predictions(ALL, {(0, 0): SEEN})
    if METHODS[name][1].get("adversary_units") is None:
        assert predicted is None
        return
    assert isinstance(method.stack_.module.adversary, ConvAdversary) is ("adversary_filters" in METHODS[name][1])
    assert predicted[0, 0].shape == (len(SEEN),) and set(predicted[0, 0]) <= set(range(4))


def test_randomised_z_takes_the_weights_of_armed(tmp_path):
    fitted("armed").save(tmp_path / "run")
    p = RandomizedZ.load(tmp_path / "run").predict(ALL.take(SEEN))
    own = fitted("armed").predict(ALL.take(SEEN))
    np.testing.assert_array_equal(p.fixed, own.fixed)
    assert (p.mixed != own.mixed).mean() > 0.5


def test_the_z_predictor_is_convolutional_and_finds_bright_clusters():
    settings = SETTINGS | {"training": {"epochs": 15, "batch_size": 16, "learning_rate": 0.02}}
    predictor = ClusterInference(**settings | {"network": NETWORK | {"dropout": 0}}).fit(ALL, FIRST)
    assert isinstance(predictor.stack_.module.net, CNN)
    test = SPLITS.folds[0].test
    Z = predictor.infer(ALL, {(0, 0): test}, predictor.levels_)[0, 0]
    np.testing.assert_allclose(Z.sum(1), 1, rtol=1e-5)
    assert (Z.argmax(1) == ALL.codes(predictor.levels_)[test]).mean() > 0.5  # of 4


def test_cluster_input_joins_z_to_the_output_layer():
    module = fitted("cluster_input").stack_.replica(0)
    X, Z = torch.from_numpy(ALL.X[:6]), torch.eye(4)[[0, 1, 2, 3, 0, 1]]
    assert module.net.output.in_features == 8 + 4
    expected = module.net.output(torch.cat([module.net.hidden(X), Z], 1))
    torch.testing.assert_close(module(X, torch.tensor([0, 1, 2, 3, 0, 1])).mixed, expected)


def test_the_kind_of_network_is_that_of_the_data():
    table = ClusteredData(ALL.X[:, 0, 0], ALL.y, ALL.clusters)
    assert isinstance(Conventional().build_net((3,), 1), MLP)
    assert isinstance(Conventional().build_net((1, 24, 24), 2), CNN)
    with pytest.raises(ConfigError, match=r"settings filters, dense, norm_momentum, and .* a table of shape \(12,\)"):
        Conventional(**SETTINGS).fit(table, FIRST)
    with pytest.raises(ConfigError, match=r"settings hidden, and .* images of shape \(1, 12, 12\)"):
        Conventional(**SETTINGS | {"network": {"hidden": [4]}}).fit(ALL, FIRST)
    with pytest.raises(ConfigError, match=r"ClusterInputPlus is for images.*For tables take ClusterInput"):
        ClusterInputPlus(**SETTINGS | {"network": {}}).fit(table, FIRST)


def test_images_of_another_size_are_refused():
    other = ClusteredData(ALL.X[..., :10], ALL.y, ALL.clusters)
    with pytest.raises(DataError, match=r"shape \(1, 12, 10\), but the method was fitted on .* \(1, 12, 12\)"):
        fitted("conventional").predict(other)


def test_the_e_step_of_menet_reads_the_network_as_it_predicts():
    """Its hidden outputs, from pieces of rows, are those of the network in evaluation mode; no statistics change."""
    from baselines.menet import EM, _hidden_of_images

    seen = []

    class Looking(EM):
        def _cells(self, state, part):
            before = {n: b.clone() for n, b in state.stack.buffers.items()}
            rows = self._blocks.rows[part]
            h, fixed = _hidden_of_images(state, part, rows)
            module = state.stack.replica(0)
            with torch.no_grad():
                X = torch.from_numpy(ALL.X)[rows[0].flatten()]
                seen.append((h[0], module.net.hidden(X), fixed[0], module(X, torch.full((len(X),), -1)).fixed))
            assert all(torch.equal(b, before[n]) for n, b in state.stack.buffers.items())
            return super()._cells(state, part)

    class Seen(MeNet):
        def program(self):
            return Looking(self.objective(), 2, 2, self.prior_sd, self.center)

    fold = SPLITS.folds[0]
    Seen(**SETTINGS).fit(ALL, Splits((Fold(0, 0, fold.train, fold.train[:0], fold.test),)))
    assert len(seen) == 2
    for h, expected, fixed, population in seen:
        torch.testing.assert_close(h, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(fixed, population, rtol=1e-4, atol=1e-5)
