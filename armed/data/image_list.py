"""A list of images of anyone's own: a CSV file with the path of each image, its label, its cluster and its group."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np

from armed.data import csv_table
from armed.data.cell_movies import POSITIVE
from armed.data.csv_table import CsvTable, check_names
from armed.data.image_table import NO_FRAME, FileProblems, ImageTable, sorted_table
from armed.data.own_clusters import refuse_empty
from armed.data.own_label import read_label
from armed.data.study import Remarks
from armed.errors import DataError, Problems, did_you_mean, listed
from armed.names import fault

REQUIRED = ("path", "label", "cluster", "group")
OPTIONAL = ("subject", "frame")
LONGEST_PATH = 1000  # characters


def read_list(path: Path, problems: Problems | None = None, *, positive: object = None) -> ImageTable:
    """Read a list of images with a label of two values; no image is opened.

    Parameters
    ----------
    path : Path
        CSV file with the columns `REQUIRED`, and maybe `subject` (the cell, or whatever images of one are never apart; each
        image by itself without it) and `frame` (whole numbers: the place of an image in the movie of its subject). Paths start
        from the folder of the file and stay in it.
    problems : Problems, optional
        Takes the problems, so that more can be found before all are told; by default they are raised.
    positive : object, optional
        Value of the label that is class 1; by default ``low`` where that is one of two, or 1 (of 0 and 1), yes, true.

    Returns
    -------
    ImageTable
        `sample_id` is the path. With problems given: what could be read.

    Raises
    ------
    DataError
        With all problems: missing columns, empty cells, files that are not there or leave the folder or stand twice, labels of
        more than two values, subjects with two labels or of two groups, frames that are no numbers or stand twice.
    """
    path = Path(path)
    found = Problems(DataError, f"the list of images {path}") if problems is None else problems
    remarks, rows = Remarks(), []
    table = csv_table.read(path, REQUIRED, found, remarks)
    if table is not None and set(REQUIRED) <= set(table.cells):
        for column in ("label", "cluster", "group", *(["subject"] if "subject" in table.cells else [])):
            if column != "label":  # told with the label
                refuse_empty(table, column, column, (table.cells[column] == "").to_numpy(), found)
                check_names(f"column '{column}'", table.cells[column].unique(), found)
        paths = image_paths(table, "path", path.parent, found)
        if positive is None and POSITIVE in set(table.cells["label"]):
            positive = POSITIVE
        y = read_label("binary", "label", positive, table, found, remarks)
        subjects = table.cells["subject"].tolist() if "subject" in table.cells else paths
        frames = _frames(table, subjects, found)
        _check_subjects(table, found, remarks)
        if "subject" not in table.cells:
            told = "has no column 'subject': each image is a subject by itself. Give one where several images are of one cell"
            remarks.add("the list", told, len(table))
        label, cluster, group = (table.cells[name].tolist() for name in ("label", "cluster", "group"))
        codes = np.zeros(len(table), dtype=np.int64) if y is None else y
        there = {place for place, name in enumerate(paths) if name and (path.parent / name).is_file()}
        columns = zip(paths, paths, label, codes, cluster, group, subjects, frames, strict=True)
        rows = [row for place, row in enumerate(columns) if place in there]
    if problems is None:
        found.raise_if_any()
    return ImageTable(path.parent, sorted_table(rows), remarks)


def image_paths(table: CsvTable, column: str, folder: Path, problems: Problems) -> list[str]:
    """Paths of images, relative to the folder of their list and written with ``/``; empty where one cannot be used.

    Problems: empty cells, paths that are absolute or lead out of the folder, files that are not there, and paths that stand
    more than once. A link inside of the folder may lead where it likes.
    """
    files, found = FileProblems(), []
    cells = table.cells[column]
    refuse_empty(table, column, "path", (cells == "").to_numpy(), problems)
    for line, cell in zip(table.lines, cells, strict=True):
        name = os.path.normpath(cell).replace(os.sep, "/") if cell else ""
        if PurePosixPath(name).is_absolute() or Path(name).is_absolute() or name.split("/")[0] == "..":
            files.add(
                f"the path leads out of the folder of the list; expected one that starts from {folder} and stays there",
                f"line {line} '{cell}'",
            )
            name = ""
        elif told := fault(name, LONGEST_PATH):
            files.add(f"the path {told}; rename the file", f"line {line}")
            name = ""
        elif name and not (folder / name).is_file():
            files.add("there is no such file", f"line {line} '{cell}'", _nearest(name, folder, files))
        found.append(name)
    counts = Counter(name for name in found if name)
    for line, name in zip(table.lines, found, strict=True):
        if counts[name] > 1:
            files.add("an image that stands more than once; expected one row an image", f"line {line} '{name}'")
    files.tell(problems)
    return found


def _nearest(name: str, folder: Path, files: FileProblems) -> str:
    """A hint for the first files that are missing, as it looks through their folders."""
    if len(files.found.get("there is no such file", ())) >= 3:
        return ""
    if "\\" in name:
        return "write / between folders"
    parent = (folder / name).parent
    if not parent.is_dir():
        return f"there is no folder {parent}"
    return did_you_mean(PurePosixPath(name).name, os.listdir(parent)).strip()


def _frames(table: CsvTable, subjects: list[str], problems: Problems) -> list[int]:
    """Number of each row's frame; `NO_FRAME` where there is no such column."""
    if "frame" not in table.cells:
        return [NO_FRAME] * len(table)
    cells = table.cells["frame"]
    wrong = ~cells.str.fullmatch(r"\d{1,15}").to_numpy(bool)
    if wrong.any():
        problems.add(f"column 'frame' has {table.where(wrong, 'frame')}; expected whole numbers")
    if "subject" not in table.cells:
        problems.add("there is a column 'frame' and no column 'subject'; expected one that says whose frames they are")
    numbers = [int(cell) if ok else NO_FRAME for cell, ok in zip(cells, ~wrong, strict=True)]
    pairs = Counter(zip(subjects, numbers, strict=True))
    twice = np.array([n != NO_FRAME and pairs[s, n] > 1 for s, n in zip(subjects, numbers, strict=True)])
    if twice.any() and "subject" in table.cells:
        problems.add(f"two frames of one number and subject, in {table.where(twice, 'frame')}; rename or remove them")
    return numbers


def _check_subjects(table: CsvTable, problems: Problems, remarks: Remarks) -> None:
    labels = table.cells.groupby("group")["label"].nunique()
    if several := [name for name in labels.index[labels > 1] if name]:
        told = f"with images of both labels, all used: {listed(several)}; a mistake if the label is one of the group"
        remarks.add("groups", told, len(several))
    if "subject" not in table.cells:
        return
    by_subject = table.cells.groupby("subject")
    for column, told in {"label": "two labels", "group": "two groups"}.items():
        several = by_subject[column].nunique() > 1
        if names := [name for name in several.index[several] if name]:
            problems.add(
                f"{len(names)} subject{'s have' if len(names) > 1 else ' has'} {told} or more: {listed(names)}; expected one:"
                " mend the list, or give subjects that share a name names of their own"
            )
