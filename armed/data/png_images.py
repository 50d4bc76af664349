"""Grey PNG images of one size: each is checked as it is read, and read straight to where it is to be."""

from __future__ import annotations

import io
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from joblib import Parallel, delayed, parallel_config
from PIL import Image
from tqdm import tqdm

from armed.data.frame_statistics import STATISTICS, frame_statistics
from armed.data.image_table import FileProblems
from armed.errors import DataError

PAPERS_SIZE = 256
"""Pixels, of the images of live cells (PROTOCOL, section 2)."""
AT_ONCE = 64  # images that a process reads before it hands them over
MOST_BESIDE = 2**24  # bytes that a file may have beside its pixels
_IHDR = 13  # bytes of a header
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KINDS = {
    0: "grey",
    2: "RGB colour",
    3: "palette colour",
    4: "grey with transparency",
    6: "RGB colour with transparency",
}
_OTHERS = {
    b"\xff\xd8\xff": "a JPEG file",
    b"II*\0": "a TIFF file",
    b"MM\0*": "a TIFF file",
    b"GIF8": "a GIF file",
    b"BM": "a BMP file",
    b"version https://git-lfs": "a Git LFS pointer: fetch the file itself",
}


class ImageFaultError(DataError):
    """An image cannot be used: `kind` says why, `detail` what differs between images of one kind."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind} ({detail})" if detail else kind)
        self.kind, self.detail = kind, detail


class Header(NamedTuple):
    """Width and height in pixels, bits of a channel, and type of colour (PNG specification, section 11.2.2)."""

    width: int
    height: int
    depth: int
    colour: int


def read_png(path: str | Path, size: int, setting: str) -> np.ndarray:
    """Read an image.

    Parameters
    ----------
    path : path
    size : int
        Its width and height, pixels.
    setting : str
        What sets the size, for the message.

    Returns
    -------
    array of uint8, shape (size, size)

    Raises
    ------
    ImageFaultError
        The file cannot be read, is no PNG, cut short or damaged, or its image is not grey with 8 bits, of another size, or
        constant.
    """
    content = _content(Path(path), MOST_BESIDE + 2 * size * size)
    header = read_header(content)
    if header.colour != 0 or header.depth != 8:
        told = f"{header.depth} bit, {_KINDS.get(header.colour, 'unknown')}"
        raise ImageFaultError(
            "the image is not grey with 8 bits; convert it (Pillow: convert('L')), all by one rule", told
        )
    if (header.width, header.height) != (size, size):
        raise ImageFaultError(
            f"the image is not of the expected {size} x {size} pixels; {setting} sets the size (the paper's live cells have"
            f" {PAPERS_SIZE}): change it where all images are of another one, or crop or resample the images",
            f"{header.width} x {header.height}",
        )
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            pixels = np.array(image.convert("L") if image.mode != "L" else image)
    except (OSError, SyntaxError, ValueError, zlib.error, Image.DecompressionBombError) as error:
        raise ImageFaultError("the file is damaged; copy or make it again", " ".join(str(error).split())) from error
    if pixels.min() == pixels.max():
        raise ImageFaultError("the image is constant; take it out", f"all {pixels.flat[0]}")
    return pixels


def _content(path: Path, most: int) -> bytes:
    """Bytes of a regular file, which a link may lead to, but not to a device or a pipe: those never end."""
    try:
        told = path.stat()
        if stat.S_ISREG(told.st_mode) and told.st_size <= most:
            return path.read_bytes()
    except OSError as error:
        raise ImageFaultError("the file cannot be read", error.strerror or type(error).__name__) from error
    if stat.S_ISREG(told.st_mode):
        raise ImageFaultError("the file is far larger than its image; make it again", f"{told.st_size} bytes")
    raise ImageFaultError("the file cannot be read", "no regular file")


def read_header(content: bytes) -> Header:
    """Check that bytes are a whole PNG file, and read its header.

    Raises
    ------
    ImageFaultError
        They are no PNG file, or one that is cut short or damaged.
    """
    if not content.startswith(SIGNATURE):
        told = "empty" if not content else next((t for start, t in _OTHERS.items() if content.startswith(start)), "")
        raise ImageFaultError("no PNG file, whatever its name", told)
    header, place = None, len(SIGNATURE)
    while True:
        length, kind = struct.unpack(">I4s", content[place : place + 8]) if place + 8 <= len(content) else (0, b"")
        end = place + 12 + length
        if not kind or end > len(content):
            raise ImageFaultError("the file is cut short; copy or make it again", f"{len(content)} bytes")
        (checksum,) = struct.unpack(">I", content[end - 4 : end])
        if zlib.crc32(content[place + 4 : end - 4]) != checksum or (header is None) != (kind == b"IHDR"):
            raise ImageFaultError("the file is damaged; copy or make it again", f"at byte {place}")
        if kind == b"IHDR":
            if length != _IHDR:
                raise ImageFaultError("the file is damaged; copy or make it again", f"at byte {place}")
            header = Header(*struct.unpack(">IIBB", content[place + 8 : place + 18]))
        if kind == b"IEND":
            return header
        place = end


def read_images(
    root: Path,
    paths: Sequence[str],
    size: int,
    files: FileProblems,
    into: BinaryIO,
    *,
    setting: str,
    processes: int = 1,
) -> dict[str, np.ndarray]:
    """Read images, a few at a time.

    Parameters
    ----------
    root : Path
    paths : sequence of str
        Relative to the root.
    size : int
        Width and height of each, pixels.
    files : FileProblems
        Takes what is wrong with files.
    into : binary file
        Takes the pixels of all images, in order; zeros for those that cannot be used. A file, as a map of one would count as
        memory, and end the process where the disk is full.
    setting : str
        What sets the size, for messages.
    processes : int
        That read; no result depends on it.

    Returns
    -------
    dict of str to array of float64, shape (n,)
        Statistics of each image (`frame_statistics.STATISTICS`); NaN of those that cannot be used.
    """
    found = {name: np.full(len(paths), np.nan) for name in STATISTICS}
    chunks = [paths[i : i + AT_ONCE] for i in range(0, len(paths), AT_ONCE)]
    work = (delayed(_read_some)(str(root), chunk, size, setting) for chunk in chunks)
    row = 0
    with tqdm(total=len(paths), desc="Images read", unit="image", disable=None) as progress:
        for outcomes in _results(work, min(processes, len(chunks))):
            for pixels, statistics, fault in outcomes:
                if fault is not None:
                    files.add(fault.kind, paths[row], fault.detail)
                    into.write(bytes(size * size))
                else:
                    into.write(pixels.tobytes())
                    for name, value in statistics.items():
                        found[name][row] = value
                row += 1
            progress.update(len(outcomes))
    return found


class _Fault(NamedTuple):
    kind: str
    detail: str


def _read_some(root: str, paths: Sequence[str], size: int, setting: str) -> list[tuple]:
    """Pixels and statistics of each image, or its fault."""
    found = []
    for path in paths:
        try:
            pixels = read_png(Path(root, path), size, setting)
            found.append((pixels, frame_statistics(pixels), None))
        except ImageFaultError as fault:
            found.append((None, {}, _Fault(fault.kind, fault.detail)))
    return found


def _results(work: Iterator, processes: int) -> Iterator[list[tuple]]:
    if processes <= 1:
        for function, given, named in work:
            yield function(*given, **named)
        return
    # Loky's processes do not run the main module again, as a script of the workflow must not be.
    with parallel_config(backend="loky", inner_max_num_threads=1):
        yield from Parallel(n_jobs=processes, return_as="generator")(work)
