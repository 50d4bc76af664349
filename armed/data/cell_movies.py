"""A tree of live-cell movies, one PNG a frame: every name in it is read and checked; no image is opened.

``<high|low>/<pdx>/<date>_<pdxs>/<cell>/<frame>.png`` (PROTOCOL, section 2): the class of metastatic efficiency, the
patient-derived xenograft (PDX), the imaging date with all PDX imaged on it, the cell, and the number of the frame, maybe
with text before it (``12.png``, ``frame_0012.png``). A stand-in has ``truth.json`` beside the class folders.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from armed.data.image_table import FileProblems, ImageTable, sorted_table
from armed.data.study import Remarks
from armed.errors import DataError, Problems, did_you_mean, listed
from armed.names import fault

CLASSES = ("high", "low")
POSITIVE = "low"
"""Class 1: low metastatic efficiency (PROTOCOL, section 2)."""
TRUTH = "truth.json"
FORM = "<high|low>/<pdx>/<date>_<pdxs>/<cell>/<frame>.png"

_DATE = re.compile(r"(?P<date>[A-Za-z0-9]+)_(?P<pdxs>.*[^_].*)")
_FRAME = re.compile(r"(?:.*\D)?(\d{1,15})")
_IGNORED = ("thumbs.db", "desktop.ini")  # that systems put into folders; and whatever begins with a dot


def read_tree(root: Path, problems: Problems | None = None) -> ImageTable:
    """Read the names of a tree.

    Parameters
    ----------
    root : Path
        Folder that holds ``high`` and ``low``.
    problems : Problems, optional
        Takes the problems, so that more can be found before all are told; by default they are raised.

    Returns
    -------
    ImageTable
        All frames of all cells; `subject` is ``<pdx>/<date>/<cell>``, `sample_id` ``<subject>/<frame>``. With problems
        given: what could be read, with an empty `cluster` where a folder of a date has no such name.

    Raises
    ------
    DataError
        With all problems, each with its paths: folders that are no classes, dates or cells, PDX in both classes or not among
        those their folder of a date names, two folders of one PDX and date, folders without frames, files that are no
        frames, frames of one number.
    """
    root = Path(root)
    found = Problems(DataError, f"the movies in {root}") if problems is None else problems
    walk = _Walk(root)
    if not root.is_dir():
        found.add(f"there is no folder {root}; expected one with {FORM}")
    else:
        walk.classes(found)
    walk.files.tell(found)
    walk.check_pdxs(found)
    phenotypes = _phenotypes(root, found)
    if problems is None:
        found.raise_if_any()
    is_stand_in = (root / TRUTH).is_file()
    return ImageTable(root, sorted_table(walk.rows), walk.remarks, phenotypes, is_stand_in)


class _Walk:
    """Goes through a tree, level by level, and gathers its frames and what is wrong with names."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = FileProblems()
        self.remarks = Remarks()
        self.rows: list[tuple] = []
        self.other: list[str] = []
        self.classes_of: dict[str, list[str]] = defaultdict(list)
        self.named: dict[str, set[str]] = defaultdict(set)
        """Date -> what its folders name as its PDX."""
        self.imaged: dict[str, set[str]] = defaultdict(set)
        """Date -> PDX that have a folder of it."""

    def classes(self, problems: Problems) -> None:
        there = self._folders("", "class folders", of_root=True)
        for name in there:
            if name not in CLASSES:
                hint = did_you_mean(name, CLASSES).strip()
                self.files.add(f"no class; the folders of {self.root} are to be {' and '.join(CLASSES)}", name, hint)
        if absent := [name for name in CLASSES if name not in there]:
            problems.add(f"{self.root} has no folder {' and no folder '.join(absent)}; expected {FORM}")
        # A folder that is like no class may be anything, of any size, so it is not looked into.
        for label in [name for name in there if name in CLASSES or did_you_mean(name, CLASSES)]:
            for pdx in self._folders(label, "folders of PDX"):
                self.classes_of[pdx].append(label)
                self.dates(label, pdx)
        if self.other:
            told = f"outside of the folders of cells, not looked at: {listed(self.other)}"
            self.remarks.add("files", told, len(self.other))

    def dates(self, label: str, pdx: str) -> None:
        by_date: dict[str, str] = {}
        for folder in self._folders(f"{label}/{pdx}", "folders of dates"):
            path = f"{label}/{pdx}/{folder}"
            match = _DATE.fullmatch(folder)
            date = match["date"] if match else ""
            if match is None:
                self.files.add(
                    "the name of the folder is not <date>_<pdxs>; expected a date of digits and letters, an underscore, and all"
                    " PDX imaged on that date, such as 20190131_m405_m481",
                    path,
                )
            else:
                if f"_{pdx}_" not in f"_{match['pdxs']}_":
                    self.files.add(
                        "the PDX named after the date do not include the PDX whose folder it is in; move or rename it",
                        path,
                    )
                if date in by_date:
                    self.files.add(
                        "a second folder of this PDX and date; put the cells together", path, f"beside {by_date[date]}"
                    )
                by_date.setdefault(date, folder)
                self.named[date].add(match["pdxs"])
                self.imaged[date].add(pdx)
            for cell in self._folders(path, "folders of cells"):
                self.frames(label, pdx, date, f"{path}/{cell}")

    def frames(self, label: str, pdx: str, date: str, path: str) -> None:
        cell = path.rpartition("/")[2]
        subject = f"{pdx}/{date or path.split('/')[2]}/{cell}"
        by_number: dict[int, str] = {}
        entries = list(self._entries(path))
        if not entries:
            self.files.add("the folder of a cell is empty; remove it, or add its frames", f"{path}/")
        for name, is_folder in entries:
            stem, suffix = os.path.splitext(name)
            match = _FRAME.fullmatch(stem)
            if suffix.lower() != ".png" or is_folder:
                what = f"{path}/{name}" + "/" * is_folder
                self.files.add("no PNG; expected nothing but frames such as 12.png in the folder of a cell", what)
            elif match is None:
                self.files.add(
                    "the name has no number of a frame; expected one of at most 15 digits before .png, such as 12.png or"
                    " frame_0012.png",
                    f"{path}/{name}",
                )
            elif (number := int(match[1])) in by_number:
                self.files.add(
                    "two frames of one number in a cell; rename or remove one of them",
                    f"{path}/{name}",
                    f"as {by_number[number]}",
                )
            else:
                by_number[number] = name
                sample_id = f"{subject}/{number:04d}"
                y = int(label == POSITIVE)
                self.rows.append((sample_id, f"{path}/{name}", label, y, date, pdx, subject, number))

    def check_pdxs(self, problems: Problems) -> None:
        for pdx, labels in self.classes_of.items():
            if len(labels) > 1:
                folders = ", ".join(f"{label}/{pdx}" for label in labels)
                problems.add(
                    f"PDX {pdx} is in {len(labels)} classes: {folders}; expected each PDX in one: high or low metastatic"
                    " efficiency is a property of the PDX"
                )
        for date in sorted(self.named):
            absent = [pdxs for pdxs in self.named[date] if not _is_made_of(pdxs, self.imaged[date])]
            if absent:
                there = listed(sorted(self.imaged[date]))
                told = f"{date}: its folders name {listed(sorted(absent))}, and there are cells of {there} only, which count"
                self.remarks.add("date", told, 1)

    def _folders(self, path: str, what: str, *, of_root: bool = False) -> list[str]:
        """The folders in a folder; files there are no part of the tree."""
        folders = []
        for name, is_folder in self._entries(path):
            place = f"{path}/{name}" if path else name
            if is_folder:
                folders.append(name)
            elif name.lower().endswith(".png"):
                self.files.add("an image outside of the folder of a cell; move it into one", place)
            elif not (of_root and name == TRUTH):
                self.other.append(place)
        if not folders:
            self.files.add(f"there are no {what} in it; expected {FORM}", f"{path}/" if path else str(self.root))
        return folders

    def _entries(self, path: str) -> Iterator[tuple[str, bool]]:
        """Names in a folder, sorted, and whether each is a folder; without what systems leave behind."""
        try:
            with os.scandir(self.root / path) as entries:
                there = sorted((entry.name, entry.is_dir()) for entry in entries)
        except OSError as error:
            self.files.add(f"the folder cannot be read: {error.strerror}", f"{path}/")
            return
        for name, is_folder in there:
            if told := fault(name):
                self.files.add(f"the name {told}; rename it", f"in {path or self.root}/")
            elif not name.startswith(".") and name.lower() not in _IGNORED:
                yield name, is_folder


def _is_made_of(pdxs: str, there: set[str]) -> bool:
    """Whether a text is names of PDX joined by underscores, which they may have themselves."""
    rest = f"_{pdxs}_"
    for pdx in sorted(there, key=len, reverse=True):
        rest = rest.replace(f"_{pdx}_", "_")
    return not rest.strip("_")


def _phenotypes(root: Path, problems: Problems) -> dict[str, float] | None:
    """True states of a stand-in's cells by subject; None where they are not known."""
    path = root / TRUTH
    if not path.is_file():
        return None
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return {subject: float(cell["phenotype"]) for subject, cell in cells.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        problems.add(f"{path} is no truth of a stand-in ({type(error).__name__}: {error}); make the stand-in again")
        return None
