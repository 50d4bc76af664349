"""Brightness, contrast, sharpness and signal to noise of images, and how much they differ between clusters.

Paper, live-cell study: statistics of reconstructions by date, with F-statistics. How the paper measures each is not stated; we
take the definitions at `NAMES`, all in common use.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from armed.errors import DataError

NAMES = ("brightness", "contrast", "sharpness", "snr")
"""Mean of the pixels; their s.d.; variance of the Laplacian (4 neighbours, no border); and the ratio of mean to noise in
decibel, the noise's s.d. by Immerkaer (Computer Vision and Image Understanding 64, 1996): from what is left of the pixels by a
mask that is blind to planes and edges. A ratio of mean to s.d. would only repeat the first two."""
_AT_ONCE = 2**22  # pixels; bounds memory


def statistics(images: np.ndarray) -> np.ndarray:
    """Statistics of each image.

    Parameters
    ----------
    images : array, (n, H, W)
        Brightness 0..1, at least 3 x 3.

    Returns
    -------
    numpy.ndarray
        (n, 4) float32, columns as `NAMES`. ``snr`` is NaN where there is no noise, or the mean is not positive.

    Raises
    ------
    DataError
        Arrays of another shape.
    """
    if np.ndim(images) != 3 or min(np.shape(images)[1:]) < 3:
        raise DataError(
            f"Images are of shape {np.shape(images)}; expected (n, height, width) of 3 pixels or more each way."
        )
    images = np.asarray(images)
    size = max(1, _AT_ONCE // images[0].size) if len(images) else 1
    parts = [_statistics(images[start : start + size].astype(np.float64)) for start in range(0, len(images), size)]
    return np.concatenate([np.zeros((0, len(NAMES))), *parts]).astype(np.float32)


def _statistics(images: np.ndarray) -> np.ndarray:
    flat, centre = images.reshape(len(images), -1), images[:, 1:-1, 1:-1]
    beside = images[:, :-2, 1:-1] + images[:, 2:, 1:-1] + images[:, 1:-1, :-2] + images[:, 1:-1, 2:]
    corners = images[:, :-2, :-2] + images[:, :-2, 2:] + images[:, 2:, :-2] + images[:, 2:, 2:]
    laplacian = beside - 4 * centre
    mask = 4 * centre - 2 * beside + corners
    noise = np.sqrt(np.pi / 2) / 6 * np.abs(mask).mean(axis=(1, 2))
    mean = flat.mean(1)
    # Rounding of equal pixels is no noise.
    there = (noise > 1e-9) & (mean > 0)
    snr = np.full(len(images), np.nan)
    snr[there] = 20 * np.log10(mean[there] / noise[there])
    return np.column_stack([mean, flat.std(1), laplacian.var(axis=(1, 2)), snr])


def f_statistics(values: np.ndarray, clusters: np.ndarray, subjects: np.ndarray | None = None) -> pd.DataFrame:
    """One-way analysis of variance of each statistic over clusters.

    Parameters
    ----------
    values : array, (n, 4)
        As `statistics` returns them; NaN are left out.
    clusters : array, (n,)
    subjects : array, (n,), optional
        The analysis is then of the means of each subject in its cluster: frames of a cell are no independent observations, and
        taken for such they make F larger the more there are. Not stated in the paper, which speaks of images.

    Returns
    -------
    DataFrame
        statistic, f, p, n (observations), clusters. F and p are NaN with fewer than 2 clusters, no more observations than
        clusters, or observations that do not vary within clusters.
    """
    frame = pd.DataFrame(np.asarray(values, np.float64), columns=list(NAMES)).assign(cluster=np.asarray(clusters))
    if subjects is not None:
        frame = frame.assign(subject=np.asarray(subjects)).groupby(["cluster", "subject"], as_index=False).mean()
    rows = []
    for name in NAMES:
        there = frame[frame[name].notna()]
        groups = [own[name].to_numpy() for _, own in there.groupby("cluster")]
        f = p = np.nan
        if 2 <= len(groups) < len(there) and any(np.ptp(group) > 0 for group in groups):
            f, p = stats.f_oneway(*groups)
        rows.append((name, float(f), float(p), len(there), len(groups)))
    return pd.DataFrame(rows, columns=["statistic", "f", "p", "n", "clusters"])
