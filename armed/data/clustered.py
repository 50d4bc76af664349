"""Clustered data: samples with labels, cluster membership and subjects, checked when made."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import pandas as pd

from armed.errors import DataError, Problems, listed

logger = logging.getLogger(__name__)
_MOST_NAMES = 20  # of clusters in a warning


@dataclass(frozen=True, eq=False)
class ClusteredData:
    """Samples in clusters.

    Parameters
    ----------
    X : array, shape (n, p) or (n, ...)
        Features (float64 where two-dimensional), or images.
    y : array, shape (n,)
        Integers 0..K-1 (or booleans) are class labels, floats are a continuous outcome.
    clusters : array of str, shape (n,)
        Cluster labels. Numbers are turned into text.
    sample_id : array of str or int, shape (n,), optional
        Unique id of each sample; 0..n-1 by default.
    subject : array of str or int, shape (n,), optional
        Samples of one subject never cross folds; each sample is its own subject by default.
    feature_names : sequence of str, optional
        One per column of X; x1, x2, ... by default (none for images).
    dataset : array of int, shape (n,), optional
        Which of several simulated datasets a row belongs to; all 0 by default.
    allow_missing : bool
        Whether X may hold NaN (where an imputer comes before the model).

    Raises
    ------
    DataError
        With all problems that `check` finds.
    """

    X: np.ndarray
    y: np.ndarray
    clusters: np.ndarray
    sample_id: np.ndarray | None = None
    subject: np.ndarray | None = None
    feature_names: tuple[str, ...] | None = None
    dataset: np.ndarray | None = None
    allow_missing: bool = False

    def __post_init__(self) -> None:
        n = np.shape(self.y)[0] if np.ndim(self.y) else 0
        if self.sample_id is None:
            self._set("sample_id", np.arange(n))
        if self.subject is None:
            self._set("subject", self.sample_id)
        if self.dataset is None:
            self._set("dataset", np.zeros(n, dtype=np.int64))
        if self.feature_names is None:
            self._set("feature_names", default_names(self.X))
        self.check(fitting=False)
        X = np.asarray(self.X)
        self._set("X", X.astype(np.float64, copy=False) if X.ndim == 2 else X)
        y = np.asarray(self.y)
        self._set("y", y.astype(np.float64 if y.dtype.kind == "f" else np.int64, copy=False))
        self._set("clusters", _text(self.clusters))
        for name in ("sample_id", "subject"):
            ids = np.asarray(getattr(self, name))
            self._set(name, ids if ids.dtype.kind in "iu" else _text(ids))
        self._set("dataset", np.asarray(self.dataset).astype(np.int64, copy=False))
        self._set("feature_names", tuple(str(name) for name in self.feature_names))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def is_classification(self) -> bool:
        """Whether y holds class labels (integers)."""
        return self.y.dtype.kind in "iu"

    @property
    def levels(self) -> np.ndarray:
        """Cluster labels that occur, sorted."""
        return np.unique(self.clusters)

    def check(self, *, fitting: bool = True, where: str = "the data") -> None:
        """Check the data; see the function `check`.

        Parameters
        ----------
        fitting : bool
            Whether a model is to be fitted to them; less is asked of data to predict.
        where : str
            How messages name the data.
        """
        check(
            self.X,
            self.y,
            self.clusters,
            sample_id=self.sample_id,
            subject=self.subject,
            feature_names=self.feature_names,
            dataset=self.dataset,
            allow_missing=self.allow_missing,
            fitting=fitting,
            where=where,
        )

    def take(self, rows: np.ndarray) -> ClusteredData:
        """Return the given rows, in the given order; not checked again (a subset may have one class).

        Parameters
        ----------
        rows : array of int, or of bool

        Returns
        -------
        ClusteredData
        """
        new = object.__new__(ClusteredData)
        for field in fields(self):
            value = getattr(self, field.name)
            new._set(field.name, value[rows] if isinstance(value, np.ndarray) else value)
        return new

    def codes(self, levels: Sequence[str]) -> np.ndarray:
        """Return the position of each sample's cluster in `levels`, -1 where it is not among them.

        Parameters
        ----------
        levels : sequence of str, shape (n_clusters,)

        Returns
        -------
        array of int64, shape (n,)

        Raises
        ------
        DataError
            A label occurs twice in `levels`.
        """
        index = pd.Index(_text(np.asarray(levels)))
        if index.has_duplicates:
            twice = ", ".join(index[index.duplicated()].unique())
            raise DataError(f"Cluster levels must be unique, but these occur more than once: {twice}.")
        row, own = self._factorized
        return np.asarray(index.get_indexer(pd.Index(own)), dtype=np.int64)[row]

    @cached_property
    def _factorized(self) -> tuple[np.ndarray, np.ndarray]:
        """Each sample's cluster as a position among the labels there are, and these labels."""
        return pd.factorize(self.clusters)

    def rows_of(self, dataset: int | None) -> np.ndarray:
        """Return the row ids of one dataset: seed s uses dataset s where there are several, else all rows.

        Parameters
        ----------
        dataset : int or None
            None for all rows.

        Returns
        -------
        array of int

        Raises
        ------
        DataError
            There are several datasets, and the one asked for is not among them.
        """
        if dataset is None or not len(self) or (self.dataset == self.dataset[0]).all():
            return np.arange(len(self))
        rows = np.flatnonzero(self.dataset == dataset)
        if not len(rows):
            there = ", ".join(str(d) for d in np.unique(self.dataset))
            raise DataError(f"There is no dataset {dataset} for seed {dataset}; the data has datasets {there}.")
        return rows


def default_names(X: np.ndarray) -> tuple[str, ...]:
    """Return x1, x2, ... for the columns of a table, nothing for images."""
    return tuple(f"x{j + 1}" for j in range(np.shape(X)[1])) if np.ndim(X) == 2 else ()


def check(
    X: np.ndarray,
    y: np.ndarray,
    clusters: np.ndarray,
    *,
    sample_id: np.ndarray | None = None,
    subject: np.ndarray | None = None,
    feature_names: Sequence[str] | None = None,
    dataset: np.ndarray | None = None,
    allow_missing: bool = False,
    fitting: bool = True,
    where: str = "the data",
) -> None:
    """Check that clustered data can be used.

    Parameters
    ----------
    X, y, clusters, sample_id, subject, feature_names, dataset, allow_missing
        As in `ClusteredData`.
    fitting : bool
        Also refuse what can be predicted but not fitted (labels of one class, gaps in the labels), and log a
        warning for clusters of one sample.
    where : str
        What the data is, for the message.

    Raises
    ------
    DataError
        With all problems found.
    """
    problems = Problems(DataError, where)
    X, y = _numbers(X, "X", problems), np.asarray(y)
    aligned = {"X": X, "y": y, "clusters": clusters, "sample_id": sample_id, "subject": subject}
    if _check_lengths({**aligned, "dataset": dataset}, problems):
        _check_outcome(y, fitting, problems)
        _check_ids(clusters, sample_id, subject, dataset, problems)
        if fitting and not problems.found:
            _warn_of_single_samples(_text(clusters), dataset)
    if X is not None:
        _check_features(X, feature_names, allow_missing, problems)
    problems.raise_if_any()


def _check_lengths(arrays: dict[str, np.ndarray | None], problems: Problems) -> bool:
    before = len(problems.found)
    lengths = {name: np.shape(a)[0] if np.ndim(a) else 0 for name, a in arrays.items() if a is not None}
    if len(set(lengths.values())) > 1:
        given = ", ".join(f"{name} {n}" for name, n in lengths.items())
        problems.add(f"the lengths differ: {given}; expected one entry per sample in each")
    elif lengths.get("y") == 0:
        problems.add("it has no samples")
    for name, a in arrays.items():
        if a is not None and name != "X" and np.ndim(a) != 1:
            problems.add(f"{name} has shape {np.shape(a)}; expected one dimension")
    return len(problems.found) == before


def _check_features(X: np.ndarray, names: Sequence[str] | None, allow_missing: bool, problems: Problems) -> None:
    if X.ndim < 2:
        problems.add(f"X has shape {X.shape}; expected (samples, features); reshape one feature to (n, 1)")
        return
    if X.ndim == 2:
        given, names = names, default_names(X)
        if given is not None and len(given) == len(names):
            names = tuple(given)
        elif given is not None:
            problems.add(f"there are {len(given)} feature names for {X.shape[1]} columns of X")
        if len(set(names)) < len(names):
            twice = sorted({str(name) for name in names if list(names).count(name) > 1})
            problems.add(f"feature names occur more than once: {', '.join(twice)}")
    if X.dtype.kind != "f" or np.isfinite(X).all():
        return
    kinds = [("infinite", np.isinf(X), "remove or replace them")]
    if not allow_missing:
        kinds.append(("NaN", np.isnan(X), "impute them first, or pass allow_missing=True if an imputer follows"))
    for kind, mask, advice in kinds:
        if not mask.any():
            continue
        if X.ndim > 2:
            problems.add(f"X has {mask.sum()} {kind} values; {advice}")
            continue
        found = ", ".join(f"{names[j]} ({k})" for j, k in enumerate(mask.sum(axis=0)) if k)
        problems.add(f"X has {kind} values in: {found}; {advice}")


def _check_outcome(y: np.ndarray, fitting: bool, problems: Problems) -> None:
    if y.dtype.kind == "f":
        bad = int((~np.isfinite(y)).sum())
        if bad:
            problems.add(f"y has {bad} NaN or infinite values; leave these samples out")
        elif fitting and (y == y[0]).all():
            problems.add(f"y is {y[0]:g} in every sample; expected an outcome that varies")
        return
    if y.dtype.kind not in "iub":
        problems.add(
            f"y is of type {y.dtype}; expected integers 0..K-1 for classes (encode other labels first), or floats"
        )
        return
    found = np.unique(y).astype(np.int64)
    if found[0] < 0:
        problems.add(f"y has negative labels, lowest {found[0]}; expected integers 0..K-1")
    elif fitting and len(found) == 1:
        problems.add(f"y has one class only (label {found[0]} in all {len(y)} samples); expected at least two")
    elif fitting and found[-1] != len(found) - 1:
        shown = ", ".join(str(v) for v in found[:10]) + (", ..." if len(found) > 10 else "")
        problems.add(f"y has the labels {shown}; expected 0..{len(found) - 1} without gaps")


def _check_ids(clusters, sample_id, subject, dataset, problems: Problems) -> None:
    for name, ids in {"clusters": clusters, "sample_id": sample_id, "subject": subject}.items():
        missing = 0 if ids is None else int(pd.isna(np.asarray(ids)).sum())
        if missing:
            problems.add(f"{name} is missing for {missing} samples; expected a label for each")
    if dataset is not None and np.asarray(dataset).dtype.kind not in "iu":
        problems.add(f"dataset is of type {np.asarray(dataset).dtype}; expected integers")
    if sample_id is not None:
        duplicated = pd.Index(np.asarray(sample_id)).duplicated()
        if duplicated.any():
            example = np.asarray(sample_id)[duplicated][0]
            problems.add(f"sample_id is not unique: {duplicated.sum()} repeated, such as {example!s}")


def _warn_of_single_samples(clusters: np.ndarray, dataset: np.ndarray | None) -> None:
    codes, levels = pd.factorize(clusters)
    where = np.zeros(len(codes), dtype=np.int64) if dataset is None else np.asarray(dataset, dtype=np.int64)
    cells, counts = np.unique(where * len(levels) + codes, return_counts=True)
    single = sorted({str(levels[cell % len(levels)]) for cell in cells[counts == 1]})
    if single:
        logger.warning("clusters of one sample, about which nothing can be learned: %s", listed(single, _MOST_NAMES))


def _numbers(X: object, name: str, problems: Problems) -> np.ndarray | None:
    X = np.asarray(X)
    if X.dtype.kind in "fiub":
        return X
    try:
        return X.astype(np.float64)
    except (TypeError, ValueError) as error:
        problems.add(f"{name} is not numeric ({error}); expected floats; encode categories first")
        return None


def _text(labels: object) -> np.ndarray:
    return np.asarray(labels).astype(np.str_)
