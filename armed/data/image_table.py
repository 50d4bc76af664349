"""Images of clustered data in a folder, as a table of files: what trees of movies and lists of images are read to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from armed.data.study import Remarks
from armed.errors import Problems, listed

COLUMNS = ("sample_id", "path", "label", "y", "cluster", "group", "subject", "frame")
"""Columns of `ImageTable.table`."""
NO_FRAME = -1
SHOWN = 5
"""Files of one problem that are named; the rest are counted."""


@dataclass(frozen=True, eq=False)
class ImageTable:
    """Files of images, and what is known of each.

    Parameters
    ----------
    root : Path
        Folder that the paths start from.
    table : DataFrame
        One row an image, with the columns `COLUMNS`: `sample_id`, `path` (relative to the root, with ``/``), `label` (as it is
        written), `y` (int, 1 = positive class), `cluster` (imaging date), `group` (PDX), `subject` (cell) and `frame` (its
        number, `NO_FRAME` where images are no frames). Sorted by cluster, group, subject, frame. The index is 0..n-1.
    remarks : Remarks
        What was left alone, repaired or chosen while reading.
    phenotypes : dict of str to float, optional
        Of a stand-in: subject -> true state along the axis of the label.
    is_stand_in : bool
        Whether a generator wrote the images.
    """

    root: Path
    table: pd.DataFrame
    remarks: Remarks = field(default_factory=Remarks)
    phenotypes: dict[str, float] | None = None
    is_stand_in: bool = False

    @property
    def has_frames(self) -> bool:
        """Whether images are frames of movies, which steps through."""
        return bool((self.table["frame"] != NO_FRAME).any())


class FileProblems:
    """Collects what is wrong with many files: one line for each kind, with the first files, and how many more there are."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}

    def add(self, kind: str, name: object, detail: str = "") -> None:
        """Note a file, and in brackets what differs between the files of one kind."""
        self.found.setdefault(kind, []).append(f"{name} ({detail})" if detail else str(name))

    def tell(self, problems: Problems) -> None:
        """Add a line for each kind."""
        for kind, names in self.found.items():
            problems.add(f"{listed(names, SHOWN)}: {kind}")


def sorted_table(rows: Sequence[tuple]) -> pd.DataFrame:
    """The table of rows of `COLUMNS`, in its order."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    text = [name for name in COLUMNS if name not in ("y", "frame")]
    table = table.astype({**dict.fromkeys(text, "str"), "y": "int64", "frame": "int64"})
    return table.sort_values(["cluster", "group", "subject", "frame", "path"], ignore_index=True)
