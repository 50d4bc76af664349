"""Compute again what follows from the predictions, thresholds, codes and errors of an archive, by the workflow's functions."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from armed import auroc_intervals as of_auroc
from armed import labels, latents, registry, results, scoring
from armed.archive.unpacked import Unpacked
from armed.bootstrap import draws_of_model
from armed.data.study import StudyData, is_probe
from armed.errors import ArchiveError
from armed.schemas import table

CODED = ("davies_bouldin", "calinski_harabasz", "cluster_probe_accuracy")
CODED = (*CODED, "variance_cluster", "variance_group", "variance_phenotype")
"""Metrics of codes."""
_OF_CODES = {"seen": "latents", "unseen": "latents_unseen"}
FIT = ["variant", "partition", "seed", "fold"]


def scores(archive: Unpacked, study: str, model: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of `metrics` and `cluster_metrics` that follow from a model's predictions and thresholds, or codes and errors."""
    entry = registry.study(study)
    named = {"study": study, "model": model, "source": entry.source}
    metrics, by_cluster = [of_importance(archive.of_model("importance", study, model))], []
    if study in archive.whole():
        predictions = archive.results / "predictions" / study / f"{model}.parquet"
        if predictions.is_file():
            constant = entry.threshold == "constant"
            thresholds = None if constant else archive.of_model("thresholds", study, model)
            rows = results.read("predictions", predictions)
            scored = scoring.score(rows, entry.metrics, thresholds, **named)
            metrics.append(scored.metrics)
            by_cluster.append(scored.cluster_metrics)
        codes = archive.results / "latents" / study / f"{model}.npz"
        if codes.is_file():
            arrays = read_codes(codes)
            errors = errors_of(arrays)
            metrics += [means_of(errors, FIT).assign(**named), of_codes(arrays).assign(**named)]
            by_cluster.append(means_of(errors, [*FIT, "cluster"]).assign(**named))
    return _joined("metrics", metrics), _joined("cluster_metrics", by_cluster)


def _joined(name: str, frames: list[pd.DataFrame]) -> pd.DataFrame:
    columns = list(table(name).columns)
    frames = [frame.reindex(columns=columns) for frame in frames if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else results.empty(name)


def of_importance(importance: pd.DataFrame) -> pd.DataFrame:
    """Metric ``probe_rank``: rank of the most important probe of each fit."""
    probes = importance[importance["feature"].map(is_probe).astype(bool)]
    by = ["study", "model", "variant", "seed", "fold"]
    best = probes.groupby(by, as_index=False)["rank"].min().rename(columns={"rank": "value"})
    counts = importance.groupby(["study", "model", "variant"], as_index=False)["feature"].nunique()
    best = best.merge(counts.rename(columns={"feature": "n"}), on=by[:3])
    return best.assign(value=best["value"].astype(float), partition="seen", metric="probe_rank", note="", source="")


def read_codes(path: Path) -> dict[str, np.ndarray]:
    """What `armed.jobs.latents` keeps of a model's networks."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if not name.startswith("shown_")}
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ArchiveError(f"{path.name} of {path.parent.name} does not hold codes: {error}") from error


def errors_of(codes: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Errors of every fit and image: mixed ones, and those of Z = 0 as partitions of their own."""
    columns = ("seed", "fold", "cluster", "subject", "partition")
    frame = pd.DataFrame({column: codes[column] for column in columns}).assign(variant="main")
    frames = []
    for suffix, name in (("", "error_mixed"), ("_population", "error_fixed")):
        error = codes[name].astype(np.float64)
        partition = frame["partition"] + suffix
        frames.append(frame.assign(partition=partition, error=np.where(np.isfinite(error), error, np.nan)))
    return pd.concat(frames, ignore_index=True)


def means_of(errors: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    groups = errors.groupby(by, sort=True)["error"]
    found = groups.agg(value=lambda own: own.mean(skipna=False), n="size").reset_index()
    return found.assign(metric="mse", note="")


def of_codes(codes: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Readings of the codes of every fit; the probe of seen clusters, which is fitted to other samples, is not among them."""
    fits = pd.DataFrame({column: codes[column] for column in ("partition", "seed", "fold")})
    rows = []
    for (part, seed, fold), index in fits.groupby(["partition", "seed", "fold"], sort=True).indices.items():
        own = {name: codes[name][index] for name in ("latent", "cluster", "subject", "group", "label")}
        true = "phenotype" in codes
        phenotype = codes["phenotype"][index] if true else own["label"]
        read = latents.separation(own["latent"], own["cluster"])
        if part == "unseen":
            probe = latents.cluster_probe(own["latent"], own["cluster"], own["subject"], own["group"])
            read["cluster_probe_accuracy"] = probe
        factors = (own["cluster"], own["group"], phenotype, own["subject"])
        read |= latents.variance_partition(own["latent"], *factors)
        rows += [("main", _OF_CODES[part], seed, fold, metric, *reading) for metric, reading in read.items()]
    return pd.DataFrame(rows, columns=[*FIT, "metric", "value", "n", "note"])


def subjects(predictions: pd.DataFrame, data: StudyData, study: str) -> pd.DataFrame:
    """Predictions with the subject of each sample."""
    frames = [predictions.iloc[:0].assign(subject="")]
    for (variant, partition), own in predictions.groupby(["variant", "partition"], sort=False, observed=True):
        base = labels.data_variant(variant, study)
        # Where each leaves out one cluster, the parts of all of them together hold every sample.
        parts = [of for name, of in data.parts.items() if name.partition("@")[0] == base]
        parts = [of[partition] if partition in of else of["unseen"] for of in parts]
        known = pd.concat([pd.Series(part.subject, index=part.sample_id.astype(str)) for part in parts])
        known = known[~known.index.duplicated()]
        frames.append(own.assign(subject=own["sample_id"].astype(str).map(known)))
    return pd.concat(frames)


def draws(archive: Unpacked, study: str, model: str, path: Path) -> pd.DataFrame:
    """Table `draws` of one model, of the variants and partitions whose predictions or errors are all there."""
    size = archive.config["statistics"]["bootstrap"]
    named = {"study": study, "model": model, "draws": size}
    if path.name.startswith("latents"):
        codes = archive.results / "latents" / study / f"{model}.npz"
        if not codes.is_file():
            return results.empty("draws")
        errors = errors_of(read_codes(codes))
        return draws_of_model(errors.assign(y_true=0.0, mixed=np.sqrt(errors["error"])), ["mse"], **named)
    predictions = archive.results / "predictions" / study / f"{model}.parquet"
    data = archive.results / "data" / f"{study}.npz"
    if not (predictions.is_file() and data.is_file()):
        return results.empty("draws")
    own = archive.of_model("metrics", study, model)
    rows = _complete(results.read("predictions", predictions), own, path)
    if rows.empty:
        return results.empty("draws")
    entry, own = registry.study(study), archive.of_model("thresholds", study, model)
    rows = subjects(rows, StudyData.load(data), study).reset_index(drop=True)
    return draws_of_model(rows, entry.metrics, **named, thresholds=own)


def _complete(rows: pd.DataFrame, own: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Predictions of the variants and partitions that have draws, if they are there for all seeds that were scored."""
    drawn = results.read("draws", path)[["variant", "partition"]].drop_duplicates().astype(str)
    kept = []
    for variant, partition in drawn.itertuples(index=False):
        of = rows[(rows["variant"] == variant) & (rows["partition"] == partition)]
        scored = own[(own["variant"] == variant) & (own["partition"] == partition)]
        if set(of["seed"]) == set(scored["seed"]):
            kept.append(of)
    return pd.concat(kept) if kept else rows.iloc[:0]


def auroc_intervals(archive: Unpacked) -> pd.DataFrame:
    """Table `auroc_intervals` of the studies that have one."""
    wanted = archive.table("auroc_intervals")["study"].unique()
    statistics = archive.config["statistics"]
    frames = []
    for study, model, path in archive.models("predictions/*.parquet"):
        data = archive.results / "data" / f"{study}.npz"
        if study in wanted and data.is_file():
            rows = subjects(results.read("predictions", path), StudyData.load(data), study)
            named = {"study": study, "source": registry.study(study).source, "model": model}
            how = {"draws": statistics["bootstrap"], "confidence": statistics["confidence"]}
            frames.append(of_auroc.auroc_intervals(rows, **named, **how))
    return _joined("auroc_intervals", frames)
