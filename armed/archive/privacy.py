"""What of data that are not ours to give away leaves in an archive: numbers over many subjects, and nothing of a single one.

Withheld are studies on restricted data (given on request, under terms that forbid passing them on) and on data of the user's
own. Of these go in what is computed over the subjects of a fold or of all: metrics, intervals, tests, thresholds, searches for
hyperparameters. What stays behind, and why:

- samples: predictions, codes, errors, images and maps of single subjects, data, folds, and pages that show or list them;
- clusters: names of sites are data too, and a site of two subjects is hardly an aggregate: cluster metrics, random effects;
- draws: which subjects or clusters a draw of the bootstrap holds follows from its number, so that metrics of some thousand
  draws are as many equations for what single subjects were given;
- importance of data of the user's own: indicators of categories are named by the values that subjects have;
- notes, from their first colon on: there they list such names.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from armed import config as configuration
from armed.own_studies import names as own_names

WITHHELD = ("restricted", "own")
"""Sources of such studies."""
LEFT_OUT = "left out of the archive"
"""Stands in the configuration in place of a path."""


def sources(results_dir: Path, config: Mapping) -> dict[str, str]:
    """What data each selected study has; where results and configuration differ, the one that is withheld.

    Parameters
    ----------
    results_dir : Path
        Results folder. What its tables say counts beside what lies at `data.path` now, as the file may be gone.
    config : mapping
        The whole configuration.
    """
    told = {study: [configuration.source(config, study)] for study in configuration.selected_studies(config)}
    for row in _rows(results_dir / "metrics.tsv"):
        if row["source"] not in told.get(row["study"], row["source"]):
            told[row["study"]].append(row["source"])
    for study in told:  # of each model the first row of its own table
        for path in sorted((results_dir / "parts" / study).glob("*/metrics.tsv")):
            told[study] += [row["source"] for row in _rows(path, 1)]
    return {study: next((s for s in found if s in WITHHELD), found[-1]) for study, found in told.items()}


def _rows(path: Path, most: int | None = None) -> Iterator[dict[str, str]]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as file:
        names = file.readline().rstrip("\n").split("\t")
        for i, line in enumerate(file):
            if most is not None and i >= most:
                return
            yield dict(zip(names, line.rstrip("\n").split("\t"), strict=False))


def without_subjects(path: Path, kept_from: Mapping[str, str]) -> bytes | Path:
    """A table with only the rows that may leave, all else as it is.

    Parameters
    ----------
    path : Path
        A tab-separated table of results.
    kept_from : mapping of str to str
        Studies that are withheld, with the source of each.

    Returns
    -------
    bytes or Path
        The path itself where nothing changes.
    """
    with path.open(encoding="utf-8") as file:
        names = file.readline().rstrip("\n").split("\t")
    if not kept_from or "study" not in names:
        return path
    study, note = names.index("study"), names.index("note") if "note" in names else None
    lines = ["\t".join(names)]
    with path.open(encoding="utf-8") as file:
        next(file)
        for line in file:
            cells = line.rstrip("\n").split("\t")
            source = kept_from.get(cells[study])
            if source is not None:
                if drops(names, source):
                    continue
                if note is not None:
                    cells[note] = cells[note].partition(":")[0]
            lines.append("\t".join(cells))
    return ("\n".join(lines) + "\n").encode()


def drops(columns: Collection[str], source: str) -> bool:
    """Whether a table's rows stay behind, of a study whose source is withheld."""
    return "cluster" in columns or ("feature" in columns and source == "own")


def shown_config(config: Mapping, kept_from: Collection[str]) -> tuple[dict, list[dict[str, str]]]:
    """The configuration without what one machine or a withheld study's data would be known by.

    Parameters
    ----------
    config : mapping
        The whole configuration.
    kept_from : collection of str
        Studies that are withheld.

    Returns
    -------
    config : dict
        Valid as well. Blocks of own studies that were not run are left out.
    changes : list of dict
        ``key`` and ``reason`` of each that was changed.
    """
    shown, changes = copy.deepcopy(dict(config)), []

    def change(block: dict, key: str, path: str, value: object, reason: str) -> None:
        if block.get(key) is not None and block[key] != value:
            block[key] = value
            changes.append({"key": f"{path}{key}", "reason": reason})

    change(shown, "data_mirror", "", None, "a folder of one machine")
    for study in own_names(config):
        if study not in configuration.selected_studies(config):
            del shown["studies"][study]
            changes.append({"key": f"studies.{study}", "reason": "a study of the user's own that was not run"})
    for study in kept_from:
        data, path = shown["studies"][study]["data"], f"studies.{study}.data."
        change(data, "path", path, LEFT_OUT, "where the data lie")
        change(data, "rejected", path, None, "a list of samples")
        change(data, "positive", path, None, "a value of the data")
        for key in ("seen", "unseen"):
            if isinstance(data.get(key), list):
                many = "shared" if data.get("seen_step") else len(data[key])
                change(data, key, path, many, f"names of {len(data[key])} clusters")
    return shown, changes
