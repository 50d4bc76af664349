"""The job that changes one thing of a simulation at a time: a setting of the model, a size of the data, their confounding.

All levels whose networks have the same shapes are trained together, as replicas of one stack: a dataset keeps its folds,
initial weights and batches at every level, so that what differs between two levels is the level.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from armed import registry, results
from armed.cells import Cells
from armed.convolutional import as_pool
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits, make_splits
from armed.data.study import is_probe
from armed.jobs.fit import CLUSTER_INFERENCE, set_torch_threads
from armed.metrics import compute
from armed.stack import predictions
from armed.sweep_config import AVERAGED, IMPORTANCE, MEAN_POINT, OF_DATA, PRIOR_SCALE, PRIORS
from armed.training import StackFit

log = logging.getLogger(__name__)

WHOLE_DATASET = -1
"""Fold of a value that belongs to a dataset: the mean over its folds."""
_OUTPUTS = {
    "seen": ("seen", "mixed"),
    "unseen": ("unseen", "mixed"),
    "deconfounded": ("deconfounded", "mixed"),
    "deconfounded_fixed": ("deconfounded", "fixed"),
}
"""Partition to the part of the data that it scores, and the output."""


class Point(NamedTuple):
    """One thing changed.

    Attributes
    ----------
    names : tuple of (str, float)
        Factors and levels that it stands for; several where nothing is changed.
    data, hyper : dict of str to float
        What is different in the data, and in the model's settings.
    """

    names: tuple[tuple[str, float], ...]
    data: dict[str, float]
    hyper: dict[str, float]


def points(settings: Mapping) -> list[Point]:
    """What is fitted of a model: the study as it is, then every level of each factor (`armed.config.sweep_settings`)."""
    own, main = settings["own"], settings["fit"]["variants"]["main"]
    found = [Point(tuple(own.items()), {}, {})]
    for factor, levels in settings["factors"].items():
        for level in [level for level in levels if level != own[factor]]:
            change = {factor: level}
            if factor == PRIOR_SCALE:
                priors = [p for p in PRIORS if p == "intercept_prior_sd" or main["slopes"] is not None]
                change = {name: level * main[name] for name in priors}
            of_data = factor in OF_DATA
            found.append(Point(((factor, level),), change if of_data else {}, {} if of_data else change))
    return found


def sweep(settings: Mapping, out: Path, *, device: str, stack_size: int, engine: str = "auto") -> None:
    """Write one model's part of the table `sensitivity`: accuracy, and the rank of the best probe, at each level.

    Parameters
    ----------
    settings : mapping
        `armed.config.sweep_settings`.
    out : Path
        Table to write. A seed is a dataset; values are means over its folds.
    device : {"cpu", "cuda"}
    stack_size : int
        Replicas trained together, at most.
    engine : {"auto", "eager", "compiled"}
        See `armed.fit_stack`.
    """
    set_torch_threads(settings["fit"]["torch_threads"])
    how = {"device": device, "stack_size": stack_size, "engine": engine}
    groups: dict[int, list[Point]] = {}
    for point in points(settings):
        groups.setdefault(point.data.get("n_clusters", settings["data"]["n_clusters"]), []).append(point)
    entry, found = registry.model(settings["fit"]["model"]), []
    for n_clusters, group in groups.items():
        begin = time.time()
        others = sum(n for n in groups if n != n_clusters) if not entry.uses_clusters_in_training else 0
        found += _of_group(group, settings, how, others / n_clusters)
        log.info("Settings: %d, with %d clusters, in %.1f s.", len(group), n_clusters, time.time() - begin)
    named = {"study": settings["fit"]["study"], "model": entry.id, "variant": "main", "fold": WHOLE_DATASET}
    table = pd.concat(found, ignore_index=True).assign(**named, source=registry.study(named["study"]).source)
    results.write("sensitivity", table, out)


@dataclass(frozen=True)
class _Drawn:
    """The datasets of one change of the data: their parts, and the folds that are trained."""

    parts: Mapping[str, ClusteredData]
    folds: list[Fold]

    @classmethod
    def of(cls, change: Mapping[str, float], settings: Mapping) -> _Drawn:
        study, split, seeds = settings["fit"]["study"], settings["split"], list(range(settings["datasets"]))
        make = registry.load(registry.study(study).data)
        parts = make({**settings["data"], **change}, study, seeds, []).parts["main"]
        fractions = {key: split[key] for key in ("test_fraction", "validation_fraction")}
        folds = make_splits(parts["seen"], seeds, split["folds"], study, **fractions)
        return cls(parts, [fold for fold in folds if fold.fold < settings["folds"]])

    def splits(self) -> Splits:
        return Splits(tuple(self.folds))


def _of_group(group: Sequence[Point], settings: Mapping, how: Mapping, elsewhere: float) -> list[pd.DataFrame]:
    """Train all levels of one number of clusters together, and score each."""
    of_fit = settings["fit"]
    arguments = {"study": of_fit["study"], "label": of_fit["kind"], **how, **of_fit["variants"]["main"]}
    arguments |= {key: of_fit[key] for key in ("network", "training")}
    method = registry.load(registry.model(of_fit["model"]).method)(**arguments)
    drawn = {key: _Drawn.of(dict(key), settings) for key in dict.fromkeys(_key(point) for point in group)}
    pool, offsets = _pooled(drawn)
    # The longest last, so that stacks hold replicas of about as many steps.
    order = sorted(group, key=lambda point: len(drawn[_key(point)].parts["seen"]))
    jobs = [(point, fold) for point in order for fold in drawn[_key(point)].folds]
    folds = Splits(tuple(_moved(fold, offsets[_key(point)]) for point, fold in jobs))
    steps = max(len(f.train) for f in folds) / method.training["batch_size"] * method.training["epochs"]
    assign = [point.hyper for point, _ in jobs]
    fit = method.fit_settings(pool, folds, assign=assign, steps_elsewhere=round(steps * elsewhere))
    inferred = _infer(drawn, fit, settings, how)
    found, start = [], 0
    for point in order:
        own = drawn[_key(point)]
        index = list(range(start, start := start + len(own.folds)))
        scored = _Scored(fit, own, index, inferred.get(_key(point)))
        for factor, level in point.names:
            found.append(scored.metrics().assign(factor=factor, level=f"{level:g}"))
        if len(point.names) > 1 or not point.data | point.hyper:
            found += [
                scored.probe_rank(at_mean=at == MEAN_POINT).assign(factor=IMPORTANCE, level=at)
                for at in (AVERAGED, MEAN_POINT)
            ]
    return found


def _key(point: Point) -> tuple:
    return tuple(point.data.items())


def _pooled(drawn: Mapping[tuple, _Drawn]) -> tuple[ClusteredData, dict[tuple, int]]:
    """The seen clusters of all changes of the data, one below the other, and where each begins."""
    seen = [own.parts["seen"] for own in drawn.values()]
    sizes = [len(part) for part in seen]
    columns = {name: np.concatenate([getattr(part, name) for part in seen]) for name in ("X", "y", "clusters")}
    dataset = np.concatenate([i * 2**20 + part.dataset for i, part in enumerate(seen)])
    starts = dict(zip(drawn, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
    return ClusteredData(**columns, feature_names=seen[0].feature_names, dataset=dataset), starts


def _moved(fold: Fold, by: int) -> Fold:
    return Fold(fold.seed, fold.fold, fold.train + by, fold.validation + by, fold.test + by)


def _infer(drawn: Mapping[tuple, _Drawn], fit: StackFit, settings: Mapping, how: Mapping) -> dict[tuple, dict]:
    """Inferred Z of the unseen clusters by (seed, fold), for each change of the data; none for models that infer none."""
    if "inference" not in settings:
        return {}
    given, found = settings["inference"], {}
    arguments = {key: given[key] for key in ("study", "network", "training", "validation_fraction")}
    for key, own in drawn.items():
        predictor = registry.load(CLUSTER_INFERENCE)(**arguments, **how)
        steps = max(len(f.train) for f in own.folds) / predictor.training["batch_size"] * predictor.training["epochs"]
        predictor.fit(own.parts["seen"], own.splits(), steps_elsewhere=round(steps * (len(drawn) - 1)))
        rows = {(f.seed, f.fold): own.parts["unseen"].rows_of(f.seed) for f in own.folds}
        found[key] = predictor.infer(own.parts["unseen"], rows, fit.levels)
    return found


@dataclass(frozen=True)
class _Scored:
    """The replicas of one level on the data they are scored on: `index` are their places in the stack, one for each fold."""

    fit: StackFit
    drawn: _Drawn
    index: list[int]
    inferred: Mapping | None

    def metrics(self) -> pd.DataFrame:
        """Accuracy on each partition, and the rank of the best probe."""
        return pd.concat([self._accuracies(), self.probe_rank()], ignore_index=True)

    def probe_rank(self, *, at_mean: bool = False) -> pd.DataFrame:
        """Rank of the most important probe by importance averaged over a dataset's folds; 1: above every real feature.

        Parameters
        ----------
        at_mean : bool
            By the gradient at the mean of the test samples alone, as in the authors' code.
        """
        seen, rows = self.drawn.parts["seen"], [fold.test for fold in self.drawn.folds]
        X, ids = seen.X, rows
        if at_mean:
            X, ids = np.stack([seen.X[r].mean(0) for r in rows]), [np.array([i]) for i in range(len(rows))]
        population = [np.full(len(r), -1) for r in ids]
        gradients = self.fit.stack.input_gradients(as_pool(X, self.fit.stack.device), ids, population, self.index)
        importance = pd.DataFrame([g.mean(0) * seen.X[r].std(0) for g, r in zip(gradients, rows, strict=True)])
        seeds = np.array([fold.seed for fold in self.drawn.folds])
        means = importance.groupby(seeds).agg(lambda v: v.mean(skipna=False))
        probe = np.array([is_probe(name) for name in seen.feature_names])
        best = means.loc[:, probe].max(axis=1, skipna=False)
        value = (1.0 + means.loc[:, ~probe].ge(best, axis=0).sum(axis=1)).where(best.notna())
        return self._table(value, "seen", "probe_rank", seen.X.shape[1])

    def _accuracies(self) -> pd.DataFrame:
        folds, found = self.drawn.folds, []
        made: dict[str, tuple[list[np.ndarray], list[dict]]] = {}
        for partition, (name, output) in _OUTPUTS.items():
            part = self.drawn.parts[name]
            if name not in made:
                rows = [f.test if name == "seen" else part.rows_of(f.seed) for f in folds]
                made[name] = rows, self._outputs(part, rows, inferred=name == "unseen")
            rows, outputs = made[name]
            cell = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
            values = np.concatenate([out[output] for out in outputs])[:, 0]
            cells = Cells.of(cell, part.y[np.concatenate(rows)], values, n_cells=len(rows))
            accuracy = pd.Series(compute(cells, "accuracy")[0], index=[f.seed for f in folds])
            mean = accuracy.groupby(level=0).agg(lambda v: v.mean(skipna=False))
            n = pd.Series([len(r) for r in rows], index=accuracy.index).groupby(level=0).sum()
            found.append(self._table(mean, partition, "accuracy", n))
        return pd.concat(found, ignore_index=True)

    def _outputs(self, part: ClusteredData, rows: list[np.ndarray], *, inferred: bool) -> list[dict]:
        codes = part.codes(self.fit.levels)
        clusters = [codes[r] for r in rows]
        if inferred and self.inferred is not None:
            clusters = [self.inferred[f.seed, f.fold] for f in self.drawn.folds]
        X = as_pool(part.X, self.fit.stack.device)
        return self.fit.stack.evaluate(predictions, X, rows, clusters, self.index)

    def _table(self, value: pd.Series, partition: str, metric: str, n: pd.Series | int) -> pd.DataFrame:
        """One row for each dataset, with what became of fits that diverged."""
        notes = {r.seed: note for i in self.index for r in [self.fit.replicas[i]] if (note := self._note(r))}
        frame = pd.DataFrame({"seed": value.index, "value": value.to_numpy()})
        n = n.to_numpy() if isinstance(n, pd.Series) else n
        return frame.assign(
            partition=partition, metric=metric, n=n, note=[notes.get(seed, "") for seed in frame["seed"]]
        )

    def _note(self, replica) -> str:
        return self.fit.notes.get((replica.seed, replica.fold, replica.setting), "")
