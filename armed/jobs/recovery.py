"""Jobs that hold fits against what is known to be true: each feature by itself, and the recovery study on stand-ins.

The recovery study asks how well random slopes and intercepts can be recovered at all, and how that grows with the number of
subjects: stand-ins are drawn anew at several sizes, each with the same sites and effects at all of them, and ARMED is fitted
beside an oracle, the univariate logistic mixed models that the stand-ins are drawn from.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from armed import registry, results
from armed.data import adnimerge, mci
from armed.data.adni_truth import tables as truth_tables
from armed.data.adni_visits import visit_table
from armed.data.clustered import ClusteredData
from armed.data.preparation import Preparation
from armed.data.splits import Fold, Splits, make_splits
from armed.data.study import StudyData
from armed.jobs.fit import set_torch_threads
from armed.recovery import intercept_recovery, slope_ratio, slope_recovery, truth_metrics
from armed.univariate import cluster_intercepts, feature_kinds, mixed_effect, univariate

log = logging.getLogger(__name__)

ORACLE = "oracle"
SOURCE = "stand-in"
FACTOR = "subjects"


def univariate_fits(study: str, source: str, data: Path, out: Path) -> None:
    """Write the table `univariate` of the seen clusters of a study's main data.

    Parameters
    ----------
    study : str
    source : str
        What data it is (`armed.config.source`).
    data, out : Path
        `StudyData` file to read, table to write.
    """
    loaded = StudyData.load(data)
    found = univariate(loaded.part("seen"), loaded.feature_truth)
    results.write("univariate", found.assign(study=study, source=source), out)


def recovery(settings: Mapping, out: Path, *, device: str, stack_size: int, engine: str = "auto") -> None:
    """Write a part of the table `sensitivity`: recovery by ARMED and by the oracle, by number of subjects.

    All datasets of one size are trained together. Each network is fitted to all subjects of the seen sites but the share that
    stops training early; features are standardised and imputed over all of them.

    Parameters
    ----------
    settings : mapping
        ``datasets`` (how many, of each size), ``subjects`` (sizes, as multiples of the study's), ``n_seen``,
        ``validation_fraction``, and ``models``: model id to its `armed.config.settings`.
    out : Path
        Table to write.
    device : {"cpu", "cuda"}
    stack_size : int
        Replicas trained together, at most.
    engine : {"auto", "eager", "compiled"}
        See `armed.fit_stack`.
    """
    models = settings["models"]
    set_torch_threads(next(iter(models.values()))["torch_threads"])
    how = {"device": device, "stack_size": stack_size, "engine": engine}
    found = []
    for size in settings["subjects"]:
        sample = _Sample.draw(size, settings)
        log.info("%g times the subjects: %d in %d datasets.", size, len(sample.data), settings["datasets"])
        scores = [_of_oracle(sample)]
        for model, of_model in models.items():
            scores.append(_of_model(sample, model, of_model, settings, how))
            log.info("Fitted %s.", model)
        found.append(pd.concat(scores, ignore_index=True).assign(level=f"{size:g}"))
    study = next(iter(models.values()))["study"]
    table = pd.concat(found, ignore_index=True).assign(
        factor=FACTOR, study=study, source=SOURCE, variant="main", fold=-1
    )
    results.write("sensitivity", table, out, models=[ORACLE])


@dataclass(frozen=True)
class _Sample:
    """Datasets of one size: the seen sites of all, and what is true of them.

    Attributes
    ----------
    size : float
        Subjects, as a multiple of the study's.
    data : ClusteredData
        X with NaN where missing.
    features, sites : DataFrame
        `armed.data.adni_truth.read_truths`.
    """

    size: float
    data: ClusteredData
    features: pd.DataFrame
    sites: pd.DataFrame

    @classmethod
    def draw(cls, size: float, settings: Mapping) -> _Sample:
        """Draw the datasets, as visits, and make the study's data from them."""
        truths = []
        seen, _ = mci.from_tables(_visits(size, range(settings["datasets"]), truths), settings["n_seen"])
        features, sites = (pd.concat(of_all, ignore_index=True) for of_all in zip(*truths, strict=True))
        return cls(size, seen, features, sites)

    @cached_property
    def datasets(self) -> dict[int, np.ndarray]:
        """Rows of each dataset."""
        return {int(d): np.flatnonzero(self.data.dataset == d) for d in np.unique(self.data.dataset)}

    @cached_property
    def continuous(self) -> list[str]:
        """Names of the continuous features."""
        return [name for name, kind in feature_kinds(self.data).items() if kind == "continuous"]


def _visits(size: float, datasets: Sequence[int], truths: list) -> Iterator[tuple[int, pd.DataFrame]]:
    """One table after the other, as `adnimerge.read` would read it from its file; adds to `truths` as it goes."""
    for dataset in tqdm(datasets, desc=f"Stand-ins, {size:g} x", unit="dataset", disable=None):
        visits, truth = visit_table(dataset, scale=size)
        truths.append(truth_tables(truth, dataset))
        yield dataset, visits[list(adnimerge.NEEDED)].assign(EXAMDATE=pd.to_datetime(visits["EXAMDATE"]))


def _of_oracle(sample: _Sample) -> pd.DataFrame:
    """Slope s.d. of a mixed logit of each feature; intercepts of one without features, as given none they are what is true."""
    data, spreads, intercepts = sample.data, [], []
    columns = [data.feature_names.index(name) for name in sample.continuous]
    for rows in tqdm(sample.datasets.values(), desc="Oracle", unit="dataset", disable=None):
        own = data.take(rows)
        there = ~np.isnan(own.X)
        effects = [mixed_effect(own.X[ok, j], own.y[ok], own.clusters[ok]) for j in columns for ok in [there[:, j]]]
        spreads.append([effect.slope_sd for effect in effects])
        intercepts.append(cluster_intercepts(own))
    learned = pd.DataFrame(intercepts, index=list(sample.datasets))
    true = sample.sites.pivot(index="dataset", columns="cluster", values="intercept").reindex_like(learned)
    true_sd = sample.features.pivot(index="dataset", columns="feature", values="slope_sd")[sample.continuous]
    scores = {
        "slope_recovery": slope_recovery(spreads, true_sd),
        "slope_ratio": slope_ratio(spreads, true_sd),
        "intercept_recovery": intercept_recovery(learned, true),
    }
    frames = [pd.DataFrame({"seed": list(sample.datasets), "metric": m, **s._asdict()}) for m, s in scores.items()]
    return pd.concat(frames, ignore_index=True).assign(model=ORACLE, partition="seen")


def _of_model(sample: _Sample, model: str, of_model: Mapping, settings: Mapping, how: Mapping) -> pd.DataFrame:
    """Train one network on each dataset, all together, and score its random effects."""
    study = of_model["study"]
    whole = Splits(tuple(Fold(d, 0, rows, rows[:0], rows[:0]) for d, rows in sample.datasets.items()))
    preparation = Preparation(tuple(of_model["preparation"]), study).fit(sample.data, whole)
    data, folds = preparation.training(sample.data, _held_out(sample, settings["validation_fraction"], study))
    arguments = {"study": study, "label": of_model["kind"], **how, **of_model["variants"]["main"]}
    arguments |= {key: of_model[key] for key in ("network", "training")}
    method = registry.load(registry.model(model).method)(**arguments)
    # All sizes use the same compiled step.
    others = sum(size for size in settings["subjects"] if size != sample.size) / sample.size
    steps = max(len(fold.train) for fold in folds) / method.training["batch_size"] * method.training["epochs"]
    method.fit(data, folds, steps_elsewhere=round(others * steps))
    kinds = dict.fromkeys(sample.continuous, "continuous")
    own = {dataset: dataset for dataset in sample.datasets}
    scores = truth_metrics(method.random_effects_, None, sample.features, sample.sites, own, kinds)
    notes = [method.notes_.get((seed, 0), "") for seed in scores["seed"]]
    joined = ["; ".join(t for t in pair if t) for pair in zip(scores["note"], notes, strict=True)]
    return scores.assign(model=model, note=joined)


def _held_out(sample: _Sample, fraction: float, study: str) -> Splits:
    """All rows of each dataset, one in 1 / fraction of them held out to stop training early: stratified, as the study's."""
    folds = []
    for dataset, rows in sample.datasets.items():
        if not fraction:
            folds.append(Fold(dataset, 0, rows, rows[:0], rows[:0]))
            continue
        first = next(iter(make_splits(sample.data.take(rows), [dataset], round(1 / fraction), study)))
        folds.append(Fold(dataset, 0, rows[first.train], rows[first.test], rows[:0]))
    return Splits(tuple(folds))
