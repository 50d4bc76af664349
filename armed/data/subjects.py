"""Subjects of one dataset, which splits deal out whole: their rows, label, cluster and size, and draws stratified by these."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from armed.data.clustered import ClusteredData
from armed.errors import Problems

OUTCOME_BINS = 4  # quartiles of a continuous outcome


@dataclass(frozen=True, eq=False)
class Subjects:
    """Subjects of one dataset.

    Parameters
    ----------
    rows : array of int, (n,)
        Rows of the data that the dataset has.
    of_row : array of int, (n,)
        Position of each row's subject.
    clusters : array of int, (n,)
        Each row's cluster.
    label, cluster : array of int, (n_subjects,)
        Stratum of each subject: the label x cluster that most of its samples have.
    size : array of int, (n_subjects,)
        Samples of each subject.
    """

    rows: np.ndarray
    of_row: np.ndarray
    clusters: np.ndarray
    label: np.ndarray
    cluster: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, subjects: np.ndarray, labels: np.ndarray, clusters: np.ndarray) -> Subjects:
        """From the rows' subject, label (or outcome bin) and cluster, all codes (n,)."""
        n_clusters = int(clusters.max()) + 1
        strata = labels * n_clusters + clusters
        of_row, found = pd.factorize(subjects)
        size = np.bincount(of_row)
        if len(found) == len(rows):
            stratum = strata
        else:
            n_strata = int(strata.max()) + 1
            cells, counts = np.unique(of_row * n_strata + strata, return_counts=True)
            order = np.lexsort((cells, -counts, cells // n_strata))  # the commonest stratum of each first
            first = np.unique(cells[order] // n_strata, return_index=True)[1]
            stratum = cells[order][first] % n_strata
        return cls(rows, of_row, clusters, stratum // n_clusters, stratum % n_clusters, size)

    def __len__(self) -> int:
        return len(self.size)

    def in_strata_order(self, rng: np.random.Generator) -> np.ndarray:
        """Subjects by label, cluster (shuffled), then large ones first, ties at random."""
        cluster_rank = rng.permutation(int(self.cluster.max()) + 1)
        return np.lexsort((rng.random(len(self)), -self.size, cluster_rank[self.cluster], self.label))


def spaced(order: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Take a fraction at even distances: of any stretch of the order, the fraction to within one."""
    steps = np.floor(np.arange(len(order) + 1) * fraction + rng.random())
    return order[np.diff(steps) > 0]


def outcome_bins(data: ClusteredData) -> np.ndarray:
    """Class of each row, or the quarter that its continuous outcome lies in: int (n,)."""
    if data.is_classification:
        return data.y
    cuts = np.quantile(data.y, np.arange(1, OUTCOME_BINS) / OUTCOME_BINS)
    return np.searchsorted(cuts, data.y, side="right")


def strata_codes(strata: np.ndarray, outcome: np.ndarray, problems: Problems) -> np.ndarray:
    """Codes of strata that stand in the place of the label, those of low outcome first.

    Subjects are taken at even distances along these codes, so that where each stratum has one label (as a PDX has), a draw
    that is even over strata is even over labels too.

    Parameters
    ----------
    strata : array, (n,)
        Labels of strata, text or integers.
    outcome : array of int, (n,)
        Of `outcome_bins`.
    problems : Problems
        Takes labels that are missing or too few.

    Returns
    -------
    array of int64, (n,)
    """
    strata = np.asarray(strata)
    if strata.shape != outcome.shape:
        problems.add(f"strata have shape {strata.shape}; expected one for each of the {len(outcome)} rows")
        return outcome
    if missing := int(pd.isna(strata).sum()):
        problems.add(f"strata are missing for {missing} rows; expected a label for each")
        return outcome
    frame = pd.DataFrame({"stratum": strata.astype(np.str_), "outcome": outcome})
    means = frame.groupby("stratum")["outcome"].mean().reset_index().sort_values(["outcome", "stratum"])
    return pd.Index(means["stratum"]).get_indexer(pd.Index(frame["stratum"])).astype(np.int64)
