"""The data of a study: its variants and parts, and what a simulation knows to be true of them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import pandas as pd

from armed.data.arrays import read_arrays, write_arrays
from armed.data.clustered import ClusteredData
from armed.errors import DataError, Problems, UnknownNameError, did_you_mean
from armed.files import atomic

TRUTH_COLUMNS = ("variant", "dataset", "part", "cluster", "radius", "ratio")
REMARK_COLUMNS = ("what", "reason", "count")
REGION = "region"
"""Name in the file of a part's array of `StudyData.regions`."""
SAMPLES = "samples:"
"""Begins the name in the file of each column of a part of `StudyData.samples`."""
FEATURE_TRUTH_COLUMNS = ("dataset", "feature", "coefficient", "slope_sd", "predictive")


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


def no_feature_truth() -> pd.DataFrame:
    """Return a table of true effects without a row."""
    return pd.DataFrame(columns=list(FEATURE_TRUTH_COLUMNS))


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
        and for spirals the `radius`, for MCI conversion the number of subjects `n` and, of a stand-in, the true
        `intercept`. Empty where nothing is known.
    remarks : DataFrame, optional
        What reading left out, repaired or chose: columns `what`, `reason` and `count` (of what is named).
    feature_truth : DataFrame, optional
        What a generator knows of each feature (`FEATURE_TRUTH_COLUMNS`), by dataset: its univariate coefficient, the s.d. of
        its slope over clusters, and whether it has information of its own.
    regions : dict, optional
        ``regions[variant][name]``, (n, height, width), of parts of images: where in each image of the part a stand-in's
        label changes it. Bool, or 0 and 1 of another type, which becomes bool. Parts of which that is not known are absent.
    samples : dict, optional
        ``samples[variant][name]`` is a table of what else is known of each sample of the part, in the order of its rows:
        columns of text, numbers or bool, such as the `group` (PDX) and `frame` of an image; index 0..n-1. Parts without are
        absent. Folds are stratified by a column `group` (`armed.jobs.data.split`).

    Raises
    ------
    DataError
        Variants without parts, names with a slash (they become keys of the file), tables of other columns, regions that do
        not fit the images of a part, or tables of samples that do not fit the rows of a part.
    """

    parts: dict[str, dict[str, ClusteredData]]
    truth: pd.DataFrame
    remarks: pd.DataFrame = field(default_factory=no_remarks)
    feature_truth: pd.DataFrame = field(default_factory=no_feature_truth)
    regions: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    samples: dict[str, dict[str, pd.DataFrame]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = Problems(DataError, "the study's data")
        for variant, parts in self.parts.items():
            if not parts:
                problems.add(f"variant '{variant}' has no parts")
            for name in (variant, *parts):
                if not name or "/" in name:
                    problems.add(f"'{name}' cannot name a variant or part; expected text without a slash")
        for name, expected in (("remarks", REMARK_COLUMNS), ("feature_truth", FEATURE_TRUTH_COLUMNS)):
            if tuple(found := getattr(self, name)) != expected:
                problems.add(f"{name} has the columns {', '.join(found)}; expected {', '.join(expected)}")
        for variant, regions in self.regions.items():
            for name, of_part in regions.items():
                _check_region(of_part, self.parts.get(variant, {}).get(name), f"{variant}/{name}", problems)
        for variant, tables in self.samples.items():
            for name, table in tables.items():
                _check_samples(table, self.parts.get(variant, {}).get(name), f"{variant}/{name}", problems)
        problems.raise_if_any()
        as_bool = {
            v: {n: np.asarray(r).astype(bool, copy=False) for n, r in rs.items()} for v, rs in self.regions.items()
        }
        object.__setattr__(self, "regions", as_bool)
        plain = {v: {n: _plain_table(t) for n, t in tables.items()} for v, tables in self.samples.items()}
        object.__setattr__(self, "samples", plain)

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
        """Write one ``.npz`` without pickled objects; it appears only when complete.

        Images (bytes) are stored as they are, so that `load` can map them; all else is compressed.
        """
        arrays = {f"truth/{column}": _plain(self.truth[column]) for column in self.truth}
        for name in ("remarks", "feature_truth"):
            if len(frame := getattr(self, name)):
                arrays |= {f"{name}/{column}": _plain(frame[column]) for column in frame}
        for variant, parts in self.parts.items():
            for name, data in parts.items():
                for of_data in fields(ClusteredData):
                    arrays[f"{variant}/{name}/{of_data.name}"] = _plain(getattr(data, of_data.name))
        for variant, regions in self.regions.items():
            arrays |= {f"{variant}/{name}/{REGION}": region.view(np.uint8) for name, region in regions.items()}
        for variant, of_parts in self.samples.items():
            for name, table in of_parts.items():
                arrays |= {f"{variant}/{name}/{SAMPLES}{column}": _plain(table[column]) for column in table}
        with atomic(path) as temporary, temporary.open("wb") as file:
            write_arrays(file, arrays)

    @classmethod
    def load(cls, path: str | Path) -> StudyData:
        """Read what `save` wrote.

        Images and their regions are mapped from the file, not read: they take no memory until they are looked at.

        Raises
        ------
        DataError
            The file is not one of `save`.
        """
        tables: dict[str, dict[str, np.ndarray]] = {"truth": {}, "remarks": {}, "feature_truth": {}}
        found: dict[str, dict[str, dict]] = {}
        regions: dict[str, dict[str, np.ndarray]] = {}
        samples: dict[str, dict[str, dict]] = {}
        try:
            for key, array in read_arrays(path).items():
                *names, last = key.split("/")
                if len(names) == 1:
                    tables[names[0]][last] = array
                elif last == REGION:
                    regions.setdefault(names[0], {})[names[1]] = array.view(bool)
                elif last.startswith(SAMPLES):
                    of_part = samples.setdefault(names[0], {}).setdefault(names[1], {})
                    of_part[last.removeprefix(SAMPLES)] = array
                else:
                    variant, part = names
                    found.setdefault(variant, {}).setdefault(part, {})[last] = array
            parts = {
                variant: {name: _from_arrays(arrays) for name, arrays in parts.items()}
                for variant, parts in found.items()
            }
        except (ValueError, LookupError, TypeError, AttributeError, EOFError, MemoryError, zipfile.BadZipFile) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path} does not hold a study's data ({error}); delete it and make it again.") from error
        remarks = pd.DataFrame(tables["remarks"]) if tables["remarks"] else no_remarks()
        features = pd.DataFrame(tables["feature_truth"]) if tables["feature_truth"] else no_feature_truth()
        of_samples = {v: {n: pd.DataFrame(columns) for n, columns in of.items()} for v, of in samples.items()}
        return cls(parts, pd.DataFrame(tables["truth"]), remarks, features, regions, of_samples)


def read_truth(path: str | Path) -> pd.DataFrame:
    """Read `StudyData.truth` alone from a file of `StudyData.save`."""
    with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        return pd.DataFrame({n.removeprefix("truth/"): file[n] for n in file.files if n.startswith("truth/")})


def is_probe(feature: str) -> bool:
    """Whether a feature is a probe: it predicts the label only through the cluster."""
    return feature.lower().startswith("probe")


def _check_region(region: np.ndarray, data: ClusteredData | None, name: str, problems: Problems) -> None:
    shape, dtype = np.shape(region), np.asarray(region).dtype
    if data is None:
        problems.add(f"there are regions of {name}, which is no part of the data")
    elif data.X.ndim < 3 or shape != (len(data), *data.X.shape[-2:]):
        problems.add(f"the regions of {name} have shape {shape}; expected one for each of its images {data.X.shape}")
    elif dtype.kind not in "bu":
        problems.add(f"the regions of {name} are of type {dtype}; expected bool, or 0 and 1 as uint8")


def _check_samples(table: pd.DataFrame, data: ClusteredData | None, name: str, problems: Problems) -> None:
    if data is None:
        problems.add(f"there is a table of samples of {name}, which is no part of the data")
        return
    if len(table) != len(data) or not len(table.columns):
        problems.add(
            f"the table of samples of {name} has {len(table)} rows and {len(table.columns)} columns; expected a row for"
            f" each of its {len(data)} samples, and a column or more"
        )
    for column in table:
        if not isinstance(column, str) or not column or "/" in column or list(table.columns).count(column) > 1:
            problems.add(
                f"the table of samples of {name} has a column '{column}'; expected text without a slash, each once"
            )
        elif (dtype := _plain(table[column]).dtype).kind not in "biufU":
            problems.add(f"column '{column}' of the samples of {name} is of type {dtype}; expected text or numbers")


def _plain_table(table: pd.DataFrame) -> pd.DataFrame:
    """With columns as they come back from a file, and its index 0..n-1."""
    return pd.DataFrame({column: _plain(table[column]) for column in table})


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
