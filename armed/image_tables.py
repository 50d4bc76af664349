"""Tables for readers that only studies on images have: what became of the volumes, and where each model looks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from armed import labels
from armed.data.ad_diagnosis import included
from armed.data.study import Remarks
from armed.tables import interval, number, ordered

OK = "ok"
STATUSES = {
    "unreadable": "unreadable",
    "unregistered": "could not be registered",
    "rejected": "rejected by a person",
}
"""What can become of a session's volume, besides being used (column `status` of slices.tsv)."""
LOCALISATION = "localisation"
_COUNTED = {"Sessions": "sample_id", "Subjects": "subject", "Sites": "site"}


class Volumes(NamedTuple):
    """What became of a study's volumes.

    Attributes
    ----------
    counts : DataFrame
        Columns Volumes, Sessions, Subjects, Sites: in the table, each reason not to be used, used.
    not_used : DataFrame
        Columns Session, Site, Diagnosis, What, Reason of those without a slice.
    rules : list of str
        What the study's rules left out, and how many.
    """

    counts: pd.DataFrame
    not_used: pd.DataFrame
    rules: list[str]


def read_volumes(folder: Path) -> Volumes | None:
    """Tell what became of the volumes of a study from its folder of slices; None where there is no such folder."""
    path = Path(folder) / "slices.tsv"
    if not path.is_file():
        return None
    return volumes(pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False))


def volumes(slices: pd.DataFrame) -> Volumes:
    """Tell what became of the volumes of a study.

    Parameters
    ----------
    slices : DataFrame
        slices.tsv (`armed.jobs.slices`): sample_id, subject, site, diagnosis, status, reason.

    Returns
    -------
    Volumes
    """
    remarks = Remarks()
    used = included(slices, remarks)
    cut = slices[slices["status"] == OK]
    lost = slices[slices["status"] != OK]
    lines = [("in the table of sessions", slices)]
    lines += [(name, lost[lost["status"] == status]) for status, name in STATUSES.items()]
    other = sorted(set(lost["status"]) - set(STATUSES))
    lines += [(status, lost[lost["status"] == status]) for status in other]
    lines += [("left out by the study's rules", cut.drop(used.index)), ("used", used)]
    counts = [{"Volumes": name} | {c: rows[of].nunique() for c, of in _COUNTED.items()} for name, rows in lines]
    not_used = pd.DataFrame(
        {
            "Session": lost["sample_id"],
            "Site": lost["site"],
            "Diagnosis": lost["diagnosis"],
            "What": [STATUSES.get(status, status) for status in lost["status"]],
            "Reason": lost["reason"],
        }
    )
    rules = [f"{count} {what}: {reason}" for what, reason, count in remarks.found if what != "sessions"]
    return Volumes(pd.DataFrame(counts), not_used.sort_values(["What", "Session"], ignore_index=True), rules)


def chance_levels(metrics: pd.DataFrame, study: str) -> dict[str, float]:
    """Mean chance level of localisation by partition, as the notes of `metrics.tsv` tell it."""
    rows = metrics[(metrics["study"] == study) & (metrics["metric"] == LOCALISATION)]
    told = told_in_notes(rows, r"chance {}").groupby(rows["partition"].astype("str")).mean()
    return {str(p): v for p, v in told.items() if np.isfinite(v)}


def told_in_notes(rows: pd.DataFrame, words: str) -> pd.Series:
    """The number that the note of each row tells where ``{}`` stands in `words`; NaN where it tells none."""
    pattern = words.replace("{}", r"(-?[0-9.]+(?:e[+-]?[0-9]+)?)")
    return rows["note"].astype("str").str.extract(pattern, expand=False).astype(float)


def localisation_table(summary: pd.DataFrame, chances: Mapping[str, float], study: str) -> pd.DataFrame:
    """Lay out the share of each model's attention in the true region: models down, partitions across; chance comes last.

    Parameters
    ----------
    summary : pandas.DataFrame
        `results/summary.tsv`; its `corrected` intervals of variant ``main`` are shown.
    chances : mapping of str to float
        By partition, from `chance_levels`.
    study : str

    Returns
    -------
    pandas.DataFrame
        Strings; without rows where no true region is known.
    """
    keep = (summary["study"] == study) & (summary["ci_method"] == "corrected") & (summary["metric"] == LOCALISATION)
    rows = ordered(summary[keep & (summary["variant"] == "main")])
    lines: dict[str, dict[str, str]] = {}
    for row in rows.itertuples():
        cells = lines.setdefault(labels.model(row.model), {})
        cells[_capital(labels.partition(row.partition))] = interval(row.mean, row.ci_low, row.ci_high)
    if lines and chances:
        lines["Chance (the region's share of the brain)"] = {
            _capital(labels.partition(p)): number(v) for p, v in chances.items()
        }
    made = pd.DataFrame([{"Model": name} | cells for name, cells in lines.items()])
    return made.fillna(number(np.nan))


def study_tables(study: str, frames: Mapping[str, pd.DataFrame], found: Volumes | None) -> dict[str, pd.DataFrame]:
    """Lay out all of these tables that have rows.

    Parameters
    ----------
    study : str
    frames : mapping of str to pandas.DataFrame
        Tables ``summary`` and ``metrics`` of `results/`.
    found : Volumes or None

    Returns
    -------
    dict of str to pandas.DataFrame
        File name (for `armed.tables.table`) -> table as readers see it.
    """
    chances = chance_levels(frames["metrics"], study)
    made = {f"{study}_localisation": localisation_table(frames["summary"], chances, study)}
    if found is not None:
        made |= {f"{study}_volumes": found.counts, f"{study}_volumes_not_used": found.not_used}
    return {name: frame for name, frame in made.items() if len(frame)}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
