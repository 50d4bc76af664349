"""Measuring one case in the process that runs it: CPU and wall seconds per trained model, and peak memory."""

from __future__ import annotations

import resource
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from armed.data.clustered import ClusteredData
from armed.data.splits import Splits
from armed.reproducibility import derive_seed
from armed.sklearn import ArmedClassifier
from armed.stack_method import StackMethod
from benchmarks import plain, workload
from benchmarks.cases import Case
from benchmarks.timeline import Timeline, clock

WARM_UP_ROWS = 64  # of one model trained at a time
FEW_BATCHES = 2

Measurement = Callable[[], np.ndarray]
"""Trains; returns CPU and wall seconds per model of a whole training (2,)."""


def peak_mb() -> float:
    """Highest resident memory of this process so far, in MB (10^6 bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def prepare(case: Case) -> tuple[Measurement, float]:
    """Draw the data and warm up, so that what is measured afterwards is steady.

    Returns
    -------
    measurement : callable
    compile_s : float
        Wall seconds of a first epoch of a few batches in a compiled stack: tracing and compiling its step, or loading it
        from the disk. 0 for all other engines.
    """
    data, splits = workload.draw(case.size)
    one_at_a_time = {"plain": _plain, "sklearn": _estimator, "mlp_classifier": _mlp_classifier}
    if case.engine in one_at_a_time:
        return one_at_a_time[case.engine](case, data, splits), 0.0
    return _stack(case, data, splits)


def _stack(case: Case, data: ClusteredData, splits: Splits) -> tuple[Measurement, float]:
    def measurement() -> np.ndarray:
        cost = fit_cost(case, data, splits, case.timed_epochs)
        return (cost.once + case.size.epochs * cost.epoch) / case.size.replicas

    first = fit_cost(case, data, splits, 0).start
    return measurement, float(first[1]) if case.engine == "compiled" else 0.0


class FitCost(NamedTuple):
    """CPU and wall seconds (2,) of all replicas: what is done once in a fit, a brief first epoch, and one whole epoch."""

    once: np.ndarray
    start: np.ndarray
    epoch: np.ndarray


def fit_cost(case: Case, data: ClusteredData, splits: Splits, epochs: int) -> FitCost:
    """Time a fit of some whole epochs after one of a few batches, in which the engine does what it does in the first only."""
    method = workload.method(case.method, case.size, case.engine, 1 + epochs)
    timeline = follow(method)
    begin = clock()
    method.fit(data, splits)
    end = clock()
    starts, ends = timeline.calls["start_epoch"], timeline.calls["finish"]
    # The engine may cut a stack that is too large for its memory into several, each with all its epochs.
    marks = [
        [*(c.begin for c in starts[i * (1 + epochs) : (i + 1) * (1 + epochs)]), last.begin]
        for i, last in enumerate(ends)
    ]
    start, trained = (sum(part[i] - part[0] for part in marks) for i in (1, -1))
    return FitCost(end - begin - trained, start, (trained - start) / max(1, epochs))


def follow(method: StackMethod) -> Timeline:
    """Note when the epochs of the method's next fit start, and when they are over; cut the first to a few batches."""
    program, timeline = method.program(), Timeline()
    start_epoch, batches = program.start_epoch, program.batches
    current = 0

    def start(state, epoch):
        nonlocal current
        current = epoch
        start_epoch(state, epoch)

    def drawn(*args):
        return batches(*args)[: None if current else FEW_BATCHES]

    program.start_epoch = timeline.timed("start_epoch", start)
    program.finish = timeline.timed("finish", program.finish)
    program.batches = timeline.timed("batches", drawn)
    method.program = lambda: program
    return timeline


def shortened(splits: Splits) -> Splits:
    """The same folds with few training rows, spread over clusters and classes."""
    return Splits(tuple(replace(f, train=f.train[:: max(1, len(f.train) // WARM_UP_ROWS)]) for f in splits))


def _plain(case: Case, data: ClusteredData, splits: Splits) -> Measurement:
    """A loop in plain PyTorch over the first fold, from building the model on."""
    fold, given = next(iter(splits)), workload.settings(case.method)
    method = workload.method(case.method, case.size, "eager", 1)
    X, y = (torch.tensor(a, dtype=torch.float32) for a in (data.X, data.y))
    codes, rows = torch.from_numpy(data.codes(data.levels)).long(), torch.from_numpy(fold.train)
    training, own = given["training"], given["main"]

    def train(rows: torch.Tensor, epochs: int) -> None:
        torch.manual_seed(derive_seed("init", workload.STUDY, fold.seed, fold.fold))
        model = method.build((case.size.features,), case.size.clusters, 1)
        if case.method == "mldg":
            m = own["samples_per_cluster"]
            batches = plain.by_cluster(rows, codes, m, epochs)
            rates = own["inner_learning_rate"], own["meta_weight"]
            plain.mldg(model.net, X, y, batches, training, m * own["meta_test_clusters"], *rates)
            return
        batches = plain.shuffled(rows, training["batch_size"], epochs)
        if case.method == "armed":
            plain.armed(model, X, y, codes, batches, training, own)
        else:
            plain.conventional(model.net, X, y, batches, training)

    def measurement() -> np.ndarray:
        begin = clock()
        train(rows, case.timed_epochs)
        return (clock() - begin) * case.size.epochs / case.timed_epochs

    train(torch.from_numpy(next(iter(shortened(splits))).train), 1)
    return measurement


def _estimator(case: Case, data: ClusteredData, splits: Splits) -> Measurement:
    """One `ArmedClassifier` fitted to the first fold; without clusters it is the conventional network."""
    classifier = ArmedClassifier(**workload.estimator_settings(case.method, case.size, ArmedClassifier))

    def fit(part: ClusteredData) -> None:
        classifier.fit(part.X, part.y, clusters=part.clusters if case.method == "armed" else None)

    return _fits(fit, data, splits)


def _mlp_classifier(case: Case, data: ClusteredData, splits: Splits) -> Measurement:
    """scikit-learn's own network of the same size, without its penalty and early stop."""
    training = workload.settings(case.method)["training"]
    classifier = MLPClassifier(
        hidden_layer_sizes=(case.size.units,) * 3,
        batch_size=training["batch_size"],
        learning_rate_init=training["learning_rate"],
        max_iter=case.size.epochs,
        alpha=0.0,
        n_iter_no_change=case.size.epochs + 1,
    )

    def fit(part: ClusteredData) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # all epochs are trained, on purpose
            classifier.fit(part.X, part.y)

    return _fits(fit, data, splits)


def _fits(fit: Callable[[ClusteredData], None], data: ClusteredData, splits: Splits) -> Measurement:
    """Whole fits to the first fold, after one to a few of its rows."""
    part = data.take(next(iter(splits)).train)

    def measurement() -> np.ndarray:
        begin = clock()
        fit(part)
        return clock() - begin

    fit(data.take(next(iter(shortened(splits))).train))
    return measurement
