"""What the registry holds: entries of studies and of models. Loads nothing."""

from __future__ import annotations

from dataclasses import dataclass

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
    raw : {"", "adnimerge", "heart", "own", "own_images", "volumes", "movies"}
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
    engine : {"stack", "library"}
        Trained in replica stacks, or by a library, one fit after another and without randomness.
    slow : bool
        Whether a library takes so long that fewer seeds are run (`studies.*.slow_seeds`).
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
        Hyperparameters that a search may vary: settings that are one number and, in a stack, may differ between replicas.
    kinds : tuple of str
        Kinds of labels it can predict.
    """

    id: str
    label: str
    method: str
    studies: tuple[str, ...]
    engine: str = "stack"
    slow: bool = False
    uses_clusters_in_training: bool = True
    uses_clusters_at_prediction: bool = False
    infers_clusters: bool = False
    random_effects: bool = False
    adversary: bool = False
    weights_from: str | None = None
    tunable: tuple[str, ...] = ()
    kinds: tuple[str, ...] = LABELS
