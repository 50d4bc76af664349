"""Rows of metric tables from arrays of values, for tests of what is computed from them."""

import numpy as np
import pandas as pd

from armed import results


def rows(values, *, fold0=0, **names):
    """Metric rows of an array (seeds, folds)."""
    seed, fold = np.indices(np.shape(values))
    base = {"study": "spirals_radius", "source": "simulated", "model": "armed", "variant": "main"}
    frame = pd.DataFrame({"seed": seed.ravel(), "fold": fold.ravel() + fold0, "value": np.ravel(values)})
    frame = frame.assign(**base | {"partition": "seen", "metric": "accuracy", "n": 100, "note": ""} | names)
    return frame.assign(note=np.where(frame["value"].isna(), "one class", ""))


def cluster_rows(values, weights=100, **names):
    """Cluster metric rows of an array (seeds, folds, clusters)."""
    parts = [rows(values[:, :, c], cluster=f"u{c}", **names) for c in range(np.shape(values)[2])]
    frame = pd.concat(parts, ignore_index=True)
    n = np.broadcast_to(weights, np.shape(values)[2])
    return frame.assign(n=n[frame["cluster"].str[1:].astype(int)])


NO_CLUSTERS = pd.DataFrame(columns=list(results.table("cluster_metrics").columns))


def noise(*shape, seed=0, sd=0.02):
    return np.random.default_rng(seed).normal(0, sd, shape)
