"""Made-up results of the clinical studies, in the formats of `armed.results`: what their figures and report are tested on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from synthetic_results import ACCURACY, comparison_of, paired_tests_of, summary_of

from armed import config as configuration
from armed import registry, results
from armed.associations import probe_shares
from armed.data import adni_format
from armed.data.clustered import ClusteredData
from armed.data.preparation import PROBES
from armed.data.study import StudyData
from armed.reproducibility import ROOT

MCI, MCI_PROBES, HEART = "mci_conversion", "mci_probes", "heart"
SOURCE = {MCI: "stand-in", MCI_PROBES: "stand-in", HEART: "open"}
CONTINUOUS = list(adni_format.FEATURE_NAMES.values())
CATEGORICAL = [name for name in adni_format.LEVEL_NAMES.values() if "Hawaiian" not in name]
SITES = [f"site {i:03d}" for i in range(20)]
_METRICS = {"auroc": 0.1, "balanced_accuracy": 0.04, "sensitivity": 0.0, "specificity": 0.08, "ece": -0.6}
_WITH_SLOPES = ("armed", "armed_no_adversary")


def clinical_config(seeds: int = 3, folds: int = 2) -> dict:
    """The default configuration with the clinical studies alone, and few seeds and folds."""
    config = configuration.load(ROOT / "config" / "config.yaml")
    config["run"]["studies"] = [MCI, MCI_PROBES, HEART]
    for study in SOURCE:
        config["studies"][study] |= {"seeds": seeds, "folds": folds, "slow_seeds": 2}
    config["recovery"] = {"datasets": 20, "subjects": [1, 4, 16]}
    return config


def write_clinical(folder: Path, config: Mapping) -> Path:
    """Write tables, data, predictions and run.json of every selected study and model."""
    rng = np.random.default_rng(3)
    studies = configuration.selected_studies(config)
    metrics = pd.concat([_metrics(study, config, rng) for study in studies])
    summary = summary_of(metrics)
    comparison = comparison_of(summary).assign(verdict="not comparable")
    importance = pd.concat([_importance(study, config, rng) for study in studies], ignore_index=True)
    frames = {
        "metrics": metrics,
        "summary": summary,
        "comparison": comparison,
        "paired_tests": paired_tests_of(summary, "auroc"),
        "importance": importance,
        "deconfounding": probe_shares(importance),
        "tuning": results.empty("tuning"),
        "claims": results.empty("claims"),
        "auroc_intervals": results.empty("auroc_intervals"),
        "random_effects": pd.concat([_random_effects(study, config, rng) for study in studies]),
        "univariate": univariate(rng),
    }
    for name, frame in frames.items():
        results.write(name, frame, folder / f"{name}.tsv")
    results.write("sensitivity", sensitivity(rng), folder / "sensitivity.tsv", models=["oracle"])
    for study in studies:
        _write_data(folder, study, rng)
        for model in configuration.selected_models(config, study):
            _write_predictions(folder, study, model, config, rng)
            run = folder / "runs" / study / model
            run.mkdir(parents=True)
            (run / "run.json").write_text(json.dumps({"device": "cpu", "wall_seconds": 6.0}))
    return folder


def features(study: str) -> list[str]:
    if study == HEART:
        return ["age", "male", "typical angina", "resting blood pressure", "cholesterol", "thalach", "oldpeak"]
    return [*CONTINUOUS, *CATEGORICAL, *(PROBES if study == MCI_PROBES else ())]


def univariate(rng) -> pd.DataFrame:
    """Fits whose slopes follow the truth a little."""
    rows = []
    for i, feature in enumerate([*CONTINUOUS, *CATEGORICAL]):
        kind = "continuous" if feature in CONTINUOUS else "categorical"
        coefficient, true_sd = rng.normal(0, 0.8), rng.uniform(0.02, 0.3)
        slope_sd = true_sd * rng.uniform(0.5, 1.5) if kind == "continuous" else np.nan
        risk = np.nan if kind == "continuous" else rng.uniform(0.1, 1.2)
        fitted = (coefficient + rng.normal(0, 0.1), 0.12, slope_sd, risk)
        note = "did not converge" if i == 3 else ""
        rows.append((MCI, "stand-in", 0, feature, kind, 392, *fitted, coefficient, true_sd, i % 3 == 0, note))
    table = pd.DataFrame(rows, columns=list(results.table("univariate").columns))
    return table.astype({"predictive": int})


def sensitivity(rng, datasets: int = 20) -> pd.DataFrame:
    """Recovery that grows with subjects."""
    rows = []
    for model, start in (("armed", 0.1), ("armed_no_adversary", 0.15), ("oracle", 0.3)):
        for place, level in enumerate(("1", "4", "16")):
            for seed in range(datasets):
                value = np.clip(start + 0.2 * place + rng.normal(0, 0.15), -1, 1)
                told = {"slope_recovery": value, "slope_ratio": 1.3 - value / 2, "intercept_recovery": 0.3 + value / 2}
                for metric, number in told.items():
                    cell = (MCI, "stand-in", seed, -1, model, "main", "seen", metric, number, 26, "")
                    rows.append(("subjects", level, *cell))
    return pd.DataFrame(rows, columns=list(results.table("sensitivity").columns))


def _metrics(study, config, rng) -> pd.DataFrame:
    rows = []
    for model in configuration.selected_models(config, study):
        for variant in configuration.data_variants(config, study):
            for seed in configuration.seeds(config, study, model):
                rows += _of_seed(study, model, variant, seed, config, rng)
    return pd.DataFrame(rows, columns=list(results.table("metrics").columns))


def _of_seed(study, model, variant, seed, config, rng) -> list[tuple]:
    rows = []

    def add(fold, partition, metric, value):
        rows.append((study, SOURCE[study], seed, fold, model, variant, partition, metric, value, 39, ""))

    for partition in registry.study(study).partitions:
        if partition == "unseen_population" and not registry.model(model).infers_clusters:
            continue
        level = ACCURACY[model] - 0.05 * (partition != "seen") + rng.normal(0, 0.01)
        add(-1, partition, "within_cluster_auroc", level + 0.05)
        for fold in range(config["studies"][study]["folds"]):
            for metric, offset in _METRICS.items():
                add(fold, partition, metric, level + offset + rng.normal(0, 0.02))
    if study != HEART:
        for fold in range(config["studies"][study]["folds"]):
            add(fold, "seen", "feature_recovery", ACCURACY[model] - 0.1)
            if model in _WITH_SLOPES:
                add(fold, "seen", "slope_recovery", 0.2 + rng.normal(0, 0.1))
                add(fold, "seen", "slope_ratio", 0.6)
                add(fold, "seen", "intercept_recovery", 0.4)
    return rows


def _importance(study, config, rng) -> pd.DataFrame:
    names, frames = features(study), []
    for model in configuration.selected_models(config, study):
        if model in registry.WITHOUT_FITS:
            continue
        base = rng.gamma(0.7, 1.0, len(names))
        for variant in ("main", "resampled") if study == MCI_PROBES else ("main",):
            for seed in configuration.seeds(config, study, model):
                for fold in range(config["studies"][study]["folds"]):
                    values = base * rng.uniform(0.4, 1.6, len(names))
                    rank = (-values).argsort().argsort() + 1
                    named = {"study": study, "seed": seed, "fold": fold, "model": model, "variant": variant}
                    frames.append(pd.DataFrame({"feature": names, "importance": values, "rank": rank}).assign(**named))
    return pd.concat(frames)


def _random_effects(study, config, rng) -> pd.DataFrame:
    rows = []
    for model in configuration.selected_models(config, study):
        if not registry.model(model).random_effects or model in (*registry.WITHOUT_FITS, "menet"):
            continue
        slopes = features(study) if model in _WITH_SLOPES else features(study)[:3]
        spread = dict(zip(slopes, rng.uniform(0.02, 0.3, len(slopes)), strict=True))
        for seed in configuration.seeds(config, study, model):
            for i, site in enumerate(SITES):
                intercept = 0.3 * (i / 20 - 0.5) + rng.normal(0, 0.1)
                rows.append((study, seed, 0, model, "main", site, "intercept", "", intercept, 0.1))
                for feature, sd in spread.items():
                    rows.append((study, seed, 0, model, "main", site, "slope", feature, rng.normal(0, sd), 0.1))
    return pd.DataFrame(rows, columns=list(results.table("random_effects").columns))


def _write_data(folder, study, rng) -> None:
    names = [f for f in features(study) if f not in PROBES]
    X = rng.normal(size=(40, len(names)))
    part = ClusteredData(X, np.arange(40) % 2, np.repeat(SITES, 2), feature_names=tuple(names))
    truth = {"variant": "main", "dataset": 0, "part": "seen", "cluster": SITES, "n": 20}
    known = pd.DataFrame({**truth, "ratio": np.linspace(0.1, 0.5, 20), "intercept": np.linspace(-1, 1, 20)})
    told = {"dataset": 0, "feature": names, "coefficient": 0.5, "slope_sd": 0.1, "predictive": 1}
    of_features = pd.DataFrame(told).assign(predictive=[int(i % 3 == 0) for i in range(len(names))])
    data = {} if study == HEART else {"feature_truth": of_features}
    StudyData({"main": {"seen": part, "unseen": part}}, known, **data).save(folder / "data" / f"{study}.npz")


def _write_predictions(folder, study, model, config, rng) -> None:
    frames = []
    for partition in ("seen", "unseen"):
        y = (rng.uniform(size=120) < 0.27).astype(float)
        for seed in configuration.seeds(config, study, model):
            logit = 3 * (y - 0.5) * ACCURACY[model] + rng.normal(0, 1.2, len(y))
            named = {"partition": partition, "seed": seed, "fold": 0, "variant": "main", "cluster": "site 001"}
            columns = {"sample_id": np.arange(120).astype(str), "y_true": y, "fixed": logit, "mixed": logit}
            frames.append(pd.DataFrame(columns).assign(**named))
    path = folder / "predictions" / study / f"{model}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    results.write("predictions", pd.concat(frames), path)
