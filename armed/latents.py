"""What a latent space holds: how far it is ordered by cluster, and how much of its variance is whose.

Paper, live-cell image compression: Davies-Bouldin and Calinski-Harabasz index of the standardised latents by date, and
distances between cells of one PDX on different days against those of different PDX on one day. Beside them two honest
readings, which the paper has not: a linear probe of the cluster, and a partition of variance. Both were defined before any
result was looked at.

*Linear probe.* Multinomial logistic regression of the cluster on standardised latents, ridge penalty C = 1. On seen clusters
it is fitted to the latents of the network's own training and validation samples, and asked about those of its test samples.
On unseen ones it is cross-validated by subject in `FOLDS` parts, the subjects of each cluster dealt over the parts in turn,
so that each cluster is always in the training part; clusters of a single subject, which cannot be, are left out. So frames of
a cell are never on both sides. A latent space without any information on clusters gives the chance level, the share of the
largest cluster. As clusters differ in their groups, one that holds the group alone does better than that: the share that
guessing each group's largest cluster gets right is told too.

*Variance partition.* Cluster, group and phenotype are confounded by design: a cluster has few groups, a group one class. The
share that a factor explains alone then counts what it shares with others, and is misleading. Taken are the differences of
adjusted R^2 of linear models on subjects' mean latents (frames of a cell are no independent observations), summed over
standardised dimensions, with cluster and group as categories and the phenotype as a number:

    cluster    R(cluster + group + phenotype) - R(group + phenotype)      what only the cluster explains
    group      R(cluster + group + phenotype) - R(cluster + phenotype)    beyond cluster and phenotype: a group's own look
    phenotype  R(cluster + phenotype) - R(cluster)                        beyond the cluster, whichever groups it comes through
    shared     R(cluster) + R(group + phenotype) - R(cluster + group + phenotype)      cannot be told apart
    rest       1 - R(cluster + group + phenotype)                         subjects, and noise

The five sum to 1; the shared part is below 0 where factors explain more together than apart. The phenotype comes before the
group, as a group *has* its class: given the group nothing of the class would be left. So a look of the groups that by chance
goes with the phenotype counts as phenotype. Adjusted R^2 has no bias from the number of categories, so that a share of
nothing is 0 on average, and can come out below it. A share is undefined where its factor adds nothing that the others do not
determine: the group, where each cluster has one, and the label too.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDS, PENALTY = 5, 1.0
"""Of the linear probe: parts of its cross-validation on unseen clusters, and C (scikit-learn's default), the inverse of its
ridge penalty."""
WITHIN, BETWEEN = "one group, different clusters", "different groups, one cluster"
"""Kinds of pairs whose distances are compared."""
_INDICES = {"davies_bouldin": davies_bouldin_score, "calinski_harabasz": calinski_harabasz_score}
_NOT_FINITE = "latents are not finite: training diverged"


class Reading(NamedTuple):
    """A number read off a latent space: NaN with the reason in the note, and `n`, what it is made of."""

    value: float
    n: int
    note: str


def standardised(latent: np.ndarray) -> np.ndarray:
    """Latents (n, L) with mean 0 and s.d. 1 in every dimension; dimensions that do not vary are left out."""
    latent = np.asarray(latent, np.float64)
    # A dimension whose spread is rounding of its mean does not vary.
    varies = latent.std(0) > 1e-6 * np.abs(latent).max(0, initial=0)
    return StandardScaler().fit_transform(latent[:, varies]) if varies.any() else latent[:, :0]


def separation(latent: np.ndarray, clusters: np.ndarray) -> dict[str, Reading]:
    """How far clusters lie apart in standardised latents (paper, live-cell study).

    Parameters
    ----------
    latent : array, (n, L)
    clusters : array, (n,)

    Returns
    -------
    dict of str to Reading
        ``davies_bouldin``: the higher, the less clusters stand apart; ``calinski_harabasz``: the lower, the less. Undefined
        with fewer than 2 clusters, with as many as samples, and where latents are not finite or do not vary. On which samples
        the paper took them, and standardised, is not stated; we take the test samples of a fit for both.
    """
    count = len(np.unique(clusters))
    reason = _unusable(latent)
    if not reason and not 2 <= count < len(latent):
        reason = f"{count} clusters in {len(latent)} samples; needs 2 or more, and fewer than samples"
    if reason:
        return {name: Reading(math.nan, len(latent), reason) for name in _INDICES}
    scaled = standardised(latent)
    return {
        name: Reading(float(index(scaled, clusters)), len(latent), f"{count} clusters")
        for name, index in _INDICES.items()
    }


class Labelled(NamedTuple):
    """Latents (n, L) with the cluster of each (n,)."""

    latent: np.ndarray
    clusters: np.ndarray


def cluster_probe(
    latent: np.ndarray,
    clusters: np.ndarray,
    subjects: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    fitted_to: Labelled | None = None,
) -> Reading:
    """Accuracy of the linear probe of the cluster, by the rules above.

    Parameters
    ----------
    latent : array, (n, L)
    clusters, subjects : array, (n,)
        Subjects of different clusters are different ones, whatever their names.
    groups : array, (n,), optional
        For the share that the group alone gets right, in the note.
    fitted_to : Labelled, optional
        What the probe is fitted to, of other subjects; cross-validated where not given.

    Returns
    -------
    Reading
        ``n`` counts samples that the probe was asked about; the note tells the chance level of these.
    """
    clusters, subjects = np.asarray(clusters).astype(str), np.asarray(subjects).astype(str)
    reason = _unusable(latent) or ("" if fitted_to is None else _unusable(fitted_to.latent))
    if reason:
        return Reading(math.nan, len(latent), reason)
    part = _parts(clusters, subjects) if fitted_to is None else np.zeros(len(clusters), int)
    kept = part >= 0
    names = np.unique(clusters[kept] if fitted_to is None else fitted_to.clusters)
    if len(names) < 2:
        told = "have two subjects or more" if fitted_to is None else "are there"
        return Reading(math.nan, int(kept.sum()), f"{len(names)} clusters {told}; needs 2")
    X, y, part = np.asarray(latent, np.float64)[kept], clusters[kept], part[kept]
    if fitted_to is not None:
        right = _probed(*fitted_to, X) == y
    else:
        right = np.zeros(len(y), dtype=bool)
        for k in np.unique(part):
            held = part == k
            right[held] = _probed(X[~held], y[~held], X[held]) == y[held]
    counts = pd.Series(y).value_counts()
    note = f"chance {counts.iloc[0] / len(y):.3g}"
    if groups is not None:
        largest = pd.crosstab(np.asarray(groups)[kept], y).max(axis=1).sum()
        note += f"; {largest / len(y):.3g} by the group alone"
    note += f"; {len(names)} clusters"
    if not kept.all():
        note += f"; {int((~kept).sum())} samples of clusters with one subject left out"
    return Reading(float(right.mean()), len(y), note)


def _probed(latent: np.ndarray, clusters: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Clusters that a probe fitted to some latents reads off others."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=2000))
    return probe.fit(np.asarray(latent, np.float64), np.asarray(clusters).astype(str)).predict(asked)


def _parts(clusters: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """Part of the cross-validation of each sample (n,); -1 for those of clusters with one subject."""
    pairs = pd.DataFrame({"cluster": clusters, "subject": subjects})
    of_cluster = pairs.drop_duplicates().sort_values(["cluster", "subject"], ignore_index=True)
    # Each cluster begins with another part, so that small ones do not all lie in the first.
    position = of_cluster.groupby("cluster").cumcount() + of_cluster.groupby("cluster").ngroup()
    alone = of_cluster.groupby("cluster")["subject"].transform("size") < 2
    dealt = of_cluster.assign(part=np.where(alone, -1, position % FOLDS))
    return pairs.merge(dealt, on=["cluster", "subject"], how="left")["part"].to_numpy()


def variance_partition(
    latent: np.ndarray,
    clusters: np.ndarray,
    groups: np.ndarray,
    phenotype: np.ndarray,
    subjects: np.ndarray,
    *,
    named: str = "true phenotype",
) -> dict[str, Reading]:
    """Shares of the variance of latents that belong to cluster, group and phenotype, by the rules above.

    Parameters
    ----------
    latent : array, (n, L)
    clusters, groups, subjects : array, (n,)
        Each subject has one cluster and one group.
    phenotype : array, (n,)
        A number: the true phenotype where it is known, else the label.
    named : str
        What it is, for the note.

    Returns
    -------
    dict of str to Reading
        ``variance_cluster``, ``variance_group`` and ``variance_phenotype``; ``n`` counts subjects, and the note tells the
        shared and the remaining share.
    """
    names = ("variance_cluster", "variance_group", "variance_phenotype")
    cells = _of_subjects(latent, subjects, cluster=clusters, group=groups, phenotype=phenotype)
    if reason := _unusable(cells.latent):
        return {name: Reading(math.nan, len(cells.latent), reason) for name in names}
    Z = standardised(cells.latent)
    designs = {
        "c": pd.get_dummies(cells.columns["cluster"]).to_numpy(float),
        "g": pd.get_dummies(cells.columns["group"]).to_numpy(float),
        "p": cells.columns[["phenotype"]].to_numpy(float),
    }
    explained = {model: _explained(Z, [designs[k] for k in model]) for model in ("cgp", "gp", "cp", "c")}
    pairs = {"variance_cluster": ("cgp", "gp"), "variance_group": ("cgp", "cp"), "variance_phenotype": ("cp", "c")}
    full = explained["cgp"]
    if math.isnan(full.share):
        reason = f"{len(Z)} subjects are too few for the {full.rank} parameters of the full model"
        return {name: Reading(math.nan, len(Z), reason) for name in names}
    shared = explained["c"].share + explained["gp"].share - full.share
    told = f"shared {shared:.3g}; rest {1 - full.share:.3g}; phenotype: {named}"
    found = {}
    for name, (larger, smaller) in pairs.items():
        if explained[larger].rank == explained[smaller].rank:
            others = {"variance_cluster": "group and phenotype", "variance_group": "cluster and phenotype"}
            reason = f"{others.get(name, 'the cluster')} determine{'s' * (name not in others)} it; {told}"
            found[name] = Reading(math.nan, len(Z), reason)
        else:
            found[name] = Reading(explained[larger].share - explained[smaller].share, len(Z), told)
    return found


class _Explained(NamedTuple):
    share: float
    rank: int


def _explained(Z: np.ndarray, parts: list[np.ndarray]) -> _Explained:
    """Adjusted R^2 of all dimensions together, and the rank of the model with its intercept."""
    design = np.column_stack([np.ones(len(Z)), *parts])
    rank = int(np.linalg.matrix_rank(design))
    if rank >= len(Z):
        return _Explained(math.nan, rank)
    residuals = Z - design @ np.linalg.lstsq(design, Z, rcond=None)[0]
    unexplained = (residuals**2).sum() / (len(Z) - rank)
    return _Explained(1 - unexplained / ((Z**2).sum() / (len(Z) - 1)), rank)


def group_distances(latent: np.ndarray, clusters: np.ndarray, groups: np.ndarray, subjects: np.ndarray) -> pd.DataFrame:
    """Distances between subjects of one group in different clusters, and of different groups in one cluster (paper).

    Parameters
    ----------
    latent : array, (n, L)
        Standardised here; a subject's place is the mean over its frames.
    clusters, groups, subjects : array, (n,)
        Each subject has one cluster and one group.

    Returns
    -------
    DataFrame
        One row for each pair of groups and clusters that is compared: kind (`WITHIN` or `BETWEEN`), group, other_group,
        cluster, other_cluster, distance (mean Euclidean distance over pairs of subjects) and pairs (how many). Without rows
        where latents are not finite or do not vary. Whether the paper takes distances of frames or of cells, and which,
        is not stated.
    """
    columns = ["kind", "group", "other_group", "cluster", "other_cluster", "distance", "pairs"]
    if _unusable(latent):
        return pd.DataFrame(columns=columns).astype({"distance": float, "pairs": int})
    cells = _of_subjects(standardised(latent), subjects, cluster=clusters, group=groups)
    places = {
        key: cells.latent[index]
        for key, index in cells.columns.groupby(["group", "cluster"], sort=True).indices.items()
    }
    rows, keys = [], list(places)
    for i, (group, cluster) in enumerate(keys):
        for other_group, other_cluster in keys[i + 1 :]:
            if (group == other_group) == (cluster == other_cluster):
                continue  # neither or both differ
            a, b = places[group, cluster], places[other_group, other_cluster]
            distances = np.linalg.norm(a[:, None] - b[None], axis=2)
            kind = WITHIN if group == other_group else BETWEEN
            rows.append((kind, group, other_group, cluster, other_cluster, float(distances.mean()), distances.size))
    return pd.DataFrame(rows, columns=columns)


def distance_ratio(distances: pd.DataFrame) -> float:
    """Mean distance of `WITHIN` over that of `BETWEEN`, all pairs of subjects alike; NaN where one is missing.

    Below 1: a group looks more like itself on another day than like other groups on the same day.
    """
    weighted = (distances["distance"] * distances["pairs"]).groupby(distances["kind"]).sum()
    means = weighted / distances.groupby("kind")["pairs"].sum()
    return float(means.get(WITHIN, math.nan) / means.get(BETWEEN, math.nan))


class _Subjects(NamedTuple):
    """Mean latents (subjects, L), and the subjects' own columns."""

    latent: np.ndarray
    columns: pd.DataFrame


def _of_subjects(latent: np.ndarray, subjects: np.ndarray, **columns: np.ndarray) -> _Subjects:
    names, subject = np.unique(np.asarray(subjects).astype(str), return_inverse=True)
    sums = np.zeros((len(names), np.shape(latent)[1]))
    np.add.at(sums, subject, np.asarray(latent, np.float64))
    means = sums / np.bincount(subject, minlength=len(names))[:, None]
    _, first = np.unique(subject, return_index=True)
    own = {name: np.asarray(values)[first] for name, values in columns.items()}
    if "phenotype" in own:
        total = np.bincount(subject, weights=np.asarray(columns["phenotype"], float), minlength=len(names))
        own["phenotype"] = total / np.bincount(subject, minlength=len(names))
    return _Subjects(means, pd.DataFrame(own))


def _unusable(latent: np.ndarray) -> str:
    """Why nothing can be read off latents; empty where it can."""
    latent = np.asarray(latent, np.float64)
    if not np.isfinite(latent).all():
        return _NOT_FINITE
    return "" if len(latent) and standardised(latent).shape[1] else "latents do not vary"
