"""Repeat a stored run from its record: the fits, and what they predict and score."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from armed import registry, results
from armed.jobs.fit import CLUSTER_INFERENCE, fit, fit_cluster_inference
from armed.jobs.predict import KEPT_TABLES, predict
from armed.jobs.record import RECORD
from armed.repetition.stored import PREDICTOR, RUNS, StoredRun
from armed.reproducibility import source_digests, sources_of_fit

log = logging.getLogger(__name__)


class Again(NamedTuple):
    """What a repetition gave.

    Attributes
    ----------
    folder : Path
        Of the fits.
    record : dict
        Of the fits.
    predictions : Path or None
    tables : dict of str to DataFrame
        What was scored; none where there were no predictions to compare with.
    """

    folder: Path
    record: dict
    predictions: Path | None
    tables: dict[str, pd.DataFrame]


def repeat(run: StoredRun, work: Path, *, engine: str | None = None) -> Again:
    """Fit again with the recorded settings, data and folds, and predict.

    Parameters
    ----------
    run : StoredRun
        Checked.
    work : Path
        Folder to write to.
    engine : str, optional
        In place of the recorded one.

    Returns
    -------
    Again
    """
    folder = refit(run, work, engine)
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    if run.model == PREDICTOR or not run.predictions.is_file():
        return Again(folder, record, None, {})
    out = {name: work / f"{name}.tsv" for name in KEPT_TABLES}
    out |= {name: work / f"{name}.parquet" for name in ("predictions", "draws", "boundaries")}
    inference = _predictor(run, work) if registry.model(run.model).infers_clusters else None
    log.info("Predicting again.")
    kept = _unseen_seeds(run.predictions)
    predict(run.record["settings"], _source(run), *run.inputs.values(), folder, inference, out, kept, 1)
    return Again(folder, record, out["predictions"], {name: results.read(name, out[name]) for name in KEPT_TABLES})


def refit(run: StoredRun, work: Path, engine: str | None = None) -> Path:
    """Fit again; returns the folder."""
    settings, folder = run.record["settings"], work / RUNS / run.study / run.model
    of_model = run.model != PREDICTOR
    method = registry.model(settings["model"]).method if of_model else CLUSTER_INFERENCE
    code = source_digests(sources_of_fit(method, of_model and "tuning" in settings))
    job = fit if of_model else fit_cluster_inference
    how = {"engine": engine or run.record.get("engine") or "auto", "device": _device(run.record.get("device", "cpu"))}
    how["stack_size"] = run.record.get("stack_size") or 256
    log.info("Fitting again.")
    job(settings, code, *run.inputs.values(), folder, work / "checkpoints" / run.model, **how)
    return folder


def _device(recorded: str) -> str:
    if recorded == "cpu":
        return recorded
    import torch  # a second to import

    return recorded if torch.cuda.is_available() else "cpu"


def _predictor(run: StoredRun, work: Path) -> Path:
    """The study's Z-predictor: the stored one, or fitted again where the record alone is there."""
    predictor = StoredRun.find(run.results / RUNS / run.study / PREDICTOR)
    return predictor.folder if predictor.has_fits() else refit(predictor, work)


def _source(run: StoredRun) -> str:
    """What the data are said to be."""
    metrics = results.read("metrics", run.results / "metrics.tsv")
    rows = metrics[(metrics["study"] == run.study) & (metrics["model"] == run.model)]
    return rows["source"].iloc[0] if len(rows) else registry.study(run.study).source


def _unseen_seeds(predictions: Path) -> int:
    """Seeds whose predictions for unseen clusters were kept."""
    rows = pd.read_parquet(predictions, columns=["partition", "seed"])
    unseen = rows.loc[rows["partition"].astype(str).str.startswith("unseen"), "seed"]
    return int(unseen.max()) + 1 if len(unseen) else 0
