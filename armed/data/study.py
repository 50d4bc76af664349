"""The data of a study: its variants and parts, and what a simulation knows to be true of them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import pandas as pd

from armed.data.clustered import ClusteredData
from armed.errors import DataError, Problems, UnknownNameError, did_you_mean
from armed.files import atomic

TRUTH_COLUMNS = ("variant", "dataset", "part", "cluster", "radius", "ratio")
REMARK_COLUMNS = ("what", "reason", "count")


class Remarks:
    """Collects what reading left out, repaired or chose, so that the data check can tell it."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str, int]] = []

    def add(self, what: str, reason: str, count: int) -> None:
        self.found.append((what, reason, int(count)))

    def frame(self) -> pd.DataFrame:
        """Return the table that `StudyData` takes: columns what, reason, count."""
        rows = pd.DataFrame(self.found, columns=list(REMARK_COLUMNS))
        return rows.astype({"what": "str", "reason": "str", "count": "int64"})


def no_remarks() -> pd.DataFrame:
    """Return a table of remarks without a row."""
    return Remarks().frame()


@dataclass(frozen=True, eq=False)
class StudyData:
    """All data of one study.

    Parameters
    ----------
    parts : dict
        ``parts[variant][name]`` is a `ClusteredData`: variant ``main`` (and others such as ``resampled``),
        names ``seen``, ``unseen``, ``deconfounded``.
    truth : DataFrame
        What is known of each cluster, one row per variant, dataset, part and cluster: `ratio`, the share of class 1,
        and for spirals the `radius`, for MCI conversion the number of subjects `n`. Empty where nothing is known.
    remarks : DataFrame, optional
        What reading left out, repaired or chose: columns `what`, `reason` and `count` (of what is named).

    Raises
    ------
    DataError
        Variants without parts, names with a slash (they become keys of the file), or remarks of other columns.
    """

    parts: dict[str, dict[str, ClusteredData]]
    truth: pd.DataFrame
    remarks: pd.DataFrame = field(default_factory=no_remarks)

    def __post_init__(self) -> None:
        problems = Problems(DataError, "the study's data")
        for variant, parts in self.parts.items():
            if not parts:
                problems.add(f"variant '{variant}' has no parts")
            for name in (variant, *parts):
                if not name or "/" in name:
                    problems.add(f"'{name}' cannot name a variant or part; expected text without a slash")
        if tuple(self.remarks) != REMARK_COLUMNS:
            problems.add(f"remarks have the columns {', '.join(self.remarks)}; expected {', '.join(REMARK_COLUMNS)}")
        problems.raise_if_any()

    def part(self, name: str, variant: str = "main") -> ClusteredData:
        """Return one part of one variant, or raise `UnknownNameError` with the names there are."""
        for kind, wanted, known in (
            ("variant", variant, self.parts),
            ("part", name, self.parts.get(variant, {})),
        ):
            if wanted not in known:
                raise UnknownNameError(
                    f"The study's data has no {kind} '{wanted}'.{did_you_mean(wanted, known)}"
                    f" There are: {', '.join(known)}."
                )
        return self.parts[variant][name]

    def save(self, path: str | Path) -> None:
        """Write one ``.npz`` without pickled objects; it appears only when complete."""
        arrays = {f"truth/{column}": _plain(self.truth[column]) for column in self.truth}
        if len(self.remarks):
            arrays |= {f"remarks/{column}": _plain(self.remarks[column]) for column in self.remarks}
        for variant, parts in self.parts.items():
            for name, data in parts.items():
                for of_data in fields(ClusteredData):
                    arrays[f"{variant}/{name}/{of_data.name}"] = _plain(getattr(data, of_data.name))
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> StudyData:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            The file is not one of `save`.
        """
        tables: dict[str, dict[str, np.ndarray]] = {"truth": {}, "remarks": {}}
        found: dict[str, dict[str, dict]] = {}
        try:
            # Opened here, as np.load leaves a broken file open.
            with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                for key in file.files:
                    *names, last = key.split("/")
                    if len(names) == 1:
                        tables[names[0]][last] = file[key]
                    else:
                        variant, part = names
                        found.setdefault(variant, {}).setdefault(part, {})[last] = file[key]
            parts = {
                variant: {name: _from_arrays(arrays) for name, arrays in parts.items()}
                for variant, parts in found.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path} does not hold a study's data ({error}); delete it and make it again.") from error
        remarks = pd.DataFrame(tables["remarks"]) if tables["remarks"] else no_remarks()
        return cls(parts, pd.DataFrame(tables["truth"]), remarks)


def is_probe(feature: str) -> bool:
    """Whether a feature is a probe: it predicts the label only through the cluster."""
    return feature.lower().startswith("probe")


def _plain(values: object) -> np.ndarray:
    """As an array that needs no pickle: text and tuples of text as fixed-width strings."""
    array = np.asarray(values)
    if array.dtype.kind == "O" or isinstance(values, tuple):
        return array.astype(np.str_)
    return array


def _from_arrays(arrays: dict[str, np.ndarray]) -> ClusteredData:
    arrays = dict(arrays)
    arrays["feature_names"] = tuple(str(name) for name in arrays["feature_names"])
    arrays["allow_missing"] = bool(arrays["allow_missing"])
    return ClusteredData(**arrays)
