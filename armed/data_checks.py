"""The data check: what a study's data holds, what was left out of it and why, and what in it should make one wary.

Looks at the data as they are before any fit; nothing here changes them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from armed import labels
from armed.data.images import size_text
from armed.data.pooled import IN_TURN, Samples
from armed.data.study import StudyData
from armed.data_warnings import find_warnings
from armed.errors import listed
from armed.files import atomic
from armed.pages import html, render
from armed.tables import number

logger = logging.getLogger(__name__)

FEW_CLUSTERS = 8  # as many have a column each in the table of missing values
LONG = 25  # rows; longer tables are folded
_GREYS = "Of each image, over its pixels above 0, as around a skull-stripped brain all is 0. "


@dataclass(frozen=True, eq=False)
class Section:
    """One table of the page; with `wraps`, its cells take several lines where the page is narrow."""

    title: str
    note: str
    table: pd.DataFrame
    wraps: bool = False


@dataclass(frozen=True, eq=False)
class Findings:
    """What the data check found.

    Parameters
    ----------
    study : str
        Id of the study.
    source : str
        What data it was, in the vocabulary of the results; empty where that is not known.
    warnings : list of str
        Sentences, for the page and for a log.
    sections : list of Section
    """

    study: str
    source: str
    warnings: list[str]
    sections: list[Section]


def check(data: StudyData, study: str, *, source: str = "", remarks: pd.DataFrame | None = None) -> Findings:
    """Check the data of a study.

    Parameters
    ----------
    data : StudyData
        Its variant `main` (or ``main@...``) is looked at.
    study : str
        Id of the study.
    source : str, optional
        What data it is: `simulated`, `stand-in`, `open`, `restricted` or `own`.
    remarks : DataFrame, optional
        What was left out and why (columns `what`, `reason`, `count`); by default those of the data.

    Returns
    -------
    Findings
    """
    samples = Samples.of(data)
    told = data.remarks if remarks is None else remarks
    sections = [
        Section("The data", "", _facts(samples, data), wraps=True),
        Section("Left out, repaired or chosen while reading", "", _remarks(told), wraps=True),
        Section("Features", _features_note(samples), _features(samples)),
        Section("Missing values", "Imputed inside the folds, from training rows only.", _missing(samples)),
        Section("Images by part and label", "", _by_part_and_label(samples)),
        Section("Grey levels of images", _GREYS + _features_note(samples, "measure"), _greys(samples)),
        Section("Groups", "Such as the PDX of a cell; folds are stratified by group and cluster.", _groups(samples)),
        Section("Clusters", "Seen ones first, the largest first." + _greys_in_clusters(samples), _clusters(samples)),
    ]
    return Findings(study, source, find_warnings(samples), [s for s in sections if len(s.table)])


def write_page(findings: Findings, out: Path) -> None:
    """Write the findings as one HTML file that needs no other file and no network.

    Parameters
    ----------
    findings : Findings
    out : Path
        The page; it appears only when complete.
    """
    page = render(
        "data_check.html.j2",
        label=labels.study(findings.study),
        source=labels.source(findings.source) if findings.source else "",
        stand_in=findings.source == "stand-in",
        warnings=findings.warnings,
        sections=[_of_page(section) for section in findings.sections],
    )
    with atomic(out) as part:
        part.write_text(page, encoding="utf-8")
    logger.info("wrote %s: %d warnings", out, len(findings.warnings))


def _of_page(section: Section) -> dict:
    rows = len(section.table)
    told = {"title": section.title, "note": section.note, "wraps": section.wraps}
    return {**told, "rows": rows, "folded": rows > LONG, "html": html(section.table)}


def _facts(samples: Samples, study: StudyData) -> pd.DataFrame:
    data, sizes = samples.data, samples.sizes
    parts = samples.parts.value_counts().reindex(["seen", "unseen", IN_TURN]).dropna().astype(int)
    lines = [("Samples", f"{len(data)}")]
    if (samples.parts == "unseen").any():
        lines.append(("Samples in seen clusters", f"{samples.is_seen.sum()}"))
        lines.append(("Samples in unseen clusters", f"{(~samples.is_seen).sum()}"))
    if samples.has_subjects:
        lines.append(("Subjects", f"{len(np.unique(data.subject))}"))
        per_subject = np.unique(data.subject, return_counts=True)[1]
        lines.append(
            ("Samples per subject", f"{per_subject.min()} to {per_subject.max()}, mean {per_subject.mean():.2g}")
        )
    if samples.groups is not None:
        lines.append(("Groups", f"{len(np.unique(samples.groups))}"))
    lines.append(("Clusters", ", ".join(f"{n} {part}" for part, n in parts.items())))
    lines.append(("Samples per cluster", f"{sizes.min()} to {sizes.max()}, median {np.median(sizes):g}"))
    lines.append(("Label", _label(samples)))
    if samples.X.shape[1]:
        share = samples.missing.sum() / samples.X.size
        lines.append(("Features", f"{samples.X.shape[1]}"))
        lines.append(("Missing values", f"{samples.missing.sum()} ({_percent(share)} of all)" if share else "none"))
    if samples.greys is not None:
        lines.append(("Images", size_text(data.X)))
        lines.append(("Grey levels", f"{_short(samples.greys.lowest.min())} to {_short(samples.greys.highest.max())}"))
    for part, region in study.regions.get("main", {}).items():
        lines.append((f"Known region, {part}", f"{_percent(region.mean())} of the pixels, on average"))
    return pd.DataFrame(lines, columns=["What", "Value"])


def _label(samples: Samples) -> str:
    y = samples.data.y
    if samples.kind == "continuous":
        return (
            f"continuous, mean {_short(y.mean())}, s.d. {_short(y.std())}, from {_short(y.min())} to {_short(y.max())}"
        )
    counts = samples.class_counts.sum(axis=0)
    return ", ".join(f"class {k}: {n} ({_percent(n / len(y))})" for k, n in enumerate(counts))


def _remarks(remarks: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"What": remarks["what"], "Why": remarks["reason"], "Count": remarks["count"]})


def _features_note(samples: Samples, what: str = "feature") -> str:
    label = {
        "binary": f"AUROC of the {what} alone",
        "continuous": f"correlation with the {what}",
        "multiclass": f"balanced accuracy of telling the class by the {what}'s value alone",
    }[samples.kind]
    return f"Label: {label}. Cluster: balanced accuracy of telling the cluster by the {what}'s value alone."


def _features(samples: Samples) -> pd.DataFrame:
    X = pd.DataFrame(samples.X)
    return pd.DataFrame(
        {
            "Feature": list(samples.data.feature_names)[: X.shape[1]],
            "Values": samples.distinct,
            "Mean": [_short(v) for v in X.mean()],
            "S.d.": [_short(v) for v in X.std(ddof=0)],
            "Lowest": [_short(v) for v in X.min()],
            "Highest": [_short(v) for v in X.max()],
            "Label": [number(v, 2) for v in samples.label_told],
            "Cluster": [number(v, 2) for v in samples.cluster_told],
        }
    )


def _by_part_and_label(samples: Samples) -> pd.DataFrame:
    """Counts of images, subjects and clusters of each label in each part; nothing for tables."""
    if samples.greys is None or samples.kind == "continuous":
        return pd.DataFrame()
    parts = samples.parts.to_numpy()[samples.codes]
    frame = pd.DataFrame(
        {"part": parts, "y": samples.data.y, "subject": samples.data.subject, "cluster": samples.codes}
    )
    lines = []
    for (part, label), rows in frame.groupby(["part", "y"]):
        per_subject = rows["subject"].value_counts()
        lines.append(
            {
                "Part": part,
                "Label": f"class {label}",
                "Images": len(rows),
                "Subjects": len(per_subject),
                "Images per subject": f"{per_subject.min()} to {per_subject.max()}, mean {per_subject.mean():.2g}",
                "Clusters": rows["cluster"].nunique(),
            }
        )
    return pd.DataFrame(lines)


def _greys(samples: Samples) -> pd.DataFrame:
    """What the grey levels alone tell of the label and of the cluster; nothing for tables."""
    lines = []
    for name, values in samples.measures.items():
        label, cluster = samples.told_by_measures[name]
        of = pd.Series(values)
        shown = {"Mean": of.mean(), "S.d.": of.std(ddof=0), "Lowest": of.min(), "Highest": of.max()}
        told = {"Label": number(label, 2), "Cluster": number(cluster, 2)}
        lines.append({"Measure": name, **{column: _short(v) for column, v in shown.items()}, **told})
    return pd.DataFrame(lines)


def _greys_in_clusters(samples: Samples) -> str:
    return " Grey levels: mean over images, ± s.d. between images." if samples.measures else ""


def _missing(samples: Samples) -> pd.DataFrame:
    """Features with missing values, the most first; by cluster where clusters are few, else where it is worst."""
    total = samples.missing.sum(axis=0)
    order = [j for j in np.argsort(-total, kind="stable") if total[j]]
    shares = samples.missing / samples.sizes[:, None]
    names = samples.parts.index
    lines = []
    for j in order:
        line = {
            "Feature": samples.data.feature_names[j],
            "Missing": total[j],
            "Share": _percent(total[j] / len(samples.data)),
        }
        if len(names) <= FEW_CLUSTERS:
            line |= {str(name): _percent(share) for name, share in zip(names, shares[:, j], strict=True)}
        else:
            line["Clusters with missing values"] = f"{(shares[:, j] > 0).sum()} of {len(names)}"
            line["Wholly missing in"] = f"{(shares[:, j] == 1).sum()}"
        lines.append(line)
    return pd.DataFrame(lines)


def _groups(samples: Samples) -> pd.DataFrame:
    """Where each group is; nothing where samples have none."""
    if samples.groups is None:
        return pd.DataFrame()
    columns = {"subject": samples.data.subject, "cluster": samples.codes, "seen": samples.is_seen, "y": samples.data.y}
    frame = pd.DataFrame({"group": samples.groups, **columns})
    lines = []
    for group, rows in frame.groupby("group"):
        seen = rows["seen"].to_numpy()
        label = "mean of label" if samples.kind == "continuous" else "labels"
        told = (
            _short(rows["y"].mean())
            if samples.kind == "continuous"
            else ", ".join(map(str, sorted(rows["y"].unique())))
        )
        line = {"Group": group, "Samples": len(rows), "Subjects": rows["subject"].nunique(), label.capitalize(): told}
        line["Seen clusters"] = rows["cluster"][seen].nunique()
        lines.append(line | {"Unseen clusters": rows["cluster"][~seen].nunique()})
    return pd.DataFrame(lines)


def _clusters(samples: Samples) -> pd.DataFrame:
    codes, n = samples.codes, len(samples.parts)
    table = {"Cluster": samples.parts.index, "Part": samples.parts.to_numpy(), "Samples": samples.sizes}
    if samples.has_subjects:
        pairs = pd.DataFrame({"cluster": codes, "subject": samples.data.subject}).drop_duplicates()
        table["Subjects"] = np.bincount(pairs["cluster"], minlength=n)
    if samples.kind == "continuous":
        by_cluster = pd.Series(samples.data.y).groupby(codes)
        table["Mean of label"] = [_short(v) for v in by_cluster.mean()]
        table["S.d. of label"] = [_short(v) for v in by_cluster.std(ddof=0)]
    else:
        first = 1 if samples.kind == "binary" else 0
        for k in range(first, samples.class_counts.shape[1]):
            counts = samples.class_counts[:, k]
            table[f"Class {k}"] = counts
            table[f"Share of class {k}"] = [_percent(v) for v in counts / samples.sizes]
    if samples.groups is not None:
        of_cluster = pd.Series(samples.groups).groupby(codes)
        table["Groups"] = [listed(sorted(set(names))) for _, names in of_cluster]
    digits = 1 if samples.data.X.dtype.kind in "iu" else 3
    for name, values in samples.measures.items():
        by_cluster = pd.Series(values).groupby(codes)
        spread = zip(by_cluster.mean(), by_cluster.std(ddof=0), strict=True)
        table[f"{name[0].upper()}{name[1:]}"] = [
            f"{number(mean, digits)} ± {number(sd, digits)}" for mean, sd in spread
        ]
    if samples.missing.any():
        table["Missing values"] = [_percent(v) for v in samples.missing.mean(axis=1) / samples.sizes]
    return pd.DataFrame(table)


def _short(value: float) -> str:
    """Four digits, with a true minus sign."""
    return number(value) if pd.isna(value) else f"{value + 0.0:.4g}".replace("-", "−")


def _percent(share: float) -> str:
    """A share in per cent; the smallest ones are told from none, the largest from all."""
    if 0 < share < 0.001:
        return "< 0.1%"
    text = f"{100 * share:.1f}%" if 0 < share < 0.1 or 0.99 < share < 1 else f"{100 * share:.0f}%"
    return "> 99.9%" if share < 1 and text == "100.0%" else text
