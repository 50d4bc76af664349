"""What in a study's data should make one wary, as sentences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from armed.data.images import contents
from armed.data.pooled import Samples
from armed.errors import listed

TELLS_THE_CLUSTER = 0.95
"""Balanced accuracy of one feature above which it identifies the cluster."""
TELLS_THE_LABEL = {"binary": 0.98, "multiclass": 0.98, "continuous": 0.99}
"""AUROC (or one minus it), balanced accuracy or |r| of one feature above which it may give the label away."""
MOSTLY_MISSING = 0.5


def find_warnings(samples: Samples) -> list[str]:
    """List the warnings about a study's samples: clusters, missing values, constant and leaking features, copies.

    Of images: blank ones, grey levels that tell the label or the cluster, and images that occur twice.

    Parameters
    ----------
    samples : Samples

    Returns
    -------
    list of str
        One sentence or two each; none where there is nothing to say.
    """
    found: list[str] = []
    of_kind = (_leaks, _missing, _constant) if samples.greys is None else (_blank, _telling_greys)
    for part in (*of_kind, _clusters, _groups, _subjects, _copies if samples.greys is None else _same_images):
        found += part(samples)
    return found


def _leaks(samples: Samples) -> Iterator[str]:
    names = np.array(samples.data.feature_names, dtype=object)[: samples.X.shape[1]]
    told = samples.label_told
    extreme = np.fmax(told, 1 - told) if samples.kind == "binary" else np.abs(told)
    equal = _equal_to_label(samples)
    for name in names[equal]:
        yield f"Feature '{name}' is the label itself wherever it has a value; leave it out."
    for j in np.flatnonzero((extreme > TELLS_THE_LABEL[samples.kind]) & ~equal):
        measure = {"binary": "AUROC", "multiclass": "balanced accuracy", "continuous": "r"}[samples.kind]
        yield (
            f"Feature '{names[j]}' alone tells the label ({measure} {told[j]:.3f}); leave it out if it is known only"
            " after the outcome, or made from it."
        )
    wide = np.flatnonzero(np.nan_to_num(samples.cluster_told) > TELLS_THE_CLUSTER)
    if len(wide):
        shown = listed([f"'{names[j]}' ({samples.cluster_told[j]:.3f})" for j in wide])
        one = len(wide) == 1
        yield (
            f"{_features(wide)} {shown} identif{'ies' if one else 'y'} the cluster: the value alone tells it (balanced"
            f" accuracy in brackets). A network can learn the clusters' label ratios from {'it' if one else 'them'}, which"
            " is of no use in unseen clusters."
        )


def _equal_to_label(samples: Samples) -> np.ndarray:
    there = ~np.isnan(samples.X)
    same = np.equal(samples.X, samples.data.y[:, None]) | ~there
    return same.all(axis=0) & (samples.distinct > 1)


def _without_seen_value(samples: Samples) -> np.ndarray:
    return np.isnan(samples.X[samples.is_seen]).all(axis=0)


def _missing(samples: Samples) -> Iterator[str]:
    names = samples.data.feature_names
    total, sizes = samples.missing.sum(axis=0), samples.sizes
    unseen_only = _without_seen_value(samples)
    for j in np.flatnonzero(unseen_only):
        yield f"Feature '{names[j]}' has no value in any seen sample: nothing can be learned from it."
    whole = (samples.missing == sizes[:, None]) & (sizes[:, None] > 1) & ~unseen_only
    patterns: dict[bytes, list[int]] = {}
    for j in np.flatnonzero(whole.any(axis=0)):
        patterns.setdefault(whole[:, j].tobytes(), []).append(j)
    for columns in patterns.values():
        where = np.flatnonzero(whole[:, columns[0]])
        clusters = listed([f"'{samples.parts.index[c]}' ({sizes[c]} samples)" for c in where])
        plural = "s" if len(where) > 1 else ""
        yield (
            f"{_features(columns)} {listed([_quoted(names[j]) for j in columns])}"
            f" {'is' if len(columns) == 1 else 'are'} missing in the whole cluster{plural} {clusters}: what is imputed"
            " there comes from other clusters."
        )
    often = [j for j in np.flatnonzero(total > MOSTLY_MISSING * len(samples.data)) if not unseen_only[j]]
    if often:
        shown = listed([f"'{names[j]}' ({100 * total[j] / len(samples.data):.0f}%)" for j in often])
        yield f"{_features(often)} {shown} {'is' if len(often) == 1 else 'are'} missing in more than half of the samples."


def _constant(samples: Samples) -> Iterator[str]:
    names = samples.data.feature_names
    constant = (samples.distinct == 1) & ~_without_seen_value(samples)
    if constant.any():
        shown = listed([_quoted(names[j]) for j in np.flatnonzero(constant)])
        verb = "has" if constant.sum() == 1 else "have"
        yield f"{_features(np.flatnonzero(constant))} {shown} {verb} one value in all samples: nothing can be learned."
    if not samples.is_seen.all():
        seen = (pd.DataFrame(samples.X[samples.is_seen]).nunique().to_numpy() == 1) & ~constant
        if seen.any():
            shown = listed([_quoted(names[j]) for j in np.flatnonzero(seen)])
            verb = "varies" if seen.sum() == 1 else "vary"
            yield f"{_features(np.flatnonzero(seen))} {shown} {verb} in unseen clusters only: nothing can be learned."


def _clusters(samples: Samples) -> Iterator[str]:
    clusters = samples.parts.index
    single = clusters[samples.sizes == 1]
    if len(single):
        yield (
            f"{len(single)} cluster{' has' if len(single) == 1 else 's have'} one sample only, so nothing can be learned"
            f" about {'it' if len(single) == 1 else 'them'}: {listed(single)}."
        )
    if samples.kind != "continuous":
        pure = clusters[(samples.class_counts.max(axis=1) == samples.sizes) & (samples.sizes > 1)]
        if len(pure):
            one = len(pure) == 1
            yield (
                f"{len(pure)} of {len(clusters)} clusters hold{'s' if one else ''} one class only, so"
                f" {'it does' if one else 'they do'} not count in the AUROC within clusters: {listed(pure)}."
            )


def _groups(samples: Samples) -> Iterator[str]:
    """What of groups is confounded with clusters and with the label."""
    if samples.groups is None:
        return
    rows = pd.DataFrame(
        {"group": samples.groups, "cluster": samples.codes, "y": samples.data.y, "seen": samples.is_seen}
    )
    names, seen = sorted(rows["group"].unique()), rows[rows["seen"]]
    if samples.kind != "continuous" and (rows.groupby("group")["y"].nunique() == 1).all():
        yield (
            f"All samples of a group have one label: it is known of {len(names)} groups, whatever the number of samples, so"
            " what tells the label cannot be told from what these groups have in common by chance."
        )
    clusters = seen.groupby("group")["cluster"].nunique()
    if len(single := clusters.index[clusters == 1]):
        yield (
            f"{len(single)} of {len(clusters)} seen groups {'is' if len(single) == 1 else 'are'} in one seen cluster only, so"
            f" the effects of group and cluster are told apart by other groups alone: {listed(single)}."
        )
    groups = seen.groupby("cluster")["group"].nunique()
    if len(alone := groups.index[groups == 1]):
        shown = listed([samples.parts.index[code] for code in alone])
        yield f"{len(alone)} of {len(groups)} seen clusters hold{'s' if len(alone) == 1 else ''} one group only: {shown}."
    if new := sorted({*names} - {*seen["group"]}):
        yield f"{len(new)} of {len(names)} groups {'is' if len(new) == 1 else 'are'} in unseen clusters only: {listed(new)}."


def _subjects(samples: Samples) -> Iterator[str]:
    if not samples.has_subjects:
        return
    rows = pd.DataFrame({"subject": samples.data.subject, "cluster": samples.codes, "seen": samples.is_seen})
    found = rows.groupby("subject").nunique()
    for column, where in {"cluster": "several clusters", "seen": "seen and in unseen clusters"}.items():
        several = found.index[found[column] > 1]
        if len(several):
            one = len(several) == 1
            end = "" if column == "cluster" else ", so the unseen clusters are not wholly new"
            yield f"{len(several)} subject{' is' if one else 's are'} in {where}{end}: {listed(several)}."


def _copies(samples: Samples) -> Iterator[str]:
    X = samples.data.X.reshape(len(samples.data), -1)
    content = [row.tobytes() for row in np.where(np.isnan(X), np.nan, X + 0.0)]
    rows = pd.DataFrame({"X": content, "y": samples.data.y, "cluster": samples.codes})
    again = rows.duplicated().to_numpy()
    if not again.any():
        return
    ids, last = samples.data.sample_id, int(np.flatnonzero(again)[0])
    first = int(np.flatnonzero((rows == rows.iloc[last]).all(axis=1))[0])
    text = (
        f"{again.sum()} sample{' is an exact copy' if again.sum() == 1 else 's are exact copies'} of another (same"
        f" features, label and cluster), such as samples {ids[first]} and {ids[last]}."
    )
    if samples.distinct.size and samples.distinct.max() < len(rows) / 10:
        yield f"{text} With features of few values that can be chance."
    else:
        yield f"{text} Copies in different folds make results look better than they are."


def _blank(samples: Samples) -> Iterator[str]:
    blank = samples.greys.lowest == samples.greys.highest
    if blank.any():
        shown = listed([str(i) for i in samples.data.sample_id[blank]])
        yield f"{blank.sum()} image{' has' if blank.sum() == 1 else 's have'} one grey level only: {shown}. Reject them."


def _telling_greys(samples: Samples) -> Iterator[str]:
    measure = {"binary": "AUROC", "multiclass": "balanced accuracy", "continuous": "r"}[samples.kind]
    for name, (label, cluster) in samples.told_by_measures.items():
        extreme = max(label, 1 - label) if samples.kind == "binary" else abs(label)
        if extreme > TELLS_THE_LABEL[samples.kind]:
            yield f"The {name} of an image alone tells the label ({measure} {label:.3f}): check how images were scaled."
        if cluster > TELLS_THE_CLUSTER:
            yield (
                f"The {name} of an image alone tells the cluster (balanced accuracy {cluster:.3f}). A network can learn the"
                " clusters' label ratios from it, which is of no use in unseen clusters."
            )


def _same_images(samples: Samples) -> Iterator[str]:
    """Equal images are never chance; those of two subjects, or with two labels, are mistaken."""
    data = samples.data
    rows = pd.DataFrame(
        {
            "X": [digest for images in samples.images for digest in contents(images)],
            "subject": data.subject,
            "label": data.y,
            "cluster": samples.codes,
        }
    )
    again = rows["X"].duplicated().to_numpy()
    if not again.any():
        return
    last = int(np.flatnonzero(again)[0])
    first = int(np.flatnonzero(rows["X"] == rows["X"].iloc[last])[0])
    several = rows.groupby("X")[["subject", "label", "cluster"]].nunique().gt(1).sum()
    plural = {"subject": "subjects", "label": "labels", "cluster": "clusters"}
    across = [f"{n} of several {plural[what]}" for what, n in several.items() if n]
    told = f" Of the images that occur more than once, {', '.join(across)}." if across else ""
    yield (
        f"{again.sum()} sample{' has' if again.sum() == 1 else 's have'} the very image of another, such as samples"
        f" {data.sample_id[first]} and {data.sample_id[last]}.{told} Copies in different folds make results look better"
        " than they are."
    )


def _features(columns: object) -> str:
    return "Feature" if len(columns) == 1 else "Features"


def _quoted(name: object) -> str:
    return f"'{name}'"
