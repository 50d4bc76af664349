"""The live-cell study: from the folder of frames to labels, seen and unseen imaging dates (PROTOCOL 2, live-cell images)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from armed.data.clustered import ClusteredData
from armed.data.study import StudyData
from armed.errors import DataError, Problems, listed

TEXT_COLUMNS = ("sample_id", "subject", "cluster", "group", "class", "path")
NUMBER_COLUMNS = ("label", "frame", "seen", "row")
TRUTH_COLUMNS = ("variant", "dataset", "part", "cluster", "n", "ratio", "cells", "groups")
SAMPLES = ("group", "frame", "phenotype")
"""Columns of `StudyData.samples`; the last one of stand-ins only."""


def make(settings: Mapping, study: str, seeds: Sequence[int], raw: Sequence[Path]) -> StudyData:
    """Make the study's data from the folder of frames.

    Parameters
    ----------
    settings : mapping
        Not used: which dates are seen and which frames are used was chosen when they were collected.
    study : str
        Name of the study, for messages.
    seeds : sequence of int
        Not used: all seeds share the same images.
    raw : sequence of path
        The folder that `armed.jobs.frames.collect_frames` writes.

    Returns
    -------
    StudyData
        Variant ``main`` with the parts ``seen`` and ``unseen``: X uint8 of shape (n, 1, size, size), mapped and not in
        memory; y 1 = low metastatic efficiency; clusters = date, `subject` = cell and `sample_id` text. `samples` have the
        columns `SAMPLES`. `truth` has the columns `TRUTH_COLUMNS`: the date's number of images in `n`, its share of class 1
        among them in `ratio`, its number of cells, and its PDX, joined by ``; ``.

    Raises
    ------
    DataError
        With all problems: files missing, damaged or not fitting together.
    """
    if len(raw) != 1:
        raise DataError(f"The study {study} is made from one folder of frames, but {len(raw)} were given.")
    frames, images, remarks = read_frames(Path(raw[0]))
    parts, samples, truth = {}, {}, []
    for part, seen in (("seen", 1), ("unseen", 0)):
        rows = frames[frames["seen"] == seen]
        first = int(rows["row"].iloc[0])
        parts[part] = ClusteredData(
            X=images[first : first + len(rows), None],  # a view: seen images stand before unseen ones
            y=rows["label"].to_numpy(np.int64),
            clusters=rows["cluster"].to_numpy(dtype=np.str_),
            sample_id=rows["sample_id"].to_numpy(dtype=np.str_),
            subject=rows["subject"].to_numpy(dtype=np.str_),
        )
        samples[part] = rows[[name for name in SAMPLES if name in rows]]
        truth.append(_truth(rows).assign(variant="main", dataset=0, part=part))
    known = pd.concat(truth, ignore_index=True)[list(TRUTH_COLUMNS)]
    return StudyData({"main": parts}, known, remarks, samples={"main": samples})


def read_frames(folder: Path) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    """Read the folder that `armed.jobs.frames.collect_frames` writes.

    Returns
    -------
    frames : DataFrame
        One row an image, in their order; `TEXT_COLUMNS` as text, `NUMBER_COLUMNS` as int, the others as float.
    images : array of uint8, shape (n, size, size)
        Mapped into memory, read only; those of seen dates first.
    remarks : DataFrame
        Columns what, reason, count.

    Raises
    ------
    DataError
        Files are missing, damaged, or do not fit together.
    """
    folder, again = Path(folder), "make it again with the rule that collects frames"
    try:
        frames, remarks = (
            pd.read_csv(folder / f"{name}.tsv", sep="\t", dtype=str, keep_default_na=False)
            for name in ("frames", "remarks")
        )
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        remarks = remarks.astype({"count": "int64"})
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder} is no folder of frames ({error}); {again}.") from error
    problems = Problems(DataError, f"the folder of frames {folder}")
    if absent := [name for name in (*TEXT_COLUMNS, *NUMBER_COLUMNS) if name not in frames]:
        problems.add(f"frames.tsv has no column {listed(absent)}; {again}")
    if images.ndim != 3 or images.dtype != np.uint8 or images.shape[1] != images.shape[2]:
        problems.add(
            f"images.npy holds {images.dtype} of shape {images.shape}; expected uint8 (n, size, size); {again}"
        )
    problems.raise_if_any()
    numbers = [name for name in frames if name not in TEXT_COLUMNS]
    frames[numbers] = frames[numbers].apply(pd.to_numeric, errors="coerce")
    in_order = frames["row"].to_numpy() == np.arange(len(frames))
    parts = frames["seen"].to_numpy()
    if len(frames) != len(images) or not in_order.all() or sorted(set(parts)) != [0, 1] or (np.diff(parts) > 0).any():
        problems.add(f"frames.tsv and images.npy ({len(images)} images) do not fit together; {again}")
    problems.raise_if_any()
    return frames, images, remarks


def _truth(rows: pd.DataFrame) -> pd.DataFrame:
    by_date = rows.groupby("cluster")
    table = by_date.agg(n=("label", "size"), ratio=("label", "mean"), cells=("subject", "nunique"))
    table["groups"] = by_date["group"].agg(lambda names: "; ".join(sorted(set(names))))
    return table.reset_index()
