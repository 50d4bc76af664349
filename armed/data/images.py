"""Images looked at as a whole: size, grey levels, and which are the same."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

AT_ONCE = 256  # images; bounds memory, as images may be mapped from a file


class GreyLevels(NamedTuple):
    """Grey levels of each image, over its pixels above 0: around a skull-stripped brain all is 0. Arrays (n,).

    Attributes
    ----------
    mean, sd : array of float64
        NaN where no pixel is above 0.
    lowest, highest : array of float64
        Over all pixels.
    """

    mean: np.ndarray
    sd: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray

    @property
    def measures(self) -> dict[str, np.ndarray]:
        """What tells images apart at a glance, by name."""
        return {"mean grey level": self.mean, "s.d. of grey levels": self.sd}


def grey_levels(X: np.ndarray) -> GreyLevels:
    """Measure the grey levels of images (n, ...), all channels together."""
    parts = [_levels(X[i : i + AT_ONCE].reshape(len(X[i : i + AT_ONCE]), -1)) for i in range(0, len(X), AT_ONCE)]
    return GreyLevels(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _levels(pixels: np.ndarray) -> GreyLevels:
    above = pixels > 0
    n = above.sum(axis=1)
    values = np.where(above, pixels, 0).astype(np.float32)
    total, squares = values.sum(axis=1, dtype=np.float64), np.square(values).sum(axis=1, dtype=np.float64)
    mean = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
    variance = np.divide(squares, n, out=np.full(len(n), np.nan), where=n > 0) - mean**2
    return GreyLevels(
        mean, np.sqrt(np.maximum(variance, 0)), *(f(pixels, axis=1).astype(float) for f in (np.min, np.max))
    )


def contents(X: np.ndarray) -> list[bytes]:
    """A digest of each image (n, ...): equal for images that are equal pixel by pixel."""
    return [hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest() for image in X]


def size_text(X: np.ndarray) -> str:
    """Size of images (n, height, width) or (n, channels, height, width), for readers."""
    *channels, height, width = X.shape[1:]
    colours = f", {channels[0]} channels" if channels and channels[0] > 1 else ""
    return f"{width} x {height} pixels{colours}, {X.dtype.name}"
