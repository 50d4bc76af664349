"""Anyone's own images as a study: a CSV file with the path, label and cluster of each (config block ``data:``)."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from armed.data import csv_table
from armed.data.clustered import ClusteredData
from armed.data.csv_table import CsvTable
from armed.data.image_list import image_paths
from armed.data.image_table import FileProblems
from armed.data.own_clusters import (
    check_seen_label,
    is_list,
    is_whole,
    large_enough,
    read_block,
    read_clusters,
    read_subjects,
    truth_of_parts,
    unseen_clusters,
)
from armed.data.own_label import KINDS, read_label
from armed.data.png_images import read_images
from armed.data.study import Remarks, StudyData
from armed.errors import DataError, Problems, did_you_mean, listed

logger = logging.getLogger(__name__)

SMALLEST = 16  # pixels


@dataclass(frozen=True)
class OwnImagesSettings:
    """The `data:` block of a user's own study of images.

    Parameters
    ----------
    path : str
        The CSV file: UTF-8, the names of the columns on line 1, one image per row. Paths of images start from its folder.
    kind : str
        Kind of the label: ``binary``, ``multiclass`` or ``continuous``.
    image_size : int
        Width and height of all images, pixels. They are grey PNG files of 8 bits.
    image, label, cluster : str
        Columns of the path, the label and the cluster.
    group : str, optional
        Column of the unit (a patient, a specimen) whose images never cross folds. None makes each image a unit by itself.
    positive : str, number or bool, optional
        Value of a binary label that is class 1; not needed where the values are 0 and 1, false and true or no and yes.
    unseen : list or int
        Labels of the unseen clusters, or how many to draw at random.
    min_cluster_size : int
        Clusters with fewer images are left out.

    Raises
    ------
    ConfigError
        With all settings that cannot be.
    """

    path: str
    kind: str
    image_size: int
    image: str = "path"
    label: str = "label"
    cluster: str = "cluster"
    group: str | None = "group"
    positive: object = None
    unseen: Sequence[object] | int = 0
    min_cluster_size: int = 1

    @classmethod
    def from_block(cls, block: Mapping, study: str) -> OwnImagesSettings:
        """Make settings from the config block of a study, or raise `ConfigError` with all its problems."""
        settings, problems = read_block(cls, block, study, needed=3)
        settings._check(problems)
        problems.raise_if_any()
        return settings

    @property
    def subject(self) -> str | None:
        """Column of the unit that never crosses folds, by the name that tables have for it."""
        return self.group

    @property
    def named(self) -> list[str]:
        """Columns that must be in the file."""
        return [self.image, self.label, self.cluster, *([self.group] if self.group else [])]

    def _check(self, problems: Problems) -> None:
        def need(name: str, ok: bool, expected: str) -> None:
            if not ok:
                problems.add(f"{name} is {getattr(self, name)!r}; expected {expected}")

        for name in ("path", "image", "label", "cluster"):
            need(name, isinstance(getattr(self, name), str), "text (numbers need quotes)")
        kinds = f"one of {', '.join(KINDS)}.{did_you_mean(str(self.kind), KINDS)}"
        need("kind", self.kind in KINDS, kinds)
        need("group", self.group is None or isinstance(self.group, str), "the name of a column, or null")
        need("image_size", is_whole(self.image_size, SMALLEST), f"a whole number of pixels, at least {SMALLEST}")
        unseen = "a list of cluster labels, or how many to draw"
        need("unseen", is_whole(self.unseen, 0) or is_list(self.unseen), unseen)
        need("min_cluster_size", is_whole(self.min_cluster_size, 1), "a whole number of at least 1")
        binary = self.positive is None or self.kind == "binary"
        need("positive", binary, "null, as only a binary label has a positive value")
        others = [self.image, self.label, *{self.cluster, self.group or self.cluster}]
        if twice := sorted({str(name) for name in others if others.count(name) > 1}):
            problems.add(f"column {listed(twice)} has several uses; only cluster and group may be the same column")


def make(settings: Mapping, study: str, seeds: Sequence[int], raw: Sequence[Path]) -> StudyData:
    """Read a user's own list of images, and the images.

    Parameters
    ----------
    settings : mapping
        Config block ``studies.<study>.data``; see `OwnImagesSettings`.
    study : str
        Id of the study; the draw of unseen clusters comes from it alone.
    seeds : sequence of int
        Not used: all seeds share the images.
    raw : sequence of Path
        The CSV file.

    Returns
    -------
    StudyData
        Variant ``main`` with the parts ``seen`` and, where there are any, ``unseen``: X uint8 of shape (n, 1, size, size), in a
        temporary file and not in memory; ids of samples are paths, subjects are groups. Truth: n, and the share of class 1
        (`ratio`) or the mean of the label (`mean`), per cluster.

    Raises
    ------
    ConfigError
        With all problems of the settings.
    DataError
        With all problems of the list and of the images.
    """
    own = OwnImagesSettings.from_block(settings, study)
    if len(raw) != 1:
        raise DataError(f"The study {study} is made from one CSV file, but {len(raw)} raw files were given.")
    path, remarks = Path(raw[0]), Remarks()
    problems = Problems(DataError, f"{path} (study {study})")
    table = csv_table.read(path, own.named, problems, remarks)
    if table is None:
        problems.raise_if_any()
    rows = _read_rows(own, study, table, path.parent, problems, remarks)
    images = _images(own, study, path.parent, rows.paths[rows.used], problems)
    problems.raise_if_any()
    for what, reason, count in remarks.found:
        logger.info("%s: %s (%d)", what, reason, count)
    parts = {}
    for part, first, last in (("seen", 0, rows.n_seen), ("unseen", rows.n_seen, len(rows.used))):
        if last > first:
            of, X = rows.used[first:last], images[first:last, None]
            parts[part] = ClusteredData(X, rows.y[of], rows.clusters[of], rows.paths[of], rows.subjects[of])
    return StudyData({"main": parts}, truth_of_parts(parts, own.kind), remarks.frame())


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of the list: arrays (n,), of which `used` are the rows to use, those of seen clusters (`n_seen`) first.

    `y` and `clusters` are None where there are problems with them; rows whose image is not there are not used.
    """

    y: np.ndarray | None
    clusters: np.ndarray | None
    subjects: np.ndarray
    paths: np.ndarray
    used: np.ndarray
    n_seen: int


def _read_rows(
    own: OwnImagesSettings, study: str, table: CsvTable, folder: Path, problems: Problems, remarks: Remarks
) -> _Rows:
    y = read_label(own.kind, own.label, own.positive, table, problems, remarks)
    clusters, subjects = read_clusters(own, table, problems), read_subjects(own, table, problems)
    paths = image_paths(table, own.image, folder, problems) if own.image in table.cells else [""] * len(table)
    kept, is_unseen = np.ones(len(table), dtype=bool), np.zeros(len(table), dtype=bool)
    if clusters is not None:
        kept = large_enough(own, clusters, problems, remarks)
        is_unseen = np.isin(clusters, unseen_clusters(own, study, clusters[kept], problems, remarks))
        if y is not None:
            check_seen_label(own, y[kept], is_unseen[kept], problems)
    if y is not None:
        _tell_of_groups(own, table, y, remarks)
    kept &= np.array([bool(name) and (folder / name).is_file() for name in paths])
    seen, unseen = np.flatnonzero(kept & ~is_unseen), np.flatnonzero(kept & is_unseen)
    return _Rows(y, clusters, subjects, np.array(paths, dtype=np.str_), np.concatenate([seen, unseen]), len(seen))


def _images(own: OwnImagesSettings, study: str, folder: Path, paths: np.ndarray, problems: Problems) -> np.ndarray:
    """Read all images into an unnamed file, which goes when it is no longer looked at: they may be larger than memory."""
    size, files = own.image_size, FileProblems()
    with tempfile.TemporaryFile() as file:
        read_images(folder, paths.tolist(), size, files, file, setting=f"studies.{study}.data.image_size")
        files.tell(problems)
        file.flush()
        return (
            np.memmap(file, np.uint8, "r", shape=(len(paths), size, size)) if len(paths) else np.empty((0, size, size))
        )


def _tell_of_groups(own: OwnImagesSettings, table: CsvTable, y: np.ndarray, remarks: Remarks) -> None:
    """A group may have several labels where the label is that of an image; it is told, as a mistake would look the same."""
    if own.kind == "continuous" or own.group is None or own.group not in table.cells:
        return
    labels = table.cells.assign(y=y).groupby(own.group)["y"].nunique()
    if several := labels.index[labels > 1].tolist():
        told = f"with images of several labels, all used: {listed(several)}; a mistake if the label is one of the {own.group}"
        remarks.add("groups", told, len(several))
