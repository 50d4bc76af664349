"""Numbers that tell how an image of cells looks, for a person to compare imaging dates by."""

from __future__ import annotations

import numpy as np
import pandas as pd

STATISTICS = {
    "mean": "Mean grey level (0 to 255).",
    "sd": "Standard deviation of the grey levels.",
    "sharpness": "Mean length of the gradient of the grey levels, per pixel, over their standard deviation.",
    "noise": "Standard deviation of the noise, from what planes and straight edges cannot explain (Immerkaer, 1996).",
    "gradient": "Illumination: largest minus smallest mean of the four quarters, over the mean.",
}
"""What each statistic is."""

# The second difference along rows and columns of white noise of s.d. 1 has s.d. 6 (Immerkaer, Fast noise variance estimation,
# 1996).
_NOISE_GAIN = 6.0
_MAD_TO_SD = 1.4826


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
    values = pixels.astype(np.float32)
    mean, sd = float(values.mean()), float(values.std())
    slopes = np.hypot(*np.gradient(values))
    response = np.diff(np.diff(pixels.astype(np.int16), 2, axis=0), 2, axis=1)
    half = len(values) // 2
    quarters = [values[rows, columns].mean() for rows in _halves(half) for columns in _halves(half)]
    found = {
        "mean": mean,
        "sd": sd,
        "sharpness": float(slopes.mean()) / sd,
        "noise": _MAD_TO_SD * float(np.median(np.abs(response))) / _NOISE_GAIN,
        "gradient": float(max(quarters) - min(quarters)) / mean,
    }
    return {name: round(value, 4) for name, value in found.items()}


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
