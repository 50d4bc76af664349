"""Draws a cell of the stand-in: what light meets, before the microscope makes an image of it.

The body is the inside of an outline given by angle; protrusions and blebs are Gaussian blobs that melt into it: body and
blobs make a field, and the cell is where it exceeds one half. Edges are drawn about one pixel wide at any image size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from armed.data.cell_blobs import add_blobs
from armed.data.cell_motion import N_ANGLES, Motion


@dataclass(frozen=True)
class Scene:
    """What light meets: each array has shape (n_frames, size, size), float32.

    Parameters
    ----------
    phase : array
        Optical path through the cell against the medium; 1 is about the middle of a cell.
    scatter : array
        Light that scattering granules add.
    cell : array
        Share of the pixel inside of the cell, 0 to 1.
    """

    phase: np.ndarray
    scatter: np.ndarray
    cell: np.ndarray


def draw_scene(motion: Motion, size: int, texture: float = 0.0) -> Scene:
    """Draw a cell.

    Parameters
    ----------
    motion : Motion
    size : int
        Width and height, pixels.
    texture : float
        Log factor on the contrast of granules and cytoplasm.
    """
    u, nucleus = _depths(motion, size)
    arms, blebs = add_blobs(motion.protrusions, size), add_blobs(motion.blebs, size)
    field = np.exp(np.float32(-np.log(2)) * np.minimum(u, 4) ** 6) + arms + blebs
    inside = _inside(field)
    dome = np.clip(1 - u * u, 0, 1) ** np.float32(0.75)
    thick = 0.30 + 0.62 * dome + 0.35 * np.clip(blebs, 0, 1) + 0.10 * np.clip(arms, 0, 1)
    grain = add_blobs(motion.granules, size)
    cloud = add_blobs(motion.patches, size)
    strength = np.float32(np.exp(texture))
    rim = np.exp(-(((nucleus - 1) / 0.13) ** 2))
    body = 0.16 * np.exp(-(np.minimum(nucleus, 4) ** 6)) - 0.12 * rim - 0.22 * add_blobs(motion.nucleoli, size)
    phase = inside * (thick - body + strength * (0.17 * cloud + 0.34 * grain * (nucleus > 0.9)))
    scatter = inside * add_blobs(motion.scatterers, size)
    return Scene(phase.astype(np.float32), scatter.astype(np.float32), inside)


def _depths(motion: Motion, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the middle of the body and of the nucleus, relative to their outlines, (n_frames, size, size)."""
    at = ((np.arange(size) + 0.5) / size).astype(np.float32)
    dx = (at - motion.centre[:, :1].astype(np.float32))[:, None, :]
    dy = (at - motion.centre[:, 1:].astype(np.float32))[:, :, None]
    m = motion.stretch.astype(np.float32)[..., None, None]
    x, y = m[:, 0, 0] * dx + m[:, 0, 1] * dy, m[:, 1, 0] * dx + m[:, 1, 1] * dy
    angle = np.arctan2(y, x)
    index = np.minimum(
        ((angle + np.float32(np.pi)) * np.float32(N_ANGLES / (2 * np.pi))).astype(np.int32), N_ANGLES - 1
    )
    edge = np.take_along_axis(motion.outline.astype(np.float32), index.reshape(len(index), -1), axis=1)
    u = np.sqrt(x * x + y * y) / edge.reshape(index.shape)
    nx, ny, radius = motion.nucleus.astype(np.float32).T[..., None, None]
    return u, np.sqrt((x - nx) ** 2 + (y - ny) ** 2) / radius


def _inside(field: np.ndarray) -> np.ndarray:
    """Share of each pixel inside, from the distance to the edge: the field over its slope."""
    dy, dx = np.gradient(field, axis=(1, 2))
    slope = np.sqrt(dx * dx + dy * dy) + np.float32(1e-4)
    share = np.clip(np.float32(0.5) + (field - np.float32(0.5)) / slope / np.float32(1.2), 0, 1)
    return share * share * (3 - 2 * share)
