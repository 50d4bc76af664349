"""The job that collects frames of cells: checks every name and every image used, and puts the images into one array."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.lib import format as npy

from armed.data.cell_movies import FORM, read_tree
from armed.data.frame_choice import SHARED, check_steps, chosen_frames, seen_clusters
from armed.data.frame_statistics import by_cluster
from armed.data.image_list import REQUIRED, read_list
from armed.data.image_table import FileProblems, ImageTable, sorted_table
from armed.data.own_clusters import is_whole
from armed.data.png_images import read_images
from armed.data.study import Remarks
from armed.errors import DataError, Problems, listed
from armed.files import atomic
from armed.jobs.frames_page import write_page, write_sheets

log = logging.getLogger(__name__)

SMALLEST = 16  # pixels
SETTING = "studies.live_cell.data.image_size"
COLUMNS = ("sample_id", "subject", "cluster", "group", "label", "class", "frame", "seen", "row", "path")
"""Columns of frames.tsv, then `phenotype` of a stand-in, then `frame_statistics.STATISTICS`: `label` 1 is the positive class
(low metastatic efficiency), `class` as it is written, `row` the position in images.npy, `seen` 0 or 1."""


def collect_frames(settings: Mapping, source: Path, out: Path, *, processes: int = 1) -> None:
    """Collect the frames of a tree of movies, or the images of a list.

    All names are checked, and the images that are used; nothing is left under `out` where there is a problem.

    Parameters
    ----------
    settings : mapping
        `image_size` (pixels), `seen` (see `armed.data.frame_choice.seen_clusters`), `seen_step` and `unseen_step` (of how many
        frames of a cell one is used, on seen and on unseen dates), and maybe `positive` (class 1 of the label of a list).
    source : Path
        Folder of movies (`armed.data.cell_movies.read_tree`), or CSV file (`armed.data.image_list.read_list`).
    out : Path
        Folder to write, which appears only when complete: ``images.npy`` (n, size, size) uint8, seen ones first; ``frames.tsv``
        (`COLUMNS`, in the order of the images), ``clusters.tsv`` (`frame_statistics.by_cluster`), ``remarks.tsv``,
        ``sheets/<cluster>.png``, ``overview.png`` and ``index.html``.
    processes : int
        That read images; no result depends on it.

    Raises
    ------
    DataError
        With all problems of the settings, the names and the images.
    """
    source, problems = Path(source), Problems(DataError, f"the images in {source}")
    size = settings["image_size"]
    if not is_whole(size, SMALLEST):
        problems.add(f"image_size is {size!r}; expected a whole number of pixels, at least {SMALLEST}")
    if processes < 1:
        problems.add(f"processes is {processes}; expected at least 1")
    check_steps(settings, problems)
    settings_are_good = not problems.found
    images = _read_names(source, settings.get("positive"), problems)
    before = len(problems.found)
    seen = seen_clusters(images.table, settings["seen"], problems)
    if len(problems.found) > before:  # then the images of any date may be used
        seen = sorted(set(images.table["cluster"]))
    if not settings_are_good or not len(images.table):
        problems.raise_if_any()
    frames = chosen_frames(images.table, seen, settings["seen_step"], settings["unseen_step"])
    _add_remarks(images, frames, seen, settings)
    with atomic(out, folder=True) as folder:
        files, paths = FileProblems(), frames["path"].tolist()
        with (folder / "images.npy").open("wb") as file:
            npy.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": (len(paths), size, size)}
            )
            statistics = read_images(images.root, paths, size, files, file, setting=SETTING, processes=processes)
        files.tell(problems)
        table = _table(frames, images.phenotypes, statistics, problems)
        problems.raise_if_any()
        _write(table, np.load(folder / "images.npy", mmap_mode="r"), images, folder)
    log.info("wrote %s: %d images of %d cells", out, len(frames), frames["subject"].nunique())


def _read_names(source: Path, positive: object, problems: Problems) -> ImageTable:
    if source.is_dir():
        return read_tree(source, problems)
    if source.is_file():
        return read_list(source, problems, positive=positive)
    problems.add(
        f"there is no such folder or file; expected a folder with {FORM}, or a CSV file with the columns {', '.join(REQUIRED)}"
    )
    return ImageTable(source.parent, sorted_table([]))


def _table(
    frames: pd.DataFrame,
    phenotypes: Mapping[str, float] | None,
    statistics: Mapping[str, np.ndarray],
    problems: Problems,
) -> pd.DataFrame:
    table = frames.rename(columns={"label": "class", "y": "label"}).assign(row=np.arange(len(frames)))[list(COLUMNS)]
    if phenotypes is not None:
        table["phenotype"] = table["subject"].map(phenotypes).astype(float)
        if unknown := table["subject"][table["phenotype"].isna()].unique().tolist():
            problems.add(
                f"truth.json tells nothing of {len(unknown)} cells: {listed(unknown)}; make the stand-in again"
            )
    return table.assign(**statistics)


def _write(table: pd.DataFrame, pixels: np.ndarray, images: ImageTable, folder: Path) -> None:
    clusters, remarks = by_cluster(table), images.remarks.frame()
    for name, frame in (("frames", table), ("clusters", clusters), ("remarks", remarks)):
        frame.to_csv(folder / f"{name}.tsv", sep="\t", index=False, lineterminator="\n")
    sheets = write_sheets(table, clusters, pixels, folder, is_stand_in=images.is_stand_in)
    write_page(table, clusters, sheets, remarks, folder / "index.html", is_stand_in=images.is_stand_in)


def _add_remarks(images: ImageTable, frames: pd.DataFrame, seen: Sequence[str], settings: Mapping) -> None:
    """Tell what is seen, and how many frames are left out."""
    remarks: Remarks = images.remarks
    why = f"of at least 2 PDX each (seen: {SHARED})" if settings["seen"] == SHARED else "as named in the settings"
    remarks.add("seen dates", f"{why}: {listed(seen, 20)}", len(seen))
    unseen = sorted(set(images.table["cluster"]) - set(seen))
    remarks.add("unseen dates", f"all others: {listed(unseen, 20)}", len(unseen))
    if not images.has_frames:
        return
    for part, is_seen, step in (("seen", 1, settings["seen_step"]), ("unseen", 0, settings["unseen_step"])):
        there = int((images.table["cluster"].isin(list(seen)) == bool(is_seen)).sum())
        used = int((frames["seen"] == is_seen).sum())
        told = f"of {part} dates left out: one of {step} is used, from the first on in the order of numbers"
        remarks.add("frames", f"{told} ({used} of {there} frames)", there - used)
