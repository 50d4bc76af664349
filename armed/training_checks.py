"""Whether data and network fit each other, told before any training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from armed.data.clustered import ClusteredData
from armed.data.splits import Fold
from armed.errors import DataError, Problems

if TYPE_CHECKING:
    from armed.training import Training


def check_training(
    data: ClusteredData,
    folds: list[Fold],
    label: str,
    levels: np.ndarray,
    training: Training,
    module: nn.Module | None,
) -> None:
    """All problems of the data at once, before any training."""
    data.check(fitting=True, where="the training data")
    problems = Problems(DataError, "the training data")
    n_classes = len(np.unique(data.y)) if data.is_classification else None
    if (label == "continuous") == data.is_classification or (label == "binary" and n_classes != 2):
        found = f"{n_classes} classes" if n_classes else "continuous values"
        problems.add(f"the method expects {label} labels, but y holds {found}")
    n_outputs = getattr(module, "n_outputs", None)
    if n_outputs is not None and (n_outputs < (n_classes or 2) if label == "multiclass" else n_outputs != 1):
        needed = f"one for each of {n_classes} classes" if label == "multiclass" else "1"
        problems.add(f"the network has {n_outputs} outputs; {label} labels need {needed}")
    if training.monitor != "loss" and training.patience is not None and label != "binary":
        problems.add(
            f"monitor='{training.monitor}' is defined for binary labels, not for {label} ones; take monitor='loss'"
        )
    weights, needed = training.class_weights, n_classes or 0
    if label == "continuous" and weights != "none":
        problems.add(
            f"class_weights={weights!r} is for class labels, not for continuous ones; take class_weights='none'"
        )
    elif not isinstance(weights, str) and len(weights) != needed:
        problems.add(f"class_weights has {len(weights)} numbers; expected one for each of {needed} classes")
    if not folds:
        problems.add("no fold of the splits has one of the seeds asked for")
    known = set(levels)
    missing = np.isnan(data.X).reshape(len(data), -1).any(1) if data.allow_missing else np.zeros(len(data), bool)
    for f in folds:
        where = f"seed {f.seed}, fold {f.fold}"
        n_missing = int(missing[np.concatenate([f.train, f.validation])].sum())
        if n_missing:
            problems.add(f"{where}: {n_missing} training and validation rows have missing values; impute them first")
        if data.is_classification and (data.y[f.train] == data.y[f.train[0]]).all():
            problems.add(f"{where}: all training rows have label {data.y[f.train[0]]}; expected at least two")
        unknown = sorted(set(data.clusters[f.validation]) - known)
        if unknown:
            problems.add(f"{where}: validation rows of clusters never seen in training: {', '.join(unknown[:5])}")
    problems.raise_if_any()
