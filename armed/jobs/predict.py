"""The job that predicts with all models of a model id in a study, and scores the predictions."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from armed import registry, results
from armed.data.clustered import ClusteredData
from armed.data.study import StudyData, is_probe
from armed.files import atomic
from armed.jobs.data import read_test_rows
from armed.jobs.fit import CLUSTER_INFERENCE, fitted_variants, set_torch_threads
from armed.method import Method, Rows
from armed.schemas import table as schema
from armed.scoring import FIXED_OF, score

log = logging.getLogger(__name__)
# Kept for every cluster. All metrics would make the table ten times larger; they are kept only for unseen clusters that all
# seeds share, whose intervals are over clusters.
CLUSTER_METRICS = ("accuracy", "auroc", "within_cluster_auroc")
GRID_POINTS = 80
SEEDS_AT_ONCE = 10  # bounds memory


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
    names = _Names(study, settings, study_data)
    tables: dict[str, list[pd.DataFrame]] = defaultdict(list)
    for variant, _, data_variant in fitted_variants(settings, study_data):
        log.info("Predicting with %s, variant %s.", entry.id, variant)
        method = registry.load(entry.method).load(run / variant)
        parts, predictor = study_data.parts[data_variant], _inference(inference, data_variant)
        test = read_test_rows(splits, data_variant)
        if method.random_effects_ is not None:
            tables["random_effects"].append(method.random_effects_.assign(variant=variant))
        if variant == "main" and study.id in registry.SPIRALS:
            tables["boundaries"].append(boundary_grid(method, parts["seen"]).assign(variant=variant))
        for seeds in batched(sorted({seed for seed, _ in method.replicas_}), SEEDS_AT_ONCE):
            rows = {key: ids for key, ids in test.items() if key[0] in seeds}
            task = _Task(method, parts, rows, predictor, variant, names)
            for name, frame in _score(task, study, entry.id, unseen_seeds).items():
                tables[name].append(frame)
    for name in ("metrics", "cluster_metrics", "thresholds", "importance", "random_effects", "predictions"):
        table = pd.concat(tables[name], ignore_index=True) if tables[name] else results.empty(name)
        if name != "predictions":
            # In the order of the key, which does not depend on how many seeds were done at once.
            table = table.assign(study=study.id, model=entry.id).sort_values(list(schema(name).key), kind="stable")
        results.write(name, table, out[name])
    with atomic(out["boundaries"]) as temporary:
        grids = tables["boundaries"]
        pd.concat(grids).to_parquet(temporary, index=False) if grids else pd.DataFrame().to_parquet(temporary)


def _score(task: _Task, study: registry.Study, model: str, unseen_seeds: int) -> dict[str, pd.DataFrame]:
    """All tables of one variant and a few seeds."""
    predictions = task.predictions(study.partitions)
    # Where all metrics are wanted of some clusters they are computed for all.
    by_cluster = None if task.shares_unseen_clusters() else CLUSTER_METRICS
    named = {"source": study.source, "study": study.id, "model": model}
    scores = score(predictions, study.metrics, by_cluster=by_cluster, **named)
    # Spirals: 0.5, fixed in advance.
    fits = pd.DataFrame(list(task.test), columns=["seed", "fold"])
    found = {"thresholds": fits.assign(variant=task.variant, threshold=0.5, chosen_on="constant")}
    extra = [task.adversary_and_z()]
    importance = task.method.importance(task.parts["seen"], task.test)
    if importance is not None:
        found["importance"] = _ranked(importance.assign(variant=task.variant))
        extra.append(_probe_ranks(found["importance"]))
    metrics = pd.concat([scores.metrics, *(e.assign(source=study.source, variant=task.variant) for e in extra)])
    found["metrics"] = _with_notes(metrics, task.method)
    by_cluster = scores.cluster_metrics
    kept = by_cluster["metric"].isin(CLUSTER_METRICS)
    if task.shares_unseen_clusters():
        kept |= by_cluster["partition"].str.startswith("unseen")
    found["cluster_metrics"] = by_cluster[kept]
    kept = ~predictions["partition"].str.startswith("unseen") | (predictions["seed"] < unseen_seeds)
    return found | {"predictions": predictions[kept]}


class _Names:
    """Names that a predictions table may hold, so that these columns are categories, the same in all frames of a job."""

    def __init__(self, study: registry.Study, settings: Mapping, data: StudyData) -> None:
        parts = [part for of_variant in data.parts.values() for part in of_variant.values()]
        self.types = {
            "cluster": pd.CategoricalDtype(np.unique(np.concatenate([part.levels for part in parts]))),
            "partition": pd.CategoricalDtype(study.partitions),
            "variant": pd.CategoricalDtype([variant for variant, _, _ in fitted_variants(settings, data)]),
        }

    def columns(self, part: ClusteredData, rows: np.ndarray, partition: str, variant: str) -> dict[str, pd.Categorical]:
        """These columns for some rows of a part of the data."""
        categories = self.types["cluster"].categories
        codes = {
            "cluster": part.codes(categories)[rows],
            "partition": np.full(len(rows), self.types["partition"].categories.get_loc(partition)),
            "variant": np.full(len(rows), self.types["variant"].categories.get_loc(variant)),
        }
        return {name: pd.Categorical.from_codes(values, dtype=self.types[name]) for name, values in codes.items()}


class _Task:
    """One variant of a model: its fits, the parts of its data, and the test rows of some folds."""

    def __init__(
        self,
        method: Method,
        parts: Mapping[str, ClusteredData],
        test: Rows,
        inference: object | None,
        variant: str,
        names: _Names,
    ) -> None:
        self.variant = variant
        self.names = names
        self.test = test
        self.method = method
        self.parts = parts
        self.inference = inference

    def shares_unseen_clusters(self) -> bool:
        """Whether all seeds meet the same unseen clusters, so that intervals are over these."""
        return bool(np.ptp(self.parts["unseen"].dataset) == 0)

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
                        "sample_id": part.sample_id[predicted.row],
                        **self.names.columns(part, predicted.row, partition, self.variant),
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


def batched(items: Sequence, size: int) -> Iterator[Sequence]:
    """Consecutive parts of at most `size` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _inference(folder: Path | None, data_variant: str) -> object | None:
    if folder is None:
        return None
    return registry.load(CLUSTER_INFERENCE).load(folder / data_variant)


def _with_notes(metrics: pd.DataFrame, method: Method) -> pd.DataFrame:
    """Add what a reader should know of a fit, such as that it did not converge."""
    if not method.notes_:
        return metrics
    told = [method.notes_.get(key, "") for key in zip(metrics["seed"], metrics["fold"], strict=True)]
    joined = ["; ".join(t for t in pair if t) for pair in zip(metrics["note"].fillna(""), told, strict=True)]
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
