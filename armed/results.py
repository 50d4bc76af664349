"""The only writer and reader of result tables.

Tables are tidy, long and tab-separated (predictions and draws: parquet), with fixed columns, dtypes, vocabulary and a
unique key (`armed.schemas`). They appear under their name only when complete (`armed.files`).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from armed import registry
from armed.errors import DataError, Problems, did_you_mean
from armed.files import atomic
from armed.schemas import INTEGER, PARQUET, REAL, TABLES, TEXT, VOCABULARY, Table, table

_MAY_BE_EMPTY = ("note", "feature")
_BREAKS = re.compile(r"[\t\r\n]")


def validate(
    table_name: str, frame: pd.DataFrame, *, studies: Iterable[str] = (), models: Iterable[str] = ()
) -> pd.DataFrame:
    """Check a table against its schema, all problems at once.

    Parameters
    ----------
    table_name : str
        One of `TABLES`.
    frame : pandas.DataFrame
        Columns in any order.
    studies, models : iterable of str
        Names that the user's config declares, beside the registry's.

    Returns
    -------
    pandas.DataFrame
        The table with columns in order and of the right dtypes (str, int64, float64; predictions and draws as
        `read` gives them).

    Raises
    ------
    DataError
        Columns missing or not of the schema, wrong dtypes, names outside the vocabulary, an undefined value
        without a reason in ``note``, infinite values, rows whose key is not unique.
    """
    names = {"study": (*registry.STUDIES, *studies)}
    names |= {c: (*registry.MODELS, *models) for c in ("model", "reference")}
    return _checked(table_name, frame, names, f"table '{table_name}'")


def write(
    table_name: str,
    frame: pd.DataFrame,
    path: str | Path,
    *,
    studies: Iterable[str] = (),
    models: Iterable[str] = (),
) -> None:
    """Validate a table (see `validate`) and write it: tab-separated, or parquet (`schemas.PARQUET`); atomically."""
    frame = validate(table_name, frame, studies=studies, models=models)
    with atomic(path) as temporary:
        if table_name in PARQUET:
            frame.to_parquet(temporary, engine="pyarrow", index=False, compression="zstd", write_page_checksum=True)
        else:
            frame.to_csv(temporary, sep="\t", index=False, na_rep="NaN", lineterminator="\n")


def concatenate(table_name: str, parts: Iterable[str | Path], path: str | Path) -> None:
    """Put files that `write` wrote one below the other, line by line as they are; atomically.

    Rows are not checked again: they were when written, and are when the table is read.

    Raises
    ------
    DataError
        The columns of some parts are not those of the table.
    """
    header = "\t".join(table(table_name).columns).encode() + b"\n"
    problems = Problems(DataError, f"the parts of table '{table_name}'")
    with atomic(path) as temporary, temporary.open("wb") as out:
        out.write(header)
        for part in parts:
            with Path(part).open("rb") as rows:
                if (found := rows.readline()) != header:
                    columns = ", ".join(found.decode(errors="replace").split())
                    problems.add(f"{part} has the columns {columns}; expected {', '.join(header.decode().split())}")
                shutil.copyfileobj(rows, out)
        problems.raise_if_any()


def read(table_name: str, path: str | Path) -> pd.DataFrame:
    """Read a table that `write` wrote.

    Parameters
    ----------
    table_name : str
        One of `TABLES`.
    path : path
        File.

    Returns
    -------
    pandas.DataFrame
        As `validate` returns it; text of predictions and draws is categorical. A cluster called "NA" or "nan" stays
        that text.

    Raises
    ------
    DataError
        The file is damaged, or does not fit the schema. Names of studies and models are not checked here: the reader cannot
        know which ones the writing run's config declared.
    """
    schema = table(table_name)
    try:
        frame = _parsed(table_name, schema, path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # of pyarrow and pandas, and of bytes that are no text
        raise DataError(f"{path} is damaged ({str(error).strip()}): delete it, and make it again.") from error
    return _checked(table_name, frame, {}, str(path))


def _parsed(table_name: str, schema: Table, path: str | Path) -> pd.DataFrame:
    """The file as a table, before it is held against its schema."""
    if table_name in PARQUET:
        # Text as codes of distinct words: a file of a kilobyte can repeat a long word a million times.
        words = [column for column, kind in schema.columns.items() if kind == TEXT]
        return pd.read_parquet(path, engine="pyarrow", read_dictionary=words, page_checksum_verification=True)
    undefined = {c: ["NaN", "nan", ""] for c, kind in schema.columns.items() if kind == REAL}
    text = {c: "str" for c, kind in schema.columns.items() if kind == TEXT}
    return pd.read_csv(
        path,
        sep="\t",
        dtype=text,
        keep_default_na=False,
        na_values=undefined,
    )


def empty(table_name: str) -> pd.DataFrame:
    """Return a table without rows, of the right columns and dtypes."""
    return validate(table_name, pd.DataFrame(columns=list(table(table_name).columns)))


def prediction_columns(n_classes: int = 2) -> list[str]:
    """Columns of a predictions file: ``fixed``, ``mixed``, or for K > 2 classes ``fixed_0 .. mixed_{K-1}``."""
    base = [c for c in TABLES["predictions"].columns if c not in ("fixed", "mixed")]
    if n_classes <= 2:
        return [*base, "fixed", "mixed"]
    return [*base, *(f"{output}_{k}" for output in ("fixed", "mixed") for k in range(n_classes))]


def outputs(frame: pd.DataFrame, output: str = "mixed") -> np.ndarray:
    """Logits (or means) of a predictions frame as float64 (n,), or (n, K) for K > 2 classes."""
    if output in frame.columns:
        return frame[output].to_numpy(np.float64)
    n_classes = sum(c.startswith(f"{output}_") for c in frame.columns)
    return frame[[f"{output}_{k}" for k in range(n_classes)]].to_numpy(np.float64)


def _checked(name: str, frame: pd.DataFrame, names: Mapping, where: str) -> pd.DataFrame:
    schema = table(name)
    columns = dict(schema.columns)
    if name == "predictions":
        classes = sum(str(c).startswith("mixed_") for c in frame.columns)
        columns = {c: columns.get(c, REAL) for c in prediction_columns(classes)}
    problems = Problems(DataError, where)
    _check_columns(frame, columns, problems)
    problems.raise_if_any()
    typed = {c: _typed(frame[c], kind, c in schema.complete, problems) for c, kind in columns.items()}
    allowed = {**VOCABULARY, **schema.vocabulary, **names}
    for column in columns.keys() & allowed.keys():
        _check_vocabulary(typed[column], allowed[column], problems)
    frame = pd.DataFrame(typed, columns=list(columns), index=pd.RangeIndex(len(frame)))
    if {"value", "note"} <= columns.keys():
        unexplained = int((frame["value"].isna() & (frame["note"] == "")).sum())
        if unexplained:
            problems.add(f"{unexplained} rows have value NaN and an empty note: say there why")
    _check_key(frame, schema.key, problems)
    problems.raise_if_any()
    small = {INTEGER: "int32"} if name in PARQUET else {TEXT: "str"}
    if name == "predictions":
        small[REAL] = "float32"
    return frame.astype({c: small[kind] for c, kind in columns.items() if kind in small})


def _check_columns(frame: pd.DataFrame, columns: Mapping[str, str], problems: Problems) -> None:
    given = [str(c) for c in frame.columns]
    for column in columns:
        if column not in given:
            problems.add(f"column '{column}' is missing")
    for column in dict.fromkeys(given):
        if column not in columns:
            problems.add(
                f"column '{column}' is not in the schema.{did_you_mean(column, columns)}"
                f" Columns are: {', '.join(columns)}"
            )
        elif given.count(column) > 1:
            problems.add(f"column '{column}' is there {given.count(column)} times")


def _typed(column: pd.Series, kind: str, complete: bool, problems: Problems) -> pd.Series:
    """The column in its dtype; what cannot be is a problem (and the column then comes back as it is)."""
    column = column.reset_index(drop=True)
    if kind == TEXT:
        return _text(column, problems)
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    strange = numbers.isna() & column.notna()
    if kind == INTEGER:
        strange = ~np.isfinite(numbers) | (numbers % 1 != 0)
    if strange.any():
        problems.add(f"column '{column.name}' must be {kind}, and holds '{column[strange].iloc[0]}'")
        return column
    if kind == INTEGER:
        return pd.to_numeric(column).astype("int64")
    if np.isinf(numbers).any():
        problems.add(f"column '{column.name}' has {int(np.isinf(numbers).sum())} infinite values")
    if complete and numbers.isna().any():
        problems.add(f"column '{column.name}' has {int(numbers.isna().sum())} NaN values, and may have none")
    return numbers


def _text(column: pd.Series, problems: Problems) -> pd.Series:
    """The column as categories, sorted: few distinct values in many rows are quicker to check than the rows."""
    if column.isna().any():
        problems.add(f"column '{column.name}' has {int(column.isna().sum())} missing values; it is text")
        return column
    codes, distinct = pd.factorize(column)
    words = [str(word) for word in distinct]
    if column.name == "note":
        words = [" ".join(word.split()) for word in words]
    if column.name not in _MAY_BE_EMPTY and "" in words:
        problems.add(f"column '{column.name}' has empty text")
    broken = [word for word in words if _BREAKS.search(word)]
    if broken:
        problems.add(f"column '{column.name}' holds a tab or line break: {broken[0]!r}")
    lexicon, position = np.unique(np.array(words, dtype=np.str_), return_inverse=True)
    return pd.Series(pd.Categorical.from_codes(position[codes], pd.Index(lexicon, dtype="str")), name=column.name)


def _check_vocabulary(column: pd.Series, allowed: Iterable[str], problems: Problems) -> None:
    allowed = list(dict.fromkeys(allowed))
    for value in pd.unique(column):
        if value not in allowed and not pd.isna(value):
            problems.add(
                f"column '{column.name}': '{value}' is not known.{did_you_mean(value, allowed)}"
                f" Known: {', '.join(allowed)}"
            )


def _check_key(frame: pd.DataFrame, key: tuple[str, ...], problems: Problems) -> None:
    repeated = frame.duplicated(list(key))
    if repeated.any():
        first = frame.loc[repeated.idxmax(), list(key)].to_dict()
        shown = ", ".join(f"{k}={v}" for k, v in first.items())
        problems.add(f"{int(repeated.sum())} rows repeat the key of another ({', '.join(key)}); the first: {shown}")
