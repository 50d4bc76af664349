"""The data of a study: its variants and parts, and what a simulation knows to be true of them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from armed.data.clustered import ClusteredData
from armed.errors import DataError, Problems, UnknownNameError, did_you_mean
from armed.files import atomic

TRUTH_COLUMNS = ("variant", "dataset", "part", "cluster", "radius", "ratio")


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

    Raises
    ------
    DataError
        Variants without parts, or names with a slash (they become keys of the file).
    """

    parts: dict[str, dict[str, ClusteredData]]
    truth: pd.DataFrame

    def __post_init__(self) -> None:
        problems = Problems(DataError, "the study's data")
        for variant, parts in self.parts.items():
            if not parts:
                problems.add(f"variant '{variant}' has no parts")
            for name in (variant, *parts):
                if not name or "/" in name:
                    problems.add(f"'{name}' cannot name a variant or part; expected text without a slash")
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
        for variant, parts in self.parts.items():
            for name, data in parts.items():
                for field in fields(ClusteredData):
                    arrays[f"{variant}/{name}/{field.name}"] = _plain(getattr(data, field.name))
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
        truth: dict[str, np.ndarray] = {}
        found: dict[str, dict[str, dict]] = {}
        try:
            # Opened here, as np.load leaves a broken file open.
            with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                for key in file.files:
                    *names, field = key.split("/")
                    if names == ["truth"]:
                        truth[field] = file[key]
                    else:
                        variant, part = names
                        found.setdefault(variant, {}).setdefault(part, {})[field] = file[key]
            parts = {
                variant: {name: _from_arrays(arrays) for name, arrays in parts.items()}
                for variant, parts in found.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path} does not hold a study's data ({error}); delete it and make it again.") from error
        return cls(parts, pd.DataFrame(truth))


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
