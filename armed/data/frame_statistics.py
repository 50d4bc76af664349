"""Numbers that tell how an image of cells looks, for a person to compare imaging dates by."""

from __future__ import annotations

import numpy as np
import pandas as pd

from armed.data.image_statistics import NAMES, statistics

STATISTICS = {
    "brightness": "Mean of the pixels, 0 to 1.",
    "contrast": "Standard deviation of the pixels.",
    "sharpness": "Variance of the Laplacian, in thousandths.",
    "snr": "Mean over noise in decibel; the noise is what planes and straight edges cannot explain (Immerkaer, 1996).",
    "gradient": "Illumination: largest minus smallest mean of the four quarters, over the mean.",
}
"""What each statistic is; all but the last as `armed.data.image_statistics` measures reconstructions."""
_UNIT = {"sharpness": 1000.0}


def frame_statistics(pixels: np.ndarray) -> dict[str, float]:
    """Describe one image.

    Parameters
    ----------
    pixels : array of uint8, shape (size, size)
        Not constant.

    Returns
    -------
    dict of str to float
        `STATISTICS`.
    """
    values = pixels.astype(np.float32) / 255
    found = dict(zip(NAMES, statistics(values[None])[0].tolist(), strict=True))
    half = len(values) // 2
    quarters = [values[rows, columns].mean() for rows in _halves(half) for columns in _halves(half)]
    found["gradient"] = float(max(quarters) - min(quarters)) / found["brightness"]
    return {name: round(value * _UNIT.get(name, 1.0), 4) for name, value in found.items()}


def by_cluster(frames: pd.DataFrame) -> pd.DataFrame:
    """Describe the images of each cluster.

    Parameters
    ----------
    frames : DataFrame
        Columns cluster, group, subject, class, seen and `STATISTICS`, one row an image.

    Returns
    -------
    DataFrame
        One row a cluster, seen ones first, then by name: cluster, seen (0/1), groups (joined by ``; ``), n_groups, cells,
        images, images of each class (``images_<class>``), and mean and s.d. (``<name>_mean``, ``<name>_sd``) of each statistic.
    """
    classes = sorted(frames["class"].unique())
    rows = []
    for (seen, cluster), of_cluster in frames.groupby(["seen", "cluster"], sort=True):
        groups = sorted(of_cluster["group"].unique())
        row = {
            "cluster": cluster,
            "seen": seen,
            "groups": "; ".join(groups),
            "n_groups": len(groups),
            "cells": of_cluster["subject"].nunique(),
            "images": len(of_cluster),
            **{f"images_{name}": int((of_cluster["class"] == name).sum()) for name in classes},
        }
        for name in STATISTICS:
            values = of_cluster[name].to_numpy(dtype=float)
            row[f"{name}_mean"] = values.mean()
            row[f"{name}_sd"] = values.std(ddof=1) if len(values) > 1 else np.nan
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["seen", "cluster"], ascending=[False, True], ignore_index=True)


def _halves(half: int) -> tuple[slice, slice]:
    return slice(None, half), slice(half, None)
