"""Steps of the adversarial objective, hyperparameters, divergence, history, and data that is refused."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from tiny_training import DATA, SIZES, assert_same, network, normalised, ragged_splits
from torch import nn

import armed
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.errors import ConfigError, DataError
from armed.methods import ARMED
from armed.models import MLP, MixedEffects
from armed.pool import Pool
from armed.programs import Program, State, shuffled_batches
from armed.reproducibility import derive_seed
from armed.stack import Stack
from armed.training import Training, fit, fit_stack


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
    state = State(stack, armed.optimisers.Adam(stack.main, rate), adversary, hyper, torch.ones(2, dtype=torch.bool))
    ids = torch.arange(len(DATA)).expand(2, -1)
    rest = torch.zeros(2, len(DATA), 0), torch.ones(2, dtype=torch.bool)
    batch = armed.programs.Batch(pool.X[ids], pool.y[ids], pool.codes[ids], torch.zeros(2, model.n_noise), *rest)
    before = stack.replica(0)
    stack.module.train()
    Program(objective).step(state, batch)
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


def test_class_weights_multiply_the_label_losses():
    """With a network that hardly moves: the losses of mixed and fixed prediction, not the KL; weights of each fold's rows."""
    folds = ragged_splits(1).folds
    objective = armed.Objective(lambda_F=0.7, lambda_K=0.01)

    def start() -> MixedEffects:
        model = MixedEffects(MLP(2), len(SIZES), [armed.RandomIntercept(init_scale=0.3)])
        with torch.no_grad():
            model.effects[0].raw_scale.fill_(-30.0)  # no posterior noise
        return model

    training = Training(epochs=1, batch_size=8, learning_rate=1e-30, class_weights="balanced")
    found = fit_stack(start, DATA, Splits(folds), objective=objective, training=training)
    for r, f in enumerate(folds):
        ids = shuffled_batches(np.random.default_rng([derive_seed("train", "", 0, r), 0]), f.train, 8).ravel()
        X, y, codes = (torch.as_tensor(a[ids]) for a in (DATA.X, DATA.y, DATA.codes(DATA.levels)))
        share = DATA.y[f.train].mean()
        weights = torch.where(y == 1, 1 - share, share).float()
        with torch.no_grad():
            out = found.stack.replica(r)(X.float(), codes)
            mixed, fixed = (
                nn.functional.binary_cross_entropy_with_logits(o[:, 0], y.float(), weights)
                for o in (out.mixed, out.fixed)
            )
        expected = mixed + 0.7 * fixed + 0.01 * out.kl
        assert found.history["loss"][r] == pytest.approx(expected.item(), rel=1e-5)


def test_equal_class_weights_of_one_are_none():
    training = {"epochs": 3, "batch_size": 8}
    fits = [
        fit_stack(network, DATA, ragged_splits(1), training=Training(**training, class_weights=w)).stack.state()
        for w in ("none", (1, 1), (1, 3.0))
    ]
    assert_same(fits[0], 0, fits[1], 0)
    assert not torch.equal(fits[0]["net.output.weight"][0], fits[2]["net.output.weight"][0])


def test_meta_learning_with_its_defect_weighs_the_labels_of_pairs():
    from baselines.mldg import MLDG

    prediction, y = torch.tensor([[0.3], [-1.2], [2.0]]), torch.tensor([1.0, 0.0, 0.0])
    hyper = {"residual_sd": torch.tensor(1.0), "class_weights": torch.tensor([0.4, 0.6])}
    pairs = nn.functional.binary_cross_entropy_with_logits(
        prediction.expand(3, 3), y.expand(3, 3), torch.tensor([0.6, 0.4, 0.4]).expand(3, 3)
    )
    torch.testing.assert_close(MLDG(label_defect=True).program().label_loss(prediction, y, hyper), pairs)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("balancd", "class_weights is 'balancd'; expected one of none, balanced.*Did you mean 'balanced'"),
        (None, "class_weights is None; expected one of none, balanced, or a number for each class"),
        ((), r"class_weights is \(\)"),
        ((1.0, -1.0), "the weight of class 1 is -1.0; expected a finite number of at least 0"),
    ],
)
def test_class_weights_that_are_none(weights, message):
    with pytest.raises(ConfigError, match=message):
        Training(class_weights=weights)


def test_class_weights_are_for_the_classes_there_are():
    splits, weighted = ragged_splits(1), Training(epochs=1, class_weights="balanced")
    with pytest.raises(DataError, match="class_weights='balanced' is for class labels, not for continuous ones"):
        fit_stack(network, continuous(), splits, objective=armed.Objective("continuous"), training=weighted)
    with pytest.raises(DataError, match="class_weights has 3 numbers; expected one for each of 2 classes"):
        fit_stack(network, DATA, splits, training=Training(epochs=1, class_weights=(1, 2, 3)))


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
