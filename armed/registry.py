"""The one list of studies and models: ids, labels, import paths and capabilities. Loads no torch.

Wildcards of the workflow, enums of the config schema, targets, contract tests and the README's tables all come from here.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from armed.errors import UnknownNameError, did_you_mean

SPIRALS = ("spirals_radius", "spirals_inverted", "spirals_confounded")
CLINICAL = ("mci_conversion", "mci_probes", "heart")
OWN = "own"
"""Stands for every study that the user's configuration declares (`declare`)."""
DENSE = (*SPIRALS, *CLINICAL, OWN)
IMAGES = ("ad_diagnosis",)
"""Studies on images whose network is a convolutional classifier."""
AUTOENCODED = ("live_cell",)
"""Studies on images whose network is an autoencoder with a classifier on its codes."""
CLASSIFIED = (*DENSE, *IMAGES)
ALL = (*CLASSIFIED, *AUTOENCODED)
LABELS = ("binary", "multiclass", "continuous")


@dataclass(frozen=True)
class Study:
    """A study of the benchmark.

    Parameters
    ----------
    id, label : str
        Name in files and name for readers.
    source : {"simulated", "stand-in", "open", "restricted", "own"}
        What data it is, as told in every table.
    data : str
        Import path of the function that makes its data: config block, study, seeds and raw files in, `StudyData` out. The name
        of its module is the form of the study's block in the configuration.
    partitions : tuple of str
        Partitions its predictions are scored on.
    metrics : tuple of str
        Metrics reported; the first is the headline one.
    data_variants : tuple of str
        Variants of the study that differ in their data or in which rows stop training early (every model is fitted to each, at
        its main settings).
    kind : {"binary", "multiclass", "continuous"}
        What its labels are.
    preparation : tuple of str
        What is done to features inside each fold (`armed.data.preparation`).
    threshold : {"constant", "train", "validation"}
        Probability from which a sample is called positive: 0.5, or the Youden point of each fit's predictions for its training
        or its validation rows.
    raw : {"", "adnimerge", "heart", "own", "volumes", "movies"}
        Which raw files its data are made from; none for simulations.
    """

    id: str
    label: str
    source: str
    data: str
    partitions: tuple[str, ...]
    metrics: tuple[str, ...]
    data_variants: tuple[str, ...] = ("main",)
    kind: str = "binary"
    preparation: tuple[str, ...] = ()
    threshold: str = "constant"
    raw: str = ""

    @property
    def form(self) -> str:
        """Form of its block in the configuration."""
        return self.data.partition(":")[0].rpartition(".")[2]


@dataclass(frozen=True)
class Model:
    """A method that can be run in the benchmark.

    Parameters
    ----------
    id, label : str
        Name in files and name for readers.
    method : str
        Import path of its class, ``"module:Class"``.
    studies : tuple of str
        Studies it applies to.
    engine : {"stack", "statsmodels"}
        Trained in replica stacks, or one fit after another.
    uses_clusters_in_training, uses_clusters_at_prediction : bool
        Whether cluster membership enters the loss, and the prediction.
    infers_clusters : bool
        Whether its own prediction for unseen clusters uses a Z inferred from X.
    random_effects : bool
        Whether it has random effects, so that fixed and mixed predictions differ.
    adversary : bool
        Whether it trains an adversary.
    weights_from : str or None
        Another model whose trained weights it uses (no fit of its own).
    tunable : tuple of str
        Hyperparameters that a search may vary: settings that are one number and may differ between the replicas of a stack.
    kinds : tuple of str
        Kinds of labels it can predict.
    """

    id: str
    label: str
    method: str
    studies: tuple[str, ...] = ALL
    engine: str = "stack"
    uses_clusters_in_training: bool = True
    uses_clusters_at_prediction: bool = False
    infers_clusters: bool = False
    random_effects: bool = False
    adversary: bool = False
    weights_from: str | None = None
    tunable: tuple[str, ...] = ()
    kinds: tuple[str, ...] = LABELS


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
            studies=IMAGES,
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
            engine="statsmodels",
            uses_clusters_at_prediction=True,
            random_effects=True,
            kinds=("binary", "continuous"),
        ),
        Model(
            "mixed_logit",
            "Logistic mixed model",
            "baselines.mixed_logit:MixedLogit",
            studies=DENSE,
            engine="statsmodels",
            uses_clusters_at_prediction=True,
            random_effects=True,
            kinds=("binary",),
        ),
        Model(
            "armed",
            "ARMED",
            "armed.methods:ARMED",
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
            uses_clusters_at_prediction=True,
            infers_clusters=True,
            random_effects=True,
            tunable=("learning_rate", "lambda_F", "lambda_K", "slope_prior_sd", "intercept_prior_sd"),
        ),
        Model(
            "armed_randomized_z",
            "ARMED, randomised Z",
            "armed.methods:RandomizedZ",
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
    return (study_id if study_id in BUILT_IN else OWN) in entry.studies and of.kind in entry.kinds


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
