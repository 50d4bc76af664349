"""Interrupted trainings continue where they were, from checkpoints of their own only."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from tiny_training import DATA, assert_same, network, normalised, ragged_splits, simulated

import armed
from armed.data.splits import Fold, Splits
from armed.programs import Program
from armed.training import Training, fit_stack


class StoppedHereError(Exception):
    pass


def interrupt(monkeypatch, after: int) -> None:
    """Let `after` epochs of all stacks begin, then raise inside the next one."""
    begun, step = [], Program.step

    def start_epoch(self, state, epoch):
        begun.append(epoch)

    def failing(self, state, batch):
        if len(begun) > after:
            raise StoppedHereError
        return step(self, state, batch)

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
    "class weights": {"training": Training(epochs=4, batch_size=8, class_weights="balanced")},
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


@pytest.mark.parametrize("harm", [lambda whole: whole[: len(whole) // 2], lambda whole: b""])
def test_a_damaged_checkpoint_is_left_aside_with_a_warning(harm, monkeypatch, tmp_path, caplog):
    splits = ragged_splits(validation=False)
    arguments = {"training": Training(epochs=3, batch_size=8, learning_rate=0.02), "stack_size": len(splits)}
    whole, point = fit_stack(network, DATA, splits, **arguments), tmp_path / "fit.pt"
    with monkeypatch.context() as patch, pytest.raises(StoppedHereError):
        interrupt(patch, 2)
        fit_stack(network, DATA, splits, checkpoint=point, **arguments)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(harm(kept.read_bytes()))
    with caplog.at_level(logging.WARNING):
        resumed = fit_stack(network, DATA, splits, checkpoint=point, **arguments)
    assert "is damaged" in caplog.text and "Training starts anew." in caplog.text
    assert not list(tmp_path.iterdir())
    for r in range(len(splits)):
        assert_same(resumed.stack.state(), r, whole.stack.state(), r)
