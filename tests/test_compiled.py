"""The compiled engine gives what the eager one gives, up to rounding; when it is chosen, and what it refuses."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest
import torch
from tiny_training import DATA, SIZES, assert_same, network, normalised, ragged_splits
from torch import nn

import armed
from armed import compiled, engines, registry
from armed.data.clustered import ClusteredData
from armed.errors import ConfigError, UnsupportedLayerError
from armed.methods import ARMED
from armed.models import MixedEffects
from armed.training import Training, fit_stack

TWENTY_STEPS = Training(epochs=2, batch_size=5, learning_rate=0.01)  # of the largest fold; the others wait
METHODS = {
    **{
        m: {}
        for m in registry.models_for("spirals_radius")
        if registry.model(m).engine == "stack" and not registry.model(m).weights_from
    },
    "armed_no_adversary": {"adversary_units": None, "lambda_g": 0.0},
}


def regularised() -> MixedEffects:
    net = nn.Sequential(nn.Linear(2, 6), nn.LayerNorm(6), nn.GELU(), nn.Dropout(0.4), nn.Linear(6, 1))
    effects = [armed.RandomSlopes("3"), armed.RandomIntercept()]
    return MixedEffects(net, len(SIZES), effects, armed.Adversary(["0", "3"], (3,)))


class Residual(nn.Module):
    """A network with a forward pass of its own, that uses a layer twice and looks clusters of features up."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.first, self.last = nn.Linear(2, 4), nn.Linear(4, 1)

    def forward(self, x):
        h = self.first(x)
        h = h + torch.tanh(self.inner(h))
        return self.last(h + torch.softmax(self.inner(h), -1)).squeeze(-1)


def residual() -> MixedEffects:
    return MixedEffects(Residual(), len(SIZES), [armed.RandomSlopes("inner")], input_shape=(2,))


def close(one: dict, other: dict, tolerance: float = 1e-5) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_twenty_steps_of_each_method(name):
    method = registry.load(registry.model(name).method)
    settings = {"training": vars(TWENTY_STEPS), "stack_size": 8, **METHODS[name]}
    eager, fast = (method(engine=e, **settings).fit(DATA, ragged_splits()) for e in ("eager", "compiled"))
    close(eager.stack_.state(), fast.stack_.state())
    np.testing.assert_allclose(eager.history_["loss"], fast.history_["loss"], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_class_weights(name):
    """Of each replica's own fold, in steps that were compiled for other weights too."""
    method = registry.load(registry.model(name).method)
    n_classes = 3 if "multiclass" in method.labels else 2
    data = ClusteredData(DATA.X, np.arange(len(DATA)) % 5 % n_classes, DATA.clusters)
    settings = {"label": "multiclass" if n_classes == 3 else "binary", "stack_size": 8, **METHODS[name]}
    found = {}
    for weights in ("balanced", (1.0,) * n_classes):
        settings["training"] = vars(TWENTY_STEPS) | {"class_weights": weights}
        eager, fast = (method(engine=e, **settings).fit(data, ragged_splits()) for e in ("eager", "compiled"))
        close(eager.stack_.state(), fast.stack_.state())
        found[weights] = fast.history_["loss"].to_numpy()
    assert (found["balanced"] != found[(1.0,) * n_classes]).all()


@pytest.mark.slow
@pytest.mark.parametrize("factory", [normalised, regularised, residual])
def test_any_dense_network(factory):
    objective = armed.Objective(lambda_g=0.3)
    eager, fast = (
        fit_stack(factory, DATA, ragged_splits(), objective=objective, training=TWENTY_STEPS, stack_size=8, engine=e)
        for e in ("eager", "compiled")
    )
    states = [fit.stack.state() for fit in (eager, fast)]
    if factory is normalised:  # a bias before a normalisation has no gradient but rounding, which Adam scales up
        assert all(state.pop("net.0.bias").isfinite().all() for state in states)
        one, other = (state.pop("net.1.running_mean") for state in states)  # it follows the bias
        assert one.abs().max() > 0.1 and (one - other).abs().max() < 0.01
    close(*states)


@pytest.mark.slow
def test_hyperparameters_stopping_and_divergence_are_each_replicas_own():
    training = Training(epochs=8, batch_size=8, learning_rate=0.02, patience=2)
    hyper = [{"lambda_g": 0.0}, {"slope_prior_sd": 0.05, "lambda_K": 0.1}, {"learning_rate": 1e30}]
    arguments = {"training": training, "hyper": hyper, "objective": armed.Objective(lambda_g=0.3)}
    splits = ragged_splits(1, validation=True)
    eager, fast = (fit_stack(network, DATA, splits, engine=e, stack_size=9, **arguments) for e in ("eager", "compiled"))
    assert set(fast.notes) == set(eager.notes) == {(0, f, 2) for f in range(3)}
    assert fast.history.drop(columns=["loss", "validation"]).equals(eager.history.drop(columns=["loss", "validation"]))
    for name, value in fast.stack.state().items():
        close({name: value[:6]}, {name: eager.stack.state()[name][:6]}, 1e-4)
        assert not value.is_floating_point() or value[6:].isnan().all()


@pytest.mark.slow
def test_a_replica_in_a_compiled_stack_is_the_replica_alone():
    splits = ragged_splits(3)
    settings = {"training": TWENTY_STEPS, "engine": "compiled"}
    together = fit_stack(network, DATA, splits, stack_size=5, **settings)  # in two stacks, the last one filled up
    one = armed.data.splits.Splits(splits.folds[6:7])
    alone = fit_stack(network, DATA, one, stack_size=5, **settings)
    for name, value in alone.stack.state().items():
        close({name: value[0]}, {name: together.stack.state()[name][6]})


@pytest.mark.slow
def test_one_model():
    torch.manual_seed(0)
    model = network()
    eager, fast = (armed.fit(model, DATA, training=TWENTY_STEPS, engine=e).model for e in ("eager", "compiled"))
    close(eager.state_dict(), fast.state_dict())
    assert not torch.equal(fast.net.output.weight, model.net.output.weight)


@pytest.mark.slow
def test_whole_trainings_have_the_same_distribution_of_accuracy():
    """Single replicas part ways after a thousand steps; their accuracies do not, on the whole."""
    from armed.data import spirals
    from armed.data.splits import make_splits

    block = {"dataset_seed": 48, "resampled": False, "n_clusters": 5, "n_per_cluster": 400, "n_unseen_clusters": 1}
    block |= {"n_per_unseen_cluster": 10, "radius_mean": 1.0, "radius_sd": 0.3, "noise": 0.1, "degrees": 360}
    data = spirals.simulate({**block, "n_probes": 0, "ratio_sd": 0.0, "probe_sd": 0.2}, "test", [0]).part("seen")
    splits = make_splits(data, range(8), 8, "test")
    held = {(f.seed, f.fold): f.test for f in splits}
    accuracies = []
    for engine in ("eager", "compiled"):
        settings = {"training": {"epochs": 20, "learning_rate": 3e-3}, "stack_size": 64, "engine": engine}
        p = ARMED(study="test", **settings).fit(data, splits).predict(data, held)
        correct = (p.mixed > 0) == data.y[p.row]
        key = p.seed * 8 + p.fold
        accuracies.append(np.bincount(key, correct) / np.bincount(key))
    eager, fast = accuracies
    difference = fast - eager
    assert abs(difference.mean()) < 3 * difference.std(ddof=1) / 8 + 1e-3
    assert abs(eager.std() - fast.std()) < 0.02 and 0.55 < eager.mean() < 0.99


class TestChoice:
    def test_auto_compiles_long_trainings_of_small_networks(self, monkeypatch):
        monkeypatch.setattr(compiled, "compiler", lambda: "g++")
        small, large = network(), nn.Linear(1000, 200)
        assert engines.compiles("auto", "cpu", small, 6000) and not engines.compiles("auto", "cpu", small, 1000)
        assert engines.compiles("auto", "cpu", small, 1000, n_replicas=1000)  # a step of many replicas takes longer
        assert not engines.compiles("auto", "cpu", large, 6000)
        assert engines.compiles("compiled", "cpu", large, 1) and not engines.compiles("eager", "cpu", small, 10**9)

    def test_steps_are_counted_as_they_come_one_after_another(self, monkeypatch):
        counted = []
        monkeypatch.setattr("armed.training.compiles", lambda *a, **k: counted.append(a[3]) or False)
        splits, training = ragged_splits(), Training(epochs=3, batch_size=8)  # six folds of at most 52 rows, 7 batches
        assign = {(f.seed, f.fold): {"learning_rate": 0.01} for f in splits}
        for varied in ({}, {"assign": assign}, {"hyper": {"lambda_g": [0.1, 0.2]}}):
            fit_stack(network, DATA, splits, training=training, stack_size=4, **varied)
        fit_stack(network, DATA, splits, training=training, stack_size=4, steps_elsewhere=100)
        armed.fit(network(), DATA, training=training)
        assert counted == [2 * 21, 2 * 21, 3 * 21, 2 * 21 + 100, 3 * 12]

    def test_without_a_compiler(self, monkeypatch, caplog):
        monkeypatch.setattr(compiled, "compiler", lambda: None)
        with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler.*engine='eager'"):
            fit_stack(network, DATA, ragged_splits(1), engine="compiled")
        with caplog.at_level(logging.WARNING):
            assert not engines.compiles("auto", "cpu", network(), 10**9)
        assert "No C++ compiler was found" in caplog.text

    def test_a_misspelt_engine(self):
        with pytest.raises(ConfigError, match=r"engine is 'complied'.*Did you mean 'compiled'"):
            fit_stack(network, DATA, ragged_splits(1), engine="complied")

    def test_the_compiler_of_this_machine_is_found(self):
        assert compiled.compiler() == shutil.which("g++")


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x):
        out = self.layer(x)
        return out if self.training and out.sum() > 0 else -out


def branching() -> MixedEffects:
    return MixedEffects(Branching(), len(SIZES), input_shape=(2,))


class TestWhatCannotBeCompiled:
    def test_is_refused(self):
        with pytest.raises(UnsupportedLayerError, match=r"cannot be compiled .*Take engine='eager'"):
            fit_stack(branching, DATA, ragged_splits(1), training=TWENTY_STEPS, engine="compiled")

    def test_is_trained_step_by_step_where_the_choice_is_ours(self, monkeypatch, caplog):
        def refuse(*_):
            raise RuntimeError("no such thing\nand more")

        monkeypatch.setattr(compiled, "_compile", refuse)
        monkeypatch.setattr(engines, "WORTH_COMPILING", 0)
        with caplog.at_level(logging.WARNING):
            fit = fit_stack(network, DATA, ragged_splits(1), training=TWENTY_STEPS)
        assert "cannot be compiled (no such thing): training step by step" in caplog.text
        eager = fit_stack(network, DATA, ragged_splits(1), training=TWENTY_STEPS, engine="eager")
        for r in range(3):
            close({n: v[r] for n, v in fit.stack.state().items()}, {n: v[r] for n, v in eager.stack.state().items()})


class TestStructure:
    """A step is found again, without tracing, only for what gives the same graph."""

    @staticmethod
    def of(factory, hyper: dict | None = None) -> str | None:
        from armed.epochs import draw_epoch
        from armed.optimisers import Adam
        from armed.pool import Pool
        from armed.programs import Program, State
        from armed.stack import Stack

        stack = Stack.build(factory, [0, 1])
        rate = torch.full((2,), 0.01)
        adam = [Adam(p, rate) if p else None for p in (stack.main, stack.adversary)]
        pool, codes = Pool.of(DATA.X, DATA.y, DATA.codes(DATA.levels)), DATA.codes(DATA.levels)
        state = State(stack, *adam, hyper or {}, torch.ones(2, dtype=torch.bool), pool, [np.arange(40)] * 2, [0, 1])
        program = Program(armed.Objective())
        return compiled._structure(state, program, draw_epoch(state, program, 8, codes, 0))

    def test_class_weights_are_data(self):
        one, other = (self.of(network, {"class_weights": torch.full((2, 2), w)}) for w in (0.3, 0.7))
        assert one == other is not None

    def test_other_weights_have_the_same(self):
        assert self.of(network) == self.of(network) is not None

    def test_classes_of_others_have_none(self):
        assert self.of(residual) is None

    @pytest.mark.parametrize(
        ("factory", "settings"),
        [
            (lambda: network((4, 4, 5)), {}),
            (lambda: network(slopes="hidden.1"), {}),
            (normalised, {}),
            (network, {"hyper": {"class_weights": torch.ones(2, 3)}}),
        ],
    )
    def test_others_differ(self, factory, settings):
        assert self.of(network, hyper={"class_weights": torch.ones(2, 2)}) != self.of(factory, **settings)
        assert self.of(network) != self.of(factory, **settings)

    def test_a_setting_that_its_text_does_not_show(self):
        def factory(slope: float) -> MixedEffects:
            net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
            net.slope = slope
            return MixedEffects(net, len(SIZES))

        assert self.of(lambda: factory(0.1)) == self.of(lambda: factory(0.1)) is not None
        assert self.of(lambda: factory(0.1)) != self.of(lambda: factory(0.2))
        assert self.of(lambda: factory(object())) is None


def test_stacks_of_replicas_leave_no_trace_in_what_was_given():
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    armed.fit(model, DATA, training=Training(epochs=1))
    for r in range(1):
        assert_same({k: v[None] for k, v in before.items()}, r, {k: v[None] for k, v in model.state_dict().items()}, r)
