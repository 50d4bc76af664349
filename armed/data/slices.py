"""One coronal slice of a brain volume, through the right hippocampus (PROTOCOL 2, AD diagnosis).

Shown as radiologists look at it: superior up, and the subject's right on the left of the image, so that the right
hippocampus lies in its left half.
"""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage
from PIL import Image

from armed.data.brain_volumes import check_region
from armed.data.slice_statistics import slice_statistics
from armed.errors import DataError

HIPPOCAMPUS = (32.0, -6.0, -26.0)
"""Right hippocampus, MNI152 coordinates x, y, z in mm."""
MARGIN = 2
"""Pixels around the brain."""
PERCENTILES = (2, 98)
"""Intensities that become 0 and 255."""
BACKGROUND = 0.02
"""Pixels up to this share of the bright end (98th percentile of the positive ones) are background: interpolation leaves
traces there."""


@dataclass(frozen=True, eq=False)
class Slice:
    """A slice.

    Parameters
    ----------
    image : array of uint8, shape (size, size)
        Row 0 is superior, column 0 is the subject's right.
    region : array of bool, shape (size, size), or None
        The mask that was given, cut in the same way.
    point : (float, float)
        Row and column of the point in the hippocampus; whole numbers are centres of pixels.
    statistics : dict of str to float
        See `armed.data.slice_statistics.STATISTICS`.
    """

    image: np.ndarray
    region: np.ndarray | None
    point: tuple[float, float]
    statistics: dict[str, float]


@dataclass(frozen=True)
class _Plane:
    """A coronal plane of the voxel grid: which, how it is turned, where the point lies in it, and distances in mm."""

    axes: tuple[int, int, int]  # array axis of x, y, z
    index: int  # along y
    flips: tuple[bool, bool]  # rows, columns
    point: tuple[float, float]  # row, column
    spacing: tuple[float, float]  # of rows, of columns; mm

    def of(self, volume: np.ndarray) -> np.ndarray:
        """The plane of a volume, rows from superior to inferior, columns from right to left."""
        x, y, z = self.axes
        plane = np.moveaxis(volume, (z, x, y), (0, 1, 2))[:, :, self.index]
        return plane[:: -1 if self.flips[0] else 1, :: -1 if self.flips[1] else 1]


def cut(image: SpatialImage, *, to_mni: np.ndarray | None, size: int, region: SpatialImage | None = None) -> Slice:
    """Cut the coronal slice through the right hippocampus.

    The point is brought to the volume's space, and the plane of voxels nearest to it is taken along the volume's own
    coronal axis (as in the paper, so an oblique volume gives an oblique slice). Cropped to the brain and `MARGIN` pixels,
    padded to a square, resampled, and its 2nd to 98th percentile brought to 0 to 255. Not stated in the paper; we take:
    pixels isotropic in mm (the smaller of the two distances) before the crop, because voxels need not be cubes; linear
    interpolation that averages where it makes the image smaller; and the percentiles of all pixels of the square, because
    then background stays 0 and dark fluid is told from it.

    Parameters
    ----------
    image : nibabel image, 3-D
        Skull-stripped volume of any orientation and voxel size.
    to_mni : array, shape (4, 4), or None
        Affine from the volume's world space to MNI152, mm to mm; None where the volume is in MNI space.
    size : int
        Rows and columns of the result.
    region : nibabel image, 3-D, optional
        Mask on the grid of `image`. A pixel is inside where at least half of it is.

    Returns
    -------
    Slice

    Raises
    ------
    DataError
        The point lies outside the volume or outside the brain, or the mask has another grid.
    """
    plane = _plane(image, to_mni)
    values = plane.of(image.get_fdata(dtype=np.float32))
    brain = _brain(values)
    rows, columns = _span(brain.any(axis=1)), _span(brain.any(axis=0))
    for place, (first, last) in zip(plane.point, (rows, columns), strict=True):
        if not first - 0.5 <= place <= last + 0.5:
            raise DataError(
                f"the point {HIPPOCAMPUS} mm of MNI152 lies beside the brain; its affine is wrong, or it is not in MNI space"
                " (then it has to be registered)"
            )
    box = _box(rows, columns, plane.spacing)
    pixels = _resample(values, rows, columns, box, size)
    low, high = np.percentile(pixels, PERCENTILES)
    if not high > low or np.ptp(values[brain]) == 0:
        raise DataError("its slice through the hippocampus has one intensity only; expected an image, not a mask")
    scaled = np.clip((pixels - low) / (high - low), 0, 1) * 255
    statistics = slice_statistics(values, brain, plane.spacing)
    statistics["foreground"] = float(_resample(brain.astype(np.float32), rows, columns, box, size).mean())
    statistics["pixel_mm"] = (box[3] - box[1]) * plane.spacing[0] / size
    return Slice(
        np.rint(scaled).astype(np.uint8),
        None if region is None else _cut_region(region, image, plane, rows, columns, box, size),
        _in_box(plane.point, box, size),
        statistics,
    )


def _plane(image: SpatialImage, to_mni: np.ndarray | None) -> _Plane:
    affine = np.asarray(image.affine, dtype=float)
    to_world = affine if to_mni is None else np.asarray(to_mni, dtype=float) @ affine
    voxel = np.linalg.solve(to_world, [*HIPPOCAMPUS, 1.0])[:3]
    orientation = nib.io_orientation(affine)  # for each array axis: world axis, and 1 where both grow together
    axes = tuple(int(np.flatnonzero(orientation[:, 0] == world)[0]) for world in range(3))
    x, y, z = axes
    outside = [not -0.5 <= voxel[axis] <= image.shape[axis] - 0.5 for axis in axes]
    if any(outside):
        raise DataError(
            f"the point {HIPPOCAMPUS} mm of MNI152 lies outside the volume; its affine is wrong, or it is not in MNI space"
            " (then it has to be registered)"
        )
    # Half way between two planes the anterior one is taken, whichever way the axis runs.
    last, forward = image.shape[y] - 1, orientation[y, 1] > 0
    place = int(np.floor(round(float(voxel[y] if forward else last - voxel[y]), 6) + 0.5))
    place = min(max(place, 0), last)
    index = place if forward else last - place
    flips = (orientation[z, 1] > 0, orientation[x, 1] > 0)
    point = tuple(
        float(image.shape[axis] - 1 - voxel[axis] if flip else voxel[axis])
        for axis, flip in zip((z, x), flips, strict=True)
    )
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    return _Plane(axes, index, flips, point, (float(sizes[z]), float(sizes[x])))


def _brain(values: np.ndarray) -> np.ndarray:
    positive = values[values > 0]
    brain = values > BACKGROUND * np.percentile(positive, PERCENTILES[1]) if len(positive) else values > 0
    if not brain.any():
        raise DataError("its slice through the hippocampus is empty; its affine is wrong, or the brain is not whole")
    return brain


def _span(filled: np.ndarray) -> tuple[int, int]:
    places = np.flatnonzero(filled)
    return int(places[0]), int(places[-1])


def _box(rows: tuple[int, int], columns: tuple[int, int], spacing: tuple[float, float]) -> tuple[float, ...]:
    """Left, upper, right and lower edge of the square around the brain, in pixels of the plane (pixel i is i to i + 1)."""
    pixel = min(spacing)
    spans = [
        ((last + 1 + first) / 2 * mm, (last + 1 - first) * mm)
        for (first, last), mm in zip((rows, columns), spacing, strict=True)
    ]
    half = max(length for _, length in spans) / 2 + MARGIN * pixel
    (upper, lower), (left, right) = (
        ((centre - half) / mm, (centre + half) / mm) for (centre, _), mm in zip(spans, spacing, strict=True)
    )
    return left, upper, right, lower


def _resample(
    values: np.ndarray, rows: tuple[int, int], columns: tuple[int, int], box: tuple[float, ...], size: int
) -> np.ndarray:
    """The square `box` as `size` x `size` pixels, 0 outside the given rows and columns."""
    pad = int(np.ceil(max(rows[0] - box[1], box[3] - rows[1], columns[0] - box[0], box[2] - columns[1], 0))) + 1
    crop = np.pad(values[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1], pad)
    shift = (columns[0] - pad, rows[0] - pad) * 2
    inside = tuple(edge - s for edge, s in zip(box, shift, strict=True))
    # Pillow's bilinear filter widens with the scale: it averages where pixels become larger.
    resized = Image.fromarray(np.ascontiguousarray(crop)).resize((size, size), Image.Resampling.BILINEAR, box=inside)
    return np.asarray(resized, dtype=np.float32)


def _cut_region(
    region: SpatialImage,
    image: SpatialImage,
    plane: _Plane,
    rows: tuple[int, int],
    columns: tuple[int, int],
    box: tuple[float, ...],
    size: int,
) -> np.ndarray:
    if problems := check_region(region, image):
        raise DataError(problems[0])
    mask = (plane.of(region.get_fdata(dtype=np.float32)) > 0).astype(np.float32)
    return _resample(mask, rows, columns, box, size) >= 0.5


def _in_box(point: tuple[float, float], box: tuple[float, ...], size: int) -> tuple[float, float]:
    left, upper, right, lower = box
    row = (point[0] + 0.5 - upper) / (lower - upper) * size - 0.5
    column = (point[1] + 0.5 - left) / (right - left) * size - 0.5
    return row, column
