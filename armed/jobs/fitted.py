"""The fits of a model as jobs read them back: each with its folds, and with the study's Z-predictor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from armed import registry
from armed.data.splits import Splits
from armed.data.study import StudyData
from armed.jobs.data import read_splits
from armed.jobs.fit import CLUSTER_INFERENCE, Variant, variants
from armed.method import Method


class Fitted(NamedTuple):
    """One training of a model on all folds of its seeds.

    Attributes
    ----------
    variant : Variant
    method : Method
    folds : Splits
        Of the seeds that were fitted, as results are reported by them.
    predictor : ClusterInference or None
        The study's Z-predictor, for methods that infer clusters.
    first_fold : int
        Added to fold numbers in the results.
    """

    variant: Variant
    method: Method
    folds: Splits
    predictor: object | None
    first_fold: int


def fitted(settings: Mapping, data: StudyData, splits: Path, run: Path, inference: Path | None) -> Iterator[Fitted]:
    """Read back all trainings of a model.

    Parameters
    ----------
    settings : mapping
        `armed.config.settings` of the model.
    data : StudyData
    splits : Path
        What `armed.jobs.data.split` wrote.
    run : Path
        Folder of the fits (those of another model where this one has none of its own).
    inference : Path or None
        Folder of the study's Z-predictor, for models that infer clusters.
    """
    for variant in variants(settings, data):
        method = registry.load(registry.model(settings["model"]).method).load(run / variant.folder)
        folds = read_splits(splits, variant.data).select(sorted({seed for seed, _ in method.replicas_}))
        predictor = None
        if inference is not None:
            predictor = registry.load(CLUSTER_INFERENCE).load(inference / variant.data)
        yield Fitted(variant, method, folds, predictor, variant.rotation * (1 + max(f.fold for f in folds)))
