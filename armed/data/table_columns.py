"""Columns of a text table as features: numbers as they are, categories as indicators; nothing is guessed in silence."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from armed.data.csv_table import CsvTable, check_names
from armed.data.study import Remarks
from armed.errors import Problems, listed

NUMERIC_SHARE = 0.9
"""A column is numeric if at least this share of its cells with a value are numbers."""
MOST_LEVELS = 50
"""More categories than this are refused."""
_EXPONENT = r"(?:[eE][+-]?\d+)?"
_POINT = r"[+-]?(?:\d+\.?\d*|\.\d+)" + _EXPONENT
_COMMA = r"[+-]?\d*,\d+" + _EXPONENT
_GROUPED = r"[+-]?\d{1,3}(?:[,.' ]\d{3})+(?:[.,]\d+)?"  # 1,234,567 or 1.234,5
_INFINITE = r"[+-]?[iI]nf(?:inity)?|[+-]?INF"


@dataclass(frozen=True, eq=False)
class Cells:
    """What the cells of one column are.

    Parameters
    ----------
    table : CsvTable
    column : str
    """

    table: CsvTable
    column: str

    @cached_property
    def text(self) -> pd.Series:
        return self.table.cells[self.column]

    @cached_property
    def missing(self) -> np.ndarray:
        return (self.text == "").to_numpy()

    @cached_property
    def commas(self) -> np.ndarray:
        """Numbers with one comma."""
        return self._are(_COMMA)

    @cached_property
    def grouped(self) -> np.ndarray:
        """Numbers with separators of thousands."""
        return self._are(_GROUPED) & ~self._are(_POINT) & ~self.commas

    @cached_property
    def infinite(self) -> np.ndarray:
        return self._are(_INFINITE) | np.isinf(self._values)

    @cached_property
    def numbers(self) -> np.ndarray:
        """Cells that were meant as numbers, usable or not."""
        return ~np.isnan(self._values) | self.commas | self.grouped | self.infinite

    @property
    def are_numeric(self) -> bool:
        """Whether nearly all cells with a value are numbers, or none has a value."""
        return self.numbers.sum() >= NUMERIC_SHARE * (~self.missing).sum()

    @cached_property
    def _values(self) -> np.ndarray:
        """Numbers with a decimal point; all else is NaN."""
        return self.text.where(self._are(_POINT), "nan").to_numpy(dtype=object).astype(np.float64)

    def _are(self, pattern: str) -> np.ndarray:
        return self.text.str.fullmatch(pattern).to_numpy(dtype=bool)

    def values(self, problems: Problems, remarks: Remarks, advice: str) -> np.ndarray:
        """Return the numbers, NaN where the cell is empty; decimal commas are read where semicolons separate the cells.

        Parameters
        ----------
        problems : Problems
            Takes text, infinite values, separators of thousands and commas that may be such.
        remarks : Remarks
            Takes the decimal commas read.
        advice : str
            What to do about text.

        Returns
        -------
        array of float64, shape (n,)
        """
        values = self._values.copy()
        points = ~np.isnan(values) & self.text.str.contains(".", regex=False).to_numpy(dtype=bool)
        if self.table.separator == ";" and self.commas.any():
            if points.any():
                problems.add(
                    f"column '{self.column}' has decimal commas ({self._told(self.commas)}) and decimal points"
                    f" ({self._told(points)}); write all in one way"
                )
            else:
                remarks.add(f"decimal commas in column '{self.column}'", "read as decimal points", self.commas.sum())
            values[self.commas] = [float(v.replace(",", ".")) for v in self.text[self.commas]]
        elif self.commas.any():
            self._refuse(
                self.commas, "commas in numbers", "which may be decimal or of thousands; write 1.234 or 1234", problems
            )
        self._refuse(self.grouped, "separators of thousands", "write the numbers without them", problems)
        self._refuse(self.infinite, "infinite values", "leave the cells empty, or mend them", problems)
        self._refuse(~self.numbers & ~self.missing, "text among its numbers", advice, problems)
        return values

    def _refuse(self, mask: np.ndarray, what: str, advice: str, problems: Problems) -> None:
        if mask.any():
            problems.add(f"column '{self.column}' has {what}: {self._told(mask)}; {advice}")

    def _told(self, mask: np.ndarray) -> str:
        return self.table.where(mask, self.column)


def features(
    table: CsvTable,
    columns: Sequence[str],
    categorical: Collection[str],
    rows: np.ndarray,
    problems: Problems,
    remarks: Remarks,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Turn columns into features.

    Parameters
    ----------
    table : CsvTable
    columns : sequence of str
        Columns to use, in this order.
    categorical : collection of str
        Those of them whose numbers are categories.
    rows : array of bool, shape (n,)
        Rows that are used; all rows are checked.
    problems : Problems
        Takes cells that are no numbers in numeric columns, and columns of too many categories.
    remarks : Remarks
        Takes the columns left out: constant ones, and copies of another.

    Returns
    -------
    X : array of float64, shape (n used, p)
        NaN where a cell is empty. An indicator for each category but the most frequent (of equally frequent ones
        the first); a missing category is NaN in all of them.
    names : tuple of str
        The column, or ``column=category``.
    """
    found: dict[str, np.ndarray] = {}
    advice = "mend it, leave the cell empty where the value is missing, or list the column under `categorical`"
    for column in columns:
        cells = Cells(table, column)
        if column not in categorical and cells.are_numeric:
            made = {column: cells.values(problems, remarks, advice)[rows]}
        else:
            made = _indicators(cells, rows, problems)
        varied = {name: values for name, values in made.items() if _varies(values)}
        if not varied:
            remarks.add(f"column '{column}'", "one value only, or none: left out", 1)
        for name in sorted({*varied} & {*found}):
            problems.add(f"column '{column}' and another both give the feature '{name}'; rename one of them")
        found |= varied
    found = _without_copies(found, remarks)
    X = np.column_stack(list(found.values())) if found else np.empty((int(rows.sum()), 0))
    return X, tuple(found)


def in_order(levels: Collection[str]) -> list[str]:
    """Sort labels: as numbers where all are, else alphabetically."""
    numeric = not [v for v in levels if not is_number(v)]
    return sorted(levels, key=lambda v: (float(v) if numeric else 0.0, v))


def is_number(text: str) -> bool:
    """Whether a text is a finite number with a decimal point or none."""
    return bool(pd.Series([text]).str.fullmatch(_POINT).item()) and bool(np.isfinite(float(text)))


def _indicators(cells: Cells, rows: np.ndarray, problems: Problems) -> dict[str, np.ndarray]:
    text = cells.text.to_numpy()[rows]
    missing = cells.missing[rows]
    counts = pd.Series(text[~missing]).value_counts()
    if len(counts) > MOST_LEVELS:
        examples = listed([f"'{v}'" for v in in_order(counts.index)[:3]])
        problems.add(
            f"column '{cells.column}' has {len(counts)} categories, such as {examples}; at most {MOST_LEVELS} can become"
            " features: list it under `drop`, or put categories together"
        )
        return {}
    levels = in_order(counts.index)
    check_names(f"column '{cells.column}'", levels, problems)
    reference = max(levels, key=lambda v: counts[v], default="")  # the first of equally frequent ones
    others = [level for level in levels if level != reference]
    return {f"{cells.column}={v}": np.where(missing, np.nan, text == v) for v in others}


def _varies(values: np.ndarray) -> bool:
    there = values[~np.isnan(values)]
    return bool(len(there)) and bool((there != there[0]).any())


def _without_copies(found: dict[str, np.ndarray], remarks: Remarks) -> dict[str, np.ndarray]:
    first: dict[bytes, str] = {}
    for name, values in found.items():
        # Adding 0.0 turns -0.0 into 0.0, and all NaN are written alike.
        content = np.where(np.isnan(values), np.nan, values + 0.0).tobytes()
        if content in first:
            remarks.add(f"feature '{name}'", f"the same values as '{first[content]}': left out", 1)
        else:
            first[content] = name
    return {name: found[name] for name in first.values()}
