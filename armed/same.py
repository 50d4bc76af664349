"""Whether two files of results, or two folders of them, hold the same, and how far their numbers are apart."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from armed.files import sha256

IDENTICAL, DIFFERENT, MISSING = "identical", "different", "missing"
OF_THE_MACHINE = ("logs", "timings", "checkpoints", "checksums", "reliability")
"""Folders of results whose files tell of time and machine."""
OF_TIME = ("seconds", "wall_seconds", "finished", "environment", "torch", "compiled_steps")
"""Entries of a record that are not of its numbers."""
_TABLES_OF_TIME = ("What was run, by study", "Date, commit, machine", "Versions")


class Comparison(NamedTuple):
    """Of two files.

    Attributes
    ----------
    outcome : {"identical", "different", "missing"}
        Identical are files of the same bytes; records and the report: apart from what tells of time and machine.
    largest : float
        Largest difference between numbers; NaN where there are none, infinite where the files are not of one shape.
    """

    outcome: str
    largest: float = math.nan


def digest(path: str | Path) -> str:
    """SHA-256 of a file; of a folder that of its files' names and digests.

    Parameters
    ----------
    path : path

    Returns
    -------
    str
        Hexadecimal.
    """
    path = Path(path)
    if path.is_file():
        return sha256(path)
    told = [f"{file.relative_to(path).as_posix()} {digest(file)}\n" for file in files(path)]
    return hashlib.sha256("".join(told).encode()).hexdigest()


def files(folder: Path) -> list[Path]:
    """All files below a folder, without hidden ones, in the order of their names."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def compare_folders(one: Path, other: Path) -> pd.DataFrame:
    """Compare all files of two results folders but those of the machine.

    Parameters
    ----------
    one, other : Path

    Returns
    -------
    pandas.DataFrame
        file, outcome, largest: one row for each file of either folder.
    """
    names = sorted({name for folder in (one, other) for name in _names(folder)})
    return pd.DataFrame(
        [(name, *compare_files(one / name, other / name)) for name in names], columns=["file", "outcome", "largest"]
    )


def _names(folder: Path) -> Iterator[str]:
    for path in files(folder):
        name = path.relative_to(folder)
        if name.parts[0] not in OF_THE_MACHINE:
            yield name.as_posix()


def compare_files(one: Path, other: Path) -> Comparison:
    """Compare two files of one kind.

    Parameters
    ----------
    one, other : Path

    Returns
    -------
    Comparison
    """
    if not (one.is_file() and other.is_file()):
        return Comparison(MISSING)
    if one.read_bytes() == other.read_bytes():
        return Comparison(IDENTICAL, 0.0)
    if one.suffix in (".json", ".html"):
        same = _text_of_results(one) == _text_of_results(other)
        return Comparison(IDENTICAL, 0.0) if same else Comparison(DIFFERENT)
    if one.suffix not in (".tsv", ".parquet", ".npz", ".pt"):
        return Comparison(DIFFERENT)
    mine, theirs = _arrays(one), _arrays(other)
    shapes = [{name: value.shape for name, value in arrays.items()} for arrays in (mine, theirs)]
    if shapes[0] != shapes[1]:
        return Comparison(DIFFERENT, math.inf)
    return Comparison(DIFFERENT, max((_apart(mine[name], theirs[name]) for name in mine), default=math.nan))


def _text_of_results(path: Path) -> object:
    """What a record or a page tells of results."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        told = json.loads(text)
        return {k: v for k, v in told.items() if k not in OF_TIME} if isinstance(told, dict) else told
    for caption in _TABLES_OF_TIME:
        text = re.sub(f"<caption>{caption}</caption>.*?</table>", "", text, flags=re.DOTALL)
    return text


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """All columns or arrays of a file."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    if path.suffix == ".pt":
        from armed import torch_files  # a second to import, and only weights need it

        return {name: value.numpy() for name, value in torch_files.read(path, "cpu").items()}
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, sep="\t", keep_default_na=False)
    return {str(name): frame[name].to_numpy() for name in frame}


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference, relative to numbers above 1; infinite where text differs or only one is no number."""
    numbers = [pd.to_numeric(pd.Series(a.ravel()), errors="coerce").to_numpy(float) for a in (one, other)]
    text = np.isnan(numbers[0]) | np.isnan(numbers[1])
    if (one.ravel()[text].astype(str) != other.ravel()[text].astype(str)).any():
        return math.inf
    with np.errstate(invalid="ignore"):
        apart = np.abs(numbers[0] - numbers[1]) / np.maximum(1, np.abs(numbers[1]))
    equal = numbers[0] == numbers[1]  # infinities
    return float(np.max(np.where(equal | text, 0.0, apart), initial=0.0))
