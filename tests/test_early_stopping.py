"""Early stopping keeps the best weights of each replica, and nothing looks at test rows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from tiny_training import DATA, assert_same, network, only, ragged_splits
from torch import nn

from armed import loop
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.loop import EarlyStopping
from armed.losses import Objective
from armed.pool import Pool
from armed.programs import Program
from armed.stack import Stack
from armed.training import Training, fit_stack

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


def test_scores_of_many_replicas_are_those_of_scikit_learn():
    """With ties, replicas of few rows, without positives, without rows, and with outputs that are not finite."""
    rng = np.random.default_rng(0)
    y = (rng.random(300) < 0.3).astype(int)
    lengths = [0, 1, 40, 40, 3, *rng.integers(1, 60, 30)]
    rows = [rng.choice(300, n, replace=False) for n in lengths]
    rows[4] = np.flatnonzero(y == 0)[:3]
    outputs = [{"mixed": np.round(rng.normal(size=(n, 1)), 1).astype(np.float32)} for n in lengths]
    outputs[3]["mixed"][5] = np.inf

    def evaluate(*_, then=None):
        return outputs if then is None else [then(out, r) for out, r in zip(outputs, rows, strict=True)]

    stack = SimpleNamespace(evaluate=evaluate)
    state = SimpleNamespace(stack=stack, pool=Pool.of(np.zeros((300, 1)), y, np.zeros(300)))
    folds = [SimpleNamespace(validation=r) for r in rows]
    for monitor in ("auprc", "loss"):
        found = loop._validation_scores(state, Program(Objective()), folds, np.zeros(300, int), monitor)
        for i, (r, out) in enumerate(zip(rows, outputs, strict=True)):
            logits = out["mixed"][:, 0].astype(float)
            if not len(r) or not np.isfinite(logits).all() or (monitor == "auprc" and not y[r].any()):
                assert np.isnan(found[i])
            elif monitor == "auprc":
                assert found[i] == pytest.approx(average_precision_score(y[r], logits), abs=1e-12)
            else:
                assert found[i] == pytest.approx(np.logaddexp(0, (1 - 2 * y[r]) * logits).mean(), rel=1e-5)


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
