"""Hold a table of an archive against the same table computed again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from armed import schemas

TOLERANCE = 1e-6
"""Largest difference that counts as none, in units of the number where it is above 1: predictions are kept as float32, and
sums differ in their last digits between processors."""
TOLERANCE_OF = {"cluster_probe_accuracy": 5e-3}
"""By metric: the probe is fitted step by step, and a sample on its border can fall to either side."""
SHOWN = 20  # differences that are told of each table
_NOT_COMPARED = ("note", "source")


@dataclass
class Outcome:
    """What came of one table.

    Parameters
    ----------
    table : str
        File.
    rows : int
        In the archive.
    recomputed, agree : int
        Rows computed again, and those of them that are the same.
    largest : float
        Largest difference between numbers that agree or not; NaN where none was compared.
    reasons : dict of str to int
        Why rows cannot be computed again, and how many.
    differences : list of str
        Where archive and recomputation differ, the first `SHOWN`.
    """

    table: str
    rows: int = 0
    recomputed: int = 0
    agree: int = 0
    largest: float = math.nan
    reasons: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    wrong: int = 0

    @property
    def agrees(self) -> bool:
        return self.wrong == 0

    def differ(self, sentences: Sequence[str], count: int | None = None) -> None:
        """Note differences; `count` where there are more than sentences."""
        self.wrong += len(sentences) if count is None else count
        self.differences += list(sentences)[: SHOWN - len(self.differences)]

    def add(self, one: Outcome) -> None:
        """Count the rows of another file with these."""
        self.rows, self.recomputed = self.rows + one.rows, self.recomputed + one.recomputed
        self.agree, self.largest = self.agree + one.agree, float(np.fmax(self.largest, one.largest))
        for reason, count in one.reasons.items():
            self.cannot(reason, count)
        self.differ(one.differences, one.wrong)

    def cannot(self, reason: str, count: int) -> None:
        if count:
            self.reasons[reason] = self.reasons.get(reason, 0) + count


def compare(
    name: str,
    archived: pd.DataFrame,
    again: pd.DataFrame,
    why: Callable[[pd.DataFrame], pd.Series] | None = None,
    set_aside: Callable[[pd.DataFrame], tuple[pd.Series, str]] | None = None,
    columns: Sequence[str] | None = None,
) -> Outcome:
    """Compare a table row by row.

    Parameters
    ----------
    name : str
        One of `armed.schemas.TABLES`.
    archived, again : pandas.DataFrame
        The table of the archive, and as computed again. Rows of `again` that the archive lacks are differences.
    why : callable, optional
        Gives for rows of the archive that were not computed again the reason, empty where there is none: that is a difference.
    set_aside : callable, optional
        Gives for rows of either table whether they are left out of the comparison, and the reason.
    columns : sequence of str, optional
        What is compared; by default all columns but the key, the note and the source.
    """
    key = list(schemas.table(name).key)
    columns = (
        [c for c in schemas.table(name).columns if c not in (*key, *_NOT_COMPARED)] if columns is None else columns
    )
    found = Outcome(f"{name}.tsv", rows=len(archived))
    if set_aside is not None:
        aside, reason = set_aside(archived)
        found.cannot(reason, int(aside.sum()))
        archived, again = archived[~aside], again[~set_aside(again)[0]]
    both = _plain(archived, key, columns).merge(
        _plain(again, key, columns), on=key, how="outer", suffixes=("", "_again"), indicator=True
    )
    alone = both[both["_merge"] == "left_only"]
    if len(alone):
        reasons = why(alone) if why is not None else pd.Series("", alone.index)
        for reason, count in reasons[reasons != ""].value_counts().items():
            found.cannot(reason, int(count))
        wrong = alone[(reasons == "").to_numpy()]
        found.differ(
            _tell(found.table, wrong, key, lambda _: "does not follow from anything in the archive"), len(wrong)
        )
    absent = both[both["_merge"] == "right_only"]
    found.differ(_tell(found.table, absent, key, lambda _: "is missing"), len(absent))
    _compare_rows(found, both[both["_merge"] == "both"], key, columns)
    return found


def _plain(frame: pd.DataFrame, key: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Keys as plain text and integers, so that tables from different files match."""
    kinds = {c: "int64" if pd.api.types.is_integer_dtype(frame[c]) and len(frame) else "str" for c in key}
    return frame[[*key, *columns]].astype(kinds if len(frame) else {})


def _compare_rows(found: Outcome, rows: pd.DataFrame, key: Sequence[str], columns: Sequence[str]) -> None:
    same = np.ones(len(rows), dtype=bool)
    allowed = np.full(len(rows), TOLERANCE)
    if "metric" in key:
        allowed = rows["metric"].map(TOLERANCE_OF).fillna(TOLERANCE).to_numpy(float)
    for column in columns:
        mine, again = rows[column], rows[f"{column}_again"]
        if pd.api.types.is_numeric_dtype(mine) and pd.api.types.is_numeric_dtype(again):
            mine, again = mine.to_numpy(float), again.to_numpy(float)
            difference = np.abs(mine - again) / np.maximum(1, np.abs(again))
            neither = np.isnan(mine) & np.isnan(again)
            same &= neither | (difference <= allowed)
            if np.isfinite(difference).any():
                found.largest = float(np.nanmax([found.largest, np.nanmax(difference)]))
        else:
            same &= (mine.astype(str) == again.astype(str)).to_numpy()
    found.recomputed += len(rows)
    found.agree += int(same.sum())

    def told(row: Mapping) -> str:
        values = [f"{c} is {row[c]}, computed again {row[f'{c}_again']}" for c in columns]
        return "; ".join(v for v, c in zip(values, columns, strict=True) if str(row[c]) != str(row[f"{c}_again"]))

    found.differ(_tell(found.table, rows[~same], key, told), int((~same).sum()))


def _tell(table: str, rows: pd.DataFrame, key: Sequence[str], what: Callable[[Mapping], str]) -> list[str]:
    """A sentence for each of the first few rows."""
    return [
        f"{table}: {', '.join(f'{k} {row[k]}' for k in key)}: {what(row)}"
        for row in rows.head(SHOWN).to_dict("records")
    ]


def compare_text(found: Outcome, name: str, archived: str | None, again: str | None) -> None:
    """Compare a file of text line by line; None where one of the two has no such file."""
    lines, others = (text.splitlines() if text is not None else [] for text in (archived, again))
    found.rows += len(lines)
    if again is None:
        found.cannot("not written by this version of the project", len(lines))
        return
    if archived is None:
        found.differ([f"{name} is missing"])
        return
    found.recomputed += len(lines)
    wrong = [i for i, pair in enumerate(zip(lines, others, strict=False)) if pair[0] != pair[1]]
    found.agree += min(len(lines), len(others)) - len(wrong)
    found.differ([f"{name}, line {i + 1}: '{lines[i][:120]}', made again '{others[i][:120]}'" for i in wrong])
    if len(lines) != len(others):
        found.differ([f"{name} has {len(lines)} lines, made again {len(others)}"])
