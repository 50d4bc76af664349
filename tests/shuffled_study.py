"""The stand-in of the dementia study with shuffled or poisoned rows, and the real jobs run on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from config_edits import DEFAULT, put

from armed import config as configuration
from armed import registry, results
from armed.data.adni_visits import visit_table
from armed.data.clustered import ClusteredData
from armed.data.mci import DATASET_STEP, from_visits
from armed.data.splits import Splits
from armed.data.study import StudyData
from armed.jobs import data, fit, predict
from armed.jobs.data import read_splits
from armed.jobs.predict import KEPT_TABLES
from armed.reproducibility import derive_seed

STAND_IN = 0  # its seed
N_SEEN = 20
FOLDS = 5
Parts = dict[str, ClusteredData]


def stand_in() -> Parts:
    """Seen and unseen sites, with their own labels."""
    seen, unseen, _ = from_visits(visit_table(STAND_IN)[0], N_SEEN)
    return {"seen": seen, "unseen": unseen}


def repeated(parts: Parts, n: int) -> Parts:
    """The same rows as dataset 0, 1, ..., n - 1."""
    return {name: _repeated(part, n) for name, part in parts.items()}


def shuffled(parts: Parts, *, inside: bool) -> Parts:
    """Labels of each dataset and part in random order, over all of its rows or among those of each cluster."""
    found = {}
    for name, part in parts.items():
        y, cluster = np.empty_like(part.y), part.codes(part.levels) if inside else np.zeros(len(part), dtype=int)
        for dataset in np.unique(part.dataset):
            rows = np.flatnonzero(part.dataset == dataset)
            rng = np.random.default_rng(derive_seed("shuffled labels", f"{name}, inside {inside}", int(dataset)))
            to = rows[np.argsort(cluster[rows], kind="stable")]
            y[to] = part.y[rows[np.lexsort((rng.random(len(rows)), cluster[rows]))]]
        found[name] = replace(part, y=y)
    return found


def poisoned(parts: Parts, folds: Splits) -> Parts:
    """Other features (finite) and labels: for unseen clusters all of them, for seen ones those of the folds' test rows."""
    found = {}
    for name, part in parts.items():
        rows = np.arange(len(part)) if name == "unseen" else np.concatenate([f.test for f in folds])
        rng = np.random.default_rng(derive_seed("poison", name, 0))
        X, y = part.X.copy(), part.y.copy()
        X[rows], y[rows] = rng.normal(5, 100, size=(len(rows), X.shape[1])), 1 - y[rows]
        found[name] = replace(part, X=X, y=y)
    return found


def config(study: str, seeds: int, loops: int | None = None, tuned: Sequence[str] = (), **training: object) -> dict:
    """The default configuration of a study with few folds and epochs; `loops` seeds for fits by a library (default: all)."""
    found = configuration.load(DEFAULT)
    changes = {
        "seeds": seeds,
        "slow_seeds": loops or seeds,
        "folds": FOLDS,
        "cluster_inference.epochs": 10,
        "tuning.models": list(tuned),
        "tuning.seeds": seeds,
        "tuning.candidates": 2,
        "tuning.inner_folds": 2,
    }
    changes |= {f"training.{key}": value for key, value in ({"epochs": 10} | training).items()}
    for key, value in changes.items():
        put(found, f"studies.{study}.{key}", value)
    configuration.check(found)
    return found


class Run:
    """The jobs of one study, each model when it is asked for.

    Parameters
    ----------
    folder : Path
        Must not be there yet.
    study : str
    config : dict
    variants : dict
        Variants of the data.
    stratify_by : dict, optional
        The same rows with the labels that folds are stratified by, for variants where these are others.
    """

    def __init__(
        self,
        folder: Path,
        study: str,
        config: dict,
        variants: dict[str, Parts],
        stratify_by: dict[str, Parts] | None = None,
    ) -> None:
        self.folder, self.study, self.config = folder, study, config
        self.npz, self.splits = folder / "data.npz", folder / "splits.parquet"
        folder.mkdir(parents=True)
        StudyData(variants | (stratify_by or {}), pd.DataFrame()).save(folder / "stratify_by.npz")
        StudyData(variants, pd.DataFrame()).save(self.npz)
        data.split(configuration.split_settings(config, study), folder / "stratify_by.npz", self.splits)

    def folds(self, variant: str = "main") -> Splits:
        return read_splits(self.splits, variant)

    def fit(self, model: str) -> Path:
        run = self.folder / (registry.model(model).weights_from or model)
        if not run.exists():
            self._job(fit.fit, configuration.settings(self.config, self.study, run.name), run)
        return run

    def z_predictor(self) -> Path:
        run = self.folder / "cluster_inference"
        if not run.exists():
            self._job(fit.fit_cluster_inference, configuration.cluster_inference_settings(self.config, self.study), run)
        return run

    def table(self, model: str, name: str = "metrics") -> pd.DataFrame:
        """A table of the predict job."""
        tables = (*KEPT_TABLES, "predictions", "draws", "boundaries")
        out = {table: self.folder / f"{model}_{table}" for table in tables}
        if not out["metrics"].exists():
            settings, run = configuration.settings(self.config, self.study, model), self.fit(model)
            inference = self.z_predictor() if registry.model(model).infers_clusters else None
            predict.predict(settings, "stand-in", self.npz, self.splits, run, inference, out, 0, 0)
        return results.read(name, out[name])

    def _job(self, job, settings: dict, out: Path) -> None:
        checkpoints = self.folder / "checkpoints"
        job(settings, "", self.npz, self.splits, out, checkpoints, device="cpu", stack_size=1000, engine="eager")


def _repeated(part: ClusteredData, n: int) -> ClusteredData:
    return ClusteredData(
        X=np.tile(part.X, (n, 1)),
        y=np.tile(part.y, n),
        clusters=np.tile(part.clusters, n),
        sample_id=np.concatenate([part.sample_id + i * DATASET_STEP for i in range(n)]),
        feature_names=part.feature_names,
        dataset=np.repeat(np.arange(n), len(part)),
        allow_missing=True,
    )
