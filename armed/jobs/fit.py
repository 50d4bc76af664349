"""Jobs that train: one for all folds, seeds and variants of a model in a study, and one for the study's Z-predictor."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from armed import registry
from armed.data.preparation import Preparation
from armed.data.study import StudyData
from armed.files import atomic
from armed.jobs.data import as_trained, read_splits
from armed.jobs.record import Inputs, begin_record, record_of_run

log = logging.getLogger(__name__)
# Named, not imported: fits that do not use these neither load them nor run again when they change.
CLUSTER_INFERENCE = "armed.cluster_inference:ClusterInference"
TUNE, PLAN = "armed.tuning:tune", "armed.tuning:Plan"
ROTATION = "@"
"""Stands in the name of a variant of the data between its own name and the cluster that is left out in it."""


class Variant(NamedTuple):
    """One training of a model on all folds and seeds.

    Attributes
    ----------
    folder : str
        Where it is kept, under the model's run.
    name : str
        Variant in the results.
    settings : str
        Which of the model's settings it uses; `registry.TUNED` for those chosen.
    data : str
        Variant of the data.
    rotation : int
        Position among the variants of the data that leave out one cluster each and share a name in the results; their folds
        are numbered on from one to the next.
    """

    folder: str
    name: str
    settings: str
    data: str
    rotation: int


def fit(
    settings: Mapping,
    code: str,
    data: Path,
    splits: Path,
    folder: Path,
    checkpoints: Path,
    *,
    device: str,
    stack_size: int,
    engine: str = "auto",
) -> None:
    """Fit a model in a study: each of its variants on the main data, and its main settings on each variant of the data.

    Where the settings ask for it, the hyperparameters of each fold are then chosen (`armed.tuning`) and fitted as variant
    ``tuned``.

    Parameters
    ----------
    settings : mapping
        `armed.config.settings`.
    code : str
        Digest of the sources used, for the record.
    data, splits : Path
        What `armed.jobs.data` wrote.
    folder : Path
        Written when complete: a folder for each variant, `run.json`, and `tuning.tsv` where hyperparameters were chosen.
    checkpoints : Path
        Folder where an interrupted training continues from.
    device : {"cpu", "cuda"}
    stack_size : int
        Replicas trained together, at most.
    engine : {"auto", "eager", "compiled"}
        See `armed.fit_stack`.
    """
    entry = registry.model(settings["model"])
    common = {"study": settings["study"], "label": settings["kind"]}
    if entry.engine == "stack":
        common |= {key: settings[key] for key in ("network", "training")}
        common |= {"device": device, "stack_size": stack_size, "engine": engine}
    study_data, main = StudyData.load(data), settings["variants"]["main"]
    method = registry.load(entry.method)
    jobs = [
        (variant, method, {**common, **settings["variants"].get(variant.settings, main)})
        for variant in variants(settings, study_data)
    ]
    _fit_all(jobs, settings, code, study_data, Inputs(data, splits), folder, checkpoints)


def fit_cluster_inference(
    settings: Mapping,
    code: str,
    data: Path,
    splits: Path,
    folder: Path,
    checkpoints: Path,
    *,
    device: str,
    stack_size: int,
    engine: str = "auto",
) -> None:
    """Fit a study's Z-predictor on each variant of its data; arguments as for `fit`."""
    common = {key: settings[key] for key in ("study", "network", "training", "validation_fraction")}
    common |= {"device": device, "stack_size": stack_size, "engine": engine}
    study_data = StudyData.load(data)
    method = registry.load(CLUSTER_INFERENCE)
    jobs = [(Variant(name, name, "main", name, 0), method, common) for name in study_data.parts]
    _fit_all(jobs, settings, code, study_data, Inputs(data, splits), folder, checkpoints)


def variants(settings: Mapping, data: StudyData) -> Iterator[Variant]:
    """All trainings of a model, by variant of the data."""
    rotations: dict[str, int] = {}
    for data_variant in data.parts:
        base, at, left_out = data_variant.partition(ROTATION)
        rotation = rotations[base] = rotations.get(base, -1) + 1
        names = {base: "main"}
        if base == "main":
            names = {name: name for name in settings["variants"]}
            names |= {registry.TUNED: registry.TUNED} if "tuning" in settings else {}
        for name, own in names.items():
            yield Variant(f"{name}{at}{left_out}", name, own, data_variant, rotation)


def _fit_all(
    jobs: list, settings: Mapping, code: str, data: StudyData, inputs: Inputs, folder: Path, checkpoints: Path
) -> None:
    splits = inputs.splits
    set_torch_threads(settings.get("torch_threads"))
    begin_record()
    started, timings, tunings = time.monotonic(), {}, []
    elsewhere = _steps_elsewhere([variant for variant, _, _ in jobs], settings, data, splits, jobs[0][2])
    with atomic(folder, folder=True) as temporary:
        for variant, method, arguments in jobs:
            log.info("Fitting %s, variant %s, on data %s.", method.__name__, variant.name, variant.data)
            begin = time.monotonic()
            how = {"steps_elsewhere": elsewhere[variant.folder]} if elsewhere else {}
            fitted, tuned = _fit_variant(variant, method(**arguments), settings, data, splits, checkpoints, how)
            fitted.save(temporary / variant.folder)
            tunings += [] if tuned is None else [tuned]
            timings[variant.folder] = round(time.monotonic() - begin, 2)
            log.info("Fitted %d models in %.1f s.", len(fitted.replicas_), timings[variant.folder])
        if tunings:
            pd.concat(tunings).to_csv(temporary / "tuning.tsv", sep="\t", index=False)
        told = record_of_run(settings, code, jobs[0][2], inputs, temporary)
        told |= {"seconds": timings, "wall_seconds": round(time.monotonic() - started, 2)}
        told["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        (temporary / "run.json").write_text(json.dumps(told, indent=1))
    shutil.rmtree(checkpoints, ignore_errors=True)


def _steps_elsewhere(
    variants: list[Variant], settings: Mapping, data: StudyData, splits: Path, arguments: Mapping
) -> dict[str, int]:
    """By folder of a variant, the steps of all others whose stacks are of the same size and so use the same compiled step.

    Nothing for methods that are not trained in stacks, and for the Z-predictor, which has one output for each cluster.
    """
    if "stack_size" not in arguments or "model" not in settings:
        return {}
    own, training = {}, settings["training"]
    for variant in variants:
        folds = as_trained(read_splits(splits, variant.data), variant.data).select(settings["seeds"])
        rows, replicas = max(len(f.train) for f in folds), len(folds)
        if variant.settings == registry.TUNED:
            plan = settings["tuning"]
            rows, replicas = rows * (1 - 1 / plan["inner_folds"]), len(folds.select(plan["seeds"]))
            replicas *= plan["inner_folds"] * plan["candidates"]
        n_stacks = -(-replicas // arguments["stack_size"])
        own[variant.folder] = (
            -(-replicas // n_stacks),
            n_stacks * round(rows / training["batch_size"]) * training["epochs"],
        )
    total = Counter()
    for size, steps in own.values():
        total[size] += steps
    return {folder: total[size] - steps for folder, (size, steps) in own.items()}


def _fit_variant(
    variant: Variant, method: object, settings: Mapping, data: StudyData, splits: Path, checkpoints: Path, how: Mapping
) -> tuple[object, pd.DataFrame | None]:
    """Train one variant; returns the method, and what was tried where hyperparameters were chosen."""
    seen = data.part("seen", variant.data)
    folds = as_trained(read_splits(splits, variant.data), variant.data)
    preparation = Preparation(tuple(settings["preparation"]), settings["study"])
    point = checkpoints / f"{variant.folder}.pt"
    if variant.settings != registry.TUNED:
        prepared, rows = preparation.fit(seen, folds).training(seen, folds.select(settings["seeds"]))
        return method.fit(prepared, rows, settings["seeds"], checkpoint=point, **how), None
    plan = registry.load(PLAN)(**settings["tuning"])
    folds = folds.select(plan.seeds)
    search = checkpoints / f"{variant.folder}.search.pt"
    tuning = registry.load(TUNE)(method, seen, folds, plan, preparation=preparation, checkpoint=search, **how)
    prepared, rows = preparation.fit(seen, folds).training(seen, folds)
    method.fit(prepared, rows, plan.seeds, checkpoint=point, assign=tuning.assign)
    n_folds = 1 + max(f.fold for f in folds)
    table = tuning.to_frame()
    return method, table.assign(fold=table["fold"] + variant.rotation * n_folds)


def set_torch_threads(threads: int | None) -> None:
    """Fix torch's thread count, so that results do not depend on the cores given; None for methods without torch."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)
