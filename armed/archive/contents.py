"""What goes into an archive of a results folder, and what is left out, with reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from armed import config as configuration
from armed import labels, schemas
from armed.archive.files import Member
from armed.archive.privacy import WITHHELD, drops, shown_config, sources, without_subjects
from armed.reproducibility import ROOT

INPUTS = ("claims.yaml", "published_results.csv", "univariate_mci.csv", "datasets.csv")
"""Files of `config/` that results are made with, as they are in this version."""
OF_ROOT = {"LICENSE": "licence of the code", "CITATION.cff": "how to cite"}
OF_STUDY = {
    "data/{study}.npz": "the data, and what a generator knows to be true of them",
    "splits/{study}.parquet": "the folds",
    "data_checks/{study}.html": "the check of the data",
    "slices/{study}/slices.tsv": "what became of each volume",
    "slices/{study}/sites.tsv": "statistics of the slices by site",
    "slices/{study}/index.html": "contact sheets of the slices",
    "frames/{study}/index.html": "contact sheets of the frames",
}
OF_MODEL = {
    "predictions/{study}/{model}.parquet": "predictions of every fit (logits, float32)",
    "boundaries/{study}/{model}.parquet": "decision boundaries of the first fit",
    "parts/{study}/{model}/draws.parquet": "metrics on draws of subjects or clusters",
    "parts/{study}/{model}/latents_draws.parquet": "errors on draws of subjects or clusters",
    "latents/{study}/{model}.npz": "codes and errors of every fit, and some images made again",
    "saliency/{study}/{model}.npz": "saliency maps of some samples of the first fit",
    "runs/{study}/{model}/run.json": "record of the fits: settings, seeds, versions, source digest, time",
}
_NEVER = {
    "runs/*/*/* but run.json": "fitted models and their histories: loading torch's files can run code; fits can be made again",
    "raw/": "raw files: stand-ins are drawn again by the workflow, open data are fetched again",
    "parts/*/*/*.tsv": "tables of single models, whose rows are all in the tables",
    "logs/, timings/, checkpoints/": "of the machine that ran it",
}
_KINDS = {"figures": "figure", "tables": "table for readers"}
_SUBJECTS = "of single subjects: "


class Contents(NamedTuple):
    """Files, what the manifest tells of studies, and of what was left out or changed."""

    members: list[Member]
    studies: dict[str, dict[str, str]]
    left_out: list[dict[str, str]]
    changed: list[dict[str, str]]

    @property
    def withheld(self) -> dict[str, str]:
        """Studies of which only aggregates go in, with their sources."""
        return {study: told["source"] for study, told in self.studies.items() if told["source"] in WITHHELD}


def contents(results_dir: Path, config: Mapping) -> Contents:
    """Choose what goes in.

    Parameters
    ----------
    results_dir : Path
        A results folder; what is not there is left out, as the report of an unfinished run does.
    config : mapping
        The whole configuration of the run. Of studies and models that it does not select, nothing goes in.
    """
    results_dir = Path(results_dir)
    of = sources(results_dir, config)
    studies = {
        study: {"source": source, "kept": "aggregates" if source in WITHHELD else "whole"}
        for study, source in of.items()
    }
    found = Contents([], studies, [{"what": what, "reason": reason} for what, reason in _NEVER.items()], [])
    _add_config(found, config)
    _add_tables(found, results_dir)
    for study in studies:
        _add_study(found, results_dir, config, study)
    _add_pages(found, results_dir)
    return found


def _add_config(found: Contents, config: Mapping) -> None:
    shown, changes = shown_config(config, found.withheld)
    text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=120)
    found.members.append(Member("config/config.yaml", "the whole configuration that was run", text.encode()))
    found.changed.extend({"file": "config/config.yaml", "what": c["key"], "reason": c["reason"]} for c in changes)
    for name in INPUTS:
        if (path := ROOT / "config" / name).is_file():
            found.members.append(Member(f"config/{name}", "as it was used", path))
    found.members.extend(Member(name, what, ROOT / name) for name, what in OF_ROOT.items() if (ROOT / name).is_file())


def _add_tables(found: Contents, results_dir: Path) -> None:
    for path in sorted(results_dir.glob("*.tsv")):
        name = path.stem
        if name not in schemas.TABLES:
            found.left_out.append({"what": path.name, "reason": "no table that this version of the project writes"})
            continue
        content = without_subjects(path, found.withheld)
        found.members.append(Member(f"results/{path.name}", f"table `{name}`", content))
        for study, source in found.withheld.items():
            if drops(schemas.table(name).columns, source):
                reason = f"{labels.source(source)}: rows of clusters, or named by values of the data"
                found.left_out.append({"what": f"{path.name}, rows of {study}", "reason": reason})
            elif "note" in schemas.table(name).columns:
                reason = "cut at the first colon, after which names of features may stand"
                found.changed.append({"file": f"results/{path.name}", "what": f"notes of {study}", "reason": reason})


def _add_study(found: Contents, results_dir: Path, config: Mapping, study: str) -> None:
    """Files of one study: all, or the records of the fits alone."""
    models = [*configuration.selected_models(config, study), "cluster_inference"]
    paths = {pattern.format(study=study): what for pattern, what in OF_STUDY.items()}
    for model in models:
        paths |= {pattern.format(study=study, model=model): what for pattern, what in OF_MODEL.items()}
    source = found.withheld.get(study)
    for path, what in paths.items():
        if not (results_dir / path).is_file():
            continue
        if source is None or path.endswith("/run.json"):
            found.members.append(Member(f"results/{path}", f"{labels.study(study)}: {what}", results_dir / path))
        else:
            found.left_out.append({"what": path, "reason": f"{labels.source(source)}; {_SUBJECTS}{what}"})


def _add_pages(found: Contents, results_dir: Path) -> None:
    """Report, figures and tables for readers: those that show nothing of withheld studies."""
    for path in sorted(_shown(results_dir)):
        name = path.relative_to(results_dir).as_posix()
        study = next((s for s in found.withheld if re.match(rf"{re.escape(s)}[_.]", path.name)), None)
        if path.name == "report.html" and found.withheld:
            why = f"shows images and clusters of {', '.join(found.withheld)}; a run without them makes one for deposit"
            found.left_out.append({"what": name, "reason": why})
        elif study is not None:
            why = f"{labels.source(found.withheld[study])}; may show subjects or name clusters"
            entry = {"what": f"{path.parent.name}/{study}_*", "reason": why}
            found.left_out.extend([entry] * (entry not in found.left_out))
        else:
            kind = _KINDS.get(path.parent.name, "the report, one page that opens offline")
            found.members.append(Member(f"results/{name}", kind, path))


def _shown(results_dir: Path) -> Iterator[Path]:
    if (report := results_dir / "report.html").is_file():
        yield report
    for folder in _KINDS:
        yield from (p for p in (results_dir / folder).glob("*") if p.is_file() and not p.name.startswith("."))
