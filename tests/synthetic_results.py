"""Made-up results of a whole run, in the formats of `armed.results`: what figures, tables and report are tested on."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from armed import config as configuration
from armed import registry, results
from armed.data import spirals
from armed.reproducibility import ROOT

ACCURACY = {
    "conventional": 0.735,
    "cluster_input": 0.684,
    "mldg": 0.712,
    "domain_adversarial": 0.722,
    "menet": 0.741,
    "lmmnn": 0.738,
    "mixedlm": 0.584,
    "mixed_logit": 0.588,
    "logistic_regression": 0.586,
    "gradient_boosting": 0.742,
    "gpboost": 0.73,
    "armed": 0.749,
    "armed_no_adversary": 0.759,
    "armed_randomized_z": 0.727,
}
PROBE_WINS = {"conventional": 0.25, "armed": 0.04, "armed_no_adversary": 0.1}


def small_config(seeds: int = 3, folds: int = 2) -> dict:
    """The default configuration with the spirals alone, and few seeds, folds and points."""
    config = configuration.load(ROOT / "config" / "config.yaml")
    config["run"]["studies"] = list(registry.SPIRALS)
    for study in registry.SPIRALS:
        block = config["studies"][study]
        block |= {"seeds": seeds, "folds": folds, "slow_seeds": 2}
        block["data"] |= {"n_per_cluster": 60, "n_per_unseen_cluster": 20}
    return config


def write_results(folder: Path, config: Mapping, without: set[tuple[str, str]] = frozenset()) -> Path:
    """Write tables, data, boundaries and run.json of every selected study and model but those of `without`."""
    rng = np.random.default_rng(7)
    metrics = pd.concat([_metrics(s, config, rng, without) for s in configuration.selected_studies(config)])
    summary = summary_of(metrics)
    frames = {"metrics": metrics, "summary": summary, "comparison": comparison_of(summary)}
    frames["paired_tests"] = paired_tests_of(summary, "accuracy")
    frames["importance"] = _importance(config, rng)
    frames["deconfounding"] = _deconfounding(config)
    frames["tuning"] = _tuning(config)
    frames["random_effects"] = _write_data(folder, config, rng)
    for name, frame in frames.items():
        results.write(name, frame, folder / f"{name}.tsv")
    for study, model in {(r.study, r.model) for r in metrics[["study", "model"]].itertuples()}:
        run = folder / "runs" / study / model
        run.mkdir(parents=True)
        environment = {"python": "3.11.2", "packages": {"torch": "2.13.0"}, "git_commit": "0123abc"}
        (run / "run.json").write_text(json.dumps({"device": "cpu", "environment": environment, "wall_seconds": 6.0}))
    return folder


def _metrics(study, config, rng, without) -> pd.DataFrame:
    rows = []
    for model in configuration.selected_models(config, study):
        if (study, model) in without:
            continue
        variants = [*configuration.data_variants(config, study)]
        settings = configuration.settings(config, study, model)
        variants += [v for v in settings["variants"] if v != "main"] + ["tuned"] * ("tuning" in settings)
        for variant in variants:
            level = ACCURACY[model] - 0.09 * (variant == "label_defect") - 0.01 * (variant == "resampled")
            rows += _metric_rows(study, model, variant, level, config, rng)
    return pd.DataFrame(rows, columns=list(results.table("metrics").columns))


def _metric_rows(study, model, variant, level, config, rng) -> list[tuple]:
    rows = []
    folds = range(config["studies"][study]["folds"])
    for partition in registry.study(study).partitions:
        if partition == "unseen_population" and not registry.model(model).infers_clusters:
            continue
        if partition.startswith("deconfounded") and variant != "main":
            continue
        drop = 0.03 if partition == "deconfounded" else 0.02 * partition.startswith("unseen")
        level_here = 0.5 if study == "spirals_inverted" and partition.startswith("unseen") else level - drop
        for seed in [0] if variant == "tuned" else configuration.seeds(config, study, model):
            shift = rng.normal(0, 0.02)
            for fold in folds:
                note = "did not converge" if model == "mixedlm" and fold == 0 else ""
                for metric, offset in (("accuracy", 0.0), ("auroc", 0.06)):
                    value = level_here + offset * (level_here > 0.5) + shift + rng.normal(0, 0.01)
                    rows.append((study, "simulated", seed, fold, model, variant, partition, metric, value, 1000, note))
    if model == "mixed_logit" and study == "spirals_inverted":
        rows.append((study, "simulated", 0, 0, model, variant, "seen", "brier", np.nan, 0, "no variance <p>"))
    return rows


def summary_of(metrics: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, with both kinds of interval."""
    keys = ["study", "source", "model", "variant", "partition", "metric"]
    per_seed = metrics.groupby([*keys, "seed"], sort=False)["value"].mean().reset_index()
    groups = per_seed.groupby(keys, sort=False)["value"]
    half = 1.96 * groups.std(ddof=1) / np.sqrt(groups.size())
    frame = pd.DataFrame({"mean": groups.mean(), "half": half, "n_seeds": groups.size()}).reset_index()
    frame["n_folds"] = metrics["fold"].nunique()
    parts = []
    for method, width in (("paper", 0.5), ("corrected", 1.0)):
        low, high = frame["mean"] - width * frame["half"], frame["mean"] + width * frame["half"]
        parts.append(frame.assign(ci_method=method, ci_low=low, ci_high=high).drop(columns="half"))
    return pd.concat(parts, ignore_index=True)


def comparison_of(summary: pd.DataFrame) -> pd.DataFrame:
    """Variant ``main`` beside the published numbers."""
    published = pd.read_csv(ROOT / "config" / "published_results.csv").rename(
        columns={"mean": "published", "ci_low": "published_ci_low", "ci_high": "published_ci_high"}
    )
    frame = summary[summary["variant"] == "main"].merge(published, on=["study", "partition", "model", "metric"])
    frame["delta"] = frame["mean"] - frame["published"]
    frame["tolerance"] = ((frame["published_ci_high"] - frame["published_ci_low"]) / 2).fillna(0.02)
    inside = frame["published"].between(frame["ci_low"] - frame["tolerance"], frame["ci_high"] + frame["tolerance"])
    return frame.assign(verdict=np.where(inside, "agrees", "differs"))


def paired_tests_of(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Tests against the conventional network, of made-up p values."""
    keep = (summary["ci_method"] == "corrected") & (summary["metric"] == metric)
    rows = summary[keep & ~summary["partition"].isin(["unseen_population", "deconfounded_fixed"])]
    references = rows[(rows["model"] == "conventional") & rows["variant"].isin(["main", "resampled"])]
    rows = rows.merge(references, on=["study", "source", "variant", "partition", "metric"], suffixes=("", "_reference"))
    rows = rows[rows["model"] != "conventional"].assign(reference="conventional")
    rows["difference"] = rows["mean"] - rows["mean_reference"]
    rows["ci_low"], rows["ci_high"] = rows["difference"] - 0.006, rows["difference"] + 0.006
    rows["p"] = np.exp(-np.abs(rows["difference"]) * 400)
    rows["p_holm"] = np.minimum(1, rows["p"] * 10)
    return rows[list(results.table("paired_tests").columns)]


def _importance(config, rng) -> pd.DataFrame:
    study, rows = "spirals_confounded", []
    for model in configuration.selected_models(config, study):
        if model == "armed_randomized_z":
            continue
        probe = 0.5 if PROBE_WINS.get(model, 0.2) > 0.15 else 0.2
        for seed in configuration.seeds(config, study, model):
            means = np.array([1.0, 0.9, probe, probe]) * rng.uniform(0.5, 1.5, 4)
            for fold in range(config["studies"][study]["folds"]):
                values = means * rng.uniform(0.9, 1.1, 4)
                rank = (-values).argsort().argsort() + 1
                names = ("x1", "x2", "probe1", "probe2")
                for name, value, place in zip(names, values, rank, strict=True):
                    rows.append((study, seed, fold, model, "main", name, value, place))
    return pd.DataFrame(rows, columns=list(results.table("importance").columns))


def _deconfounding(config) -> pd.DataFrame:
    study, rows = "spirals_confounded", []
    block = config["studies"][study]
    for model in configuration.selected_models(config, study):
        share = PROBE_WINS.get(model, 0.15)
        for unit, half in (("dataset", 0.15), ("fold", 0.06)):
            low, high = max(0, share - half), share + half
            n_seeds = len(configuration.seeds(config, study, model))
            rows.append((study, model, "main", unit, share, low, high, n_seeds, block["folds"]))
    return pd.DataFrame(rows, columns=list(results.table("deconfounding").columns))


def _tuning(config) -> pd.DataFrame:
    """The second candidate is chosen in the first fold, the own settings in the others."""
    rows = []
    for study in configuration.selected_studies(config):
        for model in configuration.tuned_models(config, study):
            plan = configuration.settings(config, study, model)["tuning"]
            for fold in range(config["studies"][study]["folds"]):
                for candidate, factor in enumerate((1, 2, 4)):
                    score, chosen = 0.8 + 0.01 * (candidate == 1), int(candidate == (fold == 0))
                    for name in plan["space"]:
                        named = (study, 0, fold, model, candidate, name, factor * plan["default"][name])
                        rows.append((*named, plan["policy"], plan["metric"], score, 0.01, plan["inner_folds"], chosen))
    return pd.DataFrame(rows, columns=list(results.table("tuning").columns))


def _write_data(folder, config, rng) -> pd.DataFrame:
    """Data and boundary grids of every study; returns random effects that follow the class balance."""
    rows = []
    for study in configuration.selected_studies(config):
        block = config["studies"][study]
        data = spirals.simulate(block["data"], study, range(block["seeds"]))
        data.save(folder / "data" / f"{study}.npz")
        truth = data.truth[(data.truth["part"] == "seen") & (data.truth["variant"] == "main")]
        for model in configuration.selected_models(config, study):
            _write_boundaries(folder, study, model, truth, block["data"]["degrees"])
            if registry.model(model).random_effects and model not in ("menet", "armed_randomized_z"):
                rows += _intercepts(study, model, truth, config, rng)
    return pd.DataFrame(rows, columns=list(results.table("random_effects").columns))


def _intercepts(study, model, truth, config, rng) -> list[tuple]:
    rows = []
    for seed in configuration.seeds(config, study, model):
        own = truth[truth["dataset"] == (seed if truth["dataset"].nunique() > 1 else 0)]
        for fold in range(config["studies"][study]["folds"]):
            for cluster, ratio in zip(own["cluster"], own["ratio"], strict=True):
                mean = 1.5 * (ratio - 0.5) + rng.normal(0, 0.2)
                rows.append((study, seed, fold, model, "main", cluster, "intercept", "", mean, 0.1))
    return rows


def _write_boundaries(folder, study, model, truth, degrees) -> None:
    parts = []
    for cluster, radius in truth.loc[truth["dataset"] == 0, ["cluster", "radius"]].itertuples(index=False):
        own = radius if registry.model(model).uses_clusters_at_prediction else 1.0
        x1, x2, logit = _plane(own, degrees)
        parts.append(
            pd.DataFrame({"variant": "main", "cluster": cluster, "x1": x1, "x2": x2, "fixed": logit, "mixed": logit})
        )
    path = folder / "boundaries" / study / f"{model}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.concat(parts).to_parquet(path)


@functools.cache
def _plane(radius: float, degrees: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    side = np.linspace(-2, 2, 41)
    x1, x2 = (g.ravel() for g in np.meshgrid(side, side))
    label = spirals.bayes_label(np.column_stack([x1, x2]), radius, degrees=degrees)
    return x1, x2, (2.0 * label - 1) * 1.5 * np.exp(-np.hypot(x1, x2) / 3) + 0.3 * x1
