"""The job that predicts with all models of a model id in a study, and scores the predictions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from armed import registry, results
from armed.associations import is_probe
from armed.data.clustered import ClusteredData
from armed.data.splits import Splits
from armed.data.study import StudyData
from armed.files import atomic
from armed.jobs.data import read_splits
from armed.jobs.fit import CLUSTER_INFERENCE, fitted_variants, set_torch_threads
from armed.method import Method, Rows
from armed.scoring import FIXED_OF, score

log = logging.getLogger(__name__)
# Kept for every cluster. All metrics would make the table ten times larger; they are kept only for unseen clusters that all
# seeds share, whose intervals are over clusters.
CLUSTER_METRICS = ("accuracy", "auroc", "within_cluster_auroc")
GRID_POINTS = 80


def predict(
    settings: Mapping,
    data: Path,
    splits: Path,
    run: Path,
    inference: Path | None,
    out: Mapping[str, Path],
    unseen_seeds: int,
) -> None:
    """Predict, score, and read off importance, random effects and decision boundaries.

    Parameters
    ----------
    settings : mapping
        `armed.config.settings` of the model.
    data, splits : Path
        What `armed.jobs.data` wrote.
    run : Path
        Folder of the fits (those of another model where this one has none of its own).
    inference : Path or None
        Folder of the study's Z-predictor, for models that infer clusters.
    out : mapping
        Files to write: predictions, metrics, cluster_metrics, thresholds, importance, random_effects, boundaries.
    unseen_seeds : int
        Seeds whose unseen-cluster predictions are kept in the predictions file; all are scored.
    """
    set_torch_threads(settings.get("torch_threads"))
    study, entry = registry.study(settings["study"]), registry.model(settings["model"])
    study_data = StudyData.load(data)
    frames, extra, importance, effects, grids = [], [], [], [], []
    for variant, _, data_variant in fitted_variants(settings, study_data):
        log.info("Predicting with %s, variant %s.", entry.id, variant)
        method = registry.load(entry.method).load(run / variant)
        folds = read_splits(splits, data_variant).select(sorted({seed for seed, _ in method.replicas_}))
        task = _Task(method, study_data.parts[data_variant], folds, _inference(inference, data_variant))
        frames.append(_noted(task.predictions(study.partitions), method).assign(variant=variant))
        extra.append(task.adversary_and_z().assign(variant=variant))
        importance.append(_labelled(method.importance(task.parts["seen"], task.test), variant))
        effects.append(_labelled(method.random_effects_, variant))
        if variant == "main" and study.id in registry.SPIRALS:
            grids.append(boundary_grid(method, task.parts["seen"]).assign(variant=variant))
    predictions = pd.concat(frames, ignore_index=True)
    named = {"study": study.id, "model": entry.id}
    ranked = _ranked(_concatenated(importance, "importance").assign(**named))
    extra.append(_probe_ranks(ranked))
    scores = score(predictions, study.metrics, source=study.source, **named)
    shared = [
        v for v, _, d in fitted_variants(settings, study_data) if np.ptp(study_data.part("unseen", d).dataset) == 0
    ]
    by_cluster = scores.cluster_metrics
    kept = by_cluster["metric"].isin(CLUSTER_METRICS)
    kept |= by_cluster["partition"].str.startswith("unseen") & by_cluster["variant"].isin(shared)
    metrics = pd.concat([scores.metrics, pd.concat(extra).assign(source=study.source, **named)], ignore_index=True)
    results.write("metrics", _with_notes(metrics, predictions), out["metrics"])
    results.write("cluster_metrics", by_cluster[kept], out["cluster_metrics"])
    results.write("thresholds", _thresholds(predictions).assign(**named), out["thresholds"])
    results.write("importance", ranked, out["importance"])
    results.write("random_effects", _concatenated(effects, "random_effects").assign(**named), out["random_effects"])
    kept = ~predictions["partition"].str.startswith("unseen") | (predictions["seed"] < unseen_seeds)
    results.write("predictions", predictions[kept].drop(columns="fit_note"), out["predictions"])
    with atomic(out["boundaries"]) as temporary:
        pd.concat(grids).to_parquet(temporary, index=False) if grids else pd.DataFrame().to_parquet(temporary)


class _Task:
    """One variant of a model: its fits, the parts of its data, and its folds."""

    def __init__(
        self, method: Method, parts: Mapping[str, ClusteredData], folds: Splits, inference: object | None
    ) -> None:
        self.method = method
        self.parts = parts
        self.inference = inference
        self.test: Rows = {(f.seed, f.fold): f.test for f in folds}

    def predictions(self, partitions: tuple[str, ...]) -> pd.DataFrame:
        """Rows of the predictions table for all partitions that apply."""
        own = "infer" if self.inference is not None else "population"
        frames = []
        for partition in partitions:
            if partition in FIXED_OF or (partition == "unseen_population" and self.inference is None):
                continue  # scored from another partition's rows; the same as `unseen`
            part = self.parts["unseen" if partition == "unseen_population" else partition]
            rows = self.test if partition == "seen" else {key: part.rows_of(key[0]) for key in self.test}
            new_clusters = {"unseen": own, "unseen_population": "population"}.get(partition, "error")
            predicted = self.method.predict(part, rows, new_clusters=new_clusters, cluster_inference=self.inference)
            frames.append(
                pd.DataFrame(
                    {
                        "sample_id": part.sample_id[predicted.row].astype(str),
                        "cluster": part.clusters[predicted.row],
                        "partition": partition,
                        "seed": predicted.seed,
                        "fold": predicted.fold,
                        "y_true": part.y[predicted.row].astype(np.float32),
                        "fixed": predicted.fixed,
                        "mixed": predicted.mixed,
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    def adversary_and_z(self) -> pd.DataFrame:
        """Accuracy of the adversary and of the Z-predictor on the test rows of seen clusters, chance in the note."""
        data = self.parts["seen"]
        guesses = {}
        if hasattr(self.method, "adversary_predictions"):
            guesses["adversary_accuracy"] = self.method.adversary_predictions(data, self.test)
        if self.inference is not None:
            Z = self.inference.infer(data, self.test, self.method.levels_)
            guesses["z_accuracy"] = {key: z.argmax(1) for key, z in Z.items()}
        codes = data.codes(self.method.levels_)
        rows = []
        for metric, by_fit in guesses.items():
            for (seed, fold), guess in (by_fit or {}).items():
                truth = codes[self.test[seed, fold]]
                chance = np.bincount(truth[truth >= 0]).max() / len(truth)
                value, note = float((guess == truth).mean()), f"chance {chance:.3g}"
                rows.append((seed, fold, "seen", metric, value, len(truth), note))
        return pd.DataFrame(rows, columns=["seed", "fold", "partition", "metric", "value", "n", "note"])


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


def _inference(folder: Path | None, data_variant: str) -> object | None:
    if folder is None:
        return None
    return registry.load(CLUSTER_INFERENCE).load(folder / data_variant)


def _noted(predictions: pd.DataFrame, method: Method) -> pd.DataFrame:
    """Add what a reader should know of the fit, such as that it did not converge."""
    if not method.notes_:
        return predictions.assign(fit_note="")
    notes = [method.notes_.get(key, "") for key in zip(predictions["seed"], predictions["fold"], strict=True)]
    return predictions.assign(fit_note=notes)


def _with_notes(metrics: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    key = ["variant", "seed", "fold"]
    notes = predictions[predictions["fit_note"] != ""].drop_duplicates(key).set_index(key)["fit_note"]
    if notes.empty:
        return metrics
    found = notes.reindex(pd.MultiIndex.from_frame(metrics[key])).fillna("").to_numpy()
    joined = [("; ".join(t for t in pair if t)) for pair in zip(metrics["note"].fillna(""), found, strict=True)]
    return metrics.assign(note=joined)


def _labelled(frame: pd.DataFrame | None, variant: str) -> pd.DataFrame | None:
    return None if frame is None else frame.assign(variant=variant)


def _concatenated(frames: list[pd.DataFrame | None], table: str) -> pd.DataFrame:
    there = [f for f in frames if f is not None]
    return pd.concat(there, ignore_index=True) if there else results.empty(table)


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


def _thresholds(predictions: pd.DataFrame) -> pd.DataFrame:
    """Spirals: 0.5, fixed in advance."""
    fits = predictions[["seed", "fold", "variant"]].drop_duplicates()
    return fits.assign(threshold=0.5, chosen_on="constant")
