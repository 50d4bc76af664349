"""A table of text read from a CSV file of anyone's: what is harmless is repaired and told, what is not is refused."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from armed.data.study import Remarks
from armed.errors import Problems, did_you_mean, listed
from armed.names import faults

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
MISSING = ("", "NA", "NaN", "nan", "?", ".")
"""What stands in a cell without a value."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, eq=False)
class CsvTable:
    """The cells of a CSV file.

    Parameters
    ----------
    cells : DataFrame of str, shape (n, columns)
        Without spaces at either end; what stands for a missing value is the empty text.
    lines : array of int, shape (n,)
        Line of the file on which each row begins; the header is line 1.
    separator : str
        Comma, semicolon or tab.
    """

    cells: pd.DataFrame
    lines: np.ndarray
    separator: str

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, mask: np.ndarray, column: str | None = None) -> str:
        """Name the rows of a mask by their lines, with what stands in `column`: ``line 3 'abc', line 7 'x' and 2 more``."""
        rows = np.flatnonzero(mask)
        if column is None:
            return "line" + "s" * (len(rows) > 1) + " " + listed([str(line) for line in self.lines[rows]])
        return listed([f"line {self.lines[i]} '{self.cells[column].iloc[i]}'" for i in rows])


def read(path: Path, wanted: Collection[str], problems: Problems, remarks: Remarks) -> CsvTable | None:
    """Read a CSV file as text.

    Repaired: a byte order mark, semicolons or tabs in place of commas, columns without a name, rows without a value.

    Parameters
    ----------
    path : Path
        The file, in UTF-8.
    wanted : collection of str
        Columns that must be there; they also help to tell the separator.
    problems : Problems
        Takes what cannot be repaired: another encoding, columns of one name, rows with too few or too many cells.
    remarks : Remarks
        Takes what was repaired.

    Returns
    -------
    CsvTable or None
        What could be read, so that further problems are found; None where that is nothing.
    """
    text = _decode(path, problems, remarks)
    if text is None:
        return None
    separator = _separator(text, wanted)
    records = _records(text, separator, problems)
    if not records:
        if not problems.found:
            problems.add("the file is empty; expected a line with the names of the columns, then one line per sample")
        return None
    _, header = records[0]
    if len(header) == 1:
        problems.add(
            f"line 1 has one column only, '{header[0][:60]}'; expected columns separated by commas, semicolons or tabs"
        )
        return None
    rows = _whole_rows(records[1:], len(header), problems, remarks)
    if not rows:
        if not problems.found:
            problems.add("there is no row below the header; expected one per sample")
        return None
    if separator != ",":
        remarks.add("separator", f"{SEPARATORS[separator]}s in place of commas, read as such", len(rows))
    cells = pd.DataFrame([row for _, row in rows], dtype=str)
    cells = cells.mask(cells.isin(MISSING), "")
    kept = _named_columns(header, problems, remarks)
    cells = cells[list(kept)].set_axis(list(kept.values()), axis=1)
    table = CsvTable(cells, np.array([line for line, _ in rows]), separator)
    check_columns(wanted, cells.columns, problems)
    check_names("names of columns", cells.columns, problems)
    return table


def check_columns(wanted: Iterable[str], there: Iterable[str], problems: Problems) -> None:
    """Add a problem for each column that is not there, with the nearest name."""
    there = list(there)
    for name in dict.fromkeys(wanted):
        if name not in there:
            problems.add(f"there is no column '{name}'.{did_you_mean(name, there)} Columns: {listed(there, 30)}")


def check_names(what: str, names: Iterable[str], problems: Problems) -> None:
    """Add a problem where names of columns, clusters or categories cannot be shown, or not be told apart (`armed.names`)."""
    if told := faults(names):
        problems.add(
            f"{what}: {'; '.join(told[:3])}{' and more' * (len(told) > 3)}; expected one short line of text for each"
        )


def _decode(path: Path, problems: Problems, remarks: Remarks) -> str | None:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        problems.add(
            f"the file cannot be read ({error.strerror}); give its path in the study's data block under `path`"
        )
        return None
    if content.startswith(BYTE_ORDER_MARK):
        content = content.removeprefix(BYTE_ORDER_MARK)
        remarks.add("byte order mark", "at the beginning of the file, left out", 1)
    advice = 'save it as UTF-8 (in Excel: file type "CSV UTF-8"; or: iconv -f {} -t UTF-8)'
    if content.startswith(_UTF16) or b"\0" in content:
        problems.add(f"the file is not UTF-8: it looks like UTF-16, or is no text; {advice.format('UTF-16')}")
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        around = content[max(error.start - 15, 0) : error.start + 15].decode("cp1252", errors="replace")
        around = " ".join(around.split())
        problems.add(f"the file is not UTF-8: line {line}, near '{around}'; {advice.format('WINDOWS-1252')}")
        return None


def _separator(text: str, wanted: Collection[str]) -> str:
    """The separator that gives most of the columns wanted, then rows of equal length, then most columns."""
    head = "".join(io.StringIO(text, newline="").readlines()[:200])
    scores = []
    for separator in SEPARATORS:
        # A quote may be open where the beginning ends, so not strict.
        reader = csv.reader(io.StringIO(head, newline=""), delimiter=separator, skipinitialspace=True)
        try:
            rows = [row for row in reader if row]
        except csv.Error:  # a cell longer than csv reads; told when the whole file is read
            rows = []
        names = [name.strip() for name in rows[0]] if rows else []
        equal = sum(len(row) == len(names) for row in rows) / max(len(rows), 1)
        scores.append((len(names) > 1, len({*wanted} & {*names}), equal, len(names)))
    return list(SEPARATORS)[max(range(len(scores)), key=scores.__getitem__)]


def _records(text: str, separator: str, problems: Problems) -> list[tuple[int, list[str]]]:
    """Line on which each record begins, and its cells without spaces at either end; blank lines left out."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    found, line = [], 1
    try:
        for record in reader:
            if record:
                found.append((line, [cell.strip() for cell in record]))
            line = reader.line_num + 1
    except csv.Error as error:
        problems.add(
            f"the row that begins on line {line} cannot be read ({error}); expected quotes around whole cells only,"
            ' and "" for a quote inside quotes'
        )
    return found


def _whole_rows(
    rows: list[tuple[int, list[str]]], n_columns: int, problems: Problems, remarks: Remarks
) -> list[tuple[int, list[str]]]:
    """Rows with a cell for each column, and a value in one of them."""
    wrong = [f"line {line} has {len(row)}" for line, row in rows if len(row) != n_columns]
    if wrong:
        problems.add(
            f"{len(wrong)} of {len(rows)} rows have not the {n_columns} cells of the header: {listed(wrong)}; a cell with"
            " a separator or a line break in it needs quotes"
        )
    whole = [(line, row) for line, row in rows if len(row) == n_columns]
    filled = [(line, row) for line, row in whole if any(row)]
    if len(filled) < len(whole):
        remarks.add("rows", "without any value, left out", len(whole) - len(filled))
    return filled


def _named_columns(header: list[str], problems: Problems, remarks: Remarks) -> dict[int, str]:
    """Position and name of each column to read: the first of each name."""
    positions: dict[str, list[int]] = {}
    for i, name in enumerate(header):
        positions.setdefault(name, []).append(i)
    unnamed = positions.pop("", [])
    if unnamed:
        remarks.add("columns", f"without a name, left out: {_places(unnamed)}", len(unnamed))
    for name, places in positions.items():
        if len(places) > 1:
            problems.add(f"column name '{name}' stands {len(places)} times, {_places(places)}; rename all but one")
    return {places[0]: name for name, places in positions.items()}


def _places(positions: Sequence[int]) -> str:
    return f"column{'s' * (len(positions) > 1)} {listed([str(i + 1) for i in positions], 10)} of line 1"
