"""Check an archive: compute again every table that follows from what is in it, and list what cannot be."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from armed import registry, results, schemas
from armed.archive import recompute
from armed.archive.compare import Outcome, compare, compare_text
from armed.archive.contents import INPUTS
from armed.archive.files import unpack
from armed.archive.unpacked import Unpacked
from armed.errors import ArchiveError, ArmedError
from armed.jobs.collect import summarise_all
from armed.jobs.robustness import ranks
from armed.report import write_tables
from armed.reproducibility import ROOT, git_commit
from armed.scoring import WITHIN
from armed.statistics import UNSEEN

log = logging.getLogger(__name__)

SUMMARIES = ("summary", "comparison", "paired_tests", "claims", "deconfounding", "ranks")
"""Tables that `armed.jobs.collect.summarise_all` and `armed.jobs.robustness.ranks` write."""
SAMPLES = ("predictions/*.parquet", "latents/*.npz")
"""Files of single samples."""
OF_NETWORKS = ("z_accuracy", "adversary_accuracy", "slope_recovery", "slope_ratio", "intercept_recovery")
OF_NETWORKS = (*OF_NETWORKS, "feature_recovery")
NOT_RECOMPUTED = {
    "importance": "read off the fitted networks, which are not in the archive",
    "random_effects": "read off the fitted networks, which are not in the archive",
    "tuning": "the record of a search among fits",
    "univariate": "fits of their own, to the data",
    "sensitivity": "fits of their own, to other data",
    "benchmark": "measured on one machine",
    "benchmark_scaling": "measured on one machine",
    "benchmark_images": "measured on one machine",
    "benchmark_images_profile": "measured on one machine",
}
"""Tables that are starting points, with what they come from."""
_WITHHELD = "of restricted or own data the archive has no subjects, clusters or draws"


class Verification:
    """What came of an archive: outcomes by table, and remarks."""

    def __init__(self, archive: Unpacked) -> None:
        self.archive = archive
        self.outcomes: list[Outcome] = []
        self.remarks: list[str] = []

    @property
    def agrees(self) -> bool:
        return all(outcome.agrees for outcome in self.outcomes)


def verify(path: Path) -> Verification:
    """Check an archive.

    Parameters
    ----------
    path : Path
        The archive. Nothing else is read but the code: no results folder is needed.

    Returns
    -------
    Verification
        What agrees, what does not, and what cannot be computed again.

    Raises
    ------
    ArchiveError
        It is damaged, was changed, is not safe to unpack, or holds what this version of the project does not know.
    """
    with tempfile.TemporaryDirectory(prefix="armed-verify-") as folder:
        archive = Unpacked(Path(folder) / "archive", unpack(path, Path(folder) / "archive"))
        try:
            found = Verification(archive)
            _remark(found)
            for step in (_scores, _thresholds, _draws, _auroc_intervals, _starting_points):
                found.outcomes += step(archive)
            again = Path(folder) / "again"
            found.outcomes += _summaries(archive, again)
            found.outcomes += _for_readers(archive, again)
        except ArmedError as error:
            if isinstance(error, ArchiveError):
                raise
            raise ArchiveError(f"What is in {path} cannot be read: {error}") from error
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            AttributeError,
        ) as error:  # files of other content than their names tell
            raise ArchiveError(f"What is in {path} cannot be read: {type(error).__name__}: {error}") from error
    order = [f"{name}.tsv" for name in schemas.TABLES]
    found.outcomes.sort(key=lambda o: order.index(o.table) if o.table in order else len(order))
    return found


def _remark(found: Verification) -> None:
    commit, here = found.archive.manifest.get("commit"), git_commit()
    if commit != here:
        found.remarks.append(f"made with commit {commit}, checked with {here or 'a version without one'}")
    for name in INPUTS:
        theirs, ours = found.archive.folder / "config" / name, ROOT / "config" / name
        if theirs.is_file() != ours.is_file() or (theirs.is_file() and theirs.read_bytes() != ours.read_bytes()):
            found.remarks.append(f"config/{name} of the archive is not that of this version")


def _scores(archive: Unpacked) -> Iterator[Outcome]:
    """Model by model, which bounds memory."""
    names = ("metrics", "cluster_metrics")
    total = {name: Outcome(f"{name}.tsv") for name in names}
    pairs = {pair for name in names for pair in _index(archive.table(name), ["study", "model"])}
    pairs |= {(study, model) for kind in SAMPLES for study, model, _ in archive.models(kind)}
    for study, model in sorted(pairs):
        log.info("Scoring %s in %s again.", model, study)
        for name, frame in zip(names, recompute.scores(archive, study, model), strict=True):
            archived = archive.of_model(name, study, model)
            again = _asked_for(archived, frame, name)
            total[name].add(compare(name, archived, again, lambda rows: _why_not(archive, rows)))
    yield from total.values()


def _asked_for(archived: pd.DataFrame, again: pd.DataFrame, name: str) -> pd.DataFrame:
    """Of rows computed again those that the workflow keeps: of clusters not all, and errors at Z = 0 of some models alone."""
    if name == "cluster_metrics":
        key = ["study", "model", "variant", "partition", "metric"]
        kept = pd.MultiIndex.from_frame(again[key].astype(str)).isin(_index(archived, key))
    else:
        at_zero = again["partition"].isin(["seen_population", "unseen_population"]) & (again["metric"] == "mse")
        key = ["study", "model", "partition"]
        kept = ~at_zero | pd.MultiIndex.from_frame(again[key].astype(str)).isin(_index(archived, key))
    return again[kept]


def _index(frame: pd.DataFrame, key: list[str]) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(frame[key].astype(str).drop_duplicates())


def _why_not(archive: Unpacked, rows: pd.DataFrame) -> pd.Series:
    """Why rows of metrics were not computed again; empty where they should have been."""
    seeds = archive.config["predictions"]["unseen_seeds"]
    coded = rows["study"].isin(registry.AUTOENCODED) & rows["metric"].isin([*recompute.CODED, "mse"])
    files = {kind: {(s, m) for s, m, _ in archive.models(kind)} for kind in SAMPLES}
    pairs = list(zip(rows["study"], rows["model"], strict=True))
    has = {kind: np.array([pair in there for pair in pairs], dtype=bool) for kind, there in files.items()}
    on_training = (rows["metric"] == "cluster_probe_accuracy") & (rows["partition"] == "latents")
    reasons = {
        _WITHHELD: rows["study"].isin(archive.withheld),
        "read off the fitted networks, which are not in the archive": rows["metric"].isin(OF_NETWORKS),
        "read off saliency maps of all samples; the archive has those of a few": rows["metric"] == "localisation",
        "read off a probe that was fitted to codes of training samples, which are not kept": on_training,
        "of codes and errors, which are kept of variant main": coded & (rows["variant"] != "main"),
        "there are no codes of this model in the archive": coded & ~has[SAMPLES[1]],
        "there are no predictions of this model in the archive": ~coded & ~has[SAMPLES[0]],
        f"predictions for unseen clusters are kept of seeds below {seeds}": (
            ~coded & rows["partition"].str.startswith("unseen") & (rows["seed"] >= seeds)
        ),
    }
    return pd.Series(np.select(list(reasons.values()), list(reasons), default=""), rows.index)


def _thresholds(archive: Unpacked) -> Iterator[Outcome]:
    """Those fixed in advance; others are chosen on predictions of training rows."""
    archived = archive.table("thresholds")
    fixed = archived[archived["chosen_on"] == "constant"]
    yield compare(
        "thresholds",
        archived,
        fixed.assign(threshold=0.5),
        lambda rows: pd.Series("chosen on predictions for training or validation rows, which are not kept", rows.index),
        columns=["threshold"],
    )


def _draws(archive: Unpacked) -> Iterator[Outcome]:
    total = Outcome("parts/*/*/*draws.parquet")
    for study, model, path in archive.draws():
        archived = results.read("draws", path)
        if study in archive.whole() and len(archived):
            log.info("Drawing again for %s in %s.", model, study)
            total.add(_draws_of_model(archive, archived, recompute.draws(archive, study, model, path)))
    yield total


def _draws_of_model(archive: Unpacked, archived: pd.DataFrame, again: pd.DataFrame) -> Outcome:
    """Of variants and partitions that were not drawn again the predictions are not all there."""
    key = ["variant", "partition"]
    done, there = _index(again, key), _index(archived, key)
    why = f"predictions for unseen clusters are kept of seeds below {archive.config['predictions']['unseen_seeds']}"

    def reason(rows: pd.DataFrame) -> pd.Series:
        is_done = pd.MultiIndex.from_frame(rows[key].astype(str)).isin(done)
        return pd.Series(np.where(is_done, "", why), rows.index)

    kept = pd.MultiIndex.from_frame(again[key].astype(str)).isin(there)
    return compare("draws", archived, again[kept], reason)


def _auroc_intervals(archive: Unpacked) -> Iterator[Outcome]:
    log.info("Making intervals of the AUROC again.")

    def why(rows: pd.DataFrame) -> pd.Series:
        there = {(study, model) for study, model, _ in archive.models(SAMPLES[0])}
        pairs = zip(rows["study"], rows["model"], strict=True)
        absent = "there are no predictions of this model in the archive"
        told = [_WITHHELD if s in archive.withheld else "" if (s, m) in there else absent for s, m in pairs]
        return pd.Series(told, rows.index, dtype="str")

    yield compare("auroc_intervals", archive.table("auroc_intervals"), recompute.auroc_intervals(archive), why)


def _starting_points(archive: Unpacked) -> Iterator[Outcome]:
    known = {"metrics", "cluster_metrics", "thresholds", "auroc_intervals", *SUMMARIES}
    for name in archive.tables():
        if name not in known:
            rows = len(archive.table(name))
            found = Outcome(f"{name}.tsv", rows=rows)
            found.cannot(NOT_RECOMPUTED.get(name, "not known to follow from what is in the archive"), rows)
            yield found


def _summaries(archive: Unpacked, folder: Path) -> Iterator[Outcome]:
    """Tables that follow from the archived metrics, cluster metrics, importance and draws."""
    log.info("Summarising again.")
    folder.mkdir()
    out = {name: folder / f"{name}.tsv" for name in SUMMARIES}
    published, claimed = (archive.folder / "config" / name for name in ("published_results.csv", "claims.yaml"))
    balanced = [path for s in archive.whole() if (path := archive.results / "data" / f"{s}.npz").is_file()]
    tables = {name: archive.results / f"{name}.tsv" for name in schemas.TABLES}
    for name in ("metrics", "cluster_metrics", "importance", "auroc_intervals"):
        if not tables[name].is_file():
            results.write(name, results.empty(name), tables[name])
    there = {name: path for name, path in tables.items() if path.is_file()}
    draws = [path for _, _, path in archive.draws()]
    effects = [there["random_effects"]] if "random_effects" in there else []
    summarise_all(archive.config, there, published, out, draws, balanced, effects, claimed)
    ranks(archive.config, there["metrics"], out["ranks"])
    for name in SUMMARIES:
        withheld = _incomplete(archive, name)
        again = results.read(name, out[name])
        yield compare(name, archive.table(name), again, set_aside=lambda rows, of=withheld: _set_aside(rows, of))


def _incomplete(archive: Unpacked, name: str) -> list[str]:
    """Studies for which the archive does not hold all that a summary rests on."""
    if name == "ranks":  # on metrics alone
        return []
    # Of importance only that of the user's own data is not there.
    return [s for s, source in archive.withheld.items() if source == "own" or name != "deconfounding"]


def _set_aside(rows: pd.DataFrame, withheld: Collection[str]) -> tuple[pd.Series, str]:
    """Rows that rest on clusters or draws of withheld studies."""
    aside = rows["study"].isin(withheld)
    if "partition" in rows:
        aside &= rows["partition"].isin(UNSEEN) | (rows["metric"] == WITHIN)
    if "ci_method" in rows:
        aside &= rows["ci_method"] == "corrected"
    return aside, _WITHHELD


def _for_readers(archive: Unpacked, folder: Path) -> Iterator[Outcome]:
    """Tables of the report, made again from the archived ones."""
    log.info("Writing the tables for readers again.")
    for path in archive.results.iterdir():
        if path.is_dir() and path.name != "tables":
            (folder / path.name).symlink_to(path)
        elif path.suffix == ".tsv":
            shutil.copyfile(path, folder / path.name)
    write_tables(folder, archive.config)
    found = {suffix: Outcome(f"tables/*{suffix}") for suffix in (".tsv", ".html", ".tex")}
    theirs, ours = ({path.name for path in (of / "tables").glob("*.*")} for of in (archive.results, folder))
    for name in sorted(theirs | ours):
        suffix = Path(name).suffix
        withheld = name not in theirs and any(name.startswith(f"{study}_") for study in archive.withheld)
        if suffix in found and not withheld:
            texts = [
                path.read_text(encoding="utf-8") if (path := of / "tables" / name).is_file() else None
                for of in (archive.results, folder)
            ]
            compare_text(found[suffix], f"tables/{name}", *texts)
    yield from found.values()
