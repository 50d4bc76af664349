"""A BIDS-like tree of brain volumes with its table of sessions: read, and checked before anything is made of it.

The tree holds ``subjects.tsv`` (one row a session) and skull-stripped T1-weighted volumes (background 0)
``sub-<subject>/ses-<session>/anat/sub-<subject>_ses-<session>_T1w.nii.gz`` (or ``.nii``). A stand-in has
``truth.json`` beside the table, and in ``derivatives/regions`` a mask for each volume, on its grid, of where
disease changes the image.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, SpatialImage

from armed.data import csv_table
from armed.data.ad_diagnosis import DIAGNOSES
from armed.data.csv_table import CsvTable
from armed.data.study import Remarks
from armed.errors import DataError, Problems, did_you_mean, listed

TABLE = "subjects.tsv"
TRUTH = "truth.json"
REGIONS = Path("derivatives", "regions")
SUFFIXES = (".nii.gz", ".nii")
REQUIRED = ("subject", "session", "site", "diagnosis", "scanner")
OPTIONAL = ("age", "sex")
COLUMNS = ("sample_id", *REQUIRED, *OPTIONAL, "path", "region", "rejected")
"""Columns of `VolumeTree.table`."""

VOXEL_MM = (0.2, 8.0)
"""Voxel sizes of structural MRI lie well inside these bounds; an affine that says otherwise is wrong."""
LEAST_BACKGROUND = 0.1
"""Share of a skull-stripped volume that is 0, at least: a brain fills about half of the box around it."""

MOST_BYTES = 2**31
"""Of the voxels of a volume, which its header tells: a few bytes can claim a million million voxels."""
MOST_BEFORE = 2**24
"""Bytes before the voxels: the header, and what programs add to it."""

_ID = re.compile(r"[^\W_]([^\W_]|[.+-])*")
_FILE = re.compile(r"(sub-[^_/]+)_(ses-[^_/]+)_T1w")


class UnreadableVolumeError(DataError):
    """A file that is there cannot be read as a volume."""


@dataclass(frozen=True, eq=False)
class VolumeTree:
    """The sessions of a tree.

    Parameters
    ----------
    root : Path
    table : DataFrame
        One row a session, in the order of the table of the tree, with the columns `COLUMNS`: text, but `age` (float,
        years, NaN where unknown) and `rejected` (bool). `sample_id` is ``sub-<subject>_ses-<session>``; `subject` and
        `session` are without prefix; `path` and `region` are absolute or relative as `root` is, and empty where there is none.
    remarks : Remarks
        What was repaired while reading.
    """

    root: Path
    table: pd.DataFrame
    remarks: Remarks = field(default_factory=Remarks)

    @property
    def is_stand_in(self) -> bool:
        """Whether a generator wrote the tree."""
        return (self.root / TRUTH).is_file()

    @property
    def has_regions(self) -> bool:
        """Whether there are masks of where disease changes the image."""
        return bool((self.table["region"] != "").any())


def read_tree(root: Path, rejected: Collection[str] = frozenset(), problems: Problems | None = None) -> VolumeTree:
    """Read the table of a tree, and find the files of its rows; no volume is opened.

    Parameters
    ----------
    root : Path
        Folder of the tree.
    rejected : collection of str, optional
        Ids of sessions (`sample_id`) that a person rejected; their files are not asked for.
    problems : Problems, optional
        Takes the problems, so that more can be found before all are told; by default they are raised.

    Returns
    -------
    VolumeTree
        With problems given: what could be read, rows of files that are not there with an empty `path`.

    Raises
    ------
    DataError
        With all problems: the table is missing or has not the columns (`REQUIRED`), empty cells, unknown diagnoses, sessions
        that stand twice, rows without a file, files without a row, unknown ids in `rejected`.
    """
    root, remarks = Path(root), Remarks()
    found = Problems(DataError, f"the volumes in {root}") if problems is None else problems
    table = csv_table.read(root / TABLE, REQUIRED, found, remarks) if _is_there(root, found) else None
    rows = pd.DataFrame(columns=list(COLUMNS))
    if table is not None and set(REQUIRED) <= set(table.cells):
        if table.separator == "\t":  # as it should be here, so nothing was repaired
            remarks.found = [remark for remark in remarks.found if remark[0] != "separator"]
        _check_cells(table, found)
        rows = _rows(table, found)
        rows["rejected"] = rows["sample_id"].isin(list(rejected))
        _check_rejected(rejected, rows["sample_id"], found)
        files = _files(root, found)
        rows["path"] = [str(files.get(name, "")) for name in rows["sample_id"]]
        _check_files(root, rows, files, found)
        rows["region"] = _regions(root, rows, found)
    if problems is None:
        found.raise_if_any()
    return VolumeTree(root, rows[list(COLUMNS)], remarks)


def read_rejected(path: Path | None) -> dict[str, str]:
    """Read the list of rejected sessions: one sample_id a line, whatever follows a ``#`` says why.

    Returns
    -------
    dict of str to str
        Id -> why, empty where that is not said. Empty where `path` is None.

    Raises
    ------
    DataError
        The file cannot be read.
    """
    if path is None:
        return {}
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The list of rejected slices {path} cannot be read ({error}); expected a text file (UTF-8) with one"
            " sample_id a line; an empty one rejects nothing."
        ) from error
    pairs = [line.partition("#")[::2] for line in lines]
    return {name.strip(): reason.strip() for name, reason in pairs if name.strip()}


def load(path: str | Path) -> SpatialImage:
    """Read a volume, its voxels included: ``get_fdata(dtype=np.float32)`` gives them without reading again.

    Raises
    ------
    UnreadableVolumeError
        The file is truncated, damaged, no NIfTI, or may not be read, or its header claims more than any volume has.
    """
    try:
        _check_header(Path(path))
        image = nib.load(path)
        image.get_fdata(dtype=np.float32)
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        MemoryError,
        zlib.error,
        ImageFileError,
        HeaderDataError,
    ) as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableVolumeError(f"{Path(path).name} cannot be read: {told}") from error
    return image


def _check_header(path: Path) -> None:
    """Refuse, before it is read, what would take more memory than any volume, or is no regular file."""
    if not path.is_file():
        raise OSError("it is no file, or a link to none")
    with nib.openers.ImageOpener(path) as file:
        start = file.read(nib.Nifti2Header.sizeof_hdr)
    kind = next((k for k in (nib.Nifti1Header, nib.Nifti2Header) if k.may_contain_header(start)), None)
    if kind is None:
        return  # nibabel says what is wrong
    header = kind(start[: kind.sizeof_hdr], check=False)
    needed = math.prod(header.get_data_shape()) * max(header["bitpix"].item() // 8, 4)
    if not 0 <= needed <= MOST_BYTES or not 0 <= header["vox_offset"] <= MOST_BEFORE:
        raise ValueError(
            f"its header claims {needed} bytes of voxels from byte {header['vox_offset']:.0f} on; at most {MOST_BYTES} are read"
            f", from byte {MOST_BEFORE} at the latest"
        )


def check_volume(image: SpatialImage) -> list[str]:
    """Tell why a volume cannot be used.

    Parameters
    ----------
    image : nibabel image

    Returns
    -------
    list of str
        Problems, with what to do; none where the volume can be used.
    """
    found = _affine_problems(image)
    if len(image.shape) != 3 or min(image.shape) < 2:
        found.append(
            f"has shape {tuple(int(n) for n in image.shape)}; expected one volume of three dimensions"
            " (nibabel: image.slicer[..., 0] takes the first of a series)"
        )
        return found
    values = image.get_fdata(dtype=np.float32)
    low, high = float(values.min()), float(values.max())  # NaN where a voxel is
    if not np.isfinite([low, high]).all():
        found.append("has voxels that are NaN or infinite; expected finite intensities: write 0 into the background")
    elif low == high:
        what = "is empty: all voxels are 0" if low == 0 else f"is constant: all voxels are {low:g}"
        found.append(f"{what}; expected a brain: make the file again, or reject the session")
    elif (values[values != 0] == (high or low)).all():
        found.append(f"is constant: all voxels but those of 0 are {high or low:g}; expected intensities, not a mask")
    elif np.count_nonzero(values) > (1 - LEAST_BACKGROUND) * values.size:
        found.append("has no background of 0; expected a skull-stripped volume: strip the skull first")
    return found


def check_region(region: SpatialImage, image: SpatialImage) -> list[str]:
    """Tell why a mask does not fit the volume it is of: both need the same grid."""
    if region.shape != image.shape:
        return [
            f"has the shape {tuple(image.shape)}, and the mask of its region {tuple(region.shape)}; expected one grid"
        ]
    if not np.allclose(region.affine, image.affine, atol=1e-3):
        return ["has another affine than the mask of its region; expected one grid"]
    return []


def _affine_problems(image: SpatialImage) -> list[str]:
    header, affine = image.header, image.affine
    codes = [int(header[name]) for name in ("sform_code", "qform_code") if name in header]
    advice = "convert the original again, or copy the affine of a file that has it"
    if affine is None or (codes and not any(codes)):
        return [f"has no affine (sform and qform code are 0): where it lies is not known; {advice}"]
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        return [f"has an affine that cannot be inverted; {advice}"]
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if sizes.min() < VOXEL_MM[0] or sizes.max() > VOXEL_MM[1]:
        told = " x ".join(f"{size:.3g}" for size in sizes)
        bounds = f"{VOXEL_MM[0]:g} to {VOXEL_MM[1]:g} mm"
        return [f"has, by its affine, voxels of {told} mm; expected {bounds}: the affine is wrong; {advice}"]
    return []


def _is_there(root: Path, problems: Problems) -> bool:
    if not (root / TABLE).is_file():
        what = f"there is no {TABLE}" if root.is_dir() else "there is no such folder"
        problems.add(f"{what}; expected {root / TABLE} with the columns {', '.join(REQUIRED)}, one row a session")
        return False
    return True


def _check_cells(table: CsvTable, problems: Problems) -> None:
    for column in REQUIRED:
        empty = (table.cells[column] == "").to_numpy()
        if empty.any():
            problems.add(f"{TABLE}: column '{column}' is empty in {table.where(empty)}; fill it in")
        csv_table.check_names(f"{TABLE}: column '{column}'", table.cells[column].unique(), problems)
    for column in ("subject", "session"):
        cells = table.cells[column]
        wrong = ((cells != "") & ~_without_prefix(cells, column).str.fullmatch(_ID)).to_numpy()
        if wrong.any():
            problems.add(
                f"{TABLE}: column '{column}' has {table.where(wrong, column)}; expected letters and digits, as in the"
                f" names of the files"
            )
    diagnosis = table.cells["diagnosis"]
    unknown = ((diagnosis != "") & ~diagnosis.isin(DIAGNOSES)).to_numpy()
    if unknown.any():
        hint = did_you_mean(diagnosis[unknown].iloc[0], DIAGNOSES)
        problems.add(
            f"{TABLE}: unknown diagnosis in {table.where(unknown, 'diagnosis')}; expected AD (Alzheimer's dementia) or CN"
            f" (cognitively normal): take rows of other diagnoses out.{hint}"
        )


def _without_prefix(cells: pd.Series, column: str) -> pd.Series:
    return cells.str.removeprefix(f"{column[:3]}-")


def _rows(table: CsvTable, problems: Problems) -> pd.DataFrame:
    """The rows that name a session, each session once."""
    rows = pd.DataFrame({column: table.cells[column] for column in REQUIRED})
    for column in ("subject", "session"):
        rows[column] = _without_prefix(rows[column], column)
    rows.insert(0, "sample_id", "sub-" + rows["subject"] + "_ses-" + rows["session"])
    named = ((rows["subject"] != "") & (rows["session"] != "")).to_numpy()
    twice = rows["sample_id"].duplicated(keep=False).to_numpy() & named
    if twice.any():
        problems.add(
            f"{TABLE}: {listed(rows['sample_id'][twice].unique(), 10)} stand more than once, in {table.where(twice)};"
            " expected one row a session"
        )
    rows["age"] = np.nan
    if "age" in table.cells:
        ages = pd.to_numeric(table.cells["age"], errors="coerce").astype(float)
        wrong = (ages.isna() & (table.cells["age"] != "")).to_numpy()
        if wrong.any():
            problems.add(f"{TABLE}: age is no number in {table.where(wrong, 'age')}; expected years")
        rows["age"] = ages
    rows["sex"] = table.cells.get("sex", "")
    return rows[named & ~rows["sample_id"].duplicated().to_numpy()].reset_index(drop=True)


def _check_rejected(rejected: Collection[str], known: pd.Series, problems: Problems) -> None:
    for name in sorted(set(rejected) - set(known)):
        problems.add(
            f"the list of rejected slices names '{name}', which is no session of {TABLE}.{did_you_mean(name, known)}"
            " Expected ids such as sub-001_ses-01"
        )


def _files(root: Path, problems: Problems) -> dict[str, Path]:
    """T1-weighted volumes by sample_id."""
    found: dict[str, Path] = {}
    strange = []
    for path in sorted(root.glob("sub-*/ses-*/anat/*T1w.nii*")):
        suffix = next((s for s in SUFFIXES if path.name.endswith(s)), None)
        match = _FILE.fullmatch(path.name.removesuffix(suffix)) if suffix else None
        if match is None or match.groups() != (path.parts[-4], path.parts[-3]):
            strange.append(path.relative_to(root))
            continue
        name = f"{match[1]}_{match[2]}"
        if name in found:
            problems.add(f"{found[name].relative_to(root)} and {path.name} are of one session; take one of them out")
        found[name] = path
    if strange:
        problems.add(
            f"the name of {listed(strange)} is not of the form sub-<subject>/ses-<session>/anat/"
            "sub-<subject>_ses-<session>_T1w.nii.gz (or .nii); rename it, or take it out"
        )
    return found


def _check_files(root: Path, rows: pd.DataFrame, files: Mapping[str, Path], problems: Problems) -> None:
    absent = rows["sample_id"][(rows["path"] == "") & ~rows["rejected"]].tolist()
    extra = sorted(set(files) - set(rows["sample_id"]))
    if absent:
        hint = did_you_mean(absent[0], extra)
        problems.add(
            f"{len(absent)} sessions of {TABLE} have no volume: {listed(absent, 10)}; expected such as"
            f" {_place(absent[0])}; add the files, or take the rows out.{hint}"
        )
    if extra:
        problems.add(
            f"{len(extra)} volumes are of no row of {TABLE}: {listed([files[name].relative_to(root) for name in extra], 10)};"
            " add the rows, or take the files out"
        )


def _regions(root: Path, rows: pd.DataFrame, problems: Problems) -> list[str]:
    """Path of each volume's mask; empty where the tree has no masks."""
    if not (root / REGIONS).is_dir():
        return [""] * len(rows)
    paths = [root / REGIONS / _place(name, "region") for name in rows["sample_id"]]
    there = [path.is_file() for path in paths]
    needed = (rows["path"] != "") & ~rows["rejected"]
    if absent := rows["sample_id"][needed & ~np.array(there, dtype=bool)].tolist():
        problems.add(f"{REGIONS} has no mask for {listed(absent, 10)}; expected one for each volume, or no such folder")
    return [str(path) if ok else "" for path, ok in zip(paths, there, strict=True)]


def _place(sample_id: str, kind: str = "T1w") -> Path:
    return Path(*sample_id.split("_"), "anat", f"{sample_id}_{kind}.nii.gz")
