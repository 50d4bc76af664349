"""The job that cuts slices from volumes: checks all of them first, lists those it cannot read, and shows all slices by site."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from armed.data.ad_diagnosis import DIAGNOSES, included, seen_sites
from armed.data.brain_volumes import VolumeTree, read_rejected, read_tree
from armed.data.slice_statistics import STATISTICS, by_site
from armed.data.study import Remarks
from armed.errors import DataError, Problems, did_you_mean, listed
from armed.files import atomic
from armed.jobs.slices_page import write_page, write_sheets
from armed.jobs.volume_cuts import OK, Outcome, Volume, check_and_cut, each, register_and_cut

log = logging.getLogger(__name__)

REGISTRATIONS = ("none", "affine")
REJECTED = "rejected"
SMALLEST = 16  # pixels
COLUMNS = (
    *("sample_id", "subject", "session", "site", "diagnosis", "scanner", "age", "sex", "status", "reason", "row"),
    *("point_row", "point_column", "similarity", *STATISTICS),
)
"""Columns of slices.tsv: `row` is the position in images.npy (-1 where there is no slice), the point is the hippocampal one in
pixels, `similarity` is the registration's correlation with the template."""


def cut_slices(
    settings: Mapping, tree: Path, rejected: Path | None, out: Path, *, processes: int, checkpoints: Path
) -> None:
    """Cut a slice from each volume of a tree.

    All volumes are checked before anything is written. A file that cannot be read, and a volume that cannot be registered,
    does not end the run of the others: it is listed with its reason.

    Parameters
    ----------
    settings : mapping
        `image_size` (pixels), `registration`: ``none`` for volumes in MNI space, ``affine`` for others, and, where the
        choice of seen sites is to be checked with all else, `seen` (see `armed.data.ad_diagnosis.seen_sites`).
    tree : Path
        Folder that `armed.data.brain_volumes.read_tree` reads.
    rejected : Path or None
        List of the sessions a person rejected.
    out : Path
        Folder to write, which appears only when complete: ``images.npy`` (n, size, size) uint8, ``regions.npy`` (the same,
        bool) where the tree has masks, ``slices.tsv`` (`COLUMNS`, sorted by sample_id), ``sites.tsv``
        (`slice_statistics.by_site`), ``sheets/<site>.png`` and ``index.html``.
    processes : int
        Volumes worked on at once; no result depends on it.
    checkpoints : Path
        Folder that keeps the affines found, so that a job that was killed goes on.

    Raises
    ------
    DataError
        With all problems of the settings, the table, the files and the volumes.
    """
    size, registration = settings["image_size"], settings["registration"]
    problems = Problems(DataError, f"the volumes in {tree}")
    _check_settings(settings, processes, problems)
    reasons = read_rejected(rejected)
    volumes = read_tree(tree, reasons, problems)
    used = volumes.table[~volumes.table["rejected"]]
    if "seen" in settings and len(used):
        seen_sites(included(used[used["diagnosis"].isin(DIAGNOSES)], Remarks()), settings["seen"], problems)
    tasks = [
        Volume(*row) for row in used.loc[used["path"] != "", ["sample_id", "path", "region"]].itertuples(index=False)
    ]
    size_now = size if registration == "none" and _is_size(size) else None
    outcomes = _run(check_and_cut, tasks, size_now, label="Volumes read", processes=max(processes, 1))
    _add_problems(outcomes.values(), problems)
    problems.raise_if_any()
    if registration == "affine":
        readable = [task for task in tasks if outcomes[task.sample_id].status == OK]
        outcomes |= _run(
            register_and_cut, readable, size, Path(checkpoints), label="Volumes registered", processes=processes
        )
    if not any(outcome.slice for outcome in outcomes.values()):
        told = [outcome.reason for outcome in outcomes.values() if outcome.reason]
        raise DataError(f"There is no slice to write: no volume of {tree} can be used. {listed(told, 3)}".rstrip())
    write(volumes, outcomes, reasons, out)


def write(tree: VolumeTree, outcomes: Mapping[str, Outcome], reasons: Mapping[str, str], out: Path) -> None:
    """Write the folder of slices.

    Parameters
    ----------
    tree : VolumeTree
    outcomes : mapping of str to Outcome
        By sample_id; of all sessions that were not rejected.
    reasons : mapping of str to str
        Why sessions were rejected, by sample_id.
    out : Path
    """
    table = _table(tree.table, outcomes, reasons)
    cuts = [outcomes[name].slice for name in table["sample_id"][table["status"] == OK]]
    images = np.stack([of_volume.image for of_volume in cuts])
    sites = by_site(table)
    with atomic(out, folder=True) as folder:
        np.save(folder / "images.npy", images)
        if tree.has_regions:
            np.save(folder / "regions.npy", np.stack([of_volume.region for of_volume in cuts]))
        for name, frame in (("slices", table), ("sites", sites)):
            frame.to_csv(folder / f"{name}.tsv", sep="\t", index=False, lineterminator="\n")
        sheets = write_sheets(table, images, folder / "sheets", is_stand_in=tree.is_stand_in)
        write_page(table, sites, sheets, tree.remarks.frame(), folder / "index.html", is_stand_in=tree.is_stand_in)
    log.info("wrote %s: %d slices of %d sessions", out, len(images), len(table))


def _check_settings(settings: Mapping, processes: int, problems: Problems) -> None:
    size, registration = settings["image_size"], settings["registration"]
    if registration not in REGISTRATIONS:
        hint = did_you_mean(registration, REGISTRATIONS)
        problems.add(f"registration is '{registration}'; expected one of {', '.join(REGISTRATIONS)}.{hint}")
    if not _is_size(size):
        problems.add(f"image_size is {size!r}; expected a whole number of pixels, at least {SMALLEST}")
    if processes < 1:
        problems.add(f"processes is {processes}; expected at least 1")


def _is_size(size: object) -> bool:
    return isinstance(size, int) and size >= SMALLEST


def _run(work, tasks: list[Volume], *given: object, label: str, processes: int) -> dict[str, Outcome]:
    found = {}
    results = each(work, tasks, *given, processes=min(processes, max(len(tasks), 1)))
    for outcome in tqdm(results, total=len(tasks), desc=label, unit="volume", disable=None):
        found[outcome.sample_id] = outcome
        if outcome.status != OK:
            log.warning("%s, left out: %s (%s)", outcome.sample_id, outcome.reason, outcome.status)
    return found


def _add_problems(outcomes: Iterable[Outcome], problems: Problems) -> None:
    """Volumes with the same problem share a line."""
    by_text: dict[str, list[str]] = {}
    for outcome in outcomes:
        for text in outcome.problems:
            by_text.setdefault(text, []).append(outcome.sample_id)
    for text, names in by_text.items():
        problems.add(f"{listed(names, 10)}: {text}")


def _table(sessions: pd.DataFrame, outcomes: Mapping[str, Outcome], reasons: Mapping[str, str]) -> pd.DataFrame:
    rows = []
    for session in sessions.sort_values("sample_id").to_dict("records"):
        name = session["sample_id"]
        row = {column: session[column] for column in COLUMNS if column in session}
        if session["rejected"]:
            rows.append(row | {"status": REJECTED, "reason": reasons[name], "row": -1})
            continue
        outcome = outcomes[name]
        row |= {"status": outcome.status, "reason": outcome.reason, "similarity": outcome.similarity, "row": -1}
        if outcome.slice is not None:
            row |= dict(zip(("point_row", "point_column"), outcome.slice.point, strict=True)) | outcome.slice.statistics
        rows.append(row)
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    is_cut = (table["status"] == OK).to_numpy()
    table.loc[is_cut, "row"] = np.arange(is_cut.sum())
    return table.astype({"row": int})
