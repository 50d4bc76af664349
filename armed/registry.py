"""The one list of studies and models: ids, labels, import paths and capabilities. Loads no torch.

Wildcards of the workflow, enums of the config schema, targets, contract tests and the README's tables all come from here.
"""

from __future__ import annotations

import importlib

from armed.entries import Model, Study
from armed.errors import UnknownNameError, did_you_mean

SPIRALS = ("spirals_radius", "spirals_inverted", "spirals_confounded")
CLINICAL = ("mci_conversion", "mci_probes", "heart")
OWN = "own"
OWN_IMAGES = "own_images"
"""Stand for every study of a table, or of images, that the user's configuration declares (`declare`)."""
DENSE = (*SPIRALS, *CLINICAL, OWN)
IMAGES = ("ad_diagnosis",)
"""Studies on images whose network is a convolutional classifier."""
AUTOENCODED = ("live_cell",)
"""Studies on images whose network is an autoencoder with a classifier on its codes."""
CLASSIFIED = (*DENSE, *IMAGES, OWN_IMAGES)
ALL = (*CLASSIFIED, *AUTOENCODED)

_BINARY = ("accuracy", "auroc", "auprc", "balanced_accuracy", "brier", "within_cluster_auroc")
_CLINICAL = (
    *("auroc", "balanced_accuracy", "sensitivity", "specificity", "accuracy", "auprc", "f1", "ppv", "npv", "youden"),
    *("sensitivity_at_specificity_80", "specificity_at_sensitivity_80", "brier", "ece", "within_cluster_auroc"),
)
METRICS_OF_KIND: dict[str, tuple[str, ...]] = {
    "binary": _CLINICAL,
    "multiclass": ("auroc", "accuracy", "balanced_accuracy", "auprc", "brier", "ece"),
    "continuous": ("mse", "r2"),
}
"""Metrics of studies that are not simulations, by kind of label; the first is the headline one."""
_UNSEEN = ("seen", "unseen", "unseen_population")

STUDIES: dict[str, Study] = {
    s.id: s
    for s in (
        Study(
            "spirals_radius",
            "Spirals, random radius",
            "simulated",
            "armed.data.spirals:simulate",
            _UNSEEN,
            _BINARY,
            ("main", "resampled"),
        ),
        Study(
            "spirals_inverted",
            "Spirals, inverted radii",
            "simulated",
            "armed.data.spirals:simulate",
            _UNSEEN,
            _BINARY,
        ),
        Study(
            "spirals_confounded",
            "Spirals, confounded probes",
            "simulated",
            "armed.data.spirals:simulate",
            (*_UNSEEN, "deconfounded", "deconfounded_fixed"),
            _BINARY,
        ),
        Study(
            "mci_conversion",
            "MCI conversion",
            "stand-in",
            "armed.data.mci:make",
            _UNSEEN,
            _CLINICAL,
            ("main", "resampled", "reference_protocol"),
            preparation=("standardise",),
            threshold="train",
            raw="adnimerge",
        ),
        Study(
            "mci_probes",
            "MCI conversion with site probes",
            "stand-in",
            "armed.data.mci:make",
            _UNSEEN,
            _CLINICAL,
            ("main", "resampled"),
            preparation=("site_probes", "standardise"),
            threshold="train",
            raw="adnimerge",
        ),
        Study(
            "heart",
            "Heart disease, four hospitals",
            "open",
            "armed.data.heart:make",
            _UNSEEN,
            _CLINICAL,
            preparation=("standardise",),
            threshold="train",
            raw="heart",
        ),
        Study(
            "ad_diagnosis",
            "AD diagnosis from MRI",
            "stand-in",
            "armed.data.ad_diagnosis:make",
            _UNSEEN,
            _CLINICAL,
            threshold="validation",
            raw="volumes",
        ),
        Study(
            "live_cell",
            "Live-cell images",
            "stand-in",
            "armed.data.live_cell:make",
            _UNSEEN,
            _CLINICAL,
            threshold="validation",
            raw="movies",
        ),
    )
}

BUILT_IN = tuple(STUDIES)
"""Studies of the benchmark; `STUDIES` also has those that the configuration declares."""

MODELS: dict[str, Model] = {
    m.id: m
    for m in (
        Model(
            "conventional",
            "Conventional",
            "baselines.conventional:Conventional",
            studies=ALL,
            uses_clusters_in_training=False,
            tunable=("learning_rate",),
        ),
        Model(
            "cluster_input",
            "Cluster input",
            "baselines.cluster_input:ClusterInput",
            studies=CLASSIFIED,
            uses_clusters_at_prediction=True,
            infers_clusters=True,
            tunable=("learning_rate",),
        ),
        Model(
            "cluster_input_plus",
            "Cluster input+",
            "baselines.cluster_input_plus:ClusterInputPlus",
            studies=(*IMAGES, OWN_IMAGES),
            uses_clusters_at_prediction=True,
            infers_clusters=True,
            tunable=("learning_rate",),
        ),
        Model(
            "mldg",
            "Meta-learning (MLDG)",
            "baselines.mldg:MLDG",
            studies=CLASSIFIED,
            tunable=("learning_rate", "inner_learning_rate", "meta_weight"),
        ),
        Model(
            "domain_adversarial",
            "Domain adversarial",
            "baselines.domain_adversarial:DomainAdversarial",
            studies=ALL,
            adversary=True,
            tunable=("learning_rate", "lambda_g"),
        ),
        Model(
            "menet",
            "MeNet",
            "baselines.menet:MeNet",
            studies=CLASSIFIED,
            uses_clusters_at_prediction=True,
            random_effects=True,
            tunable=("learning_rate", "prior_sd"),
            kinds=("binary", "continuous"),
        ),
        Model(
            "lmmnn",
            "LMMNN",
            "baselines.lmmnn:LMMNN",
            studies=CLASSIFIED,
            uses_clusters_at_prediction=True,
            random_effects=True,
            tunable=("learning_rate", "initial_sd"),
            kinds=("binary", "continuous"),
        ),
        Model(
            "mixedlm",
            "Linear mixed model",
            "baselines.mixedlm:MixedLM",
            studies=DENSE,
            engine="library",
            slow=True,
            uses_clusters_at_prediction=True,
            random_effects=True,
            kinds=("binary", "continuous"),
        ),
        Model(
            "mixed_logit",
            "Logistic mixed model",
            "baselines.mixed_logit:MixedLogit",
            studies=DENSE,
            engine="library",
            slow=True,
            uses_clusters_at_prediction=True,
            random_effects=True,
            kinds=("binary",),
        ),
        Model(
            "logistic_regression",
            "Logistic regression",
            "baselines.logistic_regression:LogisticRegression",
            studies=DENSE,
            engine="library",
            uses_clusters_at_prediction=True,
            tunable=("C",),
        ),
        Model(
            "gradient_boosting",
            "Gradient boosting",
            "baselines.gradient_boosting:GradientBoosting",
            studies=DENSE,
            engine="library",
            uses_clusters_at_prediction=True,
            tunable=("learning_rate", "leaves", "min_samples_leaf"),
        ),
        Model(
            "gpboost",
            "GPBoost",
            "baselines.gpboost:GPBoost",
            studies=DENSE,
            engine="library",
            slow=True,
            uses_clusters_at_prediction=True,
            random_effects=True,
            kinds=("binary", "continuous"),
        ),
        Model(
            "armed",
            "ARMED",
            "armed.methods:ARMED",
            studies=ALL,
            uses_clusters_at_prediction=True,
            infers_clusters=True,
            random_effects=True,
            adversary=True,
            tunable=("learning_rate", "lambda_F", "lambda_g", "lambda_K", "slope_prior_sd", "intercept_prior_sd"),
        ),
        Model(
            "armed_no_adversary",
            "ARMED without adversary",
            "armed.methods:ARMED",
            studies=ALL,
            uses_clusters_at_prediction=True,
            infers_clusters=True,
            random_effects=True,
            tunable=("learning_rate", "lambda_F", "lambda_K", "slope_prior_sd", "intercept_prior_sd"),
        ),
        Model(
            "armed_randomized_z",
            "ARMED, randomised Z",
            "armed.methods:RandomizedZ",
            studies=ALL,
            uses_clusters_at_prediction=True,
            random_effects=True,
            adversary=True,
            weights_from="armed",
        ),
    )
}

TUNED = "tuned"
"""Variant of a model with the hyperparameters chosen for each fold."""

REFERENCE_PROTOCOL = "reference_protocol"
"""Variant of the data in which early stopping watches the test rows of each fold, as the authors' code does."""

WITHOUT_FITS = tuple(m.id for m in MODELS.values() if m.weights_from)
"""Models that predict with another model's weights: what is read off the weights is told of the other."""


def study(id: str) -> Study:
    """Return a study of the registry, or raise `UnknownNameError` with the nearest name."""
    return _lookup(STUDIES, id, "study")


def model(id: str) -> Model:
    """Return a model of the registry, or raise `UnknownNameError` with the nearest name."""
    return _lookup(MODELS, id, "model")


def models_for(study_id: str) -> list[str]:
    """Ids of the models that apply to a study, in the registry's order."""
    return [id for id in MODELS if applies(id, study_id)]


def applies(model_id: str, study_id: str) -> bool:
    """Whether a model can be run in a study: it lists the study, and can predict its kind of labels."""
    entry, of = model(model_id), study(study_id)
    return listed(study_id) in entry.studies and of.kind in entry.kinds


def listed(study_id: str) -> str:
    """What models list a study as: its id, or what stands for studies of the user's."""
    if study_id in BUILT_IN:
        return study_id
    return OWN_IMAGES if study(study_id).raw == OWN_IMAGES else OWN


def declare(entry: Study) -> None:
    """Add a study of the user's, or replace it; all names that the registry knows are then one list.

    Raises
    ------
    UnknownNameError
        The id is that of a study of the benchmark.
    """
    if entry.id in BUILT_IN:
        raise UnknownNameError(f"'{entry.id}' is a study of the benchmark; give your study another name.")
    STUDIES[entry.id] = entry


def load(path: str) -> object:
    """Import what ``"module:name"`` names."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UnknownNameError(f"The registry names '{path}', which cannot be imported: {error}") from error


def _lookup(table: dict, id: str, kind: str):
    if id not in table:
        raise UnknownNameError(f"Unknown {kind} '{id}'.{did_you_mean(id, table)} Known: {', '.join(table)}.")
    return table[id]
