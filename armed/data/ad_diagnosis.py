"""The AD diagnosis study: from the folder of slices to labels, and seen and unseen sites (PROTOCOL 2, AD diagnosis)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from armed.data.clustered import ClusteredData
from armed.data.study import Remarks, StudyData
from armed.errors import DataError, Problems, did_you_mean, listed

POSITIVE = "AD"
DIAGNOSES = ("AD", "CN")
"""Alzheimer's dementia, cognitively normal."""
LEAST_SUBJECTS = 2
"""Subjects of one diagnosis at one site, at least (PROTOCOL: cells of one subject are left out)."""
TEXT_COLUMNS = ("sample_id", "subject", "session", "site", "diagnosis", "scanner", "sex", "status", "reason")
"""Columns of slices.tsv that hold text; all others are numbers."""
TRUTH_COLUMNS = ("variant", "dataset", "part", "cluster", "n", "ratio", "subjects", "scanner")

CHANGED = "the subject's diagnosis changes between sessions"
MOVED = "the subject has sessions at several sites"
ALONE = "the only subject of the diagnosis at the site"


def make(settings: Mapping, study: str, seeds: Sequence[int], raw: Sequence[Path]) -> StudyData:
    """Make the study's data from the folder of slices.

    Left out, and told in the remarks: sessions without a slice (unreadable, not registered, rejected), all sessions of
    subjects whose diagnosis changes, site x diagnosis cells of one subject (both as in the paper), and all sessions of
    subjects with sessions at several sites (not stated in the paper; they would be both seen and unseen).

    Parameters
    ----------
    settings : mapping
        Config block ``studies.<study>.data``; used is `seen`, see `seen_sites`.
    study : str
        Name of the study, for messages.
    seeds : sequence of int
        Not used: all seeds share the same slices.
    raw : sequence of path
        The folder that `armed.jobs.slices.cut_slices` writes.

    Returns
    -------
    StudyData
        Variant ``main`` with the parts ``seen`` and ``unseen``: X uint8 of shape (n, 1, size, size), y 1 = AD, clusters =
        site, `subject` and `sample_id` text. `truth` has the columns `TRUTH_COLUMNS`: the site's number of images in `n`,
        its share of AD among them in `ratio`, its number of subjects, and its scanners. `regions` are those of a stand-in.

    Raises
    ------
    DataError
        With all problems: files missing or not fitting together, no seen sites as wanted, no site left unseen.
    """
    if len(raw) != 1:
        raise DataError(f"The study {study} is made from one folder of slices, but {len(raw)} were given.")
    slices, images = read_slices(Path(raw[0]))
    remarks = Remarks()
    kept = included(slices, remarks)
    problems = Problems(DataError, f"the slices of {study} in {raw[0]}")
    seen = seen_sites(kept, settings["seen"], problems)
    is_seen = kept["site"].isin(seen)
    if not problems.found and is_seen.all():
        problems.add(f"all {len(seen)} sites are seen, none is left unseen; lower `seen`, or add sites")
    problems.raise_if_any()
    of_images = read_regions(Path(raw[0]), len(images))
    parts, truth, regions = {}, [], {}
    for part, rows in {"seen": kept[is_seen], "unseen": kept[~is_seen]}.items():
        parts[part] = ClusteredData(
            X=images[rows["row"].to_numpy()][:, None],
            y=(rows["diagnosis"] == POSITIVE).to_numpy(np.int64),
            clusters=rows["site"].to_numpy(dtype=np.str_),
            sample_id=rows["sample_id"].to_numpy(dtype=np.str_),
            subject=rows["subject"].to_numpy(dtype=np.str_),
        )
        if of_images is not None:
            regions[part] = of_images[rows["row"].to_numpy()]
        truth.append(_truth(rows).assign(variant="main", dataset=0, part=part))
    known = pd.concat(truth, ignore_index=True)[list(TRUTH_COLUMNS)]
    return StudyData({"main": parts}, known, remarks.frame(), regions={"main": regions} if regions else {})


def included(sessions: pd.DataFrame, remarks: Remarks) -> pd.DataFrame:
    """Leave out the sessions that the study does not use.

    Parameters
    ----------
    sessions : DataFrame
        Columns sample_id, subject, site, diagnosis, and status and reason (all are used where there is no status).
    remarks : Remarks
        Takes what is left out, and why.

    Returns
    -------
    DataFrame
        The rows left, in the same order.
    """
    # By all sessions: one without a slice still tells that a diagnosis changed.
    by_subject = sessions.groupby("subject")
    several = {
        CHANGED: by_subject["diagnosis"].transform("nunique") > 1,
        MOVED: by_subject["site"].transform("nunique") > 1,
    }
    kept = sessions
    if "status" in sessions:
        for status, rows in sessions[sessions["status"] != "ok"].groupby("status"):
            remarks.add("sessions", f"{status}, left out: {listed(rows['sample_id'], 10)}", len(rows))
        kept = sessions[sessions["status"] == "ok"]
    for reason, of_session in several.items():
        out = kept[of_session[kept.index]]
        if len(out):
            told = f"{reason}: left out, with all {len(out)} sessions: {listed(out['subject'].unique(), 10)}"
            remarks.add("subjects", told, out["subject"].nunique())
        kept = kept.drop(out.index)
    alone = kept.groupby(["site", "diagnosis"])["subject"].transform("nunique") < LEAST_SUBJECTS
    if alone.any():
        cells = (kept["site"] + " " + kept["diagnosis"])[alone].unique()
        told = f"{ALONE}: left out, with all {alone.sum()} sessions: {listed(cells, 10)}"
        remarks.add("subjects", told, len(cells))
    return kept[~alone]


def seen_sites(sessions: pd.DataFrame, seen: int | Sequence[str], problems: Problems) -> list[str]:
    """Choose the seen sites.

    Parameters
    ----------
    sessions : DataFrame
        Columns site, subject, diagnosis; what `included` leaves.
    seen : int or sequence of str
        Number of seen sites: those with most subjects (of equal ones, the first by name) among the sites
        with both diagnoses, each with at least `LEAST_SUBJECTS` subjects. Or their names.
    problems : Problems
        Takes sites that are not there or have one diagnosis, and too few sites.

    Returns
    -------
    list of str, sorted
    """
    cells = sessions.groupby(["site", "diagnosis"])["subject"].nunique().unstack(fill_value=0)
    cells = cells.reindex(columns=list(DIAGNOSES), fill_value=0)
    both = (cells >= LEAST_SUBJECTS).all(axis=1)
    if not isinstance(seen, int):
        return _named_sites(cells, both, seen, problems)
    sizes = cells[both].sum(axis=1)
    if seen < 1 or len(sizes) < seen:
        problems.add(
            f"{seen} seen sites are wanted, and {len(sizes)} of {len(cells)} sites have both diagnoses, each with at least"
            f" {LEAST_SUBJECTS} subjects; lower `seen`, or add data. With one diagnosis: {_described(cells[~both])}"
        )
    order = np.lexsort([sizes.index.to_numpy(dtype=np.str_), -sizes.to_numpy()])
    return sorted(sizes.index[order[: max(seen, 0)]])


def _named_sites(cells: pd.DataFrame, both: pd.Series, seen: Sequence[str], problems: Problems) -> list[str]:
    names = [str(name) for name in seen]
    if not names:
        problems.add("`seen` names no site; expected names of sites, or how many")
    for name in dict.fromkeys(names):
        if name not in cells.index:
            hint = did_you_mean(name, cells.index) or f" There are: {listed(cells.index, 20)}."
            problems.add(f"`seen` names the site '{name}', of which no session is used.{hint}")
        elif not both[name]:
            problems.add(
                f"`seen` names a site with one diagnosis: {_described(cells.loc[[name]])}; expected at least"
                f" {LEAST_SUBJECTS} subjects of each: leave it out of `seen`"
            )
        if names.count(name) > 1:
            problems.add(f"`seen` names the site '{name}' {names.count(name)} times; expected each once")
    return sorted({*names} & {*cells.index})


def _described(cells: pd.DataFrame) -> str:
    told = [f"{site} ({', '.join(f'{n} {d}' for d, n in cells.loc[site].items())})" for site in cells.index]
    return listed(told, 20) or "none"


def _truth(rows: pd.DataFrame) -> pd.DataFrame:
    by_site = rows.assign(positive=rows["diagnosis"] == POSITIVE).groupby("site")
    table = by_site.agg(n=("positive", "size"), ratio=("positive", "mean"), subjects=("subject", "nunique"))
    table["scanner"] = by_site["scanner"].agg(lambda names: "; ".join(sorted(set(names))))
    return table.rename_axis("cluster").reset_index()


def read_regions(folder: Path, n: int) -> np.ndarray | None:
    """Where a stand-in's disease changes each of n images, (n, size, size) bool; None where that is not known.

    Raises
    ------
    DataError
        The file does not fit the images.
    """
    path = Path(folder) / "regions.npy"
    if not path.is_file():
        return None
    regions = np.load(path, mmap_mode="r", allow_pickle=False)
    if len(regions) != n or regions.ndim != 3:
        raise DataError(f"{path} holds an array of shape {regions.shape}; expected one region for each of {n} images.")
    return regions


def read_slices(folder: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Read the folder that `armed.jobs.slices.cut_slices` writes.

    Returns
    -------
    slices : DataFrame
        One row a session; `TEXT_COLUMNS` as text, the others as numbers. `row` is the position in the images, -1 where there
        is no slice.
    images : array of uint8, shape (n, size, size)
        Mapped into memory, read only.

    Raises
    ------
    DataError
        Files are missing, damaged, or do not fit together.
    """
    folder, again = Path(folder), "make it again with the rule that cuts slices"
    try:
        slices = pd.read_csv(folder / "slices.tsv", sep="\t", dtype=str, keep_default_na=False)
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is no folder of slices ({error}); {again}.") from error
    problems = Problems(DataError, f"the folder of slices {folder}")
    absent = [name for name in (*TEXT_COLUMNS, "row") if name not in slices]
    if absent:
        problems.add(f"slices.tsv has no column {listed(absent)}; {again}")
    if images.ndim != 3 or images.dtype != np.uint8:
        problems.add(
            f"images.npy holds {images.dtype} of shape {images.shape}; expected uint8 (n, size, size); {again}"
        )
    problems.raise_if_any()
    numbers = [name for name in slices if name not in TEXT_COLUMNS]
    slices[numbers] = slices[numbers].apply(pd.to_numeric, errors="coerce")
    if sorted(slices["row"][slices["status"] == "ok"]) != list(range(len(images))):
        problems.add(f"slices.tsv and images.npy ({len(images)} images) do not fit together; {again}")
    problems.raise_if_any()
    return slices, images
