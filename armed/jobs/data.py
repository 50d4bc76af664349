"""Jobs that make a study's data and folds."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from armed import registry
from armed.data.splits import Splits, make_splits, stopped_by_test
from armed.data.study import StudyData
from armed.data_checks import check, write_page
from armed.errors import RetrievalError
from armed.files import atomic
from armed.retrieval import Receipt

log = logging.getLogger(__name__)

GROUP = "group"
"""Column of `StudyData.samples` that folds are stratified by."""


def prepare(settings: Mapping, raw: Sequence[Path], out: Path) -> None:
    """Make the data of a study: simulated, or from its raw files.

    Parameters
    ----------
    settings : mapping
        `armed.config.data_settings`.
    raw : sequence of Path
        Raw files, or the receipt (JSON) of files that were retrieved; none for a simulation.
    out : Path
        `StudyData` file to write.

    Raises
    ------
    RetrievalError
        The receipt says that the files could not be had.
    """
    study = registry.study(settings["study"])
    if [path.suffix for path in raw] == [".json"]:
        receipt = Receipt.read(raw[0])
        if receipt.problem:
            raise RetrievalError(receipt.problem)
        raw = [Path(path) for path in receipt.files]
    seeds = settings["seeds"] or [0]  # none has a dataset of its own: all share dataset 0
    registry.load(study.data)(settings["data"], study.id, seeds, raw).save(out)


def check_data(study: str, data: Path, source: str, out: Path) -> None:
    """Check a study's data, and write a page about it.

    Parameters
    ----------
    study : str
    data, out : Path
        `StudyData` file to read, page (HTML) to write.
    source : str
        What data it is (`armed.config.source`).
    """
    findings = check(StudyData.load(data), study, source=source)
    for warning in findings.warnings:
        log.warning("%s", warning)
    write_page(findings, out)


def split(settings: Mapping, data: Path, out: Path) -> None:
    """Make the folds of every variant of a study's data.

    Where each sample's group is known (the PDX of a cell), folds are stratified by group x cluster, else by label x cluster.

    Parameters
    ----------
    settings : mapping
        `armed.config.split_settings`.
    data, out : Path
        `StudyData` file to read, folds (parquet, with a column `variant`) to write.
    """
    fractions = {key: settings[key] for key in ("test_fraction", "validation_fraction")}
    study, frames = StudyData.load(data), []
    for variant, parts in study.parts.items():
        known = study.samples.get(variant, {}).get("seen")
        strata = None if known is None or GROUP not in known else known[GROUP].to_numpy()
        splits = make_splits(
            parts["seen"], settings["seeds"], settings["folds"], settings["study"], **fractions, strata=strata
        )
        frames.append(splits.to_frame().assign(variant=variant))
    with atomic(out) as temporary:
        pd.concat(frames, ignore_index=True).to_parquet(temporary, index=False, compression="zstd")


def read_splits(path: Path, variant: str) -> Splits:
    """Folds of one variant of the data, as results are reported by them."""
    return Splits.from_frame(pd.read_parquet(path, filters=[("variant", "==", variant)]))


def as_trained(splits: Splits, variant: str) -> Splits:
    """The folds as models are trained on them: under the authors' protocol early stopping watches the test rows."""
    return stopped_by_test(splits) if variant == registry.REFERENCE_PROTOCOL else splits
