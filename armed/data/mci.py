"""The MCI conversion study: from a table of visits to labels, features, and seen and unseen sites (PROTOCOL 2, MCI conversion).

Each step is a function of a table as `armed.data.adnimerge.read` returns it. No step depends on the order of rows:
visits are taken by their months, subjects by their number (RID).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from armed.data import adni_format as fmt
from armed.data.adni_truth import read_truths
from armed.data.adnimerge import inspect, months
from armed.data.clustered import ClusteredData
from armed.data.study import Remarks, StudyData
from armed.errors import DataError

NOT_MCI = "no MCI at baseline"
NO_DIAGNOSIS = f"no diagnosis at month {fmt.HORIZON_MONTHS} or later"
LATE_DEMENTIA = f"first diagnosis from month {fmt.HORIZON_MONTHS} on is Dementia, but later than that month"
REASONS = (NOT_MCI, NO_DIAGNOSIS, LATE_DEMENTIA)
"""Why a subject has no label."""

CONTINUOUS = {name if name in fmt.DEMOGRAPHIC else f"{name}_bl": feature for name, feature in fmt.FEATURE_NAMES.items()}
"""Continuous columns to feature names, in the order of the features."""
DATASET_STEP = 100_000
"""sample_id is RID + dataset x this, so that it is unique over datasets."""
TRUTH_COLUMNS = ("variant", "dataset", "part", "cluster", "n", "ratio", "intercept")


def make(settings: Mapping, study: str, seeds: Sequence[int], raw: Sequence[Path]) -> StudyData:
    """Make the study's data from its raw files.

    Parameters
    ----------
    settings : mapping
        Config block ``studies.<study>.data``; used are `n_seen` (number of seen sites), `resampled` and
        `reference_protocol` (whether these variants are wanted; false where absent).
    study : str
        Name of the study, for messages.
    seeds : sequence of int
        Seed s uses dataset s of variant ``resampled``.
    raw : sequence of path
        One ADNIMERGE.csv per dataset; each that is needed is read once.

    Returns
    -------
    StudyData
        Variants ``main`` (``raw[0]``, dataset 0), ``resampled`` (``raw[s]`` as dataset s for each seed s) and
        ``reference_protocol`` (the parts of ``main``), each with the parts ``seen`` and ``unseen``: X with NaN where
        missing, y 1 = progressive, clusters ``site 011``, sample_id = subject = RID + dataset x `DATASET_STEP`. All
        datasets of a variant have the same features: the indicators of levels that occur among the seen
        subjects of any of them. `truth` has the columns `TRUTH_COLUMNS`: the site's number of subjects in `n`,
        its share of progressive ones in `ratio`, and of a stand-in its true `intercept`; `feature_truth` what else a
        stand-in tells (`armed.data.adni_truth`).

    Raises
    ------
    DataError
        A raw file is missing or wrong, or has too few sites.
    """
    variants = {"main": [0]}
    if settings.get("resampled"):
        variants["resampled"] = sorted({int(seed) for seed in seeds})
    wanted = sorted({dataset for datasets in variants.values() for dataset in datasets})
    if absent := [dataset for dataset in wanted if not 0 <= dataset < len(raw)]:
        raise DataError(
            f"{study} has {len(raw)} raw files, but needs one for each of the datasets 0 (main) and seed s (resampled); "
            f"there is none for {', '.join(str(dataset) for dataset in absent)}."
        )
    divided, remarks = {}, Remarks()
    for i in wanted:
        visits, warnings = inspect(raw[i])
        divided[i], dropped = _divide(visits, settings["n_seen"], f"{study}, {raw[i]}")
        if i == variants["main"][0]:
            for warning in warnings:
                remarks.add("visits", warning, 0)
            for row in describe(dropped).itertuples():
                remarks.add("subjects left out", row.reason, row.subjects)
    parts, truth = {}, []
    for variant, datasets in variants.items():
        parts[variant], rows = _assemble({i: divided[i] for i in datasets})
        truth.append(rows.assign(variant=variant))
    if settings.get("reference_protocol"):
        parts["reference_protocol"] = parts["main"]
        truth.append(truth[0].assign(variant="reference_protocol"))
    features, sites = read_truths({i: raw[i] for i in wanted})
    known = sites.astype({"intercept": float})
    clusters = pd.concat(truth, ignore_index=True).merge(known, how="left", on=["dataset", "cluster"])
    return StudyData(parts, clusters[list(TRUTH_COLUMNS)], remarks.frame(), features)


def from_visits(visits: pd.DataFrame, n_seen: int) -> tuple[ClusteredData, ClusteredData, pd.DataFrame]:
    """Make seen and unseen sites from one table of visits.

    Parameters
    ----------
    visits : DataFrame
        As `armed.data.adnimerge.read` returns it: columns and types.
    n_seen : int
        Number of seen sites; see `seen_sites`.

    Returns
    -------
    seen, unseen : ClusteredData
        As in `make`, dataset 0. Features: the indicators of levels that occur among the seen subjects.
    dropped : DataFrame
        Subjects without a label, as in `conversion`.

    Raises
    ------
    DataError
        No site would be left for one of the parts.
    """
    divided, dropped = _divide(visits, n_seen, "the table of visits")
    parts, _ = _assemble({0: divided})
    return parts["seen"], parts["unseen"], dropped


def from_tables(tables: Iterable[tuple[int, pd.DataFrame]], n_seen: int) -> tuple[ClusteredData, ClusteredData]:
    """Make seen and unseen sites from the tables of visits of several datasets, which may be drawn one at a time.

    Parameters
    ----------
    tables : iterable of (int, DataFrame)
        Number of each dataset, and its visits as for `from_visits`.
    n_seen : int
        Number of seen sites of each dataset.

    Returns
    -------
    seen, unseen : ClusteredData
        As a variant of `make`: all datasets with the same features.

    Raises
    ------
    DataError
        No site would be left for one of the parts.
    """
    parts, _ = _assemble({i: _divide(visits, n_seen, f"dataset {i}")[0] for i, visits in tables})
    return parts["seen"], parts["unseen"]


def describe(dropped: pd.DataFrame) -> pd.DataFrame:
    """Count dropped subjects by reason.

    Parameters
    ----------
    dropped : DataFrame
        Columns subject, site, reason, as in `conversion`.

    Returns
    -------
    DataFrame
        One row for each of `REASONS` (0 where none was dropped): reason, subjects, sites (number of sites they are of).
    """
    by_reason = dropped.groupby("reason")
    counts = pd.DataFrame({"subjects": by_reason["subject"].nunique(), "sites": by_reason["site"].nunique()})
    return counts.reindex(pd.Index(REASONS, name="reason"), fill_value=0).reset_index()


def fill_diagnoses(visits: pd.DataFrame) -> pd.DataFrame:
    """Fill a missing DX in where the subject's previous and next known DX agree.

    Known are only diagnoses that were made, not filled ones; a visit without a row is not added. By the rule of
    `conversion` this changes no label: a filled diagnosis repeats one before and one after it.

    Returns
    -------
    DataFrame
        The same rows in the same order; DX that were there are unchanged.
    """
    order = _visit_order(visits)
    codes = pd.Categorical(visits["DX"], categories=fmt.DIAGNOSES).codes[order].astype(float)
    by_subject = pd.Series(codes).where(codes >= 0).groupby(visits["RID"].to_numpy()[order])
    previous, following = by_subject.ffill(), by_subject.bfill()
    filled = np.full(len(visits), len(fmt.DIAGNOSES))
    filled[order] = previous.where(previous == following, len(fmt.DIAGNOSES)).to_numpy(int)
    diagnoses = np.array([*fmt.DIAGNOSES, np.nan], dtype=object)
    return visits.assign(DX=diagnoses[filled])


def conversion(visits: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
    """Label subjects with MCI at baseline: who has dementia within 24 months.

    Progressive (1): Dementia at a visit up to month 24, baseline included, whatever follows: who is demented at month
    18 and has MCI again at month 24 is progressive. Stable (0): not progressive, and at month 24, or at the
    next later visit with a diagnosis where that visit or its diagnosis is missing, MCI or CN. Not stated in the
    paper: if that later visit says Dementia. It may have begun before month 24 or after, so the subject is dropped.
    The site and DX_bl of a subject are those of its earliest visit that has one.

    Parameters
    ----------
    visits : DataFrame
        With DX filled in by `fill_diagnoses`.

    Returns
    -------
    labels : Series of int64, named "progressive", index RID (sorted)
    dropped : DataFrame
        Columns subject (RID), site, reason (one of `REASONS`): all subjects without a label, sorted by RID.
    """
    subjects = _baseline(visits, ["SITE", "DX_bl"])
    ordered = _by_visit(visits, ["RID", "VISCODE", "DX"])
    month, demented = months(ordered["VISCODE"]), (ordered["DX"] == "Dementia").to_numpy()
    early = ordered["RID"][demented & (month <= fmt.HORIZON_MONTHS)]
    later = ordered["RID"][ordered["DX"].notna().to_numpy() & (month >= fmt.HORIZON_MONTHS)]
    first_later = later.drop_duplicates()  # the first such visit of each subject
    late = first_later[demented[first_later.index]]

    rid = subjects.index
    is_mci = subjects["DX_bl"].isin(fmt.MCI_AT_BASELINE).to_numpy()
    is_progressive = rid.isin(early)
    reason = np.select(
        [~is_mci, is_progressive, ~rid.isin(later), rid.isin(late)], [NOT_MCI, "", NO_DIAGNOSIS, LATE_DEMENTIA], ""
    )
    labels = pd.Series(is_progressive.astype(np.int64), index=rid, name="progressive")
    dropped = pd.DataFrame({"subject": rid, "site": subjects["SITE"].to_numpy(), "reason": reason})
    return labels[reason == ""], dropped[reason != ""].reset_index(drop=True)


def to_limits(visits: pd.DataFrame) -> pd.DataFrame:
    """Turn ABETA, TAU and PTAU (and their ``_bl``, whichever are there) into numbers, detection limits into the limit.

    Raises
    ------
    DataError
        Text that is neither a number nor a known limit.
    """
    numbers = {}
    for name, limits in fmt.DETECTION_LIMITS.items():
        for column in {name, f"{name}_bl"} & set(visits):
            text = visits[column].replace({limit: limit[1:] for limit in limits})
            values = pd.to_numeric(text, errors="coerce").astype(float)
            if (wrong := values.isna() & text.notna()).any():
                raise DataError(
                    f"Column {column} has '{text[wrong].iloc[0]}'; expected a number or one of {', '.join(limits)}."
                )
            numbers[column] = values
    return visits.assign(**numbers)


def features(visits: pd.DataFrame) -> pd.DataFrame:
    """Return the features of each subject at baseline, the 37 of the paper where the data has its levels.

    A value is that of the subject's earliest visit that has one (in ADNIMERGE all rows of a subject hold the baseline
    value). A missing categorical value is NaN in all indicators of its column, to be imputed later; the reference
    level and Unknown are 0 in all of them.

    Parameters
    ----------
    visits : DataFrame
        With limits as numbers (`to_limits`).

    Returns
    -------
    DataFrame of float64, index RID (sorted)
        The 26 continuous features in the order of `adni_format.FEATURE_NAMES`, then the indicators in the order of
        `adni_format.LEVEL_NAMES`, only of levels that occur.
    """
    table = _all_features(visits)
    return table[_occurring(table)]


def seen_sites(sites: np.ndarray, n_seen: int) -> np.ndarray:
    """Return the `n_seen` sites with most labelled subjects, of equal ones those with the lower number.

    Parameters
    ----------
    sites : array of int, shape (n_subjects,)
        Site of each labelled subject.

    Returns
    -------
    array of int, shape (n_seen,) or fewer, sorted
    """
    numbers, counts = np.unique(sites, return_counts=True)
    return np.sort(numbers[np.argsort(-counts, kind="stable")][:n_seen])


@dataclass(frozen=True)
class _Divided:
    """Labelled subjects of one dataset: all features that there can be, labels, sites, and who is seen; aligned."""

    table: pd.DataFrame
    labels: np.ndarray
    sites: np.ndarray
    is_seen: np.ndarray


def _divide(visits: pd.DataFrame, n_seen: int, where: str) -> tuple[_Divided, pd.DataFrame]:
    if n_seen < 1:
        raise DataError(f"n_seen is {n_seen}; expected at least 1 seen site.")
    labels, dropped = conversion(fill_diagnoses(visits))
    visits = visits[visits["RID"].isin(labels.index)]
    sites = _baseline(visits, ["SITE"])["SITE"].to_numpy()
    if (n_sites := len(np.unique(sites))) <= n_seen:
        raise DataError(
            f"{where}: the {len(labels)} subjects with a label are of {n_sites} sites; expected more than "
            f"n_seen = {n_seen}, so that some are unseen. Lower n_seen, or check that the table is complete."
        )
    is_seen = np.isin(sites, seen_sites(sites, n_seen))
    return _Divided(_all_features(to_limits(visits)), labels.to_numpy(), sites, is_seen), dropped


def _assemble(datasets: dict[int, _Divided]) -> tuple[dict[str, ClusteredData], pd.DataFrame]:
    """The parts of one variant from its datasets, and the rows of `truth` (without the variant)."""
    occurring = {name for d in datasets.values() for name in _occurring(d.table[d.is_seen])}
    names = [name for name in next(iter(datasets.values())).table if name in occurring]
    parts, truth = {}, []
    for part in ("seen", "unseen"):
        rows = {i: d.is_seen if part == "seen" else ~d.is_seen for i, d in datasets.items()}
        ids = [d.table.index[rows[i]].to_numpy(np.int64) + i * DATASET_STEP for i, d in datasets.items()]
        parts[part] = ClusteredData(
            X=np.concatenate([d.table.loc[rows[i], names].to_numpy() for i, d in datasets.items()]),
            y=np.concatenate([d.labels[rows[i]] for i, d in datasets.items()]),
            clusters=np.array([f"site {site:03d}" for i, d in datasets.items() for site in d.sites[rows[i]]]),
            sample_id=np.concatenate(ids),
            feature_names=tuple(names),
            dataset=np.repeat(list(datasets), [rows[i].sum() for i in datasets]),
            allow_missing=True,
        )
        data = parts[part]
        subjects = pd.DataFrame({"dataset": data.dataset, "cluster": data.clusters, "y": data.y})
        counts = subjects.groupby(["dataset", "cluster"])["y"].agg(n="size", ratio="mean").reset_index()
        truth.append(counts.assign(part=part))
    return parts, pd.concat(truth, ignore_index=True)


def _all_features(visits: pd.DataFrame) -> pd.DataFrame:
    """As `features`, with the indicators of all levels."""
    subjects = _baseline(visits, list(fmt.COLUMNS))
    columns = {feature: subjects[column].to_numpy(np.float64) for column, feature in CONTINUOUS.items()}
    for (column, level), feature in fmt.LEVEL_NAMES.items():
        values = subjects[column]
        columns[feature] = np.where(values.isna(), np.nan, values == level)
    return pd.DataFrame(columns, index=subjects.index)


def _occurring(table: pd.DataFrame) -> list[str]:
    """The continuous features, and the indicators that are 1 somewhere."""
    return [name for name in table if name not in fmt.LEVEL_NAMES.values() or (table[name] == 1).any()]


def _visit_order(visits: pd.DataFrame) -> np.ndarray:
    """Positions of the rows by subject and months."""
    return np.lexsort([months(visits["VISCODE"]), visits["RID"]])


def _by_visit(visits: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    return visits[columns].iloc[_visit_order(visits)].reset_index(drop=True)


def _baseline(visits: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """One row per subject (index RID, sorted): in each column the value of the earliest visit that has one."""
    return _by_visit(visits, ["RID", *columns]).groupby("RID").first()
