"""Jobs that make a study's data and folds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from armed import registry
from armed.data.splits import Splits, make_splits
from armed.data.study import StudyData
from armed.files import atomic
from armed.method import Rows


def simulate(settings: Mapping, out: Path) -> None:
    """Make the data of a study.

    Parameters
    ----------
    settings : mapping
        `armed.config.data_settings`.
    out : Path
        `StudyData` file to write.
    """
    study = registry.study(settings["study"])
    seeds = settings["seeds"] or [0]  # none has a dataset of its own: all share dataset 0
    registry.load(study.data)(settings["data"], study.id, seeds).save(out)


def split(settings: Mapping, data: Path, out: Path) -> None:
    """Make the folds of every variant of a study's data.

    Parameters
    ----------
    settings : mapping
        `armed.config.split_settings`.
    data, out : Path
        `StudyData` file to read, folds (parquet, with a column `variant`) to write.
    """
    frames = [
        make_splits(parts["seen"], settings["seeds"], settings["folds"], settings["study"])
        .to_frame()
        .assign(variant=variant)
        for variant, parts in StudyData.load(data).parts.items()
    ]
    with atomic(out) as temporary:
        pd.concat(frames, ignore_index=True).to_parquet(temporary, index=False, compression="zstd")


def read_test_rows(path: Path, variant: str) -> Rows:
    """Test rows of each (seed, fold) of one variant of the data, ascending."""
    chosen = [("variant", "==", variant), ("validation", "==", False)]
    frame = pd.read_parquet(path, columns=["seed", "fold", "row"], filters=chosen).sort_values(["seed", "fold", "row"])
    return {key: rows.to_numpy() for key, rows in frame.groupby(["seed", "fold"])["row"]}


def read_splits(path: Path, variant: str) -> Splits:
    """Folds of one variant of the data."""
    return Splits.from_frame(pd.read_parquet(path, filters=[("variant", "==", variant)]))
