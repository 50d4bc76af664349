"""The job that predicts with all models of a model id in a study, and scores the predictions."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from armed import registry, results
from armed.bootstrap import draws_of_model, unit_drawn
from armed.data.clustered import ClusteredData
from armed.data.preparation import Preparation
from armed.data.study import StudyData, is_probe
from armed.files import atomic
from armed.jobs.data import as_trained
from armed.jobs.fit import set_torch_threads
from armed.jobs.fitted import fitted
from armed.jobs.trained import Names, Trained
from armed.method import Method
from armed.schemas import table as schema
from armed.scoring import score
from armed.statistics import RESAMPLED

log = logging.getLogger(__name__)
# Kept for every cluster. All metrics would make the table ten times larger; they are kept only for unseen clusters that all
# seeds share, where intervals are made of the metrics of single clusters. Clusters of a few samples hold seldom both classes.
CLUSTER_METRICS = ("accuracy", "auroc", "within_cluster_auroc", "mse")
SMALL_CLUSTER_METRICS = ("accuracy", "within_cluster_auroc", "mse")
GRID_POINTS = 80
SEEDS_AT_ONCE = 10  # bounds memory
KEPT_TABLES = ("metrics", "cluster_metrics", "thresholds", "importance", "random_effects")


def predict(
    settings: Mapping,
    source: str,
    data: Path,
    splits: Path,
    run: Path,
    inference: Path | None,
    out: Mapping[str, Path],
    unseen_seeds: int,
    draws: int,
) -> None:
    """Predict, score, and read off importance, random effects and decision boundaries.

    Parameters
    ----------
    settings : mapping
        `armed.config.settings` of the model.
    source : str
        What data it is (`armed.config.source`).
    data, splits : Path
        What `armed.jobs.data` wrote.
    run : Path
        Folder of the fits (those of another model where this one has none of its own).
    inference : Path or None
        Folder of the study's Z-predictor, for models that infer clusters.
    out : mapping
        Files to write: predictions, metrics, cluster_metrics, thresholds, importance, random_effects, draws, boundaries.
    unseen_seeds : int
        Seeds whose unseen-cluster predictions are kept in the predictions file; all are scored.
    draws : int
        Bootstrap draws where clusters are few or small (`armed.bootstrap`).
    """
    set_torch_threads(settings.get("torch_threads"))
    study, entry = registry.study(settings["study"]), registry.model(settings["model"])
    job = _Job(study, source, entry, settings, StudyData.load(data), splits, run, inference)
    tables: dict[str, list[pd.DataFrame]] = defaultdict(list)
    for name, trained in job.trained().items():
        log.info("Predicting with %s, variant %s.", entry.id, name)
        for each in trained:
            # Those of another model's weights are told of the other.
            if entry.weights_from is None and (effects := each.random_effects()) is not None:
                # Of datasets drawn anew beside the study's own, a few will do.
                kept = effects["seed"] < unseen_seeds if name == RESAMPLED else slice(None)
                tables["random_effects"].append(effects[kept].assign(variant=name))
        if name == "main" and study.id in registry.SPIRALS:
            grid = boundary_grid(trained[0].method, trained[0].parts["seen"])
            tables["boundaries"].append(grid.assign(variant=name))
        seeds = sorted({seed for each in trained for seed in each.folds.seeds})
        scored: dict[str, list[pd.DataFrame]] = defaultdict(list)
        for some in batched(seeds, SEEDS_AT_ONCE):
            for table, frame in _score(job, name, [each.of_seeds(some) for each in trained], unseen_seeds).items():
                scored[table].append(frame)
        if "to_draw" in scored:
            scored["draws"].append(
                _draws(job, pd.concat(scored.pop("to_draw")), pd.concat(scored["thresholds"]), draws)
            )
        for table, frames in scored.items():
            tables[table] += frames
    for name in (*KEPT_TABLES, "predictions", "draws"):
        table = pd.concat(tables[name], ignore_index=True) if tables[name] else results.empty(name)
        if name in KEPT_TABLES:
            # In the order of the key, which does not depend on how many seeds were done at once.
            table = table.assign(study=study.id, model=entry.id).sort_values(list(schema(name).key), kind="stable")
        results.write(name, table, out[name])
    with atomic(out["boundaries"]) as temporary:
        grids = tables["boundaries"]
        pd.concat(grids).to_parquet(temporary, index=False) if grids else pd.DataFrame().to_parquet(temporary)


@dataclass(frozen=True)
class _Job:
    """What a prediction job works on."""

    study: registry.Study
    source: str
    model: registry.Model
    settings: Mapping
    data: StudyData
    splits: Path
    run: Path
    inference: Path | None

    @cached_property
    def names(self) -> Names:
        return Names.of(self.study, self.settings, self.data)

    def trained(self) -> dict[str, list[Trained]]:
        """Trained models by variant of the results; several where each leaves out one cluster."""
        preparation = Preparation(tuple(self.settings["preparation"]), self.study.id)
        found: dict[str, list[Trained]] = {}
        for variant, method, folds, predictor, first in fitted(
            self.settings, self.data, self.splits, self.run, self.inference
        ):
            seen = self.data.part("seen", variant.data)
            prepared = preparation.fit(seen, as_trained(folds, variant.data))
            parts, known = self.data.parts[variant.data], self.data.truth
            known = known[(known["variant"] == variant.data) & (known["part"] == "seen")] if len(known) else known
            found.setdefault(variant.name, []).append(Trained(method, parts, folds, prepared, known, predictor, first))
        return found


def _score(job: _Job, variant: str, trained: list[Trained], unseen_seeds: int) -> dict[str, pd.DataFrame]:
    """All tables of one variant and a few seeds."""
    study = job.study
    predictions = pd.concat([t.predictions(study.partitions, job.names, variant) for t in trained], ignore_index=True)
    thresholds = pd.concat([t.thresholds(study.threshold) for t in trained]).assign(variant=variant)
    shared = all(t.has_one_dataset() for t in trained)
    unseen = predictions[predictions["partition"] == "unseen"]
    unit = unit_drawn(unseen["cluster"].nunique(), unseen["subject"].nunique()) if shared else None
    kept = SMALL_CLUSTER_METRICS if unit == "cluster" else CLUSTER_METRICS
    # Where all metrics are wanted of some clusters they are computed for all.
    by_cluster = None if shared and unit is None else kept
    scores = score(
        predictions,
        study.metrics,
        None if study.threshold == "constant" else thresholds,
        by_cluster=by_cluster,
        **{"source": job.source, "study": study.id, "model": job.model.id},
    )
    found = {"thresholds": thresholds}
    extra = [t.adversary_and_z() for t in trained]
    by_training = [t.importance() for t in trained]
    if len(job.data.feature_truth) and job.model.weights_from is None:
        pairs = zip(trained, by_training, strict=True)
        extra += [t.truth_metrics(of_training, job.data.feature_truth) for t, of_training in pairs]
    importance = [frame for frame in by_training if frame is not None]
    if importance:
        found["importance"] = _ranked(pd.concat(importance, ignore_index=True).assign(variant=variant))
        extra.append(_probe_ranks(found["importance"]))
    notes = {key: note for t in trained for key, note in t.notes().items()}
    metrics = [scores.metrics, *(e.assign(source=job.source, variant=variant) for e in extra)]
    found["metrics"] = _with_notes(pd.concat(metrics), notes)
    rows = scores.cluster_metrics
    wanted = rows["metric"].isin(kept)
    if by_cluster is None:
        wanted |= rows["partition"].str.startswith("unseen")
    found["cluster_metrics"] = rows[wanted]
    if shared:
        found["to_draw"] = predictions.drop(columns=[c for c in predictions if c.startswith("fixed")])
    kept = ~predictions["partition"].str.startswith("unseen") | (predictions["seed"] < unseen_seeds)
    return found | {"predictions": predictions[kept].drop(columns="subject")}


def _draws(job: _Job, predictions: pd.DataFrame, thresholds: pd.DataFrame, draws: int) -> pd.DataFrame:
    """Bootstrap draws of one variant, where its clusters are few or small."""
    return draws_of_model(
        predictions.reset_index(drop=True),
        job.study.metrics,
        study=job.study.id,
        model=job.model.id,
        draws=draws,
        thresholds=thresholds.drop(columns="chosen_on"),
    )


def boundary_grid(method: Method, data: ClusteredData, n: int = GRID_POINTS) -> pd.DataFrame:
    """Predictions of the first fit on a grid of the plane, for each seen cluster; other features at their mean.

    Returns
    -------
    DataFrame
        cluster, x1, x2, fixed, mixed (logits).
    """
    key = method.replicas_[0]
    rows = data.rows_of(key[0])
    reach = 1.05 * np.abs(data.X[rows, :2]).max()
    x1, x2 = (a.ravel() for a in np.meshgrid(*[np.linspace(-reach, reach, n)] * 2))
    levels = np.unique(data.clusters[rows])
    X = np.tile(data.X[rows].mean(0), (len(levels) * n * n, 1))
    X[:, 0], X[:, 1] = np.tile(x1, len(levels)), np.tile(x2, len(levels))
    clusters = np.repeat(levels, n * n)
    grid = ClusteredData(X, np.arange(len(X)) % 2, clusters, feature_names=data.feature_names)
    predicted = method.predict(grid, {key: np.arange(len(X))})
    frame = {"cluster": clusters, "x1": X[:, 0], "x2": X[:, 1], "fixed": predicted.fixed, "mixed": predicted.mixed}
    return pd.DataFrame(frame).astype({c: np.float32 for c in ("x1", "x2", "fixed", "mixed")})


def batched(items: Sequence, size: int) -> Iterator[Sequence]:
    """Consecutive parts of at most `size` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _with_notes(metrics: pd.DataFrame, told: Mapping[tuple[int, int], str]) -> pd.DataFrame:
    """Add what a reader should know of a fit, such as that it did not converge."""
    if not told:
        return metrics
    notes = [told.get(key, "") for key in zip(metrics["seed"], metrics["fold"], strict=True)]
    joined = ["; ".join(t for t in pair if t) for pair in zip(metrics["note"].fillna(""), notes, strict=True)]
    return metrics.assign(note=joined)


def _ranked(importance: pd.DataFrame) -> pd.DataFrame:
    """Add the rank of each feature within a fit; 1 = most important."""
    by = importance.groupby(["seed", "fold", "variant"])["importance"]
    return importance.assign(rank=by.rank(ascending=False, method="first").fillna(-1).astype(int))


def _probe_ranks(importance: pd.DataFrame) -> pd.DataFrame:
    """Rank of the most important probe of each fit, 1 = more important than every real feature."""
    probes = importance[importance["feature"].map(is_probe)]
    best = probes.groupby(["seed", "fold", "variant"], as_index=False)["rank"].min().rename(columns={"rank": "value"})
    n = importance["feature"].nunique()
    return best.assign(value=best["value"].astype(float), partition="seen", metric="probe_rank", n=n, note="")
