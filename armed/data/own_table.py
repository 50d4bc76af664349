"""Anyone's own table as a study: one CSV file, a label, a cluster column, and features (config block ``data:``)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from armed.data import csv_table
from armed.data.clustered import ClusteredData
from armed.data.csv_table import CsvTable
from armed.data.own_clusters import (
    are_names,
    check_seen_label,
    is_list,
    is_whole,
    large_enough,
    read_block,
    read_clusters,
    read_subjects,
    truth_of_parts,
    unseen_clusters,
)
from armed.data.own_label import KINDS, read_label
from armed.data.study import Remarks, StudyData
from armed.data.table_columns import features
from armed.errors import DataError, Problems, did_you_mean, listed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OwnTableSettings:
    """The `data:` block of a user's own study.

    What may be left out has the same default here as in the block `own_study` of config/config.yaml.

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
        settings, problems = read_block(cls, block, study, needed=4)
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
        need("features", self.features is None or are_names(self.features), "a list of columns, or null for all others")
        for name in ("drop", "categorical"):
            need(name, are_names(getattr(self, name)), "a list of columns")
        need(
            "unseen",
            is_whole(self.unseen, 0) or is_list(self.unseen),
            "a list of cluster labels, or how many to draw",
        )
        need("min_cluster_size", is_whole(self.min_cluster_size, 1), "a whole number of at least 1")
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
        read_clusters(own, table, problems),
        read_subjects(own, table, problems),
    )
    rows, unseen = np.ones(len(table), dtype=bool), []
    if clusters is not None:
        rows = large_enough(own, clusters, problems, remarks)
        unseen = unseen_clusters(own, study, clusters[rows], problems, remarks)
    X, names = features(table, _feature_columns(own, table, remarks), own.categorical, rows, problems, remarks)
    if not names and not problems.found:
        problems.add("no feature is left; expected at least one column that varies beside label, cluster and subject")
    is_unseen = None if clusters is None else np.isin(clusters[rows], unseen)
    if y is not None and is_unseen is not None:
        check_seen_label(own, y[rows], is_unseen, problems)
    problems.raise_if_any()
    for what, reason, count in remarks.found:
        logger.info("%s: %s (%d)", what, reason, count)
    data = ClusteredData(
        X, y[rows], clusters[rows], table.lines[rows], subject[rows], names, allow_missing=bool(np.isnan(X).any())
    )
    parts = {"seen": data.take(np.flatnonzero(~is_unseen))}
    if is_unseen.any():
        parts["unseen"] = data.take(np.flatnonzero(is_unseen))
    return StudyData({"main": parts}, truth_of_parts(parts, own.kind), remarks.frame())


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
