"""The one training loop: a stack of replicas, each with its own fold, shuffling, noise and early stopping.

`fit` trains one model (a stack of one); `fit_stack` trains folds x seeds x settings together.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from armed.convolutional import PRECISIONS
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.engines import compiles, epoch_runner
from armed.errors import ConfigError, DataError, Problems, did_you_mean
from armed.loop import train as train_stack
from armed.losses import Objective, check_hyper
from armed.optimisers import OPTIMISERS
from armed.programs import Program
from armed.replicas import Replica, plan_replicas
from armed.reproducibility import derive_seed
from armed.stack import Stack
from armed.stack_sizes import MEMORY_MB, blocks, fitting, replica_bytes, trains_alone
from armed.training_checks import check_training

log = logging.getLogger(__name__)

MONITORS = ("loss", "auprc", "auroc")
CLASS_WEIGHTS = ("none", "balanced")


@dataclass(frozen=True)
class Training:
    """How long and how fast to train.

    Parameters
    ----------
    epochs : int
        Passes over the training rows, at most.
    batch_size : int
        Samples in a batch.
    learning_rate : float
        Of Adam.
    epsilon : float
        Of Adam; Keras's default.
    patience : int, optional
        Stop after this many epochs without a better validation score, and keep the best weights. None: train all epochs
        and keep the last weights.
    monitor : {"loss", "auprc", "auroc"}
        Validation score: label loss (lower is better), or area under the precision-recall or the ROC curve (higher is
        better), of the mixed prediction with known clusters. Classes are not weighted in it.
    class_weights : {"none", "balanced"} or sequence of float
        Weight of each class in the label losses of training: 1 for all; 1 minus its frequency in the replica's own training
        rows (as in the paper's study of dementia); or one number for each class 0..K-1. The loss of a batch is divided by
        the number of its samples, not by the sum of their weights, as with Keras's ``class_weight``.
    optimiser : {"adam", "nadam"}
        The compiled engine has the first only.
    precision : {"float32", "mixed"}
        Of networks of convolutions: "mixed" does convolutions and products in bfloat16, weights and losses stay float32.
    """

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    epsilon: float = 1e-7
    patience: int | None = None
    monitor: str = "loss"
    class_weights: str | Sequence[float] = "none"
    optimiser: str = "adam"
    precision: str = "float32"

    def __post_init__(self) -> None:
        problems = Problems(ConfigError, "the training settings")
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                problems.add(f"{name} is {value!r}; expected a whole number of at least 1")
        check_hyper({"learning_rate": self.learning_rate}, problems)
        choices = {"monitor": MONITORS, "optimiser": tuple(OPTIMISERS), "precision": PRECISIONS}
        for name, known in choices.items():
            value = getattr(self, name)
            if value not in known:
                near = did_you_mean(str(value), known)
                problems.add(f"{name} is '{value}'; expected one of {', '.join(known)}{near and '.' + near}")
        _check_class_weights(self.class_weights, problems)
        problems.raise_if_any()


def _check_class_weights(given: object, problems: Problems) -> None:
    if isinstance(given, str):
        if given not in CLASS_WEIGHTS:
            known, near = ", ".join(CLASS_WEIGHTS), did_you_mean(given, CLASS_WEIGHTS)
            problems.add(f"class_weights is '{given}'; expected one of {known}, or a number for each class.{near}")
    elif not isinstance(given, Sequence) or not given:
        problems.add(
            f"class_weights is {given!r}; expected one of {', '.join(CLASS_WEIGHTS)}, or a number for each class"
        )
    else:
        check_hyper({f"the weight of class {k}": value for k, value in enumerate(given)}, problems)


@dataclass
class StackFit:
    """Trained replicas.

    Attributes
    ----------
    stack : Stack
        Weights of all replicas.
    replicas : list of Replica
        What each is.
    levels : array of str
        Seen clusters; position = cluster code.
    history : pandas.DataFrame
        setting, seed, fold, epoch, loss, validation (NaN without validation rows), kept (whether these weights were kept).
    notes : dict
        (seed, fold, setting) to what a reader should know, such as a divergence.
    hyper : list of dict
        Hyperparameters of each setting.
    """

    stack: Stack
    replicas: list[Replica]
    levels: np.ndarray
    history: pd.DataFrame
    notes: dict[tuple[int, int, int], str] = field(default_factory=dict)
    hyper: list[dict[str, float]] = field(default_factory=list)


@dataclass
class Fit:
    """One trained model: a copy of the module given, in evaluation mode, with its history."""

    model: nn.Module
    history: pd.DataFrame
    levels: np.ndarray


def fit(
    model: nn.Module,
    train: ClusteredData,
    validation: ClusteredData | None = None,
    *,
    objective: Objective | None = None,
    training: Training | None = None,
    seed: int = 0,
    engine: str = "auto",
) -> Fit:
    """Train one model, starting from the weights it has; the model given is left as it is.

    Parameters
    ----------
    model : MixedEffects
        With `n_clusters` equal to the number of clusters in `train`.
    train, validation : ClusteredData
        `validation` is used for early stopping if `training.patience` is set; its clusters must be among the seen.
    objective, training : Objective, Training, optional
        Loss weights and schedule; the defaults where not given.
    seed : int
        Fixes shuffling and posterior noise.
    engine : {"auto", "eager", "compiled"}
        See `fit_stack`.

    Returns
    -------
    Fit

    Raises
    ------
    ConfigError, UnsupportedLayerError
        If the engine is unknown or cannot train this network here.
    DataError
        If the data cannot be used, with all problems in one message.
    """
    objective, training = objective or Objective(), training or Training()
    levels = np.unique(train.clusters)
    if len(levels) != model.n_clusters:
        raise DataError(
            f"The training data has {len(levels)} clusters, but the model was built with n_clusters={model.n_clusters}."
        )
    data = train if validation is None else _joined(train, validation)
    rows = np.arange(len(data))
    fold = Fold(seed, 0, rows[: len(train)], rows[len(train) :], rows[:0])
    check_training(data, [fold], objective.label, levels, training, model)
    n_steps = -(-len(train) // training.batch_size) * training.epochs
    device = str(next(model.parameters()).device)
    compiled = compiles(engine, device, model, n_steps, optimiser=training.optimiser)
    ((_, filled),) = blocks(1, 1, model, compiled)
    n = 1 + filled
    stack, seeds = Stack.of(copy.deepcopy(model), n), [derive_seed("train", "", seed)] * n
    run_epoch = epoch_runner(compiled, engine, model)
    history, diverged = train_stack(
        stack, data, [fold] * n, levels, seeds, Program(objective), training, {}, None, run_epoch
    )
    if 0 in diverged:
        log.warning("The training %s.", diverged[0])
    return Fit(stack.replica(0), history[history["replica"] == 0].drop(columns=["replica", "fold"]), levels)


def fit_stack(
    factory: Callable[[], nn.Module],
    data: ClusteredData,
    splits: Splits,
    seeds: Sequence[int] | None = None,
    *,
    objective: Objective | None = None,
    training: Training | None = None,
    hyper: Mapping[str, Sequence[float]] | Sequence[Mapping[str, float]] | None = None,
    assign: Mapping[tuple[int, int], Mapping[str, float]] | Sequence[Mapping[str, float]] | None = None,
    program: Program | None = None,
    levels: np.ndarray | None = None,
    study: str = "",
    shared_init: bool = False,
    stack_size: int = 256,
    engine: str = "auto",
    memory_mb: float = MEMORY_MB,
    device: str = "cpu",
    steps_elsewhere: int = 0,
    checkpoint: Path | None = None,
) -> StackFit:
    """Train one replica for each fold of each seed and each setting, together.

    Parameters
    ----------
    factory : callable
        Builds one untrained model, drawing from torch's global generator (which is set to the replica's own seed).
    data : ClusteredData
    splits : Splits
        The rows of each fold's training, validation and test.
    seeds : sequence of int, optional
        Which seeds of `splits` to train; all where not given.
    objective, training : Objective, Training, optional
    hyper : dict of str to sequence of float, or sequence of dict of str to float, optional
        Hyperparameters that differ between replicas: `learning_rate` and those of `Program.tunable`, that is `lambda_F`,
        `lambda_g`, `lambda_K`, `residual_sd`, and `slope_prior_sd` and `intercept_prior_sd` where there are such effects.
        A dict of values: every combination is a setting. A sequence of dicts: each is a setting; what it leaves out keeps
        its default.
    assign : mapping or sequence, optional
        Instead of `hyper`: (seed, fold) to the one setting of that fold; or a setting for each fold in order, of which several
        may then be of one seed and number.
    program : Program, optional
        What a step does; supervised training of the objective where not given.
    levels : array of str, optional
        Seen clusters; those of the training rows where not given.
    study : str
        Enters the derivation of seeds, so that all methods of a study share folds and initial draws.
    shared_init : bool
        All folds of a seed start from the same weights, as in the authors' code.
    stack_size : int
        Replicas trained together, at most; more are split into stacks. Changes no result of the eager engine, and rounding
        only of the compiled one.
    engine : {"auto", "eager", "compiled"}
        "eager": one operation after another; a replica is bit for bit the replica trained alone. "compiled": about eight
        times faster after 10 to 20 s of compiling (once; kept on disk, see `armed.step_cache`), equal up to rounding; needs
        a C++ compiler.
        "auto": compiled where there is a compiler and the training is long enough.
    memory_mb : float
        Budget for the memory of a stack. One that would not fit, by an estimate made before training, is split.
    device : str
    steps_elsewhere : int
        Steps of other fits that will use the same compiled step: the more, the sooner "auto" compiles.
    checkpoint : Path, optional
        File that is written after each epoch, continued from if there, and removed at the end.

    Returns
    -------
    StackFit
    """
    objective, training = objective or Objective(), training or Training()
    program = program or Program(objective)
    chosen = [f for f in splits if seeds is None or f.seed in set(seeds)]
    if levels is None:
        levels = np.unique(np.concatenate([data.clusters[f.train] for f in chosen])) if chosen else np.array([])
    plan = _Plan(factory, data, levels, program, training, study, shared_init, device)
    example = plan.example() if chosen else None
    check_training(data, chosen, program.objective.label, levels, training, example)
    settings, jobs = plan_replicas(chosen, hyper, assign, (*program.tunable(example), "learning_rate"))
    steps = [-(-len(f.train) // training.batch_size) for f, _ in jobs]
    bytes_each = replica_bytes(example, data.X.shape[1:], training.batch_size, max(steps))
    stack_size = fitting(1 if trains_alone(example) else stack_size, memory_mb, bytes_each)
    n_steps = -(-len(jobs) // stack_size) * max(steps) * training.epochs + steps_elsewhere
    compiled = compiles(engine, device, example, n_steps, min(stack_size, len(jobs)), training.optimiser)
    run_epoch = epoch_runner(compiled, engine, example)
    parts, points = [], []
    for number, (part, copies) in enumerate(blocks(len(jobs), stack_size, example, compiled)):
        points.append(checkpoint.with_name(f"{checkpoint.name}.{number}") if checkpoint else None)
        filled = jobs[part] + jobs[part][:1] * copies
        parts.append(_train_part(filled, part.stop - part.start, settings, plan, points[-1], run_epoch))
    states, histories, notes = zip(*parts, strict=True)
    for point in points if checkpoint else ():
        point.unlink(missing_ok=True)
    merged = Stack(example, {n: torch.cat([s[n] for s in states]) for n in states[0]})
    replicas = [Replica(f.seed, f.fold, s) for f, s in jobs]
    history = pd.concat(histories, ignore_index=True).drop(columns="replica")
    return StackFit(merged, replicas, levels, history, {k: v for part in notes for k, v in part.items()}, settings)


@dataclass(frozen=True)
class _Plan:
    """What all parts of a fit have in common; see `fit_stack`."""

    factory: Callable[[], nn.Module]
    data: ClusteredData
    levels: np.ndarray
    program: Program
    training: Training
    study: str
    shared_init: bool
    device: str

    def example(self) -> nn.Module:
        """A module for its structure, built without touching torch's global generator."""
        with torch.random.fork_rng(devices=[]):
            return self.factory().to(self.device)


def _train_part(
    jobs: list[tuple[Fold, int]],
    n_own: int,
    settings: list[dict[str, float]],
    plan: _Plan,
    checkpoint: Path | None,
    run_epoch: Callable,
) -> tuple[dict[str, torch.Tensor], pd.DataFrame, dict[tuple[int, int, int], str]]:
    """Train one stack, of which the first `n_own` replicas count; returns their weights, history and notes."""
    folds = [f for f, _ in jobs]
    init = [derive_seed("init", plan.study, f.seed, 0 if plan.shared_init else f.fold) for f in folds]
    seeds = [derive_seed("train", plan.study, f.seed, f.fold) for f in folds]
    stack = Stack.build(plan.factory, init, plan.device)
    defaults = plan.program.tunable(stack.module) | {"learning_rate": plan.training.learning_rate}
    varied = {name for setting in settings for name in setting}
    values = {name: [settings[s].get(name, defaults[name]) for _, s in jobs] for name in varied}
    history, diverged = train_stack(
        stack, plan.data, folds, plan.levels, seeds, plan.program, plan.training, values, checkpoint, run_epoch
    )
    history = history[history["replica"] < n_own]
    setting = np.array([s for _, s in jobs])
    notes = {}
    for r, what in diverged.items():
        if r < n_own:
            notes[folds[r].seed, folds[r].fold, int(setting[r])] = what
            log.warning("Seed %d, fold %d %s.", folds[r].seed, folds[r].fold, what)
    weights = {name: t[:n_own] for name, t in stack.state().items()}
    return weights, history.assign(setting=setting[history["replica"]]), notes


def _joined(train: ClusteredData, validation: ClusteredData) -> ClusteredData:
    if train.feature_names != validation.feature_names:
        raise DataError("The training and the validation data have different features.")
    parts = {name: np.concatenate([getattr(d, name) for d in (train, validation)]) for name in ("X", "y", "clusters")}
    return ClusteredData(**parts, feature_names=train.feature_names)
