"""The data and the methods that are measured: the authors' spirals and the settings of config/config.yaml."""

from __future__ import annotations

import inspect
from functools import cache
from pathlib import Path

from armed import config as configuration
from armed import registry
from armed.data import spirals
from armed.data.clustered import ClusteredData
from armed.data.splits import Splits, make_splits
from armed.stack_method import StackMethod
from benchmarks.cases import Size

STUDY = "spirals_radius"
N_FOLDS = 10
CONFIG = Path(__file__).resolve().parent.parent / "config" / "config.yaml"


@cache
def settings(method: str) -> dict:
    """Blocks `network` and `training` of the study, and `main`: the method's own settings."""
    found = configuration.settings(configuration.load([CONFIG]), STUDY, method)
    return {"network": found["network"], "training": found["training"], "main": found["variants"]["main"]}


def draw(size: Size) -> tuple[ClusteredData, Splits]:
    """The data of dataset seed 48 at a size, and one fold for each replica."""
    block = configuration.load([CONFIG])["studies"][STUDY]["data"]
    block |= {"n_clusters": size.clusters, "n_per_cluster": size.samples // size.clusters, "resampled": False}
    block |= {"n_unseen_clusters": 1, "n_per_unseen_cluster": spirals.SMALLEST_CLUSTER, "n_probes": size.features - 2}
    data = spirals.simulate(block, STUDY, [0]).part("seen")
    folds = make_splits(data, range(-(-size.replicas // N_FOLDS)), N_FOLDS, STUDY)
    return data, Splits(tuple(folds)[: size.replicas])


def method(name: str, size: Size, engine: str, epochs: int) -> StackMethod:
    """An unfitted method that trains all replicas in one stack."""
    given = settings(name)
    cls = registry.load(registry.model(name).method)
    return cls(
        study=STUDY,
        label="binary",
        network=given["network"] | {"hidden": [size.units] * 3},
        training=given["training"] | {"epochs": epochs},
        stack_size=size.replicas,
        engine=engine,
        **given["main"],
    )


def estimator_settings(name: str, size: Size, known: type) -> dict:
    """Arguments of a scikit-learn estimator of ours that trains as the method does, for all its epochs."""
    given = settings(name)
    accepted = inspect.signature(known).parameters
    shared = {key: value for key, value in (given["training"] | given["main"]).items() if key in accepted}
    own = {"hidden": (size.units,) * 3, "epochs": size.epochs, "patience": None, "infer_clusters": False}
    return shared | own
