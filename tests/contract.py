"""Every registered model fitted once to small data, for the contract tests."""

from __future__ import annotations

from functools import cache

import numpy as np
import yaml
from config_edits import DEFAULT

from armed import registry
from armed.cluster_inference import ClusterInference
from armed.data.clustered import ClusteredData
from armed.data.splits import Splits, make_splits
from armed.method import Method

CONFIG = yaml.safe_load(DEFAULT.read_text())["studies"]["spirals_radius"]
TRAINING = {"epochs": 2, "batch_size": 16, "learning_rate": 0.01}
SEEDS = [0, 1]
EFFECTS = ["seed", "fold", "cluster", "effect", "feature", "mean", "sd"]
MODELS = registry.models_for("spirals_radius")
INFERRING = [m for m in MODELS if registry.model(m).infers_clusters]


def simulated(label: str = "binary") -> ClusteredData:
    """Four clusters of ragged sizes, and two more, e0 and e1, that no fold has."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(6), (40, 30, 30, 20, 10, 10))
    X = rng.normal(size=(len(codes), 3)) + 0.3 * codes[:, None]
    eta = X[:, 0] - X[:, 1] + 1.5 * (codes % 3 - 1) + 0.7 * rng.normal(size=len(codes))
    y = {"binary": (eta > 0).astype(int), "multiclass": np.digitize(eta, [-1, 1]), "continuous": eta}[label]
    return ClusteredData(X, y, np.array(["c0", "c1", "c2", "c3", "e0", "e1"])[codes])


ALL = simulated()
SEEN = np.flatnonzero(ALL.codes(["e0", "e1"]) < 0)
UNSEEN = np.flatnonzero(ALL.codes(["e0", "e1"]) >= 0)


@cache
def splits() -> Splits:
    """Two seeds of two folds over the seen clusters."""
    return make_splits(ALL.take(SEEN), SEEDS, 2, "contract")  # the seen rows come first in ALL


def create(name: str, **more: object) -> Method:
    """A model with the settings that the default config gives it."""
    entry = registry.model(name)
    settings = {"study": "contract", **CONFIG["settings"][entry.weights_from or name], **more}
    if entry.engine == "stack":
        settings |= {"network": CONFIG["network"], "training": TRAINING}
    return registry.load(entry.method)(**settings)


@cache
def fitted(name: str) -> Method:
    return create(name).fit(ALL, splits(), SEEDS)


@cache
def z_predictor() -> ClusterInference:
    training = {**TRAINING, "epochs": 5}
    return ClusterInference(study="contract", network=CONFIG["network"], training=training).fit(ALL, splits())


def rows_of(rows: np.ndarray) -> dict:
    return {(seed, fold): rows for seed in SEEDS for fold in (0, 1)}


def relabelled(data: ClusteredData, cluster: str) -> ClusteredData:
    return ClusteredData(data.X, data.y, np.full(len(data), cluster))


def assert_same_predictions(a, b, but_mixed: bool = False) -> None:
    for field in ("seed", "fold", "row", "fixed") if but_mixed else ("seed", "fold", "row", "fixed", "mixed"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
