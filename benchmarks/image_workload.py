"""The images and the methods that are measured: random images, and the settings of a study in config/config.yaml."""

from __future__ import annotations

import tempfile
from functools import cache

import numpy as np

from armed import config as configuration
from armed import registry
from armed.cluster_inference import ClusterInference
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.stack_method import StackMethod
from benchmarks.image_cases import ImageCase, ImageSize
from benchmarks.workload import CONFIG


@cache
def _config() -> dict:
    return configuration.load([CONFIG])


def settings(case: ImageCase) -> dict:
    """Blocks `network` and `training`, and `main`: the method's own settings, at the size of the case."""
    config, size = _config(), case.scale
    if case.method == "cluster_inference":
        found = configuration.cluster_inference_settings(config, case.study)
        main = {"validation_fraction": found["validation_fraction"]}
    else:
        found = configuration.settings(config, case.study, case.method)
        main = found["variants"]["main"]
    for part in ("adversary", "recogniser"):
        if main.get(f"{part}_units") is not None:
            main = main | {f"{part}_{name}": value for name, value in size.adversary.items()}
    batch = {"batch_size": size.batch_size} if size.batch_size else {}
    training = found["training"] | batch | {"epochs": 1, "patience": None}
    return {"network": found["network"] | size.network, "training": training, "main": main}


def draw(size: ImageSize) -> tuple[ClusteredData, Splits]:
    """Random images of bytes, memory-mapped as those of a study are, and one fold that trains on all of them."""
    rng = np.random.default_rng(0)
    shape = (size.n_images, 1, size.pixels, size.pixels)
    with tempfile.TemporaryFile() as file:
        X = np.memmap(file, np.uint8, "w+", shape=shape)
    X[:] = rng.integers(0, 256, shape, dtype=np.uint8)
    y = np.tile([0, 1], size.n_images // 2)
    sites = np.array([f"site {i:02d}" for i in range(size.n_sites)]).repeat(size.n_images // size.n_sites)
    rows = np.arange(size.n_images)
    return ClusteredData(X, y, sites), Splits((Fold(0, 0, rows, rows[:0], rows[:0]),))


def method(case: ImageCase, **network: object) -> StackMethod:
    """An unfitted method; `network` are further settings of its network."""
    given = settings(case)
    inference = case.method == "cluster_inference"
    cls = ClusterInference if inference else registry.load(registry.model(case.method).method)
    return cls(
        study=case.study,
        label="multiclass" if inference else "binary",
        network=given["network"] | network,
        training=given["training"] | {"precision": case.precision},
        stack_size=1,
        device=case.device,
        **given["main"],
    )
