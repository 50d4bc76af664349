"""Names for readers: how tables, figures and the report spell models, studies, partitions, metrics and sources."""

from __future__ import annotations

from collections.abc import Iterable

from armed.registry import MODELS, SPIRALS, STUDIES

PARTITIONS = {
    "seen": "seen clusters",
    "seen_population": "seen clusters, Z = 0",
    "unseen": "unseen clusters",
    "unseen_population": "unseen clusters, Z = 0",
    "deconfounded": "deconfounded",
    "deconfounded_fixed": "deconfounded, fixed effects",
    "latents": "latents of seen clusters",
    "latents_unseen": "latents of unseen clusters",
}
_METRICS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "brier": "Brier score",
    "ece": "ECE",
    "mse": "MSE",
    "r2": "R²",
    "f1": "F1",
    "ppv": "PPV",
    "npv": "NPV",
    "youden": "Youden's index",
    "sensitivity_at_specificity_80": "sensitivity at 80% specificity",
    "specificity_at_sensitivity_80": "specificity at 80% sensitivity",
    "within_cluster_auroc": "AUROC within clusters",
    "z_accuracy": "accuracy of the Z-predictor",
    "adversary_accuracy": "accuracy of the adversary",
    "probe_rank": "rank of the best probe",
    "slope_recovery": "s.d. of slopes: r with the truth",
    "slope_ratio": "s.d. of slopes: learned / true",
    "intercept_recovery": "intercepts: r with the truth",
    "feature_recovery": "AUROC of importance for predictive features",
    "davies_bouldin": "Davies-Bouldin index by cluster",
    "calinski_harabasz": "Calinski-Harabasz index by cluster",
    "cluster_probe_accuracy": "accuracy of a linear probe of the cluster",
    "variance_cluster": "share of variance: cluster",
    "variance_group": "share of variance: group",
    "variance_phenotype": "share of variance: phenotype",
}
_VARIANTS = {
    "main": "main",
    "resampled": "new dataset per seed",
    "reference_protocol": "the authors' early stopping",
    "lambda_F1": "lambda_F = 1",
    "plain_em": "plain EM",
    "shared_init": "one initialisation for all folds",
    "half_kl": "half the weight of the KL",
}
_OTHERS = {"oracle": "Oracle (univariate mixed logistic models)"}
"""Models that are not methods of the registry."""
_PUBLISHED = {"notebook": "authors' notebook", "rerun": "authors' code, rerun on one seed"}
_NOUNS = {"live_cell": {"cluster": "date", "group": "PDX"}}
"""What clusters and groups are, in a study."""
_CLASSES = {"live_cell": (("high", "low"), "metastatic efficiency")}
_SOURCES = {
    "simulated": "Simulated data",
    "stand-in": "STAND-IN data: simulated in place of data that were not available; not a reproduction",
    "open": "Open data",
    "restricted": "Restricted data, supplied by the user",
    "own": "The user's own data",
}


def model(id: str, variant: str = "main", study_id: str | None = None) -> str:
    """Name of a model, with its changed setting unless `variant` is one of the study's data variants."""
    name = MODELS[id].label if id in MODELS else _OTHERS.get(id, str(id))
    return name if variant in data_variants(study_id) else f"{name}, {variant_name(variant)}"


def study(id: str) -> str:
    """Name of a study."""
    return STUDIES[id].label if id in STUDIES else str(id)


def partition(id: str) -> str:
    """Name of a partition."""
    return PARTITIONS.get(id, str(id).replace("_", " "))


def partition_short(id: str) -> str:
    """Name of a partition in a column that is headed "Clusters"."""
    return partition(id).replace(" clusters", "")


def metric(id: str) -> str:
    """Name of a metric, in lower case but for abbreviations."""
    return _METRICS.get(id, str(id).replace("_", " "))


def variant_name(id: str) -> str:
    """Name of a variant."""
    return _VARIANTS.get(id, str(id).replace("_", " "))


def probe_criterion(study_id: str) -> str:
    """What counts as a probe taken for a real feature: in spirals with their two real features, and where there are many."""
    weakest = "is more important than the weakest real feature"
    return weakest if study_id in SPIRALS else "is among the ten most important features"


def published(table: str) -> str:
    """Where a published number stands (column `table` of `config/published_results.csv`)."""
    return _PUBLISHED.get(table, f"paper, Table {table}")


def source(id: str) -> str:
    """Where data came from, in words that stand in every figure's subtitle and above every table."""
    return _SOURCES.get(id, f"Source: {id}")


def noun(kind: str, study_id: str, *, plural: bool = False) -> str:
    """What a ``cluster`` or a ``group`` is in a study, in one word; the word itself where that is all that is known."""
    return _NOUNS.get(study_id, {}).get(kind, kind) + "s" * plural


def class_names(study_id: str, *, in_full: bool = False) -> tuple[str, ...]:
    """Names of the labels 0 and 1 of a study, on request with what they are of."""
    names, of = _CLASSES.get(study_id, (("class 0", "class 1"), ""))
    return tuple(f"{name} {of}".strip() for name in names) if in_full else names


def data_variants(study_id: str | None) -> tuple[str, ...]:
    """Variants of a study that differ in their data rather than in a model's settings."""
    return STUDIES[study_id].data_variants if study_id in STUDIES else ("main",)


def data_variant(variant: str, study_id: str | None) -> str:
    """The variant of the data that a (data or model) variant was run on."""
    return variant if variant in data_variants(study_id) else "main"


def ordered_models(ids: Iterable[str]) -> list[str]:
    """Models in the registry's order, then those it does not know."""
    found = set(ids)
    return [m for m in MODELS if m in found] + sorted(found - set(MODELS))
