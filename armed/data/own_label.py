"""The label column of a user's own table: two values, several classes, or a number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from armed.data.csv_table import CsvTable, check_names
from armed.data.study import Remarks
from armed.data.table_columns import MOST_LEVELS, Cells, in_order, is_number
from armed.errors import Problems, did_you_mean, listed

KINDS = ("binary", "multiclass", "continuous")
KNOWN_PAIRS = (("0", "1"), ("false", "true"), ("no", "yes"), ("n", "y"))
"""Values of a binary label whose second one is class 1 without saying so, in any case."""


def read_label(
    kind: str, column: str, positive: object, table: CsvTable, problems: Problems, remarks: Remarks
) -> np.ndarray | None:
    """Read the label of each row.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    column : str
    positive : object
        Value of a binary label that is class 1, or None.
    table : CsvTable
    problems : Problems
        Takes empty labels, too many or too few values, text in a continuous label.
    remarks : Remarks
        Takes which value is which class.

    Returns
    -------
    array of int64 or (continuous) float64, shape (n,), or None
        None where there are problems.
    """
    if column not in table.cells:
        return None
    cells, before = Cells(table, column), len(problems.found)
    if cells.missing.any():
        problems.add(
            f"label column '{column}' is empty in {cells.missing.sum()} of {len(table)} rows:"
            f" {table.where(cells.missing)}; take the rows out of the file, or fill it in"
        )
    if kind == "continuous":
        y = _read_number(cells, problems, remarks)
    else:
        classes = _classes(kind, cells, positive, problems)
        y = pd.Index(classes).get_indexer(pd.Index(cells.text)).astype(np.int64)
        if len(problems.found) == before:
            told = ", ".join(f"{k} is '{value}'" for k, value in enumerate(classes))
            remarks.add("classes", f"of the label '{column}': {told}", len(classes))
    return y if len(problems.found) == before else None


def find(value: object, levels: Sequence[str]) -> str | None:
    """Return the one of `levels` that a value of a YAML file means, or None.

    The same text; the same number; or, for true and false, which YAML also makes of yes and no, such a word.
    """
    if isinstance(value, bool):
        words = {pair[value] for pair in KNOWN_PAIRS}
        meant = [v for v in levels if v.lower() in words]
    elif str(value) in levels:
        return str(value)
    elif is_number(str(value)):
        meant = [v for v in levels if is_number(v) and float(v) == float(str(value))]
    else:
        meant = []
    return meant[0] if len(meant) == 1 else None


def _read_number(cells: Cells, problems: Problems, remarks: Remarks) -> np.ndarray:
    values = cells.values(problems, remarks, "a continuous label needs numbers, or is the kind binary or multiclass?")
    there = values[~np.isnan(values)]
    if len(there) and (there == there[0]).all():
        problems.add(f"label column '{cells.column}' is {there[0]:g} in every row; expected one that varies")
    return values


def _classes(kind: str, cells: Cells, positive: object, problems: Problems) -> list[str]:
    """Values of the label in the order of their classes."""
    counts = cells.text[~cells.missing].value_counts()
    levels = in_order(counts.index)
    name = f"label column '{cells.column}'"
    check_names(name, levels, problems)
    if len(levels) < 2:
        if levels:
            problems.add(f"{name} is '{levels[0]}' in every row; expected at least two values")
        return levels
    if kind == "multiclass":
        if len(levels) == 2:
            problems.add(f"{name} has two values, {_counted(levels, counts)}; expected kind: binary")
        elif len(levels) > MOST_LEVELS:
            problems.add(
                f"{name} has {len(levels)} values; expected at most {MOST_LEVELS} classes, or kind: continuous"
            )
        return levels
    if len(levels) > 2:
        rare = levels if len(levels) > 10 else [v for v in levels if counts[v] <= 3]
        rows = f"; {cells.table.where(cells.text.isin(rare).to_numpy(), cells.column)}" if 0 < len(rare) <= 10 else ""
        problems.add(
            f"{name} has {len(levels)} values where two are expected of kind: binary: {_counted(levels, counts)}{rows};"
            " mend the file, or declare kind: multiclass or continuous"
        )
        return levels
    return _two(levels, counts, positive, name, problems)


def _two(levels: list[str], counts: pd.Series, positive: object, name: str, problems: Problems) -> list[str]:
    """The negative and the positive value."""
    if positive is None:
        pair = sorted(levels, key=str.lower)
        if tuple(v.lower() for v in pair) not in KNOWN_PAIRS:
            problems.add(
                f"{name} has the values {_counted(levels, counts)}; say which is class 1: positive: {levels[1]}"
            )
        return pair
    chosen = find(positive, levels)
    if chosen is None:
        problems.add(
            f"{name} has no value '{positive}', which the study names as positive.{did_you_mean(str(positive), levels)}"
            f" It has {_counted(levels, counts)}"
        )
    return [*(v for v in levels if v != chosen), *([chosen] if chosen else [])]


def _counted(levels: list[str], counts: pd.Series) -> str:
    return listed([f"'{v}' ({counts[v]})" for v in levels], 10)
