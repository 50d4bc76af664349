"""The loop over epochs and batches that trains a stack, with early stopping, divergence checks, checkpoints and resume."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from armed import torch_files
from armed.cells import Cells
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold
from armed.epochs import Draws, draw_epoch, eager_epoch
from armed.errors import DamagedError
from armed.files import atomic
from armed.losses import CLASS_WEIGHTS, class_weights, label_loss
from armed.metrics import compute
from armed.optimisers import OPTIMISERS
from armed.programs import Program, State
from armed.stack import Pool, Stack

log = logging.getLogger(__name__)


class EarlyStopping:
    """Best validation score and weights of each replica; the last weights where no score was ever defined."""

    def __init__(self, stack: Stack, patience: int, monitor: str) -> None:
        self.patience, self.sign = patience, -1.0 if monitor == "loss" else 1.0
        self.best = np.full(stack.size, -np.inf)
        self.waited = np.zeros(stack.size, int)
        self.stopped = np.zeros(stack.size, bool)
        self.weights = stack.state()

    def update(self, stack: Stack, score: np.ndarray) -> np.ndarray:
        """Take in the scores of an epoch; returns whose weights of this epoch are kept."""
        better = (self.sign * score > self.best) & ~self.stopped
        self.best = np.where(better, self.sign * score, self.best)
        # A score that was never defined (no validation rows, divergence from the start) cannot stop a replica.
        undefined = np.isneginf(self.best)
        self.waited = np.where(better | undefined, 0, self.waited + 1)
        self.stopped |= self.waited >= self.patience
        mask = torch.as_tensor(better | undefined, device=stack.device)
        for name, value in stack.state_views().items():
            kept = self.weights[name]
            kept.copy_(torch.where(mask.view(-1, *[1] * (kept.ndim - 1)), value, kept))
        return better | undefined

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
    run_epoch: Callable[[State, Program, Draws], np.ndarray] = eager_epoch,
) -> tuple[pd.DataFrame, dict[int, str]]:
    """Train the stack in place; returns the history, and of replicas that diverged what became of them.

    A replica whose gradient is not finite is frozen. Where early stopping had kept weights before, these are its result;
    else it has none, and its weights end as NaN.
    """
    codes = data.codes(levels)
    state = _state(stack, Pool.of(data.X, data.y, codes, str(stack.device)), program, training, values)
    state.rows, state.seeds = [f.train for f in folds], seeds
    state.hyper |= _class_weights(training, data.y, state)
    stopping = None
    if training.patience is not None and any(len(f.validation) for f in folds):
        stopping = EarlyStopping(stack, training.patience, training.monitor)
    history: list[pd.DataFrame] = []
    setup = _fingerprint(state, program, training, folds) if checkpoint else ""
    program.start(state)
    first = _resume(checkpoint, setup, state, stopping, history)
    for epoch in _epochs(first, training.epochs, f"{stack.size} replicas"):
        program.start_epoch(state, epoch)
        stack.module.train()
        loss = run_epoch(state, program, draw_epoch(state, program, training.batch_size, codes, epoch))
        loss = np.where(state.alive.cpu().numpy(), loss, np.nan)
        record = {"replica": np.arange(stack.size), "seed": [f.seed for f in folds]}
        record |= {"fold": [f.fold for f in folds], "epoch": epoch, "loss": loss}
        score, kept = np.full(stack.size, np.nan), np.full(stack.size, epoch == training.epochs - 1)
        running = np.full(stack.size, True)
        if stopping is not None:
            running = ~stopping.stopped
            program.before_validation(state)
            score = _validation_scores(state, program, folds, codes, training.monitor)
            score = np.where(state.alive.cpu().numpy(), score, np.nan)
            kept = stopping.update(stack, score)
        # A replica that stopped waits for the others; what it would have done meanwhile is no part of its history.
        history.append(pd.DataFrame({**record, "validation": score, "kept": kept})[running])
        _save_checkpoint(checkpoint, setup, state, stopping, history, epoch)
        if stopping is not None and stopping.stopped.all():
            break
    if stopping is not None:
        stack.load(stopping.weights)
    program.finish(state)
    whole = _whole(history)
    return whole, _diverged(stack, whole)


def _state(stack: Stack, pool: Pool, program: Program, training, values: dict[str, list[float]]) -> State:
    """The stack with its optimisers and hyperparameters, before the first step."""
    hyper = _hyper_tensors(stack, program, training, values)
    stack.precision = training.precision
    optimiser = OPTIMISERS[training.optimiser]
    optimisers = [
        optimiser(p, hyper["learning_rate"], training.epsilon) if p else None for p in (stack.main, stack.adversary)
    ]
    alive = torch.ones(stack.size, dtype=torch.bool, device=stack.device)
    return State(stack, *optimisers, hyper, alive, pool)


def _epochs(first: int, n_epochs: int, label: str) -> Iterable[int]:
    """Epochs to train, with a progress bar on a terminal."""
    quiet = not sys.stderr.isatty()
    return tqdm(range(first, n_epochs), initial=first, total=n_epochs, desc=label, unit="epoch", disable=quiet)


def _whole(history: list[pd.DataFrame]) -> pd.DataFrame:
    """History of all epochs; `kept` only where the weights were kept in the end."""
    whole = pd.concat(history, ignore_index=True)
    last = whole[whole["kept"]].groupby("replica")["epoch"].transform("max")
    whole["kept"] = whole["kept"] & (whole["epoch"] == last.reindex(whole.index))
    return whole


def _validation_scores(
    state: State, program: Program, folds: list[Fold], codes: np.ndarray, monitor: str
) -> np.ndarray:
    """Score (R,) of each replica; NaN where it is not defined, or an output not finite."""
    rows = [f.validation for f in folds]
    outputs = state.stack.evaluate(program.validation_outputs, state.pool.X, rows, [codes[r] for r in rows])
    mixed, y = [out["mixed"] for out in outputs], state.pool.y.cpu()
    if monitor != "loss":
        together = np.concatenate(mixed)[:, 0]
        cell = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
        together = np.where(np.isfinite(together), together, np.nan)
        return compute(Cells.of(cell, y.numpy()[np.concatenate(rows)], together, n_cells=len(rows)), monitor)[0]
    scores = np.full(len(rows), np.nan)
    for i, (r, out) in enumerate(zip(rows, mixed, strict=True)):  # one by one: together, the last bits would differ
        if len(r) and np.isfinite(out).all():
            scores[i] = label_loss(program.objective.label, torch.from_numpy(out), y[r]).mean()
    return scores


def _hyper_tensors(stack: Stack, program: Program, training, values: dict[str, list[float]]) -> dict[str, torch.Tensor]:
    defaults = program.tunable(stack.module) | {"learning_rate": training.learning_rate}
    full = {name: values.get(name, [value] * stack.size) for name, value in defaults.items()}
    return {name: torch.tensor(v, dtype=torch.float32, device=stack.device) for name, v in full.items()}


def _class_weights(training, y: np.ndarray, state: State) -> dict[str, torch.Tensor]:
    """Weights (R, K) of the classes in each replica's own training rows, where asked for."""
    if training.class_weights == "none":
        return {}
    n_classes = int(y.max()) + 1
    weights = np.stack([class_weights(training.class_weights, y[r], n_classes) for r in state.rows])
    return {CLASS_WEIGHTS: torch.tensor(weights, dtype=torch.float32, device=state.stack.device)}


def _fingerprint(state: State, program: Program, training, folds: list[Fold]) -> str:
    """Digest of all that decides what a training gives: a checkpoint of anything else must not be continued from."""
    settings = {
        "program": [type(program).__qualname__, _plain(program), repr(program.objective)],
        "training": repr(training),
        "module": [repr(state.stack.module), _plain(state.stack.module)],
        "seeds": state.seeds,
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    used = np.unique(np.concatenate([r for f in folds for r in (f.train, f.validation)]))
    arrays = [r for f in folds for r in (f.train, f.validation)]
    arrays += [t[torch.from_numpy(used)].cpu().numpy() for t in (state.pool.X, state.pool.y, state.pool.codes)]
    arrays += [t.cpu().numpy() for tensors in (state.hyper, state.stack.state_views()) for t in tensors.values()]
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype} ".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _plain(holder: object) -> dict[str, str]:
    return {k: repr(v) for k, v in vars(holder).items() if isinstance(v, int | float | str | tuple | None)}


def _save_checkpoint(
    path: Path | None,
    setup: str,
    state: State,
    stopping: EarlyStopping | None,
    history: list[pd.DataFrame],
    epoch: int,
) -> None:
    if path is None:
        return
    whole = pd.concat(history)
    content = {
        "epoch": epoch,
        "state": state.stack.state(),
        "main": state.main.state(),
        "adversary": state.adversary.state() if state.adversary else None,
        "stopping": stopping.state() if stopping else None,
        "alive": state.alive,
        "setup": setup,
        "history": {c: torch.from_numpy(whole[c].to_numpy(copy=True)) for c in whole.columns},
    }
    with atomic(path) as temporary:
        torch_files.write(content, temporary)


def _resume(
    path: Path | None, setup: str, state: State, stopping: EarlyStopping | None, history: list[pd.DataFrame]
) -> int:
    """Continue from a checkpoint of the same training; returns the first epoch to train."""
    if path is None or not path.exists():
        return 0
    try:
        content = torch_files.read(path)
    except DamagedError as damage:
        log.warning("%s Training starts anew.", damage)
        return 0
    if content.get("setup") != setup:
        log.warning("%s belongs to other replicas, data or settings; training starts anew.", path)
        return 0
    state.stack.load(content["state"])
    state.main.load(content["main"])
    if state.adversary:
        state.adversary.load(content["adversary"])
    state.alive = content["alive"].to(state.alive.device)
    if stopping:
        stopping.load(content["stopping"])
    history.append(pd.DataFrame({c: t.numpy() for c, t in content["history"].items()}))
    log.info("Continuing from %s after epoch %d.", path, content["epoch"])
    return content["epoch"] + 1


def _diverged(stack: Stack, history: pd.DataFrame) -> dict[int, str]:
    """Replicas whose loss or weights were not finite, and a sentence on each; those without a result become NaN."""
    finite = torch.ones(stack.size, dtype=torch.bool, device=stack.device)
    for value in stack.state_views().values():
        if value.is_floating_point():
            finite &= torch.isfinite(value).reshape(stack.size, -1).all(1)
    lost = history[~np.isfinite(history["loss"])].groupby("replica")["epoch"].min()
    kept = history[history["kept"] & np.isfinite(history["loss"])].set_index("replica")["epoch"]
    told = {}
    for r in sorted({*(~finite).nonzero().flatten().tolist(), *lost.index}):
        when = f"in epoch {lost[r] + 1}" if r in lost.index else "in the last epoch"
        told[r] = f"diverged {when}: a gradient or weight is not finite"
        if r in kept.index and finite[r]:
            told[r] += f"; the weights of epoch {kept[r] + 1} are kept"
            continue
        for value in stack.state_views().values():
            if value.is_floating_point():
                value[r] = torch.nan
    return told
