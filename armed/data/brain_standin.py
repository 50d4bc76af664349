"""Writes the stand-in of the AD study: skull-stripped T1w volumes, their table, masks of the diseased regions, the truth.

The model is told in `brain_model` (who), `brain_anatomy` (the brain) and `brain_scanners` (its image). ::

    subjects.tsv                                              subject session site diagnosis scanner age sex
    sub-<subject>/ses-<session>/anat/..._T1w.nii.gz           int16, background 0
    derivatives/regions/sub-<subject>/.../..._region.nii.gz   uint8, 1 where disease changes the image
    truth.json
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from armed.data import brain_anatomy as anatomy
from armed.data.brain_model import (
    STUDY,
    Session,
    Settings,
    Site,
    Subject,
    draw,
    expected_auroc,
    other_diagnosis,
    stream,
)
from armed.data.brain_scanners import SESSION_SD, acquire
from armed.files import atomic

AXIS_SCALE_SD = 0.015
"""What an affine registration leaves of head shape, per axis."""
JITTER = (0.4, 0.5)
"""S.d. of a session's rotation (degrees) and shift (mm) in MNI space: how well registrations repeat."""
NATIVE_POSE = (5.0, 6.0)
"""The same in native space: how heads lie in scanners."""
ORIENTATIONS = ("RAS", "LAS", "LPI", "PSR", "RPI", "ASL")
NATIVE_VOXEL_MM = (1.0, 1.3)
MNI_BOX = np.array([[-90.0, -126.0, -72.0], [90.0, 90.0, 108.0]])
"""Centres of the outermost voxels of the usual MNI grid (91 x 109 x 91 at 2 mm)."""

DESCRIPTION = (
    "Stand-in for ADNI's T1w volumes: the MNI152 template warped per subject, hippocampi (with amygdalae) and lateral "
    "ventricles scaled to the factors given (on the template's volumes), imaged by the site's scanner. A site's maker "
    "is tied to the diagnosis at seen sites only. Regions: voxels inside of the structures with either diagnosis, or whose "
    f"template intensity would change by more than {anatomy.MATERIAL} (white matter less fluid: 0.6) with the other diagnosis."
)


@dataclass(frozen=True)
class Frame:
    """The grid of one volume: its shape, voxel to world, and world to MNI (mm), for that session's brain."""

    shape: tuple[int, int, int]
    affine: np.ndarray
    to_mni: np.ndarray

    @property
    def voxel(self) -> np.ndarray:
        return np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))


def write(folder: str | Path, settings: Mapping | Settings, dataset: int, *, processes: int = 1) -> None:
    """Write the stand-in's tree.

    Parameters
    ----------
    folder : path
        Made or replaced; it appears only when complete.
    settings : mapping or Settings
        See `brain_model.Settings`.
    dataset : int
        Each number is another draw. The same settings and dataset give the same bytes.
    processes : int
        Volumes are made by so many processes; this changes nothing in them.

    Raises
    ------
    ConfigError
        All that is wrong with the settings.
    """
    settings = Settings.read(settings)
    sites, subjects = draw(settings, dataset)
    by_id = {site.id: (i, site) for i, site in enumerate(sites)}
    with atomic(folder, folder=True) as tree:
        make = partial(_write_subject, tree, settings, dataset)
        work = [(subject, *by_id[subject.site]) for subject in subjects]
        done = tqdm(_mapped(make, work, processes), total=len(work), desc="volumes", disable=None)
        volumes = {subject.id: found for (subject, _, _), found in zip(work, done, strict=True)}
        table = subject_table(sites, subjects)
        table.to_csv(tree / "subjects.tsv", sep="\t", index=False, lineterminator="\n")
        (tree / "truth.json").write_text(
            json.dumps(_truth(settings, dataset, sites, subjects, volumes), indent=1, allow_nan=False) + "\n",
            encoding="utf-8",
        )


def subject_table(sites: list[Site], subjects: list[Subject]) -> pd.DataFrame:
    """Return the subject table: one row a session; age in years at the session."""
    scanners = {site.id: site.scanner_name for site in sites}
    rows = [
        (s.id, session.id, s.site, s.diagnosis, scanners[s.site], round(session.age, 1), s.sex)
        for s in subjects
        for session in s.sessions
    ]
    return pd.DataFrame(rows, columns=["subject", "session", "site", "diagnosis", "scanner", "age", "sex"])


def make_volume(
    settings: Settings, dataset: int, subject: Subject, session: Session, number: int, site: Site
) -> tuple[np.ndarray, np.ndarray, Frame]:
    """Make the volume of one session.

    Parameters
    ----------
    number : int
        Of the site, from 0.

    Returns
    -------
    image : int16 array, shape (I, J, K)
    region : uint8 array, shape (I, J, K)
    frame : Frame
    """
    frame = _frame(settings, dataset, subject, session, number)
    points, box, candidates = _candidates(frame)
    warp = anatomy.random_warp(stream("shape", dataset, subject.index))
    y = anatomy.sources(points, warp)
    t1, brain, structure = anatomy.atrophy(y, (session.hippocampi, session.ventricles))
    changed = np.zeros(len(y), dtype=bool)
    near = np.flatnonzero(brain & anatomy.near_structures(y))
    other, _, other_structure = anatomy.atrophy(y[near], other_diagnosis(session, subject.diagnosis))
    changed[near] = (np.abs(other - t1[near]) > anatomy.MATERIAL) | structure[near] | other_structure

    rng = stream(f"image {session.id}", dataset, subject.index)
    scanner = site.scanner.deviate(SESSION_SD, rng)
    tissue = np.full(candidates.shape, anatomy.CSF, dtype=np.float32)
    tissue[candidates] = t1
    mask = np.zeros(candidates.shape, dtype=bool)
    mask[candidates] = brain
    image, region = np.zeros(frame.shape, dtype=np.int16), np.zeros(frame.shape, dtype=np.uint8)
    image[box] = acquire(tissue, mask, points[brain] - anatomy.HEAD_MM, scanner, frame.voxel, rng)
    inside = np.zeros(candidates.shape, dtype=np.uint8)
    inside[candidates] = changed
    region[box] = inside
    return image, region, frame


def volume_path(subject: str, session: str, kind: str = "T1w") -> str:
    """Path of a volume (kind "T1w") or mask ("region") in the tree."""
    top = "derivatives/regions/" if kind == "region" else ""
    return f"{top}sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_{kind}.nii.gz"


def _mapped(make, work: list, processes: int) -> Iterator:
    if processes <= 1:
        with threadpool_limits(1):
            yield from map(make, work)
        return
    with parallel_config("loky", inner_max_num_threads=1):
        yield from Parallel(processes, return_as="generator")(delayed(make)(item) for item in work)


def _write_subject(
    tree: Path, settings: Settings, dataset: int, work: tuple[Subject, int, Site]
) -> dict[str, dict[str, float]]:
    """Write all sessions of a subject; returns what was seen of them, by session."""
    subject, number, site = work
    found = {}
    for session in subject.sessions:
        image, region, frame = make_volume(settings, dataset, subject, session, number, site)
        for kind, values in (("T1w", image), ("region", region)):
            path = tree / volume_path(subject.id, session.id, kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            nifti = nibabel.Nifti1Image(values, frame.affine)
            code = "scanner" if settings.native else "mni"
            nifti.set_sform(frame.affine, code)
            nifti.set_qform(frame.affine, code)
            # gzip by hand: a fixed time stamp, so that the same volume has the same bytes.
            path.write_bytes(gzip.compress(nifti.to_bytes(), compresslevel=1, mtime=0))
        millilitres = float(np.prod(frame.voxel)) / 1000
        found[session.id] = {
            "brain_ml": round(int((image > 0).sum()) * millilitres, 1),
            "region_ml": round(int(region.sum()) * millilitres, 2),
            "to_mni": np.round(frame.to_mni, 6).tolist(),
        }
    return found


def _frame(settings: Settings, dataset: int, subject: Subject, session: Session, site_number: int) -> Frame:
    """Where the head lies, and the grid about it."""
    own = stream("axes", dataset, subject.index)
    size = (subject.head_size if settings.native else 1.0) * np.exp(AXIS_SCALE_SD * own.standard_normal(3))
    rng = stream(f"pose {session.id}", dataset, subject.index)
    degrees, mm = NATIVE_POSE if settings.native else JITTER
    rotation = _rotation(np.radians(degrees * rng.standard_normal(3)))
    shift = mm * rng.standard_normal(3)
    linear = np.diag(1 / size) @ rotation.T
    to_mni = np.eye(4)
    to_mni[:3, :3] = linear
    to_mni[:3, 3] = anatomy.HEAD_MM - linear @ (anatomy.HEAD_MM + shift)
    if not settings.native:
        affine = np.diag([settings.voxel_mm] * 3 + [1.0])
        affine[:3, 3] = MNI_BOX[0]
        shape = np.floor((MNI_BOX[1] - MNI_BOX[0]) / settings.voxel_mm + 1e-6).astype(int) + 1
        return Frame(tuple(map(int, shape)), affine, to_mni)
    site = stream("protocol", dataset, site_number)
    code, voxel = str(site.choice(ORIENTATIONS)), np.round(site.uniform(*NATIVE_VOXEL_MM, 3), 2)
    known = anatomy.template()
    corners = anatomy.coarse_points(known.coarse, known.calm.shape)[known.may_be_brain.ravel()]
    world = nibabel.affines.apply_affine(np.linalg.inv(to_mni), corners)
    return Frame(*_native_grid(code, voxel, world.min(axis=0), world.max(axis=0)), to_mni)


def _native_grid(code: str, voxel: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[tuple, np.ndarray]:
    """Shape and affine of a grid of that orientation ("LPI": indices grow to the left, the back, below) over a box."""
    affine, shape = np.eye(4), []
    affine[:3, :3] = 0
    for index, (letter, mm) in enumerate(zip(code, voxel, strict=True)):
        axis = next(i for i, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
        up = letter in "RAS"
        affine[axis, index] = mm if up else -mm
        affine[axis, 3] = low[axis] if up else high[axis]
        shape.append(math.ceil((high[axis] - low[axis]) / mm) + 1)
    return tuple(shape), affine


def _candidates(frame: Frame) -> tuple[np.ndarray, tuple[slice, ...], np.ndarray]:
    """Places that may be brain (n, 3), MNI mm; the box of voxels they lie in; which of the box they are."""
    matrix = (frame.to_mni @ frame.affine).astype(np.float32)
    axes = [np.arange(n, dtype=np.float32) for n in frame.shape]
    known = anatomy.template()

    def places(parts: list[np.ndarray]) -> np.ndarray:
        i, j, k = np.meshgrid(*parts, indexing="ij", sparse=True)
        return np.stack([(row[0] * i + row[1] * j + row[2] * k + row[3]).ravel() for row in matrix[:3]], axis=1)

    thin = [axis[::4] for axis in axes]
    maybe = known.coarse.nearest(known.may_be_brain, places(thin)).reshape([len(a) for a in thin])
    box = tuple(
        slice(max(0, 4 * int(w.min()) - 4), min(n, 4 * int(w.max()) + 5))
        for w, n in zip(np.nonzero(maybe), frame.shape, strict=True)
    )
    cut = [axis[part] for axis, part in zip(axes, box, strict=True)]
    points = places(cut)
    inside = known.coarse.nearest(known.may_be_brain, points)
    return points[inside], box, inside.reshape([len(a) for a in cut])


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation about x, then y, then z, by angles in radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]]) @ about_y @ about_x


def _truth(settings: Settings, dataset: int, sites: list[Site], subjects: list[Subject], volumes: dict) -> dict:
    known = anatomy.template()
    people = {}
    for subject in subjects:
        values = asdict(subject)
        values["sessions"] = {s.id: asdict(s) | volumes[subject.id][s.id] for s in subject.sessions}
        people[values.pop("id")] = values
    return {
        "study": STUDY,
        "description": DESCRIPTION,
        "settings": asdict(settings),
        "dataset": int(dataset),
        "regions": True,
        "template_ml": {"hippocampi": known.hippocampi.volume_ml, "ventricles": known.ventricles.volume_ml},
        "auroc_of_true_factors": expected_auroc(),
        "sites": {site.id: {k: v for k, v in asdict(site).items() if k != "id"} for site in sites},
        "subjects": people,
    }
