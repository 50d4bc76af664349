"""Anyone's own table as a study: one CSV file, a label, a cluster column, and features (config block ``data:``)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from armed.data import csv_table
from armed.data.clustered import ClusteredData
from armed.data.csv_table import CsvTable
from armed.data.own_label import KINDS, find, read_label
from armed.data.study import Remarks, StudyData
from armed.data.table_columns import features
from armed.errors import ConfigError, DataError, Problems, did_you_mean, listed
from armed.reproducibility import derive_seed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OwnTableSettings:
    """The `data:` block of a user's own study.

    A user's study has no block in config/config.yaml, so what may be left out has its default here.

    Parameters
    ----------
    path : str
        The CSV file: UTF-8, the names of the columns on line 1, one sample per row.
    kind : str
        Kind of the label: ``binary``, ``multiclass`` or ``continuous``.
    label, cluster : str
        Columns of the label and of the cluster.
    positive : str, number or bool, optional
        Value of a binary label that is class 1; not needed where the values are 0 and 1, false and true or no and yes.
    subject : str, optional
        Column of the subject: samples of one subject never cross folds. Each row is its own subject by default.
    features : list of str, optional
        Columns of the features; by default all that have no other use.
    drop : list of str
        Columns to leave out.
    categorical : list of str
        Columns whose numbers are categories.
    unseen : list or int
        Labels of the unseen clusters, or how many to draw at random.
    min_cluster_size : int
        Clusters with fewer samples are left out.

    Raises
    ------
    ConfigError
        With all settings that cannot be.
    """

    path: str
    kind: str
    label: str
    cluster: str
    positive: object = None
    subject: str | None = None
    features: Sequence[str] | None = None
    drop: Sequence[str] = ()
    categorical: Sequence[str] = ()
    unseen: Sequence[object] | int = 0
    min_cluster_size: int = 1

    @classmethod
    def from_block(cls, block: Mapping, study: str) -> OwnTableSettings:
        """Make settings from the config block of a study, or raise `ConfigError` with all its problems."""
        problems = Problems(ConfigError, f"studies.{study}.data")
        known = [field.name for field in fields(cls)]
        for key in block:
            if key not in known:
                problems.add(f"unknown key '{key}'.{did_you_mean(key, known)} Known: {', '.join(known)}")
        problems.found += [f"'{key}' is missing" for key in known[:4] if block.get(key) is None]
        problems.raise_if_any()
        settings = cls(**block)
        settings._check_types(problems)
        problems.raise_if_any()
        settings._check_uses(problems)
        problems.raise_if_any()
        return settings

    @property
    def named(self) -> list[str]:
        """Columns that must be in the file."""
        others = [*(self.features or ()), *self.drop, *self.categorical]
        return [self.label, self.cluster, *([self.subject] if self.subject else []), *others]

    def _check_types(self, problems: Problems) -> None:
        def need(name: str, ok: bool, expected: str) -> None:
            if not ok:
                problems.add(f"{name} is {getattr(self, name)!r}; expected {expected}")

        for name in ("path", "label", "cluster"):
            need(name, isinstance(getattr(self, name), str), "text (numbers need quotes)")
        kinds = f"one of {', '.join(KINDS)}.{did_you_mean(str(self.kind), KINDS)}"
        need("kind", self.kind in KINDS, kinds)
        need("subject", self.subject is None or isinstance(self.subject, str), "the name of a column, or null")
        need(
            "features", self.features is None or _are_names(self.features), "a list of columns, or null for all others"
        )
        for name in ("drop", "categorical"):
            need(name, _are_names(getattr(self, name)), "a list of columns")
        need(
            "unseen",
            _is_whole(self.unseen, 0) or _is_list(self.unseen),
            "a list of cluster labels, or how many to draw",
        )
        need("min_cluster_size", _is_whole(self.min_cluster_size, 1), "a whole number of at least 1")
        need(
            "positive",
            self.positive is None or self.kind == "binary",
            "null, as only a binary label has a positive value",
        )

    def _check_uses(self, problems: Problems) -> None:
        """Each column has one use; only cluster and subject may be the same column."""
        uses = {"label": [self.label], "cluster": [self.cluster], "subject": [self.subject] * bool(self.subject)}
        uses |= {"drop": self.drop, "features": self.features or ()}
        for name, columns in {**uses, "categorical": self.categorical}.items():
            twice = sorted({c for c in columns if list(columns).count(c) > 1})
            if twice:
                problems.add(f"{name} names {listed(twice)} more than once")
        names = list(uses)
        for i, one in enumerate(names):
            for other in names[i + 1 :]:
                both = sorted({*uses[one]} & {*uses[other]})
                if both and (one, other) != ("cluster", "subject"):
                    problems.add(
                        f"column {listed(both)} is given as {one} and as {other}; expected one use of a column"
                    )
        others = {c for use, columns in uses.items() if use != "features" for c in columns}
        wrong = [c for c in self.categorical if c in others or (self.features is not None and c not in self.features)]
        if wrong:
            problems.add(f"categorical names {listed(wrong)}, which is no feature; expected some of the features")


def make(settings: Mapping, study: str, seeds: Sequence[int], raw: Sequence[Path]) -> StudyData:
    """Read a user's own table.

    Parameters
    ----------
    settings : mapping
        Config block ``studies.<study>.data``; see `OwnTableSettings`.
    study : str
        Id of the study; the draw of unseen clusters comes from it alone.
    seeds : sequence of int
        Not used: all seeds share the one table.
    raw : sequence of Path
        The CSV file.

    Returns
    -------
    StudyData
        Variant ``main`` with the parts ``seen`` and, where there are any, ``unseen``; ids of samples are lines of the
        file. Truth: n, and the share of class 1 (`ratio`) or the mean of the label (`mean`), per cluster.

    Raises
    ------
    ConfigError
        With all problems of the settings.
    DataError
        With all problems of the file; each names lines of the file (the header is line 1).
    """
    own = OwnTableSettings.from_block(settings, study)
    if len(raw) != 1:
        raise DataError(f"The study {study} is made from one CSV file, but {len(raw)} raw files were given.")
    problems, remarks = Problems(DataError, f"{raw[0]} (study {study})"), Remarks()
    table = csv_table.read(Path(raw[0]), own.named, problems, remarks)
    if table is None:
        problems.raise_if_any()
    y, clusters, subject = (
        read_label(own.kind, own.label, own.positive, table, problems, remarks),
        _read_clusters(own, table, problems),
        _read_subjects(own, table, problems),
    )
    rows, unseen = np.ones(len(table), dtype=bool), []
    if clusters is not None:
        rows = _large_enough(own, clusters, problems, remarks)
        unseen = _unseen_clusters(own, study, clusters[rows], problems, remarks)
    X, names = features(table, _feature_columns(own, table, remarks), own.categorical, rows, problems, remarks)
    if not names and not problems.found:
        problems.add("no feature is left; expected at least one column that varies beside label, cluster and subject")
    is_unseen = None if clusters is None else np.isin(clusters[rows], unseen)
    if y is not None and is_unseen is not None:
        _check_seen_label(own, y[rows], is_unseen, problems)
    problems.raise_if_any()
    for what, reason, count in remarks.found:
        logger.info("%s: %s (%d)", what, reason, count)
    data = ClusteredData(
        X, y[rows], clusters[rows], table.lines[rows], subject[rows], names, allow_missing=bool(np.isnan(X).any())
    )
    parts = {"seen": data.take(np.flatnonzero(~is_unseen))}
    if is_unseen.any():
        parts["unseen"] = data.take(np.flatnonzero(is_unseen))
    return StudyData({"main": parts}, _truth(parts, own.kind), remarks.frame())


def _read_clusters(own: OwnTableSettings, table: CsvTable, problems: Problems) -> np.ndarray | None:
    if own.cluster not in table.cells:
        return None
    clusters = table.cells[own.cluster].to_numpy(dtype=np.str_)
    _refuse_empty(table, own.cluster, "cluster", clusters == "", problems)
    levels, sizes = np.unique(clusters[clusters != ""], return_counts=True)
    if len(levels) == 1:
        problems.add(f"cluster column '{own.cluster}' is '{levels[0]}' in every row; expected at least two clusters")
    elif len(levels) and sizes.max() == 1:
        problems.add(
            f"cluster column '{own.cluster}' has another value in each of its {len(levels)} rows; expected clusters of"
            " several rows: name the column that says which rows belong together"
        )
        return None
    return clusters if len(levels) else None


def _read_subjects(own: OwnTableSettings, table: CsvTable, problems: Problems) -> np.ndarray:
    if own.subject is None or own.subject not in table.cells:
        return table.lines
    subjects = table.cells[own.subject].to_numpy(dtype=np.str_)
    if own.subject != own.cluster:
        _refuse_empty(table, own.subject, "subject", subjects == "", problems)
    return subjects


def _refuse_empty(table: CsvTable, column: str, use: str, empty: np.ndarray, problems: Problems) -> None:
    if empty.any():
        problems.add(
            f"{use} column '{column}' is empty in {empty.sum()} of {len(table)} rows: {table.where(empty)};"
            " fill it in, or take the rows out of the file"
        )


def _large_enough(own: OwnTableSettings, clusters: np.ndarray, problems: Problems, remarks: Remarks) -> np.ndarray:
    levels, of_row, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    small = sizes < own.min_cluster_size
    if small.all():
        problems.add(f"no cluster has min_cluster_size = {own.min_cluster_size} rows; the largest has {sizes.max()}")
        return np.ones(len(clusters), dtype=bool)
    if small.any():
        told = f"fewer than min_cluster_size = {own.min_cluster_size} rows each ({sizes[small].sum()} in all): left out"
        remarks.add("clusters", f"{told}: {listed(levels[small])}", small.sum())
    return ~small[of_row]


def _unseen_clusters(
    own: OwnTableSettings, study: str, clusters: np.ndarray, problems: Problems, remarks: Remarks
) -> list[str]:
    """Labels of the unseen clusters: the named ones, or as many as asked for, drawn at random."""
    levels = [str(v) for v in np.unique(clusters)]
    if isinstance(own.unseen, int):
        if own.unseen > max(len(levels) - 2, 0):
            problems.add(f"unseen is {own.unseen} of {len(levels)} clusters; expected to leave at least two seen ones")
            return []
        rng = np.random.default_rng(derive_seed("unseen clusters", study, 0))
        drawn = sorted(rng.choice(levels, size=own.unseen, replace=False).tolist())
        if drawn:
            remarks.add("unseen clusters", f"drawn at random: {listed(drawn, 20)}", len(drawn))
        return drawn
    found = []
    for name in own.unseen:
        if (level := find(name, levels)) is None:
            hint = did_you_mean(str(name), levels) or f" There are: {listed(levels, 20)}."
            problems.add(f"unseen names the cluster '{name}', of which no row is used.{hint}")
        else:
            found.append(level)
    if len({*found}) > len(levels) - 2:
        problems.add(
            f"unseen names {len({*found})} of {len(levels)} clusters; expected to leave at least two seen ones"
        )
    return found


def _feature_columns(own: OwnTableSettings, table: CsvTable, remarks: Remarks) -> list[str]:
    for column in own.drop:
        remarks.add(f"column '{column}'", "named under drop: left out", 1)
    used = {own.label, own.cluster, own.subject, *own.drop}
    others = [c for c in table.cells if c not in used]
    if own.features is None:
        return others
    for column in [c for c in others if c not in own.features]:
        remarks.add(f"column '{column}'", "not named under features: left out", 1)
    return [c for c in own.features if c in table.cells]


def _check_seen_label(own: OwnTableSettings, y: np.ndarray, is_unseen: np.ndarray, problems: Problems) -> None:
    """Every class must be seen: none can be learned from the unseen clusters."""
    if own.kind == "continuous":
        if len(seen := y[~is_unseen]) and (seen == seen[0]).all():
            problems.add(f"label column '{own.label}' is {seen[0]:g} in all seen clusters; expected one that varies")
    elif missing := set(range(int(y.max()) + 1)) - {*y[~is_unseen].tolist()}:
        problems.add(
            f"label column '{own.label}': {len(missing)} of its classes are in no row of a seen cluster; choose other"
            " unseen clusters, or a smaller min_cluster_size"
        )


def _truth(parts: Mapping[str, ClusteredData], kind: str) -> pd.DataFrame:
    columns = {"n": ("y", "size")}
    if kind != "multiclass":
        columns["ratio" if kind == "binary" else "mean"] = ("y", "mean")
    frames = []
    for part, data in parts.items():
        by_cluster = pd.DataFrame({"cluster": data.clusters, "y": data.y}).groupby("cluster", as_index=False)
        frames.append(by_cluster.agg(**columns).assign(part=part))
    truth = pd.concat(frames, ignore_index=True).assign(variant="main", dataset=0)
    return truth[["variant", "dataset", "part", "cluster", *columns]]


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _are_names(value: object) -> bool:
    return _is_list(value) and all(isinstance(name, str) for name in value)
