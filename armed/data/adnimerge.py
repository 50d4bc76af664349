"""Reads ADNIMERGE.csv, the user's or a stand-in: checks every cell that is used and tells all problems at once."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from armed.data import adni_format as fmt
from armed.errors import DataError, Problems, did_you_mean

logger = logging.getLogger(__name__)

NEEDED = (*fmt.IDENTIFIERS, *fmt.COLUMNS)
"""Columns that must be there; all others are ignored."""
LIMITED = tuple(f"{name}_bl" for name in fmt.DETECTION_LIMITS)
"""Columns that stay text, as they hold detection limits beside numbers."""
NUMERIC = tuple(name for name in (*fmt.DEMOGRAPHIC, *fmt.BASELINE) if name not in LIMITED)
WHOLE = ("RID", "SITE")
CODES: dict[str, tuple[str, ...]] = {"DX": fmt.DIAGNOSES, "DX_bl": fmt.BASELINE_DIAGNOSES, **fmt.CATEGORICAL}
"""Columns of codes; an empty cell is a missing value."""
EMPTY = ("", "NA")
"""Cells without a value; R writes NA."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}

_VISIT = re.compile(r"m(?!00$)(?:\d\d|[1-9]\d\d)")
_EXAMPLES = 3


def read(path: str | Path) -> pd.DataFrame:
    """Read the table of visits and log what is odd but usable; see `inspect`.

    Returns
    -------
    DataFrame, one row per visit in the order of the file, columns `NEEDED`
        RID, SITE: int64. EXAMDATE: datetime. VISCODE, DX_bl, DX and categorical columns: text as in the file.
        ABETA_bl, TAU_bl, PTAU_bl: text, as they may be ``">1700"``. All other columns: float64. An empty cell is NaN
        (NaT for a date); RID, SITE and VISCODE are never empty.

    Raises
    ------
    DataError
        As `inspect`.
    """
    visits, warnings = inspect(path)
    for warning in warnings:
        logger.warning("%s: %s", path, warning)
    return visits


def inspect(path: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """Read and check the table of visits.

    Refused: a needed column that is missing or there twice, rows of another length than the header, two rows for one
    visit of a subject, codes that ADNIMERGE does not have, text where a number belongs (other than the known
    detection limits), a missing RID, SITE or VISCODE, dates that are none or not in the order of the visits, negative
    ages. Repaired with a warning: a byte order mark, semicolons or tabs instead of commas. Only a warning: a subject
    with several sites or baseline values (its earliest visit counts), or without a diagnosis at baseline. Spaces
    around a cell and rows without any value are dropped; a date may be missing, as no label depends on it.

    Parameters
    ----------
    path : path
        ADNIMERGE.csv.

    Returns
    -------
    visits : DataFrame
        As `read` returns it.
    warnings : list of str

    Raises
    ------
    DataError
        The file cannot be read as a table, or with all problems of its cells; rows are the file's lines (the header
        is row 1).
    """
    path = Path(path)
    text, warnings = _text(path)
    problems = Problems(DataError, str(path))
    cells, lines, notes = _cells(text, path, problems)
    warnings += notes
    visits = _typed(cells, lines, problems)
    _check_visits(visits, lines, problems)
    problems.raise_if_any()
    return visits, warnings + _oddities(visits, lines)


def months(viscodes: pd.Series) -> np.ndarray:
    """Return months after baseline of visit codes (bl, m03, m06, ...), float, NaN where it is no such code."""
    codes, kinds = pd.factorize(viscodes)
    known = [_months(kind) for kind in kinds]
    return np.array([*known, np.nan])[codes]


def _months(code: object) -> float:
    if code == fmt.BASELINE_VISIT:
        return 0.0
    return float(str(code)[1:]) if _VISIT.fullmatch(str(code)) else np.nan


def _text(path: Path) -> tuple[str, list[str]]:
    """The file as text, and what was repaired for it."""
    if not path.is_file():
        raise DataError(f"There is no file {path}; expected ADNIMERGE.csv, a table of visits.")
    raw = path.read_bytes()
    if not raw.strip():
        raise DataError(f"{path} is empty; expected ADNIMERGE.csv, a table of visits with a header. Download it again.")
    if b"\0" in raw[:4096]:
        raise DataError(
            f"{path} is no CSV: it holds binary data or UTF-16 text (a workbook, an archive?). Export it as CSV (UTF-8)."
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} is no UTF-8 text: byte {raw[error.start]:#04x} in row {row}. Export it as CSV (UTF-8)."
        ) from error
    if text.startswith("\ufeff"):
        return text[1:], ["the file starts with a byte order mark; it is left out"]
    return text, []


def _cells(text: str, path: Path, problems: Problems) -> tuple[dict[str, list[str]], np.ndarray, list[str]]:
    """The needed columns as text, the line of each row, and what was repaired."""
    head = re.match(r"\s*([^\r\n]*)", text)[1]
    # The separator is the one by which the header falls into most of the needed columns.
    found = {mark: len(set(_names(next(csv.reader([head], delimiter=mark)))) & set(NEEDED)) for mark in SEPARATORS}
    mark = max(found, key=found.get)
    if not found[mark]:
        raise DataError(
            f"{path} has none of the {len(NEEDED)} needed columns ({', '.join(NEEDED[:4])}, ...) in its header: "
            f"{head.strip()[:80]!r}. Is it ADNIMERGE.csv?"
        )
    notes = [] if mark == "," else [f"the columns are separated by {SEPARATORS[mark]} instead of commas; read so"]
    rows, lines = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    try:
        line = 1  # where the row starts: a cell may hold line ends
        for row in reader:
            if any(row):
                rows.append(row)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path} is no CSV from row {reader.line_num} on: {error}.") from error
    header, rows, lines = _names(rows[0]), rows[1:], np.array(lines[1:], dtype=np.int64)
    _check_header(header, problems)
    lengths = np.array([len(row) for row in rows])
    if not rows:
        problems.add("there is a header, but no visit below it; download the file again")
    elif (wrong := lengths != len(header)).any():
        problems.add(
            f"{_where(lines[wrong])}: expected {len(header)} cells as in the header, found "
            f"{_some(np.unique(lengths[wrong]))}; a separator inside a cell needs quotes around the cell"
        )
        rows = [row for row in rows if len(row) == len(header)]
        lines = lines[~wrong]
    columns = {name: [row[header.index(name)].strip() for row in rows] for name in NEEDED if name in header}
    return columns, lines, notes


def _names(header: Sequence[str]) -> list[str]:
    return [name.strip() for name in header]


def _check_header(header: list[str], problems: Problems) -> None:
    for name in NEEDED:
        if name not in header:
            # A column of the visits (CDRSB) is no misspelling of the baseline's (CDRSB_bl), and PTID is another number.
            kind = name.lower().endswith("bl")
            others = [o for o in header if o not in (*NEEDED, "PTID") and o.lower().endswith("bl") == kind]
            hint = did_you_mean(name, others)
            problems.add(f"row 1: no column '{name}'.{hint}{' If it is the same, rename it.' if hint else ''}")
        elif header.count(name) > 1:
            problems.add(f"row 1: column '{name}' is there {header.count(name)} times; keep one")


def _typed(cells: dict[str, list[str]], lines: np.ndarray, problems: Problems) -> pd.DataFrame:
    """Columns with their types; what does not fit becomes a problem and a missing value."""
    typed = {}
    for name, values in cells.items():
        text = np.array(values, dtype=object)
        empty = np.isin(text, EMPTY) if len(text) else np.zeros(0, dtype=bool)
        text[empty] = np.nan
        if name in WHOLE:
            typed[name] = _whole(name, text, empty, lines, problems)
        elif name in NUMERIC or name in LIMITED:
            numbers = _numbers(name, text, empty, lines, problems)
            typed[name] = numbers if name in NUMERIC else text
        elif name == "EXAMDATE":
            typed[name] = _dates(text, empty, lines, problems)
        else:
            _check_codes(name, text, empty, lines, problems)
            typed[name] = text
    return pd.DataFrame({name: pd.Series(values) for name, values in typed.items()})


def _whole(name: str, text: np.ndarray, empty: np.ndarray, lines: np.ndarray, problems: Problems) -> np.ndarray:
    what = {"RID": "the subject", "SITE": "the site"}[name]
    if empty.any():
        problems.add(f"column {name}, {_where(lines[empty])}: {what} is missing; fill it in or leave the row out")
    numbers = _to_numbers(text)
    wrong = ~empty & ~((numbers >= 0) & (numbers == np.floor(numbers)) & (numbers < 2**31))
    _tell(problems, name, text, wrong, lines, f"expected {what}'s number, whole and not negative")
    numbers[wrong] = np.nan
    return numbers if np.isnan(numbers).any() else numbers.astype(np.int64)


def _numbers(name: str, text: np.ndarray, empty: np.ndarray, lines: np.ndarray, problems: Problems) -> np.ndarray:
    limits = fmt.DETECTION_LIMITS.get(name.removesuffix("_bl"), ())
    numbers = _to_numbers(text)
    wrong = ~empty & ~np.isfinite(numbers)
    if limits:
        wrong &= ~np.isin(text, limits)
    expected = "expected a number" + (f" or a detection limit ({', '.join(limits)})" if limits else "")
    _tell(problems, name, text, wrong, lines, expected, lambda value: _decimal(value) or did_you_mean(value, limits))
    if name == "AGE":
        _tell(problems, name, text, numbers < 0, lines, "an age cannot be negative; expected years")
    return numbers


def _dates(text: np.ndarray, empty: np.ndarray, lines: np.ndarray, problems: Problems) -> pd.Series:
    dates = pd.to_datetime(pd.Series(text), format="%Y-%m-%d", errors="coerce")
    wrong = ~empty & dates.isna().to_numpy()
    _tell(problems, "EXAMDATE", text, wrong, lines, "expected a date such as 2006-03-21 (year-month-day)")
    return dates


def _check_codes(name: str, text: np.ndarray, empty: np.ndarray, lines: np.ndarray, problems: Problems) -> None:
    if name == "VISCODE":
        if empty.any():
            problems.add(
                f"column VISCODE, {_where(lines[empty])}: the visit is missing; fill it in or leave the row out"
            )
        wrong = ~empty & np.isnan(months(pd.Series(text)))
        _tell(problems, name, text, wrong, lines, "expected bl, m03, m06, m12, and so on", _nearest_visit)
    else:
        wrong = ~empty & ~np.isin(text, CODES[name])
        expected = f"expected {', '.join(CODES[name])} or nothing"
        _tell(problems, name, text, wrong, lines, expected, lambda value: did_you_mean(value, CODES[name]))


def _nearest_visit(value: str) -> str:
    if digits := re.fullmatch(r"\D*?([0-9]{1,4})\D*", value):
        month = int(digits[1])
        return f" Did you mean '{f'm{month:02d}' if month else fmt.BASELINE_VISIT}'?"
    return did_you_mean(value, [fmt.BASELINE_VISIT])


def _decimal(value: str) -> str:
    is_comma = re.fullmatch(r"[-+]?\d+,\d+", value)
    return f" Is it a decimal comma? Write {value.replace(',', '.')}." if is_comma else ""


def _to_numbers(text: np.ndarray) -> np.ndarray:
    return np.array(pd.to_numeric(pd.Series(text, dtype=object), errors="coerce"), dtype=np.float64)


def _tell(
    problems: Problems,
    name: str,
    text: np.ndarray,
    wrong: np.ndarray,
    lines: np.ndarray,
    expected: str,
    hint: Callable[[str], str] = lambda value: "",
) -> None:
    """Add a problem for each of the first wrong values of a column, with its rows, and one for the number of others."""
    if not wrong.any():
        return
    codes, values = pd.factorize(text[wrong])
    for i, value in enumerate(values[:_EXAMPLES]):
        problems.add(f"column {name}, {_where(lines[wrong][codes == i])}: '{value}'; {expected}.{hint(value)}")
    if len(values) > _EXAMPLES:
        rows = lines[wrong][codes >= _EXAMPLES]
        problems.add(f"column {name}: {len(values) - _EXAMPLES} more such values in {_where(rows)}")


def _check_visits(visits: pd.DataFrame, lines: np.ndarray, problems: Problems) -> None:
    """Two rows for one visit, and dates that are not in the order of the visits."""
    if not {"RID", "VISCODE"} <= set(visits):
        return
    table = visits.assign(row=lines, months=months(visits["VISCODE"])).dropna(subset=["RID", "months"])
    twice = table[table.duplicated(["RID", "months"], keep=False)]
    groups = twice.groupby(["RID", "VISCODE"], sort=False)["row"]
    for (rid, visit), rows in list(groups)[:_EXAMPLES]:
        problems.add(f"{_where(rows)}: more than one row for visit {visit} of RID {rid:.0f}; keep one")
    if groups.ngroups > _EXAMPLES:
        problems.add(f"{groups.ngroups - _EXAMPLES} more visits have more than one row")
    if "EXAMDATE" not in visits:
        return
    table = table[table["EXAMDATE"].notna()].drop_duplicates(["RID", "months"]).sort_values(["RID", "months"])
    before = table.groupby("RID")[["EXAMDATE", "VISCODE", "row"]].shift()
    wrong = (table["EXAMDATE"] < before["EXAMDATE"]).to_numpy()
    both = table[wrong].join(before[wrong].add_suffix("_before")).sort_values("row")
    for visit in both.head(_EXAMPLES).itertuples():
        problems.add(
            f"column EXAMDATE, row {visit.row}: visit {visit.VISCODE} of RID {visit.RID:.0f} on {visit.EXAMDATE:%Y-%m-%d} "
            f"comes before its visit {visit.VISCODE_before} on {visit.EXAMDATE_before:%Y-%m-%d} "
            f"(row {visit.row_before:.0f}); correct the date or the visit"
        )
    if len(both) > _EXAMPLES:
        problems.add(f"column EXAMDATE: {len(both) - _EXAMPLES} more dates out of order in {_where(both['row'][3:])}")


def _oddities(visits: pd.DataFrame, lines: np.ndarray) -> list[str]:
    """What is odd within subjects, but can be used."""
    found = []
    constant = ["SITE", "DX_bl", *fmt.COLUMNS]
    codes = pd.DataFrame({name: pd.factorize(visits[name])[0] for name in constant}).astype(float)
    by_subject = codes.where(codes >= 0).groupby(visits["RID"].to_numpy())
    several = by_subject.max() > by_subject.min()
    for name in several.columns[several.any()]:
        subjects = several.index[several[name]]
        what = "site" if name == "SITE" else "value"
        found.append(
            f"column {name}: {len(subjects)} subject{'s have' if len(subjects) > 1 else ' has'} more than one {what} "
            f"(RID {_some(subjects)}); the {what} at the earliest visit counts"
        )
    if (empty := visits["DX_bl"].isna().to_numpy()).any():
        found.append(f"column DX_bl, {_where(lines[empty])}: no diagnosis at baseline; such a row tells of none")
    return found


def _where(rows: Iterable[int]) -> str:
    rows = list(rows)
    return f"row{'s' if len(rows) > 1 else ''} {_some(rows)}"


def _some(values: Iterable[int]) -> str:
    """First values, and how many more there are."""
    values = [f"{value:.0f}" for value in values]
    shown, more = values[:_EXAMPLES], len(values) - _EXAMPLES
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
