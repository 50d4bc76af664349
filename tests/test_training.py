"""The training loop: a replica in a stack is the replica alone; early stopping, checkpoints, hyperparameters, divergence."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn

import armed
from armed import registry
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.errors import ConfigError, DataError
from armed.loop import EarlyStopping
from armed.methods import ARMED
from armed.models import MLP, MixedEffects
from armed.programs import Program, State, shuffled_batches
from armed.reproducibility import derive_seed
from armed.stack import Pool, Stack
from armed.training import Training, fit, fit_stack

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


# Stacks and replicas alone.

# All that train in stacks (models that take another's weights train as that one does).
TRAINED = [m for m in registry.MODELS if registry.model(m).engine == "stack" and not registry.model(m).weights_from]
STACK_MODELS = {
    "armed": ("armed.methods:ARMED", {}),
    "mldg": ("baselines.mldg:MLDG", {}),
    "mldg first order": ("baselines.mldg:MLDG", {"order": "first"}),
    "domain_adversarial": ("baselines.domain_adversarial:DomainAdversarial", {}),
    "cluster_input": ("baselines.cluster_input:ClusterInput", {}),
}


def alone_and_stacked(method, settings: dict, epochs: int, *, n_seeds: int = 1, patience: int | None = None) -> None:
    """Train a replica alone, and all in stacks cut and ordered in another way."""
    splits = ragged_splits(n_seeds, validation=patience is not None)
    common = {"training": {"epochs": epochs, "batch_size": 4, "patience": patience}, **settings}
    backwards = Splits(splits.folds[::-1])
    stacked = method(stack_size=4, **common).fit(DATA, backwards)  # with two seeds, stacks of 4 and 2
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
    alone_and_stacked(registry.load(model.method), settings, 250 if name == "mldg" else 100, n_seeds=2)


@pytest.mark.parametrize("name", ["armed", "lmmnn", "menet"])
def test_a_replica_that_stops_early_is_the_replica_alone(name):
    alone_and_stacked(registry.load(registry.model(name).method), {}, 12, n_seeds=2, patience=2)


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


# What a step does.


def one_step(lambda_g: float, adversary_moves: bool) -> tuple[float, float]:
    """Cross-entropy of the adversary, held as it is after the step, before and after the network's part of the step."""
    torch.manual_seed(0)
    model = network((16, 16), "hidden.1")
    stack = Stack.of(model, 2)
    objective = armed.Objective(lambda_F=0.0, lambda_g=lambda_g, lambda_K=0.0)
    hyper = {k: torch.full((2,), float(getattr(objective, k))) for k in objective.tunable()}
    pool = Pool.of(DATA.X, DATA.y, DATA.codes(DATA.levels))
    rate = torch.full((2,), 1e-3)
    adversary = armed.optimisers.Adam(stack.adversary, rate if adversary_moves else 0 * rate)
    state = State(stack, armed.optimisers.Adam(stack.main, rate), adversary, hyper, pool, [], [0, 0])
    ids = torch.arange(len(DATA)).expand(2, -1)
    batch = armed.programs.Batch(pool.X[ids], pool.y[ids], pool.codes[ids], torch.zeros(2, model.n_noise))
    before = stack.replica(0)
    stack.module.train()
    Program(objective).step(state, batch, None)
    after = stack.replica(0)
    losses = []
    for m in (before, after):
        m.adversary.load_state_dict(after.adversary.state_dict())
        with torch.no_grad():
            losses.append(nn.functional.cross_entropy(m(pool.X, pool.codes).cluster_logits, pool.codes).item())
    return losses[0], losses[1]


def test_the_network_raises_the_adversarys_loss():
    before, after = one_step(lambda_g=100.0, adversary_moves=False)
    assert after > before + 1e-3
    before, after = one_step(lambda_g=100.0, adversary_moves=True)
    assert after > before + 1e-3


def test_the_adversary_lowers_its_own_loss():
    """Trained on a network that does not move, it learns what there is to know."""
    codes = DATA.codes(DATA.levels)
    shifted = ClusteredData(DATA.X + 4 * np.c_[codes % 2, codes // 2], DATA.y, DATA.clusters)
    torch.manual_seed(0)
    model = network((16,), "hidden.0")
    for p in [*model.net.parameters(), *model.effects.parameters()]:
        p.requires_grad_(False)
    model.net.output.bias.requires_grad_(True)  # the stack needs something to train
    training = Training(epochs=40, batch_size=32, learning_rate=0.01)
    fitted = fit(model, shifted, objective=armed.Objective(lambda_g=0.5), training=training).model
    X, target = torch.as_tensor(shifted.X, dtype=torch.float32), torch.as_tensor(codes)
    with torch.no_grad():
        before, after = (nn.functional.cross_entropy(m.eval()(X).cluster_logits, target) for m in (model, fitted))
    assert after < 0.6 * before


def test_adversarial_training_hides_the_clusters():
    """Over a whole training, a stronger adversary leaves the adversary with a higher loss."""
    codes = DATA.codes(DATA.levels)
    shifted = ClusteredData(DATA.X + 2 * np.c_[codes % 2, codes // 2], DATA.y, DATA.clusters)
    rows = np.arange(len(DATA))
    splits = Splits(tuple(Fold(s, 0, rows, rows[:0], rows[:0]) for s in range(4)))
    training = Training(epochs=30, batch_size=16, learning_rate=3e-3)
    found = fit_stack(network, shifted, splits, training=training, hyper={"lambda_g": [0.0, 1.0]})
    X, target = torch.as_tensor(shifted.X, dtype=torch.float32), torch.as_tensor(codes)
    with torch.no_grad():
        losses = [
            nn.functional.cross_entropy(found.stack.replica(r)(X).cluster_logits, target).item() for r in range(8)
        ]
    assert np.mean(losses[4:]) > np.mean(losses[:4]) + 0.1


# Early stopping.

STOPPING = Training(epochs=20, batch_size=8, learning_rate=0.02, patience=3)


@pytest.mark.parametrize("monitor", ["loss", "auprc"])
def test_early_stopping_keeps_each_replicas_best_epoch(monitor):
    splits = ragged_splits(1, validation=True)
    training = Training(**{**vars(STOPPING), "monitor": monitor})
    found = fit_stack(network, DATA, splits, training=training)
    stopped = set()
    for r, f in enumerate(splits):
        own = found.history.query(f"seed == {f.seed} and fold == {f.fold}")
        scores = own["validation"].to_numpy() * (-1 if monitor == "loss" else 1)
        best = int(scores.argmax())
        assert own["epoch"].tolist() == list(range(len(own)))
        assert own["kept"].tolist() == [e == best for e in own["epoch"]]
        assert len(own) == min(best + 1 + 3, 20)
        stopped.add(len(own))
        until = Training(**{**vars(training), "epochs": best + 1, "patience": None})
        assert_same(
            found.stack.state(),
            r,
            fit_stack(network, DATA, only(splits, f.seed, f.fold), training=until).stack.state(),
            0,
        )
    assert len(stopped) > 1  # at different epochs, in one stack


def test_validation_scores_are_those_of_the_mixed_prediction():
    splits = ragged_splits(1, validation=True)
    training = Training(**{**vars(STOPPING), "epochs": 1})
    found = fit_stack(network, DATA, splits, training=training)
    for r, f in enumerate(splits):
        X, codes = (torch.as_tensor(a[f.validation]) for a in (DATA.X, DATA.codes(DATA.levels)))
        with torch.no_grad():
            logits = found.stack.replica(r)(X.float(), codes).mixed[:, 0]
        expected = nn.functional.binary_cross_entropy_with_logits(logits, torch.as_tensor(DATA.y[f.validation]).float())
        assert found.history["validation"][r] == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("garbage", [1e30, np.nan])
@pytest.mark.parametrize("patience", [None, 3])
def test_test_rows_are_never_looked_at(garbage, patience):
    one = only(ragged_splits(1, validation=patience is not None), 0, 1)
    training = Training(epochs=5, batch_size=8, learning_rate=0.02, patience=patience)
    (f,) = one
    X, y = DATA.X.copy(), DATA.y.copy()
    X[f.test], y[f.test] = garbage, 1 - y[f.test]
    poisoned = ClusteredData(X, y, DATA.clusters, allow_missing=True)
    clean, other = (fit_stack(network, d, one, training=training) for d in (DATA, poisoned))
    assert_same(clean.stack.state(), 0, other.stack.state(), 0)
    assert clean.history.equals(other.history)


def test_replicas_without_validation_rows_train_to_the_end():
    with_rows, without = ragged_splits(1, validation=True).folds[0], ragged_splits(1).folds[1]
    found = fit_stack(network, DATA, Splits((with_rows, without)), training=STOPPING)
    own = found.history.query("fold == 1")
    assert own["epoch"].tolist() == list(range(20)) and own["validation"].isna().all()
    assert own["kept"].tolist() == [False] * 19 + [True]
    to_the_end = fit_stack(network, DATA, Splits((without,)), training=Training(**{**vars(STOPPING), "patience": None}))
    assert_same(found.stack.state(), 1, to_the_end.stack.state(), 0)
    assert len(found.history.query("fold == 0")) < 20


def test_precision_recall_without_positives_is_undefined_not_zero():
    f = ragged_splits(1, validation=True).folds[0]
    negatives = f.validation[DATA.y[f.validation] == 0]
    rest = np.setdiff1d(f.validation, negatives)
    fold = Fold(0, 0, f.train, negatives, np.sort(np.r_[f.test, rest]))
    found = fit_stack(
        network, DATA, Splits((fold,)), training=Training(epochs=6, batch_size=8, patience=2, monitor="auprc")
    )
    assert found.history["validation"].isna().all() and len(found.history) == 6


def test_early_stopping_ignores_undefined_scores():
    stack = Stack.build(network, [0, 1])
    stopping = EarlyStopping(stack, patience=1, monitor="loss")
    for score, kept in (([np.nan, 1.0], [True, True]), ([np.nan, np.nan], [True, False]), ([0.5, 0.1], [True, False])):
        stack.main.flat.add_(1.0)
        assert stopping.update(stack, np.array(score)).tolist() == kept
    assert stopping.stopped.tolist() == [False, True]
    state = stack.state()
    assert_same(stopping.weights, 0, state, 0)
    assert not torch.equal(stopping.weights["net.output.weight"][1], state["net.output.weight"][1])


# Interruption.


class StoppedHereError(Exception):
    pass


def interrupt(monkeypatch, after: int) -> None:
    """Let `after` epochs of all stacks begin, then raise inside the next one."""
    begun, step = [], Program.step

    def start_epoch(self, state, epoch):
        begun.append(epoch)

    def failing(self, state, batch, active):
        if len(begun) > after:
            raise StoppedHereError
        return step(self, state, batch, active)

    monkeypatch.setattr(Program, "start_epoch", start_epoch)
    monkeypatch.setattr(Program, "step", failing)


@pytest.mark.parametrize(
    ("after", "patience", "factory"),
    [(0, None, network), (3, None, network), (6, None, normalised), (3, 2, normalised), (8, 2, network)],
)
def test_an_interrupted_training_continues_where_it_was(after, patience, factory, monkeypatch, tmp_path):
    splits = ragged_splits(validation=patience is not None)
    arguments = {
        "objective": armed.Objective(lambda_g=0.5),
        "training": Training(epochs=5, batch_size=8, learning_rate=0.02, patience=patience),
        "stack_size": 4,  # two stacks: after 6 or 8 epochs the first is complete
    }
    whole = fit_stack(factory, DATA, splits, **arguments)
    point = tmp_path / "fit.pt"
    with monkeypatch.context() as patch, pytest.raises(StoppedHereError):
        interrupt(patch, after)
        fit_stack(factory, DATA, splits, checkpoint=point, **arguments)
    assert bool(list(tmp_path.iterdir())) is (after > 0)
    epochs = []
    with monkeypatch.context() as patch:
        patch.setattr(Program, "start_epoch", lambda self, state, epoch: epochs.append(epoch))
        resumed = fit_stack(factory, DATA, splits, checkpoint=point, **arguments)
    if patience is None:
        assert len(epochs) == 2 * 5 - after
    for r in range(len(splits)):
        assert_same(whole.stack.state(), r, resumed.stack.state(), r)
    assert whole.history.equals(resumed.history)
    assert whole.notes == resumed.notes
    assert not list(tmp_path.iterdir())


def test_methods_with_steps_of_their_own_continue_too(monkeypatch, tmp_path):
    from baselines.menet import EM, MeNet

    settings, splits = {"training": {"epochs": 4, "batch_size": 8}, "em_rounds": 4}, ragged_splits(1)
    whole = MeNet(**settings).fit(DATA, splits)
    start = EM.start_epoch

    def failing(self, state, epoch):
        if epoch == 2:
            raise StoppedHereError
        start(self, state, epoch)

    with monkeypatch.context() as patch, pytest.raises(StoppedHereError):
        patch.setattr(EM, "start_epoch", failing)
        MeNet(**settings).fit(DATA, splits, checkpoint=tmp_path / "fit.pt")
    resumed = MeNet(**settings).fit(DATA, splits, checkpoint=tmp_path / "fit.pt")
    for r in range(len(splits)):
        assert_same(whole.stack_.state(), r, resumed.stack_.state(), r)


OTHERS = {
    "learning rate": {"training": Training(epochs=4, batch_size=8, learning_rate=0.1)},
    "epochs": {"training": Training(epochs=6, batch_size=8)},
    "loss weights": {"objective": armed.Objective(lambda_K=0.1)},
    "hyperparameters": {"hyper": {"lambda_F": [0.0]}},
    "data": {"data": simulated(1)},
    "rows": {"splits": Splits((Fold(0, 0, np.arange(40), np.arange(0), np.arange(40, 50)),))},
    "seed": {"splits": Splits(tuple(Fold(9, f.fold, f.train, f.validation, f.test) for f in ragged_splits(1)))},
    "study": {"study": "another"},
    "widths": {"factory": lambda: network((5, 4, 4))},
    "layers read": {"factory": lambda: network(slopes="hidden.1")},
    "program": {"program": type("Other", (Program,), {})(armed.Objective())},
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_checkpoint_of_anything_else_is_ignored(what, monkeypatch, tmp_path, caplog):
    point = tmp_path / "fit.pt"
    first = {"factory": network, "data": DATA, "splits": ragged_splits(1), "training": Training(epochs=4, batch_size=8)}
    with monkeypatch.context() as patch, pytest.raises(StoppedHereError):
        interrupt(patch, 2)
        fit_stack(**first, checkpoint=point)
    second = {**first, **OTHERS[what]}
    with caplog.at_level(logging.WARNING):
        found = fit_stack(**second, checkpoint=point)
    assert "training starts anew" in caplog.text
    expected = fit_stack(**second)
    assert_same(found.stack.state(), 0, expected.stack.state(), 0)
    assert found.history.equals(expected.history)


# Hyperparameters.


def test_hyperparameters_are_more_replicas():
    splits, training = ragged_splits(1), Training(epochs=3, batch_size=8)
    values = {"lambda_g": [0.0, 0.5, 3.0], "learning_rate": [1e-3, 1e-2]}
    found = fit_stack(network, DATA, splits, training=training, hyper=values)
    assert len(found.hyper) == 6 and found.hyper[3] == {"lambda_g": 0.5, "learning_rate": 1e-2}
    assert [(r.seed, r.fold, r.setting) for r in found.replicas] == [(0, f, s) for s in range(6) for f in range(3)]
    for s, setting in enumerate(found.hyper):
        single = fit_stack(
            network,
            DATA,
            splits,
            objective=armed.Objective(lambda_g=setting["lambda_g"]),
            training=Training(epochs=3, batch_size=8, learning_rate=setting["learning_rate"]),
        )
        for r in range(3):
            assert_same(found.stack.state(), 3 * s + r, single.stack.state(), r)
        own = found.history.query(f"setting == {s}").drop(columns="setting").reset_index(drop=True)
        assert own.equals(single.history.drop(columns="setting"))


def test_wrong_hyperparameters_are_told_at_once():
    values = {"lamda_F": [1.0], "learning_rate": [0.0, 1e-3, np.inf], "lambda_K": [-1.0, "much"], "lambda_g": []}
    with pytest.raises(ConfigError, match="6 problems") as caught:
        fit_stack(network, DATA, ragged_splits(1), hyper=values)
    message = str(caught.value)
    for part in (
        "'lamda_F' cannot differ between replicas. Did you mean 'lambda_F'?",
        "learning_rate is 0.0; expected a finite number above 0",
        "learning_rate is inf",
        "lambda_K is -1.0; expected a finite number of at least 0",
        "lambda_K is 'much'",
        "'lambda_g' has no values",
    ):
        assert part in message


# Divergence.


@pytest.mark.parametrize(
    "training",
    [
        Training(epochs=4, batch_size=8),
        Training(epochs=4, batch_size=8, patience=2),
        Training(epochs=4, batch_size=8, patience=2, monitor="auprc"),
    ],
    ids=["last weights", "stopping on loss", "stopping on auprc"],
)
@pytest.mark.parametrize("factory", [network, normalised])
def test_a_diverging_replica_is_noted_and_leaves_its_neighbours(training, factory, caplog):
    splits = ragged_splits(1, validation=training.patience is not None)
    calm = fit_stack(factory, DATA, splits, training=training, hyper={"learning_rate": [1e-3]})
    with caplog.at_level(logging.WARNING):
        found = fit_stack(factory, DATA, splits, training=training, hyper={"learning_rate": [1e-3, 1e30]})
    for r in range(3):
        assert_same(found.stack.state(), r, calm.stack.state(), r)
    assert calm.notes == {}
    assert set(found.notes) == {(0, f, 1) for f in range(3)}
    assert all("diverged" in note for note in found.notes.values())
    assert "Seed 0, fold 2 diverged" in caplog.text
    assert found.history.query("setting == 0").reset_index(drop=True).equals(calm.history)


def test_methods_note_divergence_per_fold():
    method = ARMED(training={"epochs": 3, "learning_rate": 1e30}).fit(DATA, ragged_splits(1))
    assert set(method.notes_) == {(0, 0), (0, 1), (0, 2)}


# History.


def test_history():
    splits = ragged_splits()
    found = fit_stack(
        network, DATA, splits, [1], training=Training(epochs=3, batch_size=8), hyper={"lambda_g": [0.0, 1]}
    )
    history = found.history
    assert set(history.columns) == {"setting", "seed", "fold", "epoch", "loss", "validation", "kept"}
    assert len(history) == 2 * 3 * 3 and not history.duplicated(["setting", "seed", "fold", "epoch"]).any()
    assert set(history["seed"]) == {1} and set(history["fold"]) == {0, 1, 2} and set(history["epoch"]) == {0, 1, 2}
    assert history["validation"].isna().all() and np.isfinite(history["loss"]).all()
    assert history["kept"].tolist() == (history["epoch"] == 2).tolist()
    assert found.stack.size == 6 and [r.seed for r in found.replicas] == [1] * 6


def test_the_loss_of_an_epoch_is_the_mean_over_its_batches():
    """With a network that hardly moves: the loss of the starting weights, each row counted as often as it is drawn."""
    f = ragged_splits(1).folds[0]
    objective = armed.Objective(lambda_F=0.7, lambda_K=0.01)
    training = Training(epochs=1, batch_size=8, learning_rate=1e-30)

    def quiet() -> MixedEffects:
        return MixedEffects(MLP(2), len(SIZES), [armed.RandomIntercept(init_scale=0.3)])

    def certain() -> MixedEffects:
        model = quiet()
        with torch.no_grad():
            model.effects[0].raw_scale.fill_(-30.0)  # no posterior noise
        return model

    found = fit_stack(certain, DATA, Splits((f,)), objective=objective, training=training)
    model = found.stack.replica(0)
    seed = derive_seed("train", "", 0, 0)
    ids = shuffled_batches(np.random.default_rng([seed, 0]), f.train, 8).ravel()
    X, y, codes = (torch.as_tensor(a[ids]) for a in (DATA.X, DATA.y, DATA.codes(DATA.levels)))
    with torch.no_grad():
        out = model(X.float(), codes)
        bce = nn.functional.binary_cross_entropy_with_logits
        expected = bce(out.mixed[:, 0], y.float()) + 0.7 * bce(out.fixed[:, 0], y.float()) + 0.01 * out.kl
    assert found.history["loss"][0] == pytest.approx(expected.item(), rel=1e-5)


# Bad input.


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="5 problems") as caught:
        Training(epochs=0, batch_size=2.5, learning_rate=-1, patience=0, monitor="accuracy")
    assert "monitor is 'accuracy'; expected one of loss, auprc" in str(caught.value)


def continuous() -> ClusteredData:
    return ClusteredData(DATA.X, DATA.X[:, 0] * 2.0, DATA.clusters)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": continuous()}, "the method expects binary labels, but y holds continuous values"),
        ({"objective": armed.Objective("continuous")}, "expects continuous labels, but y holds 2 classes"),
        ({"objective": armed.Objective("multiclass")}, "has 1 outputs; multiclass labels need one for each of 2"),
        ({"seeds": [77]}, "no fold of the splits has one of the seeds asked for"),
        ({"data": ClusteredData(DATA.X, np.zeros(96, int), DATA.clusters)}, "one class only"),
    ],
)
def test_unusable_data_is_refused(change, message, tmp_path):
    arguments = {"factory": network, "data": DATA, "splits": ragged_splits(1), "training": Training(epochs=1)}
    with pytest.raises(DataError) as caught:
        fit_stack(**{**arguments, **change}, checkpoint=tmp_path / "fit.pt")
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_problems_of_folds_are_told_at_once():
    codes = DATA.codes(DATA.levels)
    seen, unseen, none = np.flatnonzero(codes < 3), np.flatnonzero(codes == 3), np.arange(0)
    zeros = seen[DATA.y[seen] == 0]
    X = DATA.X.copy()
    X[seen[:2]] = np.nan
    data = ClusteredData(X, DATA.y, DATA.clusters, allow_missing=True)
    folds = (Fold(0, 0, seen, unseen, none), Fold(0, 1, zeros[3:], none, none))
    training = Training(epochs=1, patience=1, monitor="auprc")
    with pytest.raises(DataError, match="3 problems") as caught:
        fit_stack(network, data, Splits(folds), levels=np.array(["c0", "c1", "c2"]), training=training)
    message = str(caught.value)
    assert "seed 0, fold 0: 2 training and validation rows have missing values" in message
    assert "seed 0, fold 0: validation rows of clusters never seen in training: c3" in message
    assert "seed 0, fold 1: all training rows have label 0" in message


def test_precision_recall_is_for_binary_labels():
    data = ClusteredData(DATA.X, np.arange(96) % 3, DATA.clusters)
    training = Training(epochs=1, patience=1, monitor="auprc")
    model = MixedEffects(MLP(2, (4,), 3), 4)
    with pytest.raises(DataError, match="monitor='auprc' is defined for binary labels, not for multiclass"):
        fit(model, data, objective=armed.Objective("multiclass"), training=training)


def test_one_model_needs_as_many_clusters_as_the_data_has():
    with pytest.raises(DataError, match="has 4 clusters, but the model was built with n_clusters=3"):
        fit(MixedEffects(MLP(2), 3), DATA)
    with pytest.raises(DataError, match="different features"):
        other = ClusteredData(DATA.X, DATA.y, DATA.clusters, feature_names=("a", "b"))
        fit(network(), DATA, other)
