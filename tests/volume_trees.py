"""Trees of small volumes of a brain that is an ellipsoid, with any affine, for tests of what is made from volumes."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

POINT = np.array([32.0, -6.0, -26.0])
CENTRE, SEMI_AXES = np.array([0.0, -18.0, 10.0]), np.array([68.0, 85.0, 70.0])
"""Of the brain, MNI mm."""
MARK = 600.0
"""Intensity of a marked voxel; the brain has 60 to 140."""


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """World to world, rotated by degrees about the axes."""
    (cx, cy, cz), (sx, sy, sz) = (f(np.radians([x, y, z])) for f in (np.cos, np.sin))
    about = [
        [[1, 0, 0], [0, cx, -sx], [0, sx, cx]],
        [[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]],
        [[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]],
    ]
    world = np.eye(4)
    world[:3, :3] = np.linalg.multi_dot([np.array(m, dtype=float) for m in about])
    return world


def grid(codes: str = "RAS", mm=(4.0, 4.0, 4.0), turned: np.ndarray | None = None) -> tuple[tuple, np.ndarray]:
    """Shape and affine of a grid that holds the brain: axes of the array, their voxel sizes in mm, and a rotation."""
    ornt = nib.orientations.axcodes2ornt(codes)
    span = 2 * SEMI_AXES[ornt[:, 0].astype(int)] + 60
    shape = tuple(int(n) for n in np.ceil(span / mm))
    affine = np.zeros((4, 4))
    for axis, (world, sign) in enumerate(ornt):
        affine[int(world), axis] = sign * mm[axis]
    affine[3, 3] = 1
    if turned is not None:
        affine = turned @ affine
    # Off the middle, so that the point lies half way between two planes in none of them.
    affine[:3, 3] = CENTRE - affine[:3, :3] @ ((np.array(shape) - 1) / 2 + 0.13)
    return shape, affine


def coordinates(shape: tuple, affine: np.ndarray) -> np.ndarray:
    """World coordinates of all voxels, shape (3, i, j, k)."""
    indices = np.indices(shape).reshape(3, -1)
    return (affine[:3, :3] @ indices + affine[:3, 3:]).reshape(3, *shape)


def brain(shape: tuple, affine: np.ndarray, to_mni: np.ndarray | None = None) -> np.ndarray:
    """The brain's intensities, background 0; `to_mni` where the grid's world is not MNI152."""
    places = coordinates(shape, affine if to_mni is None else to_mni @ affine)
    inside = (((places - CENTRE[:, None, None, None]) / SEMI_AXES[:, None, None, None]) ** 2).sum(axis=0) <= 1
    waves = np.sin(places / 12.0).sum(axis=0) / 3
    return np.where(inside, 100 + 40 * waves, 0).astype(np.float32)


def nearest_voxel(affine: np.ndarray, to_mni: np.ndarray | None = None, point: np.ndarray = POINT) -> tuple[int, ...]:
    voxel = np.linalg.solve(affine if to_mni is None else to_mni @ affine, [*point, 1])[:3]
    return tuple(np.rint(voxel).astype(int))


def image(codes="RAS", mm=(4.0, 4.0, 4.0), noise: int | None = None, dtype=np.float32) -> nib.Nifti1Image:
    """A volume in MNI space, with noise of a seed."""
    shape, affine = grid(codes, mm)
    values = brain(shape, affine)
    if noise is not None:
        values = values + (values > 0) * np.random.default_rng(noise).normal(0, 2, shape)
    return nib.Nifti1Image(values.astype(dtype), affine)


class Tree:
    """A tree that tests build, and spoil."""

    def __init__(self, root: Path) -> None:
        self.root, self.rows, self.numbers = root, [], count(1)
        root.mkdir(parents=True, exist_ok=True)

    def add(self, site: str, diagnosis: str, *, subject="", session="01", volume=None, scanner="GE", **more) -> str:
        """Add a session, and its volume unless that is False; return its sample_id."""
        number = next(self.numbers)
        subject = subject or f"{number:03d}"
        row = {"subject": subject, "session": session, "site": site, "diagnosis": diagnosis, "scanner": scanner}
        self.rows.append(row | more)
        name = f"sub-{subject}_ses-{session}"
        if volume is not False:
            self.put(name, image(noise=number) if volume is None else volume)
        return name

    def put(
        self, name: str, volume: nib.Nifti1Image, kind: str = "T1w", below: str = "", suffix: str = ".nii.gz"
    ) -> Path:
        subject, session = name.split("_")
        path = self.root / below / subject / session / "anat" / f"{name}_{kind}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(volume, path)
        return path

    def put_region(self, name: str, mask: np.ndarray, affine: np.ndarray) -> Path:
        return self.put(name, nib.Nifti1Image(mask.astype(np.uint8), affine), "region", "derivatives/regions")

    def path(self, name: str) -> Path:
        subject, session = name.split("_")
        return self.root / subject / session / "anat" / f"{name}_T1w.nii.gz"

    def write(self) -> Path:
        pd.DataFrame(self.rows).to_csv(self.root / "subjects.tsv", sep="\t", index=False)
        return self.root

    def fill(self, sites: int = 2, subjects: int = 2) -> Tree:
        """Sites a, b, ... with as many subjects of each diagnosis."""
        for site in "abcdefghij"[:sites]:
            for diagnosis in ("AD", "CN"):
                for _ in range(subjects):
                    self.add(site, diagnosis)
        return self
