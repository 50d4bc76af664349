"""How a cell of the stand-in moves: smooth random motion of its outline, protrusions, blebs, nucleus and granules.

All motion is made of waves of random frequency (`cell_blobs.Wave`). Lengths are shares of the image's width; time is
counted in frames. Body coordinates are those of a cell of radius 1 whose long axis lies along x. None of the numbers here is
published: they are such that movies look like cells.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from armed.data.cell_blobs import Blobs, Wave
from armed.data.cell_model import Cell

N_ANGLES = 720
HARMONICS = np.arange(2, 8)
N_PROTRUSIONS, N_LINKS = 6, 16
RIDGE = 1.8
"""Height of the field along a protrusion; the cell ends where the field is one half."""
N_BLEBS = 12
N_GRANULES = 110
N_PATCHES = 26


@dataclass(frozen=True)
class Motion:
    """A cell over time.

    Parameters
    ----------
    centre : array, shape (n_frames, 2)
    stretch : array, shape (n_frames, 2, 2)
        Image to body coordinates, after the centre is taken off.
    outline : array, shape (n_frames, N_ANGLES)
        Radius of the body in body coordinates, by angle from -pi.
    nucleus : array, shape (n_frames, 3)
        Place in body coordinates, and the radius relative to the body's.
    protrusions, blebs, granules, scatterers, patches, nucleoli : Blobs
    """

    centre: np.ndarray
    stretch: np.ndarray
    outline: np.ndarray
    nucleus: np.ndarray
    protrusions: Blobs
    blebs: Blobs
    granules: Blobs
    scatterers: Blobs
    patches: Blobs
    nucleoli: Blobs

    def part(self, frames: slice) -> Motion:
        """Some of the frames."""
        values = (getattr(self, field.name) for field in fields(Motion))
        return Motion(*(v.part(frames) if isinstance(v, Blobs) else v[frames] for v in values))


def move(cell: Cell, rng: np.random.Generator, n_frames: int) -> Motion:
    """Draw a cell's motion.

    Parameters
    ----------
    cell : Cell
    rng : numpy Generator
    n_frames : int
    """
    times = np.arange(n_frames, dtype=float)
    centre = 0.5 + 0.012 * Wave(rng, (2,), 25)(times)
    angle = rng.uniform(0, np.pi) + 0.15 * Wave(rng, (), 30)(times)
    radius = cell.radius * (1 + 0.02 * Wave(rng, (), 12)(times))
    to_body, to_image = _stretches(angle, radius, cell.elongation)
    outline = _outline(cell, rng, times)

    def placed(q: np.ndarray) -> np.ndarray:
        """Body coordinates (n_frames, n, 2) to the image's."""
        return centre[:, None] + np.einsum("fij,fnj->fni", to_image, q)

    drift = 0.12 * Wave(rng, (2,), 25)(times)
    size = np.broadcast_to(0.40 + 0.05 * rng.standard_normal(), n_frames)
    nucleus = np.column_stack([drift, size])
    return Motion(
        centre=centre,
        stretch=to_body,
        outline=outline,
        nucleus=nucleus,
        protrusions=_protrusions(cell, rng, times, outline, placed),
        blebs=_blebs(cell, rng, times, outline, placed),
        granules=_granules(cell, rng, times, placed, N_GRANULES * np.exp(cell.granularity), (0.003, 0.010)),
        scatterers=_granules(cell, rng, times, placed, 15 * np.exp(0.5 * cell.scatter), (0.004, 0.010)),
        patches=_patches(rng, times, placed),
        nucleoli=_nucleoli(rng, cell, drift, placed),
    )


def extension(wave: np.ndarray, offset: float) -> np.ndarray:
    """How far a protrusion or bleb is out, 0 (gone) to about 1."""
    return np.clip(0.5 + 0.45 * (wave + offset), 0.0, 1.4)


def _stretches(angle: np.ndarray, radius: np.ndarray, elongation: float) -> tuple[np.ndarray, np.ndarray]:
    """Matrices (n_frames, 2, 2): image to body, body to image coordinates."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([c, s], -1), np.stack([-s, c], -1)], -2)
    axes = np.exp([elongation, -elongation])
    to_body = turn / (radius[:, None] * axes)[:, :, None]
    to_image = turn.transpose(0, 2, 1) * (radius[:, None] * axes)[:, None, :]
    return to_body, to_image


def _outline(cell: Cell, rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    theta = np.linspace(-np.pi, np.pi, N_ANGLES, endpoint=False)
    size = 0.095 * np.exp(-0.30 * cell.roundness) * (2 / HARMONICS) ** 1.7
    waves = Wave(rng, (2, len(HARMONICS)), 12)(times) * size
    arcs = HARMONICS[:, None] * theta
    return np.clip(1 + waves[:, 0] @ np.cos(arcs) + waves[:, 1] @ np.sin(arcs), 0.6, 1.5)


def _edge(outline: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Radius of the outline at angles (n_frames, n)."""
    index = np.floor((angle + np.pi) / (2 * np.pi) * N_ANGLES).astype(int) % N_ANGLES
    return np.take_along_axis(outline, index, axis=1)


def _protrusions(cell: Cell, rng: np.random.Generator, times: np.ndarray, outline: np.ndarray, placed) -> Blobs:
    """Chains of blobs from inside the body outwards, ever thinner; most leave near the ends of the long axis."""
    ends = rng.choice([0.0, np.pi], N_PROTRUSIONS, p=[0.65, 0.35])
    angle = ends + 0.75 * rng.standard_normal(N_PROTRUSIONS) + 0.12 * Wave(rng, (N_PROTRUSIONS,), 15)(times)
    out = extension(Wave(rng, (N_PROTRUSIONS,), 4.5)(times), -0.65 + 0.5 * cell.protrusion)
    length = rng.uniform(0.35, 0.95, N_PROTRUSIONS) * np.exp(0.18 * cell.protrusion) * out
    bend = 0.35 * rng.standard_normal(N_PROTRUSIONS) + 0.2 * Wave(rng, (N_PROTRUSIONS,), 10)(times)
    thick = rng.uniform(0.10, 0.19, N_PROTRUSIONS) * cell.radius
    along = np.linspace(0, 1, N_LINKS)
    reach = _edge(outline, angle)[..., None] * 0.75 + (0.2 + length[..., None]) * along
    turned = angle[..., None] + (bend * length)[..., None] * along**2 * 0.7
    q = np.stack([reach * np.cos(turned), reach * np.sin(turned)], axis=-1)
    places = placed(q.reshape(len(times), -1, 2))
    taper = 1.25 - 0.65 * along + 0.35 * np.exp(-(((along - 1) / 0.15) ** 2))
    width = thick[:, None] * taper
    step = (0.2 + length) * cell.radius / (N_LINKS - 1)
    weight = RIDGE * step[..., None] / (np.sqrt(2 * np.pi) * width) * np.clip(out / 0.25, 0, 1)[..., None]
    width = np.broadcast_to(width.ravel(), places.shape[:2])
    return Blobs(places[..., 0], places[..., 1], width, weight.reshape(len(times), -1))


def _blebs(cell: Cell, rng: np.random.Generator, times: np.ndarray, outline: np.ndarray, placed) -> Blobs:
    side = rng.uniform(-np.pi, np.pi)
    angle = side + 1.3 * rng.standard_normal(N_BLEBS) + 0.08 * Wave(rng, (N_BLEBS,), 8)(times)
    out = extension(Wave(rng, (N_BLEBS,), 2.5)(times), -1.40 + 0.75 * cell.bleb)
    size = rng.uniform(0.13, 0.24, N_BLEBS) * cell.radius
    reach = _edge(outline, angle) * (0.93 + 0.17 * out)
    places = placed(np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=-1))
    return Blobs(places[..., 0], places[..., 1], size * (0.6 + 0.4 * out), 1.5 * np.clip(out / 0.3, 0, 1))


def _granules(
    cell: Cell, rng: np.random.Generator, times: np.ndarray, placed, expected: float, widths: tuple[float, float]
) -> Blobs:
    """Granules wander about their places; `cell.speed` makes them faster, not more or larger."""
    n = int(np.clip(round(expected), 1, 260))
    radius, angle = 0.93 * np.sqrt(rng.uniform(0.06, 1, n)), rng.uniform(-np.pi, np.pi, n)
    home = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    q = home + 0.11 * Wave(rng, (n, 2), 7.0 * np.exp(-0.45 * cell.speed))(times)
    places = placed(q)
    width = np.broadcast_to(rng.uniform(*widths, n), places.shape[:2])
    weight = np.broadcast_to(rng.uniform(0.4, 1.0, n), places.shape[:2])
    return Blobs(places[..., 0], places[..., 1], width, weight)


def _patches(rng: np.random.Generator, times: np.ndarray, placed) -> Blobs:
    """Broad thicker and thinner places of the cytoplasm."""
    q = 0.6 * rng.standard_normal((N_PATCHES, 2)) + 0.12 * Wave(rng, (N_PATCHES, 2), 14)(times)
    places = placed(q)
    width = np.broadcast_to(rng.uniform(0.015, 0.038, N_PATCHES), places.shape[:2])
    weight = np.broadcast_to(rng.choice([-1.0, 1.0], N_PATCHES) * rng.uniform(0.5, 1.0, N_PATCHES), places.shape[:2])
    return Blobs(places[..., 0], places[..., 1], width, weight)


def _nucleoli(rng: np.random.Generator, cell: Cell, drift: np.ndarray, placed) -> Blobs:
    n = int(rng.integers(1, 4))
    places = placed(drift[:, None] + 0.14 * rng.standard_normal((n, 2)))
    width = np.broadcast_to(cell.radius * rng.uniform(0.045, 0.075, n), places.shape[:2])
    weight = np.broadcast_to(rng.uniform(0.5, 1.0, n), places.shape[:2])
    return Blobs(places[..., 0], places[..., 1], width, weight)
