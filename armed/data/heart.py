"""Heart disease in four hospitals: the open clinical study (UCI; Janosi, Steinbrunn, Pfisterer, Detrano 1988).

Patients sent to coronary angiography in Cleveland, Hungary, Switzerland and Long Beach; the label is whether a vessel
was found narrowed by more than half. Cluster = hospital, and each hospital is once the unseen cluster. Not in the paper.

What the files hide:

- A cholesterol or resting blood pressure of 0 is a value not measured (cholesterol: all of Switzerland, a quarter of
  Long Beach; blood pressure: one patient). Negative ST depressions are elevations, and stay.
- Coloured vessels, thallium scan and ST slope are hardly known outside Cleveland. They are kept: their gaps are filled
  inside each fold by its training mean. A filled value tells nothing of the patient, but as the constant that a hospital's
  patients share it tells the hospital.
- Two patients stand twice in their hospital's file, value by value. The first is kept: as two patients they could
  come into training and test of one fold. (Two patients who agree in all values by chance lose one.)
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from armed.data.clustered import ClusteredData
from armed.data.study import StudyData
from armed.errors import DataError, Problems, did_you_mean

logger = logging.getLogger(__name__)

HOSPITALS = {
    "processed.cleveland.data": "Cleveland",
    "processed.hungarian.data": "Hungary",
    "processed.switzerland.data": "Switzerland",
    "processed.va.data": "VA Long Beach",
}
"""Files and the clusters that they hold."""
VARIANTS = tuple(f"main@{hospital}" for hospital in HOSPITALS.values())
"""Variants of the data, named after the unseen hospital."""

COLUMNS = (
    *("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach"),
    *("exang", "oldpeak", "slope", "ca", "thal", "num"),
)
"""Columns of the files, which have no header."""
LABEL = "num"
"""0 = no disease, 1 to 4 = disease."""
MISSING = "?"
CODES: dict[str, tuple[int, ...]] = {
    "sex": (0, 1),
    "cp": (1, 2, 3, 4),
    "fbs": (0, 1),
    "restecg": (0, 1, 2),
    "exang": (0, 1),
    "slope": (1, 2, 3),
    "ca": (0, 1, 2, 3),
    "thal": (3, 6, 7),
    "num": (0, 1, 2, 3, 4),
}
ABOVE_ZERO = ("age", "thalach")
ZERO_IS_MISSING = ("trestbps", "chol")

FEATURES: dict[str, str] = {
    "age": "Age",
    "sex": "Male",
    "trestbps": "Resting blood pressure",
    "chol": "Cholesterol",
    "fbs": "High fasting blood sugar",
    "thalach": "Maximum heart rate",
    "exang": "Exercise-induced angina",
    "oldpeak": "ST depression",
    "ca": "Coloured vessels",
}
"""Columns that are features as they are (years, 0/1, mm Hg, mg/dl, beats per minute, mm, a count), and their names."""
LEVELS: dict[str, dict[int, str]] = {
    "cp": {1: "Chest pain: typical angina", 2: "Chest pain: atypical angina", 3: "Chest pain: not anginal"},
    "restecg": {1: "ECG: ST-T abnormality", 2: "ECG: ventricular hypertrophy"},
    "slope": {1: "ST slope: up", 3: "ST slope: down"},
    "thal": {6: "Thallium: fixed defect", 7: "Thallium: reversible defect"},
}
"""Indicator features. The code left out is the reference, always the same: cp 4 (no pain) and slope 2 (flat) are the most
frequent, restecg 0 and thal 3 are normal."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")
_SHOWN = 5  # rows told of one column


def make(settings: Mapping, study: str, seeds: Sequence[int], raw: Sequence[Path]) -> StudyData:
    """Make the study's data from its four files.

    Parameters
    ----------
    settings : mapping
        The study's `data:` block. Nothing of it is used: what the files mean is not a matter of choice.
    study : str
        Id of the study; not used.
    seeds : sequence of int
        Not used: all seeds share the one dataset.
    raw : sequence of Path
        The files, in any order; `HOSPITALS` says which hospital each is of.

    Returns
    -------
    StudyData
        One variant for each hospital, `VARIANTS`: part ``unseen`` is that hospital, part ``seen`` the other three. X,
        shape (n, 18), holds NaN where a value is missing, in all indicators of a category that is missing. `truth` has
        `n` and `ratio`, patients and the share with the disease, by variant, part and cluster.

    Raises
    ------
    DataError
        With all problems of the files, by row and column; see `read`.
    """
    patients, dropped = read(raw)
    for row in dropped.itertuples():
        logger.info("patient %s left out: %s", row.sample_id, row.reason)
    data = _clustered(patients)
    parts, truth = {}, []
    for variant, hospital in zip(VARIANTS, HOSPITALS.values(), strict=True):
        is_unseen = data.clusters == hospital
        parts[variant] = {
            "seen": data.take(np.flatnonzero(~is_unseen)),
            "unseen": data.take(np.flatnonzero(is_unseen)),
        }
        for name, part in parts[variant].items():
            for cluster in (c for c in HOSPITALS.values() if c in part.levels):
                y = part.y[part.clusters == cluster]
                truth.append((variant, 0, name, cluster, len(y), float(y.mean())))
    return StudyData(parts, pd.DataFrame(truth, columns=["variant", "dataset", "part", "cluster", "n", "ratio"]))


def read(raw: Sequence[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read and check the four files.

    Parameters
    ----------
    raw : sequence of Path
        The files, in any order, under their own names.

    Returns
    -------
    patients : DataFrame
        `sample_id` ("<hospital>-<line of the file>"), `cluster`, and `COLUMNS` as floats, NaN where missing.
    dropped : DataFrame
        Patients left out: `sample_id`, `cluster`, `reason`.

    Raises
    ------
    DataError
        With all problems: files that are absent, unknown or unreadable, rows of another length, and values that are
        neither numbers nor among the documented codes.
    """
    problems = Problems(DataError, "the heart disease files")
    found = _by_hospital(raw, problems)
    frames = [_read_file(path, hospital, problems) for hospital, path in found.items()]
    problems.raise_if_any()
    patients = pd.concat(frames, ignore_index=True)
    for column in ZERO_IS_MISSING:
        patients.loc[patients[column] == 0, column] = np.nan
    values = ["cluster", *COLUMNS]
    first = patients.groupby(values, dropna=False, sort=False)["sample_id"].transform("first")
    is_again = patients["sample_id"] != first
    dropped = patients.loc[is_again, ["sample_id", "cluster"]].assign(
        reason="the same as " + first[is_again] + f" in all {len(COLUMNS)} columns"
    )
    return patients[~is_again].reset_index(drop=True), dropped.reset_index(drop=True)


def features(patients: pd.DataFrame) -> pd.DataFrame:
    """Return the 18 features, in the order of the files' columns, from the patients that `read` gives."""
    made = {}
    for column in COLUMNS[:-1]:
        values = patients[column]
        if column in FEATURES:
            made[FEATURES[column]] = values
        for code, name in LEVELS.get(column, {}).items():
            made[name] = (values == code).astype(np.float64).where(values.notna())
    return pd.DataFrame(made)


def _clustered(patients: pd.DataFrame) -> ClusteredData:
    table = features(patients)
    return ClusteredData(
        X=table.to_numpy(),
        y=(patients[LABEL] > 0).to_numpy().astype(np.int64),
        clusters=patients["cluster"].to_numpy(),
        sample_id=patients["sample_id"].to_numpy(),
        feature_names=tuple(table.columns),
        allow_missing=True,
    )


def _by_hospital(raw: Sequence[Path], problems: Problems) -> dict[str, Path]:
    """Hospitals, in the order of `HOSPITALS`, and their files."""
    found: dict[str, Path] = {}
    for path in map(Path, raw):
        if path.name not in HOSPITALS:
            known = ", ".join(HOSPITALS)
            problems.add(f"{path} is none of its files: {known}.{did_you_mean(path.name, HOSPITALS)}")
        elif path.name in found:
            problems.add(f"{path.name} is given twice: {found[path.name]} and {path}; give one")
        else:
            found[path.name] = path
    if absent := [f"{name} ({hospital})" for name, hospital in HOSPITALS.items() if name not in found]:
        problems.add(
            f"not given: {', '.join(absent)}; each hospital is once the unseen cluster, so all four are needed"
        )
    return {hospital: found[name] for name, hospital in HOSPITALS.items() if name in found}


def _read_file(path: Path, hospital: str, problems: Problems) -> pd.DataFrame:
    """Patients of one file as they stand there; what cannot be read is added to the problems."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problems.add(f"{path} cannot be read: {error}")
        text = None
    lines = [] if text is None else text.split("\n")
    rows = {i: [cell.strip() for cell in line.split(",")] for i, line in enumerate(lines, 1) if line.strip()}
    if text is not None and not rows:
        problems.add(f"{path.name} has no rows")
    odd = [f"row {i} has {len(cells)}" for i, cells in rows.items() if len(cells) != len(COLUMNS)]
    if odd:
        problems.add(f"{path.name}: {_listed(odd)} values; expected {len(COLUMNS)}: {','.join(COLUMNS)}")
    rows = {i: cells for i, cells in rows.items() if len(cells) == len(COLUMNS)}
    table = {"sample_id": [f"{hospital}-{i}" for i in rows], "cluster": hospital}
    for j, column in enumerate(COLUMNS):
        cells = {i: row[j] for i, row in rows.items()}
        values = [_value(cell, column) for cell in cells.values()]
        wrong = [
            f"'{cell}' in row {i}" for (i, cell), value in zip(cells.items(), values, strict=True) if value is None
        ]
        if wrong:
            problems.add(f"{path.name}, column {j + 1} ({column}): {_listed(wrong)}; expected {_expected(column)}")
        table[column] = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return pd.DataFrame(table)


def _value(cell: str, column: str) -> float | None:
    """Value of a cell, NaN where missing, None where it cannot be."""
    if cell == MISSING:
        return None if column == LABEL else np.nan
    if not _NUMBER.fullmatch(cell):
        return None
    value = float(cell)
    if column in CODES:
        is_valid = value in CODES[column]
    elif column in ABOVE_ZERO:
        is_valid = value > 0
    else:
        is_valid = value >= 0 or column not in ZERO_IS_MISSING
    return value if is_valid else None


def _expected(column: str) -> str:
    if column == LABEL:
        return f"{', '.join(map(str, CODES[column]))}; patients without a label must be left out"
    if column in CODES:
        kind = ", ".join(map(str, CODES[column]))
    elif column in ABOVE_ZERO:
        kind = "a number above 0"
    else:
        kind = "a number of at least 0" if column in ZERO_IS_MISSING else "a number"
    return f"{kind}, or {MISSING} where missing (-9 marks that in the unprocessed files: take the processed ones)"


def _listed(found: list[str]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more
