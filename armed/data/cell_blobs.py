"""Smooth random motion, and sums of Gaussian blobs: what cells and debris of the stand-in are made of.

Lengths are shares of the image's width; time is counted in frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SMALLEST_PIXELS = 0.55
"""Least s.d. of a blob as drawn, pixels; smaller ones are drawn fainter instead, so that any image size shows the same."""


class Wave:
    """Smooth random functions of time, mean 0 and s.d. 1, each the sum of `parts` cosines."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...], frames: float, parts: int = 5) -> None:
        self.frequency = rng.standard_normal((parts, *shape)) / frames
        self.phase = rng.uniform(0, 2 * np.pi, (parts, *shape))

    def __call__(self, times: np.ndarray) -> np.ndarray:
        """Values, shape (n_times, *shape)."""
        t = times.reshape(-1, 1, *[1] * (self.phase.ndim - 1))
        return np.sqrt(2 / len(self.phase)) * np.cos(self.frequency * t + self.phase).sum(axis=1)


@dataclass(frozen=True)
class Blobs:
    """Gaussian blobs over time: places `x`, `y`, s.d. `width`, height `weight`, each of shape (n_frames, n)."""

    x: np.ndarray
    y: np.ndarray
    width: np.ndarray
    weight: np.ndarray

    def part(self, frames: slice) -> Blobs:
        return Blobs(self.x[frames], self.y[frames], self.width[frames], self.weight[frames])


def add_blobs(blobs: Blobs, size: int) -> np.ndarray:
    """Sum of blobs, shape (n_frames, size, size), float32: outer products of their profiles along x and y."""
    at = ((np.arange(size) + 0.5) / size).astype(np.float32)
    width = np.maximum(blobs.width, SMALLEST_PIXELS / size)
    weight = blobs.weight * (blobs.width / width) ** 2
    scale = np.float32(-0.5) / (width * width).astype(np.float32)
    x = np.exp(scale[..., None] * (at - blobs.x[..., None].astype(np.float32)) ** 2)
    y = np.exp(scale[..., None] * (at - blobs.y[..., None].astype(np.float32)) ** 2)
    y *= weight[..., None].astype(np.float32)
    return np.matmul(y.transpose(0, 2, 1), x)
