"""The loop over epochs and batches that trains a stack, with early stopping, divergence checks, checkpoints and resume."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import average_precision_score
from tqdm import tqdm

from armed.data.clustered import ClusteredData
from armed.data.splits import Fold
from armed.losses import Objective, label_loss
from armed.optimisers import Adam
from armed.programs import Batch, Program, State
from armed.files import atomic
from armed.stack import Pool, Stack

log = logging.getLogger(__name__)


class EarlyStopping:
    """Best validation score and weights of each replica."""

    def __init__(self, stack: Stack, patience: int, monitor: str) -> None:
        self.patience, self.sign = patience, -1.0 if monitor == "loss" else 1.0
        self.best = np.full(stack.size, -np.inf)
        self.waited = np.zeros(stack.size, int)
        self.stopped = np.zeros(stack.size, bool)
        self.weights = stack.state()

    def update(self, stack: Stack, score: np.ndarray) -> np.ndarray:
        """Take in the scores of an epoch; returns which replicas improved."""
        better = (self.sign * score > self.best) & ~self.stopped
        self.best = np.where(better, self.sign * score, self.best)
        self.waited = np.where(better, 0, self.waited + 1)
        self.stopped |= self.waited >= self.patience
        mask = torch.as_tensor(better, device=stack.device)
        for name, value in stack.state_views().items():
            kept = self.weights[name]
            kept.copy_(torch.where(mask.view(-1, *[1] * (kept.ndim - 1)), value, kept))
        return better

    def state(self) -> dict:
        return {
            "best": torch.from_numpy(self.best),
            "waited": torch.from_numpy(self.waited),
            "stopped": torch.from_numpy(self.stopped),
            "weights": self.weights,
        }

    def load(self, state: dict) -> None:
        self.best, self.waited, self.stopped = (state[k].numpy() for k in ("best", "waited", "stopped"))
        self.weights = state["weights"]


def train(
    stack: Stack,
    data: ClusteredData,
    folds: list[Fold],
    levels: np.ndarray,
    seeds: list[int],
    program: Program,
    training,
    values: dict[str, list[float]],
    checkpoint: Path | None,
) -> tuple[pd.DataFrame, list[int]]:
    """Train the stack in place; returns the history and the replicas that diverged."""
    codes = data.codes(levels)
    pool = Pool.of(data.X, data.y, codes, str(stack.device))
    hyper = _hyper_tensors(stack, program.objective, training, values)
    adversary = Adam(stack.adversary, hyper["learning_rate"], training.epsilon) if stack.adversary else None
    main = Adam(stack.main, hyper["learning_rate"], training.epsilon)
    state = State(stack, main, adversary, hyper, pool, [f.train for f in folds], seeds)
    stopping = None
    if training.patience is not None and any(len(f.validation) for f in folds):
        stopping = EarlyStopping(stack, training.patience, training.monitor)
    history: list[pd.DataFrame] = []
    program.start(state)
    first = _resume(checkpoint, state, stopping, history)
    bar = tqdm(
        range(first, training.epochs),
        initial=first,
        total=training.epochs,
        desc=f"{stack.size} replicas",
        unit="epoch",
        disable=not sys.stderr.isatty(),
    )
    for epoch in bar:
        program.start_epoch(state, epoch)
        loss = _epoch(state, program, training.batch_size, codes, epoch)
        record = {"replica": np.arange(stack.size), "seed": [f.seed for f in folds]}
        record |= {"fold": [f.fold for f in folds], "epoch": epoch, "loss": loss}
        score, kept = np.full(stack.size, np.nan), np.full(stack.size, epoch == training.epochs - 1)
        if stopping is not None:
            program.before_validation(state)
            score = _validation_scores(state, program, folds, codes, training.monitor)
            kept = stopping.update(stack, score)
        history.append(pd.DataFrame({**record, "validation": score, "kept": kept}))
        _save_checkpoint(checkpoint, state, stopping, history, epoch)
        if stopping is not None and stopping.stopped.all():
            break
    if stopping is not None:
        stack.load(stopping.weights)
    program.finish(state)
    return pd.concat(history, ignore_index=True), _diverged(stack)


def _epoch(state: State, program: Program, batch_size: int, codes: np.ndarray, epoch: int) -> np.ndarray:
    """One pass over the training rows; mean loss of each replica (R,)."""
    stack, pool = state.stack, state.pool
    stack.module.train()
    n_noise = getattr(stack.module, "n_noise", 0)
    batches, noises = [], []
    for seed, rows in zip(state.seeds, state.rows, strict=True):
        rng = np.random.default_rng([seed, epoch])
        ids = program.batches(rng, rows, codes, batch_size)
        batches.append(ids)
        noises.append(rng.standard_normal((len(ids), n_noise), dtype=np.float32))
    n_steps = np.array([len(b) for b in batches])
    longest = n_steps.max()
    ids = torch.from_numpy(np.stack([_fill(b, longest) for b in batches], 1)).to(stack.device)
    noise = torch.from_numpy(np.stack([_fill(z, longest) for z in noises], 1)).to(stack.device)
    total = torch.zeros(stack.size, device=stack.device)
    for step in range(longest):
        rows = ids[step]
        batch = Batch(pool.X[rows], pool.y[rows], pool.codes[rows], noise[step])
        # Replicas with fewer batches wait for the others without changing.
        active = None if (n_steps > step).all() else torch.from_numpy(n_steps > step).to(stack.device)
        loss = program.step(state, batch, active)
        total += loss if active is None else torch.where(active, loss, 0.0)
    return (total.cpu() / torch.from_numpy(n_steps)).numpy()


def _fill(array: np.ndarray, length: int) -> np.ndarray:
    return array if len(array) == length else np.resize(array, (length, *array.shape[1:]))


def _validation_scores(
    state: State, program: Program, folds: list[Fold], codes: np.ndarray, monitor: str
) -> np.ndarray:
    rows = [f.validation for f in folds]
    outputs = state.stack.evaluate(program.validation_outputs, state.pool.X, rows, [codes[r] for r in rows])
    scores = np.full(len(folds), np.nan)
    for i, (r, out) in enumerate(zip(rows, outputs, strict=True)):
        y = state.pool.y[r].cpu()
        if monitor == "auprc":
            scores[i] = average_precision_score(y.numpy(), out["mixed"][:, 0])
        else:
            scores[i] = label_loss(program.objective.label, torch.from_numpy(out["mixed"]), y).mean()
    return scores


def _hyper_tensors(
    stack: Stack, objective: Objective, training, values: dict[str, list[float]]
) -> dict[str, torch.Tensor]:
    defaults = {name: getattr(objective, name) for name in objective.tunable()}
    defaults["learning_rate"] = training.learning_rate
    full = {name: values.get(name, [value] * stack.size) for name, value in defaults.items()}
    return {name: torch.tensor(v, dtype=torch.float32, device=stack.device) for name, v in full.items()}


def _save_checkpoint(
    path: Path | None, state: State, stopping: EarlyStopping | None, history: list[pd.DataFrame], epoch: int
) -> None:
    if path is None:
        return
    content = {
        "epoch": epoch,
        "state": state.stack.state(),
        "main": state.main.state(),
        "adversary": state.adversary.state() if state.adversary else None,
        "stopping": stopping.state() if stopping else None,
        "seeds": state.seeds,
        "history": {c: pd.concat(history)[c].tolist() for c in history[0].columns},
    }
    with atomic(path) as temporary:
        torch.save(content, temporary)


def _resume(path: Path | None, state: State, stopping: EarlyStopping | None, history: list[pd.DataFrame]) -> int:
    """Continue from a checkpoint of the same replicas; returns the first epoch to train."""
    if path is None or not path.exists():
        return 0
    content = torch.load(path, weights_only=True)
    if content["seeds"] != state.seeds:
        log.warning("%s belongs to other replicas; training starts anew.", path)
        return 0
    state.stack.load(content["state"])
    state.main.load(content["main"])
    if state.adversary:
        state.adversary.load(content["adversary"])
    if stopping:
        stopping.load(content["stopping"])
    history.append(pd.DataFrame(content["history"]))
    log.info("Continuing from %s after epoch %d.", path, content["epoch"])
    return content["epoch"] + 1


def _diverged(stack: Stack) -> list[int]:
    finite = torch.ones(stack.size, dtype=torch.bool, device=stack.device)
    for value in stack.state_views().values():
        if value.is_floating_point():
            finite &= torch.isfinite(value).reshape(stack.size, -1).all(1)
    return (~finite).nonzero().flatten().tolist()
