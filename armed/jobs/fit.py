"""Jobs that train: one for all folds, seeds and variants of a model in a study, and one for the study's Z-predictor."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from armed import registry
from armed.data.study import StudyData
from armed.files import atomic
from armed.jobs.data import read_splits
from armed.reproducibility import environment

log = logging.getLogger(__name__)
# Named, not imported: fits that do not use these neither load them nor run again when they change.
CLUSTER_INFERENCE = "armed.cluster_inference:ClusterInference"
TUNE, PLAN = "armed.tuning:tune", "armed.tuning:Plan"


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
    common = {"study": settings["study"], "label": "binary"}
    if entry.engine == "stack":
        common |= {key: settings[key] for key in ("network", "training")}
        common |= {"device": device, "stack_size": stack_size, "engine": engine}
    study_data, main = StudyData.load(data), settings["variants"]["main"]
    jobs = [
        (name, registry.load(entry.method), {**common, **settings["variants"].get(model_variant, main)}, data_variant)
        for name, model_variant, data_variant in fitted_variants(settings, study_data)
    ]
    _fit_all(jobs, settings, code, study_data, splits, folder, checkpoints)


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
    jobs = [(variant, method, common, variant) for variant in study_data.parts]
    _fit_all(jobs, settings, code, study_data, splits, folder, checkpoints)


def fitted_variants(settings: Mapping, data: StudyData) -> Iterator[tuple[str, str, str]]:
    """(variant in the results, variant of the model, variant of the data) of all fits of a model."""
    for model_variant in settings["variants"]:
        yield model_variant, model_variant, "main"
    for data_variant in data.parts:
        if data_variant != "main":
            yield data_variant, "main", data_variant
    if "tuning" in settings:
        yield registry.TUNED, registry.TUNED, "main"


def _fit_all(
    jobs: list, settings: Mapping, code: str, data: StudyData, splits: Path, folder: Path, checkpoints: Path
) -> None:
    set_torch_threads(settings.get("torch_threads"))
    started, timings = time.time(), {}
    with atomic(folder, folder=True) as temporary:
        for name, method, arguments, data_variant in jobs:
            log.info("Fitting %s, variant %s, on data %s.", method.__name__, name, data_variant)
            begin = time.time()
            fitted, seen, folds = (
                method(**arguments),
                data.part("seen", data_variant),
                read_splits(splits, data_variant),
            )
            point = checkpoints / f"{name}.pt"
            if name == registry.TUNED:
                plan = registry.load(PLAN)(**settings["tuning"])
                tuning = registry.load(TUNE)(fitted, seen, folds, plan, checkpoint=checkpoints / "tuning.pt")
                tuning.to_frame().to_csv(temporary / "tuning.tsv", sep="\t", index=False)
                fitted.fit(seen, folds, plan.seeds, checkpoint=point, assign=tuning.assign)
            else:
                fitted.fit(seen, folds, settings["seeds"], checkpoint=point)
            fitted.save(temporary / name)
            timings[name] = round(time.time() - begin, 2)
            log.info("Fitted %d models in %.1f s.", len(fitted.replicas_), timings[name])
        record = {
            "settings": settings,
            "source_digest": code,
            "device": jobs[0][2].get("device", "cpu"),
            "engine": jobs[0][2].get("engine"),
            "environment": environment(),
            "seconds": timings,
            "wall_seconds": round(time.time() - started, 2),
        }
        (temporary / "run.json").write_text(json.dumps(record, indent=1))
    shutil.rmtree(checkpoints, ignore_errors=True)


def set_torch_threads(threads: int | None) -> None:
    """Fix torch's thread count, so that results do not depend on the cores given; None for methods without torch."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)
