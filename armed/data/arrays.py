"""Files of named arrays: ``.npz`` as NumPy writes it, but with images stored as they are, so that they can be mapped.

Images are arrays of bytes (uint8) with more than two dimensions. A mapped array takes no memory until its pages are looked
at, and processes that map one file share them. NumPy's `np.load` reads such a file as well, all arrays into memory.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

_LOCAL_HEADER = struct.Struct("<26xHH")  # of a member of a zip file: lengths of its name and of its extra field


def is_image(array: np.ndarray) -> bool:
    """Whether an array is stored as it is, and mapped."""
    return array.dtype == np.uint8 and array.ndim > 2 and array.size > 0


def write_arrays(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to an open file; equal arrays give equal bytes.

    Parameters
    ----------
    file : binary file
        Opened for writing.
    arrays : mapping of str to array
        Without Python objects.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # its date is a constant, that of 1980
            member.compress_type = zipfile.ZIP_STORED if is_image(array) else zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as opened:
                np.lib.format.write_array(opened, array, allow_pickle=False)


def read_arrays(path: str | Path, most: int | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of a file of `write_arrays`, or of NumPy's `savez` and `savez_compressed`.

    Parameters
    ----------
    path : path
    most : int, optional
        Bytes that the arrays may take unpacked: a file of anyone's can stand for a thousand times its size.

    Returns
    -------
    dict of str to array
        Images that are stored as they are come as maps of the file; what is written to them stays in memory (copy on
        write), so that a read-only file serves.

    Raises
    ------
    ValueError, zipfile.BadZipFile, EOFError
        The file is not such a file, cut short or damaged. The checksum of mapped images is not looked at.
    """
    # Opened here, as np.load leaves a broken file open.
    with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        needed = sum(member.file_size for member in file.zip.infolist())
        if most is not None and needed > most:
            raise ValueError(f"its arrays take {needed} bytes; at most {most} are read")
        members = {name: file.zip.getinfo(f"{name}.npy") for name in file.files}
        stored = [name for name, member in members.items() if member.compress_type == zipfile.ZIP_STORED]
        mapped = {name: array for name in stored if (array := _mapped(path, members[name])) is not None}
        return {name: mapped[name] if name in mapped else file[name] for name in file.files}


def _mapped(path: str | Path, member: zipfile.ZipInfo) -> np.ndarray | None:
    """Map a stored member of a zip file; None where it is no image."""
    with Path(path).open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or not header.startswith(zipfile.stringFileHeader):
            raise zipfile.BadZipFile(f"no entry where {member.filename} should be")
        name, extra = _LOCAL_HEADER.unpack(header)
        start = member.header_offset + _LOCAL_HEADER.size + name + extra
        file.seek(start)
        shape, fortran, dtype = _npy_header(file)
        offset = file.tell()
    size = int(np.prod(shape, dtype=np.int64))
    if dtype != np.uint8 or len(shape) <= 2 or not size:
        return None
    if member.file_size != offset - start + size:
        raise ValueError(f"{member.filename} has {member.file_size} bytes; expected {offset - start + size}")
    return np.memmap(path, dtype, mode="c", offset=offset, shape=shape, order="F" if fortran else "C")


def _npy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether it is in Fortran order, and type of the array whose ``.npy`` starts here."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)
