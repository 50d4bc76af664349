"""A replica trained in a stack is the replica trained alone, bit for bit; what seeds and starting weights depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_training import DATA, assert_same, network, normalised, only, ragged_splits, weights

import armed
from armed import registry
from armed.data.splits import Fold, Splits
from armed.errors import ConfigError
from armed.programs import shuffled_batches
from armed.reproducibility import derive_seed
from armed.training import Training, fit, fit_stack

# All that train in stacks (models that take another's weights train as that one does).
TRAINED = [
    m
    for m in registry.models_for("spirals_radius")
    if registry.model(m).engine == "stack" and not registry.model(m).weights_from
]
STACK_MODELS = {
    "armed": ("armed.methods:ARMED", {}),
    "mldg": ("baselines.mldg:MLDG", {}),
    "mldg first order": ("baselines.mldg:MLDG", {"order": "first"}),
    "domain_adversarial": ("baselines.domain_adversarial:DomainAdversarial", {}),
    "cluster_input": ("baselines.cluster_input:ClusterInput", {}),
}


def alone_and_stacked(
    method, settings: dict, epochs: int, *, stack_size: int = 256, patience: int | None = None, **training: object
) -> None:
    """Train a replica alone, and with 32 others in stacks cut and ordered in another way.

    Stacks are filled up to whole multiples of 32 replicas, so it takes more than 32 to make another shape.
    """
    splits = ragged_splits(11, validation=patience is not None)
    training |= {"epochs": epochs, "batch_size": 4, "patience": patience}
    common = {"training": training, "engine": "eager", **settings}
    backwards = Splits(splits.folds[::-1])
    stacked = method(stack_size=stack_size, **common).fit(DATA, backwards)
    single = method(**common).fit(DATA, only(splits, 0, 0))  # the smallest fold: it waits for others in each epoch
    assert set(single.levels_) == set(stacked.levels_)
    assert_same(single.stack_.state(), 0, stacked.stack_.state(), stacked.replicas_.index((0, 0)))
    own = stacked.history_.query("seed == 0 and fold == 0").reset_index(drop=True)
    assert own.equals(single.history_)


@pytest.mark.parametrize("name", STACK_MODELS)
def test_a_replica_in_a_stack_is_the_replica_alone(name):
    """At least 300 steps: 10 batches of 4 an epoch, 4 for MLDG."""
    path, settings = STACK_MODELS[name]
    alone_and_stacked(registry.load(path), settings, 75 if name.startswith("mldg") else 30)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_replica_in_a_stack_is_the_replica_alone_after_1000_steps(name):
    model = registry.model(name)
    settings = {"adversary_units": None, "lambda_g": 0.0} if name == "armed_no_adversary" else {}
    alone_and_stacked(registry.load(model.method), settings, 250 if name == "mldg" else 100)


@pytest.mark.parametrize("name", ["armed", "lmmnn", "menet"])
def test_a_replica_that_stops_early_is_the_replica_alone(name):
    alone_and_stacked(registry.load(registry.model(name).method), {}, 12, stack_size=7, patience=2)


@pytest.mark.parametrize("name", [m for m in TRAINED if m != "armed_no_adversary"])
def test_a_replica_with_class_weights_of_its_own_is_the_replica_alone(name):
    """Of its own training rows, with precision and recall to stop it; random slopes on the input where there are any."""
    settings = {"slopes": "input", "adversary_units": (8, 8, 4)} if name == "armed" else {}
    more = {"patience": 2, "class_weights": "balanced", "monitor": "auprc"}
    alone_and_stacked(registry.load(registry.model(name).method), settings, 6, stack_size=7, **more)


def test_folds_of_one_seed_and_number_may_each_have_a_setting():
    """As sweeps train them: the same fold under several settings, each as if it were alone."""
    splits = ragged_splits(2)
    twice = [fold for fold in splits for _ in range(2)]
    settings = [{"lambda_g": g} for _ in splits for g in (0.0, 2.0)]
    method = registry.load("armed.methods:ARMED")
    common = {"training": {"epochs": 3, "batch_size": 4}, "engine": "eager"}
    together = method(**common).fit_settings(DATA, Splits(tuple(twice)), assign=settings)
    assert len({(r.seed, r.fold, r.setting) for r in together.replicas}) == len(twice)
    for i, (fold, setting) in enumerate(zip(twice, settings, strict=True)):
        alone = method(**common, **setting).fit(DATA, Splits((fold,)))
        assert_same(alone.stack_.state(), 0, together.stack.state(), i)


def test_as_many_settings_as_folds_are_needed():
    with pytest.raises(ConfigError, match="assign has 1 settings, but there are"):
        fit_stack(lambda: network(), DATA, ragged_splits(2), training=Training(epochs=1), assign=[{"lambda_g": 0.0}])


def test_running_statistics_are_each_replicas_own():
    """Replicas with fewer batches wait: their statistics must wait too."""
    splits, training = ragged_splits(), Training(epochs=3, batch_size=8)
    together = fit_stack(normalised, DATA, splits, training=training).stack.state()
    alone = [fit_stack(normalised, DATA, only(splits, f.seed, f.fold), training=training) for f in splits]
    for r, single in enumerate(alone):
        assert_same(together, r, single.stack.state(), 0)
    steps = [3 * -(-len(f.train) // 8) for f in splits]
    assert together["net.1.num_batches_tracked"].tolist() == steps
    means = together["net.1.running_mean"]
    assert all(not torch.equal(means[0], means[r]) for r in range(1, len(splits)))


def test_one_model_is_a_stack_of_one():
    """`fit` from a replica's own starting weights gives that replica."""
    splits = ragged_splits(1)
    first = splits.folds[0]
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed("init", "", 0, 0))
        model = network()
    objective, training = armed.Objective(lambda_g=0.5), Training(epochs=3, batch_size=8)
    single = fit(model, DATA.take(first.train), objective=objective, training=training, seed=0)
    stacked = fit_stack(network, DATA, splits, objective=objective, training=training)
    # The rows have other positions in the pool, which shuffling does not see.
    assert single.levels.tolist() == stacked.levels.tolist()
    assert_same(weights(single.model), 0, stacked.stack.state(), 0)
    assert list(single.history.columns) == ["seed", "epoch", "loss", "validation", "kept"]
    assert len(single.history) == 3


def test_seeds_decide():
    splits, training = ragged_splits(1), Training(epochs=1)
    fits = [fit_stack(network, DATA, splits, training=training, study=s).stack.state() for s in ("a", "a", "b")]
    assert_same(fits[0], 0, fits[1], 0)
    assert not torch.equal(fits[0]["net.output.weight"][0], fits[2]["net.output.weight"][0])
    model = network()
    one, same, two = (fit(model, DATA, training=training, seed=s).model.state_dict() for s in (0, 0, 1))
    assert torch.equal(one["net.output.weight"], same["net.output.weight"])
    assert not torch.equal(one["net.output.weight"], two["net.output.weight"])


@pytest.mark.parametrize("shared", [False, True])
def test_starting_weights(shared):
    training = Training(epochs=1, learning_rate=1e-30)
    found = fit_stack(network, DATA, ragged_splits(), training=training, shared_init=shared, study="s").stack.state()
    for r, f in enumerate(ragged_splits()):
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed("init", "s", f.seed, 0 if shared else f.fold))
            expected = network().state_dict()
        for name, start in expected.items():
            torch.testing.assert_close(found[name][r], start, rtol=0, atol=1e-25)
    first = found["net.output.weight"]
    assert torch.equal(first[0], first[1]) is shared
    assert not torch.equal(first[0], first[3])  # of another seed


def test_batches_cover_all_rows_and_are_full():
    rows = np.arange(100, 123)
    batches = shuffled_batches(np.random.default_rng(0), rows, 5)
    assert batches.shape == (5, 5)
    assert sorted(batches.ravel()[:23]) == rows.tolist()
    assert batches.ravel()[23:].tolist() == batches.ravel()[:2].tolist()
    assert sorted(shuffled_batches(np.random.default_rng(0), rows, 23).ravel()) == rows.tolist()
    assert set(shuffled_batches(np.random.default_rng(0), rows[:2], 5).ravel()) == {100, 101}


def test_meta_learning_with_a_cluster_absent_from_one_fold():
    from baselines.mldg import MLDG

    codes = DATA.codes(DATA.levels)
    with_all, without = np.arange(len(DATA)), np.flatnonzero(codes != 2)
    none = with_all[:0]
    folds = (Fold(0, 0, with_all, none, none), Fold(0, 1, without, none, none))
    method = MLDG(training={"epochs": 2}).fit(DATA, Splits(folds))
    assert torch.isfinite(method.stack_.main.flat).all()
    program, rng = method.program(), np.random.default_rng(0)
    batches = program.batches(rng, without, codes, 32)
    n_test = program.samples_per_cluster
    for batch in codes[batches]:
        assert set(batch) == {0, 1, 3} and len(batch) == 4 * n_test
        assert not set(batch[-n_test:]) & set(batch[:-n_test])  # meta-test clusters are in no meta-train part


def test_meta_learning_with_clusters_of_very_few_rows():
    from baselines.mldg import MLDG

    codes = DATA.codes(DATA.levels)
    rows = np.r_[np.flatnonzero(codes == 0), np.flatnonzero(codes == 1)[:1], np.flatnonzero(codes == 2)[:3]]
    batches = MLDG().program().batches(np.random.default_rng(0), rows, codes, 32)
    assert batches.shape == (
        8,
        4 * 4,
    )  # 31 rows of the largest cluster, 4 in a step; of the absent cluster others stand in
    assert set(batches.ravel()) == set(rows)
    for batch in batches:
        counts = np.bincount(codes[batch], minlength=4)
        assert counts[:3].min() >= 4 and counts[3] == 0 and counts.sum() == 16
