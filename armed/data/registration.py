"""Affine registration of a skull-stripped T1-weighted volume to the MNI152 template, by dipy.

The template is the one nilearn carries (ICBM 2009a nonlinear symmetric, 1 mm, skull-stripped), so nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from nibabel.spatialimages import SpatialImage
from scipy import ndimage

from armed.errors import DataError
from armed.files import atomic

STEPS = ((8.0, "rigid", 50), (8.0, "affine", 50), (4.0, "affine", 30))
"""Coarse to fine: distance of the grid in mm, what may change, and iterations at most. Not stated in the paper; we stop at 4 mm
because the point in the hippocampus is found to within 1 mm there, in seconds; finer grids take minutes."""
BINS = 32  # of the joint histogram for the mutual information
SMOOTHING = 0.34  # s.d. of the Gaussian in distances of the grid: half width at half maximum 0.4 of it
TRACE = 0.02  # of the bright end: as much interpolation leaves in the background
BORDER = 2  # points of the grid around the brain
LEAST_SIMILARITY = 0.4
"""Correlation with the template below which the registration has failed: see `Registration`."""


class Registration(NamedTuple):
    """Where a volume lies.

    Parameters
    ----------
    to_mni : array, shape (4, 4)
        Affine from the volume's world space to MNI152, mm to mm.
    similarity : float
        Correlation of the intensities of template and volume inside the template's brain, on the last grid. Measured: the
        template moved and stretched gives 0.9 and more, other brains with noise and bias field 0.5 to 0.8, a template whose
        affine confuses axes 0.2 to 0.35. An affine that confuses left and right is not found out.
    """

    to_mni: np.ndarray
    similarity: float


def register(image: SpatialImage) -> Registration:
    """Register a volume to MNI152: same brain, any position, orientation and voxel size.

    Maximises the mutual information, so contrast and scale of the intensities do not matter. Starts where the centres of mass
    agree. Dense sampling, so nothing is random.

    Parameters
    ----------
    image : nibabel image, 3-D
        Skull-stripped, its affine right but for position and some rotation.

    Returns
    -------
    Registration

    Raises
    ------
    DataError
        No affine was found, or it makes the volume no more like the template than chance would (`LEAST_SIMILARITY`).
    """
    from dipy.align.imaffine import (
        AffineInvalidValuesError,
        AffineInversionError,
        AffineRegistration,
        MutualInformationMetric,
        transform_centers_of_mass,
    )
    from dipy.align.transforms import AffineTransform3D, RigidTransform3D

    values, affine = image.get_fdata(dtype=np.float32), image.affine
    grids = {mm: on_grid(values, affine, mm) for mm, _, _ in STEPS}
    kinds = {"rigid": RigidTransform3D, "affine": AffineTransform3D}
    to_volume = None  # MNI152 to the volume's world
    try:
        for mm, kind, iterations in STEPS:
            (fixed, fixed_grid), (moving, moving_grid) = _template(mm), grids[mm]
            if to_volume is None:
                to_volume = transform_centers_of_mass(fixed, fixed_grid, moving, moving_grid).affine
            steps = AffineRegistration(
                metric=MutualInformationMetric(nbins=BINS),
                level_iters=[iterations],
                sigmas=[0],  # the grids are smoothed already
                factors=[1],
                verbosity=0,
            )
            to_volume = steps.optimize(
                fixed,
                moving,
                kinds[kind](),
                None,
                static_grid2world=fixed_grid,
                moving_grid2world=moving_grid,
                starting_affine=to_volume,
            ).affine
        to_mni = np.linalg.inv(to_volume)
    except (AffineInversionError, AffineInvalidValuesError, np.linalg.LinAlgError) as error:
        raise DataError(f"no affine to MNI152 was found ({error})") from error
    similarity = _similarity(to_volume, *grids[STEPS[-1][0]])
    if not similarity >= LEAST_SIMILARITY:
        raise DataError(
            f"registered to MNI152 it is not like the template (correlation {similarity:.2f}, expected at least"
            f" {LEAST_SIMILARITY:g}): its affine may be wrong, or the skull not stripped"
        )
    return Registration(to_mni, similarity)


def register_once(image: SpatialImage, path: Path, checkpoint: Path) -> Registration:
    """As `register`, but what an earlier call found for the same file is taken from `checkpoint`.

    Parameters
    ----------
    image : nibabel image
    path : Path
        The file that `image` was read from.
    checkpoint : Path
        JSON file that the affine is kept in; it appears only when complete. One that does not fit is replaced.
    """
    of = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    key = {"file": of, "settings": [[list(step) for step in STEPS], BINS, SMOOTHING, BORDER]}
    try:
        kept = json.loads(checkpoint.read_text(encoding="utf-8"))
        if kept["key"] == key:
            return Registration(np.array(kept["to_mni"], dtype=float).reshape(4, 4), float(kept["similarity"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none yet, or damaged: made anew
    found = register(image)
    with atomic(checkpoint) as part:
        kept = {"key": key, "to_mni": found.to_mni.tolist(), "similarity": found.similarity}
        part.write_text(json.dumps(kept), encoding="utf-8")
    return found


def on_grid(values: np.ndarray, affine: np.ndarray, mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Smooth a volume and sample it on a grid along the world's axes, around its brain.

    Parameters
    ----------
    values : array, shape (i, j, k)
        Intensities, background 0.
    affine : array, shape (4, 4)
        Voxels to world, mm.
    mm : float
        Distance of the grid.

    Returns
    -------
    sampled : array of float64, shape (x, y, z)
        Intensities; the 98th percentile of the positive ones is 1.
    grid : array, shape (4, 4)
        Grid to world, mm.
    """
    positive = values[values > 0]
    brain = values > TRACE * np.percentile(positive, 98)
    spans = [np.flatnonzero(brain.any(axis=tuple(a for a in range(3) if a != axis)))[[0, -1]] for axis in range(3)]
    crop = values[tuple(slice(first, last + 1) for first, last in spans)].astype(np.float32)
    origin = affine @ [*(first for first, _ in spans), 1.0]
    to_world = np.column_stack([affine[:, :3], origin])
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    crop = ndimage.gaussian_filter(crop, SMOOTHING * mm / sizes, mode="constant", truncate=2.5)
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in crop.shape])).reshape(3, -1)
    corners = (to_world[:3, :3] @ ends).T + to_world[:3, 3]
    low, high = corners.min(axis=0) - BORDER * mm, corners.max(axis=0) + BORDER * mm
    shape = tuple(np.ceil((high - low) / mm).astype(int) + 1)
    grid = np.diag([mm, mm, mm, 1.0])
    grid[:3, 3] = low
    to_voxels = np.linalg.solve(to_world, grid)
    sampled = ndimage.affine_transform(crop, to_voxels[:3, :3], to_voxels[:3, 3], output_shape=shape, order=1)
    return sampled.astype(np.float64) / np.percentile(sampled[sampled > 0], 98), grid


@cache
def _template(mm: float) -> tuple[np.ndarray, np.ndarray]:
    from nilearn.datasets import load_mni152_template

    template = load_mni152_template(resolution=1)
    return on_grid(template.get_fdata(dtype=np.float32), template.affine, mm)


def _similarity(to_volume: np.ndarray, moving: np.ndarray, moving_grid: np.ndarray) -> float:
    fixed, fixed_grid = _template(STEPS[-1][0])
    to_points = np.linalg.solve(moving_grid, to_volume @ fixed_grid)
    there = ndimage.affine_transform(moving, to_points[:3, :3], to_points[:3, 3], output_shape=fixed.shape, order=1)
    brain = ndimage.binary_erosion(fixed > TRACE)  # at its border all brains are alike
    return float(np.corrcoef(fixed[brain], there[brain])[0, 1]) if there[brain].std() > 0 else np.nan
