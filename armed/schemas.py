"""Schemas of all result tables: columns, dtypes, vocabulary and keys; `armed.results` writes and reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from armed.errors import UnknownNameError, did_you_mean

SOURCES = ("simulated", "stand-in", "open", "restricted", "own")
PARTITIONS = (
    "seen",
    "unseen",
    "seen_population",
    "unseen_population",
    "deconfounded",
    "deconfounded_fixed",
    "latents",
    "latents_unseen",
)
METRICS = (
    "accuracy",
    "auroc",
    "auprc",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "f1",
    "ppv",
    "npv",
    "youden",
    "sensitivity_at_specificity_80",
    "specificity_at_sensitivity_80",
    "brier",
    "ece",
    "within_cluster_auroc",
    "mse",
    "r2",
    "davies_bouldin",
    "calinski_harabasz",
    "cluster_probe_accuracy",
    "variance_cluster",
    "variance_group",
    "variance_phenotype",
    "z_accuracy",
    "adversary_accuracy",
    "probe_rank",
    "slope_recovery",
    "slope_ratio",
    "intercept_recovery",
    "feature_recovery",
    "localisation",
)
VOCABULARY: Mapping[str, tuple[str, ...]] = {
    "source": SOURCES,
    "partition": PARTITIONS,
    "metric": METRICS,
    "ci_method": ("paper", "corrected"),
    "chosen_on": ("constant", "train", "validation"),
    "effect": ("intercept", "slope", "scale", "bias"),
    "unit": ("dataset", "fold"),
}
_VERDICTS = {
    "comparison": ("agrees", "differs", "not comparable"),
    "claims": ("supported", "contradicted", "inconclusive", "not run"),
}
TEXT, INTEGER, REAL = "text", "integer", "real"


@dataclass(frozen=True)
class Table:
    """Schema of one table.

    Parameters
    ----------
    columns : dict of str to str
        Column names in order, each ``"text"``, ``"integer"`` or ``"real"`` (NaN allowed: undefined; infinite
        never).
    key : tuple of str
        Columns that together name a row once.
    complete : tuple of str
        Real columns that may not be NaN either.
    vocabulary : dict of str to tuple of str
        Allowed values by column, beside `VOCABULARY`.
    """

    columns: Mapping[str, str]
    key: tuple[str, ...]
    complete: tuple[str, ...] = ()
    vocabulary: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _columns(text: str = "", integer: str = "", real: str = "", order: str = "") -> dict[str, str]:
    kinds = {name: TEXT for name in text.split()}
    kinds |= {name: INTEGER for name in integer.split()} | {name: REAL for name in real.split()}
    return {name: kinds[name] for name in order.split()} if order else kinds


_METRIC_KEY = ("study", "seed", "fold", "model", "variant", "partition", "metric")
_METRIC_COLUMNS = _columns(
    "study source model variant partition metric note",
    "seed fold n",
    "value",
    "study source seed fold model variant partition metric value n note",
)
_SUMMARY_KEY = ("study", "model", "variant", "partition", "metric", "ci_method")
_SUMMARY_COLUMNS = _columns(
    "study source model variant partition metric ci_method",
    "n_seeds n_folds",
    "mean ci_low ci_high",
    "study source model variant partition metric ci_method mean ci_low ci_high n_seeds n_folds",
)

TABLES: dict[str, Table] = {
    "metrics": Table(_METRIC_COLUMNS, _METRIC_KEY),
    "cluster_metrics": Table(_METRIC_COLUMNS | {"cluster": TEXT}, (*_METRIC_KEY, "cluster")),
    "thresholds": Table(
        _columns(
            "study model variant chosen_on",
            "seed fold",
            "threshold",
            "study seed fold model variant threshold chosen_on",
        ),
        ("study", "seed", "fold", "model", "variant"),
        ("threshold",),
    ),
    "summary": Table(_SUMMARY_COLUMNS, _SUMMARY_KEY),
    "auroc_intervals": Table(
        _columns(
            "study source model variant partition method",
            "n_fits",
            "mean ci_low ci_high",
            "study source model variant partition method mean ci_low ci_high n_fits",
        ),
        ("study", "model", "variant", "partition", "method"),
        (),
        {"method": ("delong", "cells")},
    ),
    "comparison": Table(
        _SUMMARY_COLUMNS
        | _columns("table", "", "published published_ci_low published_ci_high delta tolerance")
        | {"verdict": TEXT},
        (*_SUMMARY_KEY, "table"),
        ("published", "tolerance"),
        {"verdict": _VERDICTS["comparison"]},
    ),
    "claims": Table(
        _columns(
            "claim study source statistic verdict",
            "",
            "estimate ci_low ci_high",
            "claim study source statistic estimate ci_low ci_high verdict",
        ),
        ("claim", "study", "statistic"),
        (),
        {"verdict": _VERDICTS["claims"]},
    ),
    "importance": Table(
        _columns(
            "study model variant feature",
            "seed fold rank",
            "importance",
            "study seed fold model variant feature importance rank",
        ),
        ("study", "seed", "fold", "model", "variant", "feature"),
    ),
    "random_effects": Table(
        _columns(
            "study model variant cluster effect feature",
            "seed fold",
            "mean sd",
            "study seed fold model variant cluster effect feature mean sd",
        ),
        ("study", "seed", "fold", "model", "variant", "cluster", "effect", "feature"),
    ),
    "univariate": Table(
        _columns(
            "study source feature kind note",
            "dataset n predictive",
            "coefficient coefficient_sd slope_sd relative_risk_sd true_coefficient true_slope_sd",
            "study source dataset feature kind n coefficient coefficient_sd slope_sd relative_risk_sd true_coefficient "
            "true_slope_sd predictive note",
        ),
        ("study", "dataset", "feature"),
        (),
        {"kind": ("continuous", "categorical")},
    ),
    "sensitivity": Table(_columns("factor level") | _METRIC_COLUMNS, ("factor", "level", *_METRIC_KEY)),
    "ranks": Table(
        _columns(
            "study source model variant partition metric unit",
            "rank n n_models",
            "share ci_low ci_high",
            "study source model variant partition metric rank share ci_low ci_high n n_models unit",
        ),
        ("study", "model", "variant", "partition", "metric", "rank"),
        ("share",),
        {"unit": ("dataset", "seed", "split")},
    ),
    "benchmark": Table(
        _columns("method engine", "replicas", "cpu_s_per_model wall_s_per_model peak_mb ratio"),
        ("method", "engine", "replicas"),
    ),
    "benchmark_scaling": Table(
        _columns(
            "method engine factor note",
            "level replicas repeats",
            "cpu_s_per_model cpu_low cpu_high wall_s_per_model peak_mb compile_s",
            "method engine factor level replicas cpu_s_per_model cpu_low cpu_high wall_s_per_model peak_mb compile_s "
            "repeats note",
        ),
        ("method", "engine", "factor", "level"),
        ("cpu_s_per_model", "peak_mb"),
    ),
    "benchmark_images": Table(
        _columns(
            "method size device engine precision",
            "threads steps repeats",
            "images_per_s images_low images_high ms_per_image peak_mb loading_share ratio ratio_low ratio_high",
            "method size device engine precision threads steps repeats images_per_s images_low images_high ms_per_image "
            "peak_mb loading_share ratio ratio_low ratio_high",
        ),
        ("method", "size", "device", "engine", "precision"),
        ("images_per_s", "peak_mb"),
    ),
    "benchmark_images_profile": Table(
        _columns(
            "method size device engine precision part",
            "",
            "ms_per_image share",
            "method size device engine precision part ms_per_image share",
        ),
        ("method", "size", "device", "engine", "precision", "part"),
    ),
    "paired_tests": Table(
        _columns(
            "study source variant partition metric model reference",
            "n_seeds",
            "difference ci_low ci_high p p_holm",
            "study source variant partition metric model reference difference ci_low ci_high p p_holm n_seeds",
        ),
        ("study", "variant", "partition", "metric", "model", "reference"),
    ),
    "deconfounding": Table(
        _columns(
            "study model variant unit",
            "n_seeds n_folds",
            "share ci_low ci_high",
            "study model variant unit share ci_low ci_high n_seeds n_folds",
        ),
        ("study", "model", "variant", "unit"),
    ),
    "tuning": Table(
        _columns(
            "study model hyperparameter policy metric",
            "seed fold candidate n chosen",
            "value score score_sd",
            "study seed fold model candidate hyperparameter value policy metric score score_sd n chosen",
        ),
        ("study", "seed", "fold", "model", "candidate", "hyperparameter"),
        ("value",),
        {"policy": ("best_mean", "one_se")},
    ),
    "draws": Table(
        _columns(
            "study model variant partition metric", "draw", "value", "study model variant partition metric draw value"
        ),
        ("study", "model", "variant", "partition", "metric", "draw"),
    ),
    "predictions": Table(
        _columns(
            "sample_id cluster partition variant",
            "seed fold",
            "y_true fixed mixed",
            "sample_id cluster partition seed fold variant y_true fixed mixed",
        ),
        ("variant", "partition", "seed", "fold", "sample_id"),
        ("y_true",),
    ),
}


PARQUET = ("predictions", "draws")
"""Tables of many rows: written as parquet, text as categories."""


def table(name: str) -> Table:
    """Return the schema of a table, or raise `UnknownNameError` with the nearest name."""
    if name not in TABLES:
        raise UnknownNameError(f"Unknown table '{name}'.{did_you_mean(name, TABLES)} Known: {', '.join(TABLES)}.")
    return TABLES[name]
