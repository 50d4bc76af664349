"""Clusters and subjects of anyone's own data, a table or a list of images: which are large enough, and which are unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Protocol

import numpy as np
import pandas as pd

from armed.data.clustered import ClusteredData
from armed.data.csv_table import CsvTable, check_names
from armed.data.own_label import find
from armed.data.study import Remarks
from armed.errors import ConfigError, Problems, did_you_mean, listed
from armed.reproducibility import derive_seed


class HasClusters(Protocol):
    """Settings that are asked for here: see `armed.data.own_table.OwnTableSettings`."""

    kind: str
    label: str
    cluster: str
    subject: str | None
    unseen: Sequence[object] | int
    min_cluster_size: int


def read_clusters(own: HasClusters, table: CsvTable, problems: Problems) -> np.ndarray | None:
    """Cluster of each row, (n,) text; None where there is no such column, or one that is of no use.

    Problems: empty cells, one cluster, clusters of one row each.
    """
    if own.cluster not in table.cells:
        return None
    clusters = table.cells[own.cluster].to_numpy(dtype=np.str_)
    refuse_empty(table, own.cluster, "cluster", clusters == "", problems)
    levels, sizes = np.unique(clusters[clusters != ""], return_counts=True)
    check_names(f"cluster column '{own.cluster}'", levels.tolist(), problems)
    if len(levels) == 1:
        problems.add(f"cluster column '{own.cluster}' is '{levels[0]}' in every row; expected at least two clusters")
    elif len(levels) and sizes.max() == 1:
        problems.add(
            f"cluster column '{own.cluster}' has another value in each of its {len(levels)} rows; expected clusters of"
            " several rows: name the column that says which rows belong together"
        )
        return None
    return clusters if len(levels) else None


def read_subjects(own: HasClusters, table: CsvTable, problems: Problems) -> np.ndarray:
    """Subject of each row, (n,); the line of each row where no column is named. Empty cells are a problem."""
    if own.subject is None or own.subject not in table.cells:
        return table.lines
    subjects = table.cells[own.subject].to_numpy(dtype=np.str_)
    if own.subject != own.cluster:
        check_names(f"subject column '{own.subject}'", np.unique(subjects).tolist(), problems)
        refuse_empty(table, own.subject, "subject", subjects == "", problems)
    return subjects


def refuse_empty(table: CsvTable, column: str, use: str, empty: np.ndarray, problems: Problems) -> None:
    """Add a problem where cells of a column are empty; `use` is what the column is for."""
    if empty.any():
        problems.add(
            f"{use} column '{column}' is empty in {empty.sum()} of {len(table)} rows: {table.where(empty)};"
            " fill it in, or take the rows out of the file"
        )


def large_enough(own: HasClusters, clusters: np.ndarray, problems: Problems, remarks: Remarks) -> np.ndarray:
    """Mask (n,) of the rows whose cluster has at least `min_cluster_size` rows."""
    levels, of_row, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    small = sizes < own.min_cluster_size
    if small.all():
        problems.add(f"no cluster has min_cluster_size = {own.min_cluster_size} rows; the largest has {sizes.max()}")
        return np.ones(len(clusters), dtype=bool)
    if small.any():
        told = f"fewer than min_cluster_size = {own.min_cluster_size} rows each ({sizes[small].sum()} in all): left out"
        remarks.add("clusters", f"{told}: {listed(levels[small])}", small.sum())
    return ~small[of_row]


def unseen_clusters(
    own: HasClusters, study: str, clusters: np.ndarray, problems: Problems, remarks: Remarks
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


def check_seen_label(own: HasClusters, y: np.ndarray, is_unseen: np.ndarray, problems: Problems) -> None:
    """Every class must be seen: none can be learned from the unseen clusters."""
    if own.kind == "continuous":
        if len(seen := y[~is_unseen]) and (seen == seen[0]).all():
            problems.add(f"label column '{own.label}' is {seen[0]:g} in all seen clusters; expected one that varies")
    elif missing := set(range(int(y.max()) + 1)) - {*y[~is_unseen].tolist()}:
        problems.add(
            f"label column '{own.label}': {len(missing)} of its classes are in no row of a seen cluster; choose other"
            " unseen clusters, or a smaller min_cluster_size"
        )


def truth_of_parts(parts: Mapping[str, ClusteredData], kind: str) -> pd.DataFrame:
    """What `StudyData.truth` tells of each cluster: n, and the share of class 1 (`ratio`) or the mean of the label (`mean`)."""
    columns = {"n": ("y", "size")}
    if kind != "multiclass":
        columns["ratio" if kind == "binary" else "mean"] = ("y", "mean")
    frames = []
    for part, data in parts.items():
        by_cluster = pd.DataFrame({"cluster": data.clusters, "y": data.y}).groupby("cluster", as_index=False)
        frames.append(by_cluster.agg(**columns).assign(part=part))
    truth = pd.concat(frames, ignore_index=True).assign(variant="main", dataset=0)
    return truth[["variant", "dataset", "part", "cluster", *columns]]


def is_whole(value: object, least: int) -> bool:
    """Whether a setting is a whole number of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_list(value: object) -> bool:
    """Whether a setting is a list."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def are_names(value: object) -> bool:
    """Whether a setting is a list of texts."""
    return is_list(value) and all(isinstance(name, str) for name in value)


def read_block(own: type, block: Mapping, study: str, *, needed: int) -> tuple[object, Problems]:
    """Settings of a class from the config block of a study, not yet checked.

    Parameters
    ----------
    own : type
        A dataclass.
    block : mapping
        ``studies.<study>.data``; its `title` is not looked at.
    study : str
    needed : int
        How many of the first settings may not be missing or null.

    Returns
    -------
    settings, problems
        An instance, and what takes its problems.

    Raises
    ------
    ConfigError
        With all keys that are unknown or missing.
    """
    problems = Problems(ConfigError, f"studies.{study}.data")
    known = [field.name for field in fields(own)]
    block = {key: value for key, value in block.items() if key != "title"}
    for key in block:
        if key not in known:
            problems.add(f"unknown key '{key}'.{did_you_mean(key, known)} Known: {', '.join(known)}")
    problems.found += [f"'{key}' is missing" for key in known[:needed] if block.get(key) is None]
    problems.raise_if_any()
    return own(**block), problems
