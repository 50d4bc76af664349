"""All samples of a study in one table, and what is counted over them once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from armed.data import leaks
from armed.data.clustered import ClusteredData
from armed.data.images import GreyLevels, grey_levels
from armed.data.study import StudyData

IN_TURN = "seen and unseen in turn"


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of a study, seen and unseen ones together.

    Parameters
    ----------
    data : ClusteredData
        All samples; those of the seen part first.
    parts : Series of str
        Part of each cluster (the index): seen, unseen, or both in turn; seen ones first, large ones first.
    images : tuple of array, optional
        Where the samples are images, the images of each part: `data` has but one array of zeros that stands for them, as they
        may be larger than memory.
    groups : array of str, shape (n,), optional
        Group of each sample (`StudyData.samples`); None where that is not known.
    """

    data: ClusteredData
    parts: pd.Series
    images: tuple[np.ndarray, ...] = ()
    groups: np.ndarray | None = None

    @classmethod
    def of(cls, data: StudyData) -> Samples:
        """Take the samples of variant `main`; where one cluster after the other is left out, of the first variant."""
        variants = [v for v in data.parts if v == "main" or v.startswith("main@")] or list(data.parts)[:1]
        chosen = {name: part for name, part in data.parts[variants[0]].items() if name in ("seen", "unseen")}
        # Of several simulated datasets, one shows what all are like.
        one = [
            part if (rows := part.rows_of(part.dataset[0])).size == len(part) else part.take(rows)
            for part in chosen.values()
        ]
        pooled = _joined(one)
        images = tuple(part.X for part in one) if pooled.X.ndim > 2 else ()
        seen, unseen = (
            {str(level) for v in variants if name in data.parts[v] for level in data.parts[v][name].levels}
            for name in ("seen", "unseen")
        )
        sizes = pd.Series(pooled.clusters).value_counts()
        part = [IN_TURN if c in seen & unseen else "seen" if c in seen else "unseen" for c in sizes.index]
        frame = pd.DataFrame({"part": part, "size": sizes.to_numpy()}, index=sizes.index.astype(str))
        frame["name"] = frame.index
        ordered = frame.sort_values(["part", "size", "name"], ascending=[True, False, True])
        tables = [data.samples.get(variants[0], {}).get(name, {}) for name in chosen]
        grouped = len(pooled) == sum(map(len, tables)) and all("group" in table for table in tables)
        groups = np.concatenate([table["group"].to_numpy(dtype=np.str_) for table in tables]) if grouped else None
        return cls(pooled, ordered["part"], images, groups)

    @cached_property
    def codes(self) -> np.ndarray:
        """Position of each sample's cluster in `parts`."""
        return self.data.codes(self.parts.index)

    @cached_property
    def is_seen(self) -> np.ndarray:
        """Whether a sample can ever be trained on."""
        return (self.parts != "unseen").to_numpy()[self.codes]

    @cached_property
    def sizes(self) -> np.ndarray:
        return np.bincount(self.codes, minlength=len(self.parts))

    @cached_property
    def X(self) -> np.ndarray:
        """Features as a table, shape (n, p); without columns where the samples are images."""
        return self.data.X if self.data.X.ndim == 2 else np.empty((len(self.data), 0))

    @cached_property
    def greys(self) -> GreyLevels | None:
        """Grey levels of each sample; None where the samples are no images."""
        if not self.images:
            return None
        of_parts = [grey_levels(images) for images in self.images]
        return GreyLevels(*(np.concatenate(values) for values in zip(*of_parts, strict=True)))

    @cached_property
    def measures(self) -> dict[str, np.ndarray]:
        """What is told of samples that are images, one number for each, by name; nothing of others."""
        return {} if self.greys is None else self.greys.measures

    @cached_property
    def missing(self) -> np.ndarray:
        """Missing values, shape (clusters, p)."""
        return _sums(np.isnan(self.X), self.codes, len(self.parts))

    @cached_property
    def kind(self) -> str:
        if not self.data.is_classification:
            return "continuous"
        return "binary" if self.data.y.max() <= 1 else "multiclass"

    @cached_property
    def class_counts(self) -> np.ndarray:
        """Samples of each class, shape (clusters, K)."""
        return _sums(self.data.y[:, None] == np.arange(self.data.y.max() + 1), self.codes, len(self.parts))

    @cached_property
    def distinct(self) -> np.ndarray:
        """Number of different values of each feature, shape (p,)."""
        return pd.DataFrame(self.X).nunique().to_numpy()

    @cached_property
    def cluster_told(self) -> np.ndarray:
        """Balanced accuracy of telling the cluster by one feature, shape (p,)."""
        return leaks.group_told_by_value(self.X, self.codes)

    @cached_property
    def told_by_measures(self) -> dict[str, tuple[float, float]]:
        """What each of `measures` alone tells: of the label, as `label_told`, and of the cluster, as `cluster_told`."""
        if not self.measures:
            return {}
        table = np.column_stack(list(self.measures.values()))
        told = zip(self._label_told(table), leaks.group_told_by_value(table, self.codes), strict=True)
        return dict(zip(self.measures, ((float(label), float(cluster)) for label, cluster in told), strict=True))

    @cached_property
    def label_told(self) -> np.ndarray:
        """What one feature says of the label: AUROC, balanced accuracy (several classes) or r; shape (p,)."""
        return np.where(self.distinct > 1, self._label_told(self.X), np.nan)

    def _label_told(self, X: np.ndarray) -> np.ndarray:
        measure = {"binary": leaks.auroc, "continuous": leaks.correlation, "multiclass": leaks.group_told_by_value}
        return measure[self.kind](X, self.data.y)

    @property
    def has_subjects(self) -> bool:
        """Whether several samples may belong to one subject."""
        return len(np.unique(self.data.subject)) < len(self.data)


def _joined(parts: list[ClusteredData]) -> ClusteredData:
    """Parts one below the other; ids may repeat between simulated parts, so each gets its part's number."""
    first = parts[0]
    if len(parts) == 1 and first.X.ndim == 2:
        return first
    unique = len(np.unique(np.concatenate([p.sample_id.astype(str) for p in parts]))) == sum(map(len, parts))
    apart = {} if unique else {"sample_id": None, "subject": None}
    arrays = ("y", "clusters", "sample_id", "subject", "dataset")
    joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in arrays}
    if first.X.ndim == 2:
        joined["X"] = np.concatenate([p.X for p in parts])
    else:
        joined["X"] = np.broadcast_to(np.zeros((), first.X.dtype), (len(joined["y"]), *first.X.shape[1:]))
    allow_missing = any(p.allow_missing for p in parts)
    return ClusteredData(**{**joined, **apart}, feature_names=first.feature_names, allow_missing=allow_missing)


def _sums(values: np.ndarray, codes: np.ndarray, n_groups: int) -> np.ndarray:
    """Sum of each column over the rows of each group, shape (groups, columns)."""
    columns = [np.bincount(codes, weights=column, minlength=n_groups) for column in values.T]
    return np.column_stack(columns).astype(np.int64) if columns else np.empty((n_groups, 0), dtype=np.int64)
