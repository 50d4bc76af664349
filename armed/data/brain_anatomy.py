"""Anatomy of the stand-in volumes: the MNI152 template that nilearn packages, warped per subject and atrophied.

A subject's image is the template pulled back: the intensity at place x of the subject (MNI mm) is the template's at
``T(x) = d(y)``, ``y = A x + u(x)``. Template and masks: ICBM 152 nonlinear symmetric 2009a, T1, grey matter, brain mask.

- u, the subject's shape: cubic B-splines with normal coefficients, of two scales (`WARPS`); the finer one fades
  near the diseased structures, so that chance changes these less than cortical folds. Neither is published; we take what leaves
  hippocampal volumes a chance variation below the spread that atrophy has, and images that cannot be mistaken for one
  another.
- d, atrophy, moves the walls of a structure by delta mm along the gradient of its signed distance phi:
  ``d(y) = y - delta g(phi) grad phi`` in steps of at most `STEP_MM` (a flow, so that a thin ventricle never turns inside
  out), with g = 1 at the wall, falling to 0 outside over `REACH` mm (tissue is compressed or stretched) and within the
  structure. delta is the one that gives the volume wanted, from a table made by counting voxels of the template
  (`Structure.delta`).
- Where a hippocampus shrinks, fluid of the temporal horn takes its place on its upper and outer side.

The two structures on the template:

- Hippocampi with the adjoining amygdalae (which shrink likewise in AD): grey matter within balls along the centre line
  `CENTRE_LINE`, MNI coordinates as read from atlases' outlines: amygdala and head at y = -3 to -18, body at y = -26, tail at
  y = -39. The coronal slice at y = -6 meets amygdala and head.
- Lateral ventricles: the dark regions (below 0.55) in a box about them that hold MNI (+-8, 20, 8); the third ventricle is cut
  off by its place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
from scipy import ndimage

# Right side; x, y, z and radius, mm. The left side mirrors it.
CENTRE_LINE = (
    (22, -3, -21, 6.5),
    (25, -11, -20, 7.5),
    (28, -18, -16, 6.0),
    (30, -26, -11, 5.5),
    (28, -34, -5, 5.0),
    (22, -39, 0, 4.5),
)
CSF = 0.28
"""Template intensity of cerebrospinal fluid."""
WARPS = ((40.0, 3.0), (18.0, 1.0))
"""Of the random warps: spacing of the splines, and s.d. of a displacement along one axis, mm."""
REACH = {"hippocampi": (7.0, 4.0), "ventricles": (13.0, 2.0)}
"""mm from a structure's wall over which its motion fades, outside and inside."""
STEP_MM = 1.5
MATERIAL = 0.06
"""Change of template intensity that counts as changed by disease; white matter less fluid is 0.6."""
HEAD_MM = np.array([0.0, -18.0, 12.0], dtype=np.float32)
"""Middle of the head, MNI mm."""
COARSE_MM = 4.0
MARGIN_MM = 12
"""About the brain; the template's volume ends with it below, a head in native space must not."""


@dataclass(frozen=True)
class Grid:
    """A regular grid of template voxels: values at ``origin + spacing * index`` (MNI mm)."""

    origin: np.ndarray
    spacing: float

    def index(self, points: np.ndarray) -> np.ndarray:
        """Continuous voxel indices of points (n, 3), as (3, n)."""
        return ((points - self.origin) / np.float32(self.spacing)).T

    def sample(self, values: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Trilinear interpolation at points (n, 3); beyond the grid its nearest value."""
        return ndimage.map_coordinates(values, self.index(points), order=1, mode="nearest", output=np.float32)

    def nearest(self, values: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Values of the nearest voxels at points (n, 3)."""
        index = np.rint(self.index(points)).astype(np.intp)
        for axis, size in enumerate(values.shape):
            np.clip(index[axis], 0, size - 1, out=index[axis])
        return values[tuple(index)]


@dataclass(frozen=True)
class Structure:
    """A structure of the template that disease changes.

    Parameters
    ----------
    grid : Grid
        Of the arrays: a box about the structure, at 1 mm.
    phi : float32 array
        Signed distance to the wall, mm, negative inside, smoothed by 1.2 mm.
    field : tuple of three float32 arrays
        g(phi) grad phi: the motion of a point per mm of wall motion.
    reach : float
        Signed distance, mm, up to which the field counts.
    deltas, factors : array, shape (m,)
        Wall motion outwards (mm, ascending) and the volume that it gives, as a factor on the template's.
    volume_ml : float
        Of both sides in the template.
    """

    grid: Grid
    phi: np.ndarray
    field: tuple[np.ndarray, np.ndarray, np.ndarray]
    reach: float
    deltas: np.ndarray
    factors: np.ndarray
    volume_ml: float

    def delta(self, factor: float) -> float:
        """Wall motion, mm outwards, at which the volume is `factor` times the template's."""
        return float(np.interp(factor, self.factors, self.deltas))

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Signed distance of points (n, 3), mm; beyond the box at least 20."""
        return self.grid.sample(self.phi, points)

    def near(self, points: np.ndarray) -> np.ndarray:
        """Whether points (n, 3) are where the field counts."""
        return self.grid.nearest(self.phi, points) < self.reach

    def move(self, y: np.ndarray, factor: float) -> None:
        """Move places y (n, 3) of the atrophied template to where they come from, in place."""
        index = np.flatnonzero(self.near(y))
        at, delta = y[index], self.delta(factor)
        steps = max(1, math.ceil(abs(delta) / STEP_MM))
        for _ in range(steps):
            motion = [self.grid.sample(part, at) for part in self.field]
            at -= np.float32(delta / steps) * np.stack(motion, axis=1)
        y[index] = at


@dataclass(frozen=True)
class Template:
    """The template at 1 mm, cut to the brain, and its structures.

    Parameters
    ----------
    grid : Grid
    t1 : float32 array
        Intensities 0..1; outside of the brain those of the nearest brain voxel.
    brain : bool array
    hippocampi, ventricles : Structure
    calm : float32 array, on the coarse grid
        What the finer warp is multiplied by: 0.3 at the structures, 1 from 20 mm on.
    """

    grid: Grid
    t1: np.ndarray
    brain: np.ndarray
    hippocampi: Structure
    ventricles: Structure
    calm: np.ndarray
    coarse: Grid

    @cached_property
    def may_be_brain(self) -> np.ndarray:
        """On the coarse grid: within 14 mm of the brain; elsewhere no subject has any."""
        points = coarse_points(self.coarse, self.calm.shape)
        brain = self.grid.nearest(self.brain, points).reshape(self.calm.shape)
        return ndimage.distance_transform_edt(~brain) * COARSE_MM < 14.0


@lru_cache(maxsize=1)
def template() -> Template:
    """Read the template and find its structures (about 4 CPU s, once per process)."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template, load_mni152_template

    images = (
        load_mni152_template(resolution=1),
        load_mni152_gm_template(resolution=1),
        load_mni152_brain_mask(resolution=1),
    )
    t1, grey, brain = (np.pad(np.asarray(image.dataobj, dtype=np.float32), MARGIN_MM) for image in images)
    box = _box(brain > 0, margin=MARGIN_MM)
    origin = images[0].affine[:3, 3] + [part.start - MARGIN_MM for part in box]
    grid = Grid(origin.astype(np.float32), 1.0)
    t1, grey, brain = t1[box], grey[box], brain[box] > 0
    nearest = ndimage.distance_transform_edt(~brain, return_distances=False, return_indices=True)
    t1 = np.ascontiguousarray(t1[tuple(nearest)])
    hippocampi = _structure(_hippocampi(grey, grid), grid, *REACH["hippocampi"], (-3.0, 2.0, 0.5))
    ventricles = _structure(_ventricles(t1, brain, grid), grid, *REACH["ventricles"], (-3.0, 12.0, 1.0))
    coarse = Grid(grid.origin - 8.0, COARSE_MM)
    shape = tuple(int(np.ceil((n + 16) / COARSE_MM)) for n in t1.shape)
    places = coarse_points(coarse, shape)
    distance = np.minimum(hippocampi.distance(places), ventricles.distance(places)).reshape(shape)
    calm = np.clip(0.3 + 0.7 * distance / 20.0, 0.3, 1.0).astype(np.float32)
    return Template(grid, t1, brain, hippocampi, ventricles, calm, coarse)


def random_warp(rng: np.random.Generator) -> np.ndarray:
    """Draw a subject's warp u on the coarse grid, mm, shape (3, I, J, K)."""
    known = template()
    total = np.zeros((3, *known.calm.shape), dtype=np.float32)
    for i, (spacing, sd) in enumerate(WARPS):
        bases = [_spline_basis(n, spacing / COARSE_MM) for n in known.calm.shape]
        # The squares of a cubic B-spline's values add up to 151/315 on average, along each axis.
        coefficients = rng.standard_normal((3, *(b.shape[1] for b in bases)), dtype=np.float32)
        coefficients *= sd / (151 / 315) ** 1.5
        for axis, basis in enumerate(bases, start=1):
            coefficients = np.moveaxis(np.tensordot(coefficients, basis, axes=(axis, 1)), -1, axis)
        total += coefficients * known.calm if i else coefficients
    return total


def sources(points: np.ndarray, warp: np.ndarray) -> np.ndarray:
    """Where in the template, atrophy aside, the places of a subject come from: y of x, (n, 3) MNI mm."""
    coarse = template().coarse
    return points + np.stack([coarse.sample(part, points) for part in warp], axis=1)


def atrophy(y: np.ndarray, factors: tuple[float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Look up the atrophied template.

    Parameters
    ----------
    y : float32 array, shape (n, 3)
        Of `sources`.
    factors : pair of float
        On the template's volumes of hippocampi and ventricles.

    Returns
    -------
    t1 : float32 array, shape (n,)
        Intensity.
    brain, structure : bool array, shape (n,)
        Whether in the brain; whether in a hippocampus or ventricle.
    """
    known = template()
    moved = y.copy()
    near = np.flatnonzero(near_structures(y))
    at = y[near]
    known.hippocampi.move(at, factors[0])
    known.ventricles.move(at, factors[1])
    moved[near] = at
    t1 = known.grid.sample(known.t1, moved)
    phi = known.hippocampi.distance(at)
    structure = np.zeros(len(y), dtype=bool)
    structure[near] = (phi < 0) | (known.ventricles.distance(at) < 0)
    t1[near] += _fluid(known, y[near], phi) * (np.float32(CSF) - t1[near])
    return t1, known.grid.nearest(known.brain, moved), structure


def near_structures(y: np.ndarray) -> np.ndarray:
    """Whether places of `sources` are where atrophy may move anything."""
    return template().hippocampi.near(y) | template().ventricles.near(y)


def _fluid(known: Template, y: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Share of fluid where a hippocampus was (signed distance at y) and is no more (at the place moved to)."""
    before = known.hippocampi.distance(y)
    vacated = np.clip(np.clip(phi, -0.5, 0.5) - np.clip(before, -0.5, 0.5), 0.0, 1.0)
    index = np.flatnonzero(vacated > 0)
    side = np.zeros_like(vacated)
    normal = [known.hippocampi.grid.sample(part, y[index]) for part in known.hippocampi.field]
    outer = 0.4 + 0.6 * np.sign(y[index, 0]) * normal[0] + 0.8 * normal[2]
    side[index] = np.clip(outer, 0.0, 1.0)
    return (vacated * side).astype(np.float32)


def coarse_points(grid: Grid, shape: tuple[int, ...]) -> np.ndarray:
    """Places of a grid's voxels, shape (n, 3), MNI mm."""
    index = np.indices(shape, dtype=np.float32).reshape(3, -1).T
    return grid.origin + np.float32(grid.spacing) * index


def _box(mask: np.ndarray, margin: int) -> tuple[slice, ...]:
    inside = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(
        slice(max(0, s.start - margin), min(n, s.stop + margin)) for s, n in zip(inside, mask.shape, strict=True)
    )


def _axes(grid: Grid, shape: tuple[int, ...]) -> list[np.ndarray]:
    """MNI coordinates of a grid, per axis, ready for broadcasting."""
    return np.meshgrid(
        *(o + np.arange(n, dtype=np.float32) for o, n in zip(grid.origin, shape, strict=True)),
        indexing="ij",
        sparse=True,
    )


def _hippocampi(grey: np.ndarray, grid: Grid) -> np.ndarray:
    x, y, z = _axes(grid, grey.shape)
    inside = np.zeros(grey.shape, dtype=bool)
    for start, end in pairwise(np.array(CENTRE_LINE, dtype=np.float32)):
        for share in np.linspace(0, 1, 5):
            cx, cy, cz, radius = (1 - share) * start + share * end
            inside |= (np.abs(x) - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 < radius**2
    return inside & (grey > 0.45)


def _ventricles(t1: np.ndarray, brain: np.ndarray, grid: Grid) -> np.ndarray:
    x, y, z = _axes(grid, t1.shape)
    side = np.abs(x)
    dark = brain & (t1 < 0.55) & (side > 1.5) & (side < 42) & (y > -62) & (y < 40) & (z > -14) & (z < 36)
    dark &= ~((side < 6) & (z < 6) & (y < 2))  # the third ventricle and the cistern behind it
    regions, _ = ndimage.label(dark)
    seeds = np.array([[8, 20, 8], [-8, 20, 8]], dtype=np.float32)
    return np.isin(regions, grid.nearest(regions, seeds))


def _structure(
    inside: np.ndarray, grid: Grid, outside_mm: float, inside_mm: float, table: tuple[float, float, float]
) -> Structure:
    """Signed distance, field, and the table of volumes from one wall motion to another in steps."""
    box = _box(inside, margin=math.ceil(max(22.0, 2.1 * outside_mm)))
    inside = inside[box]
    phi = (ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)).astype(np.float32)
    # Distances are between the middles of voxels; the wall is half a voxel from them.
    phi = ndimage.gaussian_filter(phi - np.float32(0.5) * np.sign(phi), 1.2)
    motion = np.where(phi > 0, np.exp(-((phi / outside_mm) ** 2)), np.clip(1 + phi / inside_mm, 0.0, 1.0))
    field = tuple((part * motion).astype(np.float32) for part in np.gradient(phi))
    deltas, volumes = _volumes(phi, field, *table)
    here = float(np.interp(0.0, deltas, volumes))
    origin = grid.origin + np.array([part.start for part in box], dtype=np.float32)
    return Structure(Grid(origin, 1.0), phi, field, 2.0 * outside_mm, deltas, volumes / here, here / 1000)


def _volumes(
    phi: np.ndarray, field: tuple[np.ndarray, ...], least: float, most: float, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Wall motions (mm, ascending) and the volumes (mm^3) they give; a voxel that a wall crosses counts in part."""
    start = np.array(np.nonzero(phi < most + 2.0), dtype=np.float32)
    found = {}
    for sign, end in ((-1, least), (1, most)):
        at = start.copy()
        for n in range(round(abs(end) / step) + 1):
            inside = 0.5 - ndimage.map_coordinates(phi, at, order=1, mode="nearest", output=np.float32)
            found[sign * n * step] = float(np.clip(inside, 0.0, 1.0).sum(dtype=np.float64))
            at -= sign * step * np.stack([ndimage.map_coordinates(f, at, order=1, output=np.float32) for f in field])
    deltas = np.array(sorted(found))
    return deltas, np.array([found[delta] for delta in deltas])


def _spline_basis(n: int, spacing: float) -> np.ndarray:
    """Values of cubic B-splines `spacing` apart at 0..n-1, shape (n, number of splines), float32."""
    centres = np.arange(-2, int(np.ceil((n - 1) / spacing)) + 3)
    t = np.abs(np.arange(n)[:, None] / spacing - centres)
    inner = 2 / 3 - t**2 + t**3 / 2
    outer = np.clip(2 - t, 0, None) ** 3 / 6
    return np.where(t < 1, inner, outer).astype(np.float32)
