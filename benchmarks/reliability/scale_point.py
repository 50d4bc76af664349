"""One size of data, measured in the process that runs it: ``python -m benchmarks.reliability.scale_point SIZE`` (JSON)."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from armed import registry
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits, make_splits
from armed.layers.random_effects import RandomIntercept, RandomSlopes, one_hot
from armed.models import MixedEffects
from armed.stack_method import StackMethod
from benchmarks.measure import peak_mb
from benchmarks.timeline import Timeline, clock

CORES = 2
UNITS = (16, 16)
EPOCHS_OF_INFERENCE = 1
PREDICTED_BY_INFERENCE = 10_000
"""Rows of unseen clusters, at most, whose Z is inferred: each is a look at all clusters."""


@dataclass(frozen=True)
class Point:
    """What is measured.

    Parameters
    ----------
    what : {"layers", "stack", "inference"}
        The random effects layers alone, forward and backward; a method from data to predictions; the same with its
        Z-predictor.
    model : str
        "ids" or "dense Z" of the layers, else a method of the registry.
    rows, features, clusters, batch_size : int
    threads : int
        Of torch.
    """

    what: str
    model: str
    rows: int
    features: int
    clusters: int
    batch_size: int = 1024
    threads: int = CORES

    @property
    def z_mb(self) -> float:
        """What a dense float32 Z of all rows would take, in MB."""
        return self.rows * self.clusters * 4 / 1e6


def measure_point(point: Point) -> list[dict]:
    """Rows of the table: a stage of the work each, with its wall and CPU seconds and the peak memory so far."""
    torch.set_num_threads(point.threads)
    stages: list[dict] = []

    @contextmanager
    def stage(name: str, rows: int = point.rows) -> Iterator[None]:
        begin = clock()
        yield
        _note(stages, name, rows, clock() - begin)

    if point.what == "layers":
        _layers(point, stage)
    else:
        _method(point, stage, stages)
    return [asdict(point) | {"z_mb": point.z_mb} | row for row in stages]


def _note(stages: list[dict], name: str, rows: int, seconds: np.ndarray) -> None:
    cpu, wall = (float(s) for s in seconds)
    speed = {"rows_per_s": rows / wall, "rows_per_cpu_s": rows / cpu}
    stages.append({"stage": name, "wall_s": wall, "cpu_s": cpu, **speed, "peak_mb": peak_mb()})


def draw(point: Point) -> ClusteredData:
    """Samples whose label depends on a feature and on the cluster; every cluster has as many."""
    rng = np.random.default_rng(0)
    X = np.empty((point.rows, point.features))
    for part in np.array_split(X, max(1, X.size // 2**22)):  # float64 throughout, without a second copy of all
        part[:] = rng.standard_normal(part.shape)
    clusters = rng.permutation(np.arange(point.rows) % point.clusters)
    logit = X[:, 0] + rng.standard_normal(point.clusters)[clusters]
    y = (logit + rng.standard_normal(point.rows) > 0).astype(np.int64)
    return ClusteredData(X, y, np.char.add("c", clusters.astype(np.str_)))


def _layers(point: Point, stage: Callable) -> None:
    """Batches through random slopes and intercept with their KL, by ids, or by a Z that is held whole, as one hands it in."""
    torch.manual_seed(0)
    net = nn.Linear(point.features, 1)
    effects = [RandomSlopes(on="input"), RandomIntercept()]
    model = MixedEffects(net, point.clusters, effects).train()
    model.check_inputs = False
    X = torch.randn(point.rows, point.features)
    ids = torch.randint(point.clusters, (point.rows,))
    Z = one_hot(ids, point.clusters, torch.float32) if point.model == "dense Z" else ids

    def step(rows: slice) -> None:
        out = model(X[rows], Z[rows])
        (out.mixed.square().mean() + 1e-5 * out.kl).backward()
        model.zero_grad()

    step(slice(0, point.batch_size))
    with stage("forward and backward"):
        for start in range(0, point.rows, point.batch_size):
            step(slice(start, start + point.batch_size))


def _method(point: Point, stage: Callable, stages: list[dict]) -> None:
    with stage("data"):
        data = draw(point)
    with stage("folds"):
        make_splits(data, [0], 5, "scale", validation_fraction=0.1)
    rows = np.arange(len(data))
    splits = Splits((Fold(0, 0, rows, rows[:0], rows[:0]),))
    method = registry.load(registry.model(point.model).method)(**_settings(point))
    timeline = Timeline()
    program = method.program()
    for name in ("start_epoch", "finish"):
        setattr(program, name, timeline.timed(name, getattr(program, name)))
    method.program = lambda: program
    with stage("fit"):
        method.fit(data, splits)
    epochs = timeline.calls["start_epoch"]
    ends = [*(call.begin for call in epochs[1:]), timeline.calls["finish"][0].begin]
    _note(stages, "epoch", point.rows, ends[0] - epochs[0].begin)
    with stage("prediction"):
        method.predict(data)
    with stage("random effects table", point.clusters):
        assert (method.random_effects_ is None) == (point.model == "conventional")
    if point.what == "inference":
        _inference(point, method, data, splits, stage)


def _inference(point: Point, method: StackMethod, data: ClusteredData, splits: Splits, stage: Callable) -> None:
    """The Z-predictor, and predictions for clusters that training never saw."""
    from armed.cluster_inference import ClusterInference

    common = {
        key: value for key, value in _settings(point).items() if key in ("study", "network", "training", "engine")
    }
    with stage("fit of the Z-predictor"):
        predictor = ClusterInference(**common).fit(data, splits)
    some = data.take(np.arange(min(point.rows, PREDICTED_BY_INFERENCE)))
    unseen = ClusteredData(some.X, some.y, np.full(len(some), "unseen"), feature_names=some.feature_names)
    with stage("prediction by inferred Z", len(unseen)):
        method.predict(unseen, new_clusters="infer", cluster_inference=predictor)


def _settings(point: Point) -> dict:
    """Of the method: a small network, one epoch, step by step."""
    own = {"slopes": "input", "adversary_units": (8, 8, 4), "lambda_g": 0.5} if point.model.startswith("armed") else {}
    if point.model == "armed_no_adversary":
        own |= {"adversary_units": None, "lambda_g": 0.0}
    training = {"epochs": EPOCHS_OF_INFERENCE, "batch_size": min(point.batch_size, point.rows), "learning_rate": 1e-3}
    return {"study": "scale", "network": {"hidden": UNITS}, "training": training, "engine": "eager"} | own


def _limited(limit_mb: float | None) -> None:
    """Two cores, and no more memory than `limit_mb`: more is refused, and ends the process."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    if limit_mb is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (int(limit_mb * 1e6),) * 2)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    _limited(asked.pop("limit_mb"))
    print(json.dumps(measure_point(Point(**asked))))
