"""Numbers that tell how a slice of a brain looks, before its intensities are scaled: of one slice, and by site.

Taken of the pixels of the volume itself, so that resampling changes none of them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import ndimage

STATISTICS = {
    "mean": "Mean intensity of the brain in the slice.",
    "sd": "Standard deviation of these intensities.",
    "contrast": "Their 98th minus their 2nd percentile, over the mean.",
    "foreground": "Share of the square cut-out that is brain.",
    "snr": "Signal-to-noise ratio: the mean over the standard deviation of the noise.",
    "sharpness": "Mean length of the intensity's gradient inside the brain, per mm, over the mean.",
    "pixel_mm": "Side of a pixel of the image, in mm.",
}
"""What each statistic is."""
FAR = 3.5
"""Robust z-score from which on a slice is far from its site (Iglewicz and Hoaglin, 1993)."""
LEAST_SPREAD = 0.03
"""Spread of a statistic within a site, over its median, that is taken at least."""
FEW = 8
"""In smaller sites no slice can be called far from the others."""

# A Laplacian that sees neither planes nor straight edges; its response to white noise of s.d. 1 has s.d. 6
# (Immerkaer, Fast noise variance estimation, 1996).
_NOISE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
_NOISE_GAIN = 6.0
_MAD_TO_SD = 1.4826


def slice_statistics(values: np.ndarray, brain: np.ndarray, spacing: tuple[float, float]) -> dict[str, float]:
    """Describe one slice; `foreground` and `pixel_mm` are of the cut-out and come from who makes it.

    Parameters
    ----------
    values : array of float32, shape (rows, columns)
        Intensities as the volume has them.
    brain : array of bool, shape (rows, columns)
        Where the brain is.
    spacing : (float, float)
        Distance of rows and of columns, in mm.

    Returns
    -------
    dict of str to float
        `mean`, `sd`, `contrast`, `snr`, `sharpness`; NaN where there are too few pixels or no noise.
    """
    inside = values[brain]
    mean = float(inside.mean())
    low, high = np.percentile(inside, (2, 98))
    # Away from the border of the brain: its edge would count as noise and as sharpness.
    interior = ndimage.binary_erosion(brain, iterations=2)
    snr = sharpness = np.nan
    if interior.any():
        response = ndimage.convolve(values, _NOISE, mode="nearest")[interior]
        noise = _MAD_TO_SD * float(np.median(np.abs(response))) / _NOISE_GAIN
        snr = mean / noise if noise > 0 else np.nan
        slopes = np.hypot(*np.gradient(values, *spacing))[interior]
        sharpness = float(slopes.mean()) / mean
    found = {"mean": mean, "sd": float(inside.std()), "contrast": float(high - low) / mean}
    return found | {"snr": snr, "sharpness": sharpness}


def by_site(slices: pd.DataFrame) -> pd.DataFrame:
    """Describe the slices of each site.

    Parameters
    ----------
    slices : DataFrame
        Columns site, subject, diagnosis, scanner, status and `STATISTICS`, one row a session.

    Returns
    -------
    DataFrame
        One row a site (sorted): site, scanner (all that occur), images, subjects, AD, CN (images of each diagnosis),
        left_out (sessions without an image), and mean and s.d. (``<name>_mean``, ``<name>_sd``) of each statistic.
    """
    rows = []
    for site, of_site in slices.groupby("site", sort=True):
        used = of_site[of_site["status"] == "ok"]
        row = {
            "site": site,
            "scanner": "; ".join(sorted(of_site["scanner"].unique())),
            "images": len(used),
            "subjects": used["subject"].nunique(),
            **{name: int((used["diagnosis"] == name).sum()) for name in ("AD", "CN")},
            "left_out": len(of_site) - len(used),
        }
        for name in STATISTICS:
            values = used[name].to_numpy(dtype=float)
            values = values[np.isfinite(values)]
            row[f"{name}_mean"] = values.mean() if len(values) else np.nan
            row[f"{name}_sd"] = values.std(ddof=1) if len(values) > 1 else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def far_from_site(slices: pd.DataFrame) -> pd.Series:
    """Tell which slices look unlike the others of their site, to be looked at first.

    A statistic counts as far where its distance from the site's median exceeds `FAR` robust standard deviations, in sites
    of at least `FEW` images.

    Parameters
    ----------
    slices : DataFrame
        As for `by_site`.

    Returns
    -------
    Series of str, index of `slices`
        The statistics that are far, with their value and the site's median; empty for the others.
    """
    found = pd.Series("", index=slices.index)
    for _, of_site in slices[slices["status"] == "ok"].groupby("site"):
        if len(of_site) < FEW:
            continue
        values = of_site[list(STATISTICS)].astype(float)
        median = values.median()
        spread = _MAD_TO_SD * (values - median).abs().median()
        # Where most are nearly equal, a small difference is no sign of anything.
        spread = np.maximum(spread, LEAST_SPREAD * median.abs())
        is_far = (values - median).abs() > FAR * spread
        for row in is_far.index[is_far.any(axis=1)]:
            names = is_far.columns[is_far.loc[row]]
            found[row] = ", ".join(f"{n} {values.at[row, n]:.3g} (median {median[n]:.3g})" for n in names)
    return found
