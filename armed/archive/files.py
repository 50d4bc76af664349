"""The file itself: a zip with a manifest, written so that equal content gives equal bytes, and read with suspicion.

A zip, as deposit sites list what is in one, every system opens it, and a member is read without unpacking the rest; what is
large in it (parquet, npz) is compressed already, so that a stronger format would save little.

Reading runs nothing of what is in it. Refused are names that lead out of the folder, links, members that the manifest does not
list or that differ from it, and content out of proportion to the file's size.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pyarrow import parquet

from armed.errors import ArchiveError, Problems
from armed.files import atomic, sha256

MANIFEST = "manifest.json"
FORMAT = 1
"""Number of the format; an archive of a later one is not read."""
NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.@+-]*/)*[A-Za-z0-9_][A-Za-z0-9_.@+-]*")
"""Names of members: folders and a file, none of which begins with a dot."""
MOST_MEMBERS, LARGEST, RATIO = 100_000, 50 * 10**9, 200
"""Of an archive that is read: members, bytes unpacked, and these for each byte of the file. Tables of text reach 20 to 30."""
MOST_MEMORY = 10**10  # bytes, of one file that is read; no ratio, as images of one grey compress a thousandfold
LARGEST_MANIFEST = 64 * 10**6  # bytes
COMPRESSED = (".parquet", ".png")  # stored as they are
_DATE = (1980, 1, 1, 0, 0, 0)  # of every member: the first that a zip can tell
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError, KeyError, RuntimeError)


class Member(NamedTuple):
    """One file of an archive: its name in it, what it is in words, and where its content is, or the content itself."""

    name: str
    what: str
    content: Path | bytes

    def open(self) -> BinaryIO:
        return self.content.open("rb") if isinstance(self.content, Path) else io.BytesIO(self.content)


def write(path: str | Path, members: Sequence[Member], told: Mapping) -> dict:
    """Write an archive; it appears only when complete.

    Parameters
    ----------
    path : path
    members : sequence of Member
        In any order; each name once.
    told : mapping
        What else the manifest tells.

    Returns
    -------
    dict
        The manifest: ``format``, what is told, and ``files``: name, size, sha256 and what of every member but itself.
        Equal members and words give equal bytes, with one version of zlib.
    """
    ordered = sorted(members, key=lambda member: member.name)
    problems = Problems(ArchiveError, str(path))
    for name, count in Counter(member.name for member in ordered).items():
        if count > 1 or name == MANIFEST or not NAME.fullmatch(name):
            problems.add(f"'{name}' cannot name a member of an archive, or names two")
    problems.raise_if_any()
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        files = [_put(archive, member) for member in ordered]
        manifest = {"format": FORMAT, **told, "files": files}
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        _put(archive, Member(MANIFEST, "", text.encode()))
    return manifest


def _put(archive: zipfile.ZipFile, member: Member) -> dict:
    info = zipfile.ZipInfo(member.name, _DATE)
    info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16  # the same on every system
    info.compress_type = zipfile.ZIP_STORED if member.name.endswith(COMPRESSED) else zipfile.ZIP_DEFLATED
    digest, size = hashlib.sha256(), 0
    with member.open() as source, archive.open(info, "w", force_zip64=True) as out:
        while block := source.read(1 << 20):
            out.write(block)
            digest.update(block)
            size += len(block)
    return {"name": member.name, "size": size, "sha256": digest.hexdigest(), "what": member.what}


def unpack(path: str | Path, folder: str | Path) -> dict:
    """Check an archive, and unpack it.

    Parameters
    ----------
    path : path
        The archive.
    folder : path
        An empty folder.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    ArchiveError
        It is not there, is no archive of this project, is damaged, was changed, or is not safe to unpack; all that is found.
    """
    path, folder = Path(path), Path(folder)
    if not path.is_file():
        raise ArchiveError(f"There is no file '{path}'; `make archive` writes one, results/armed-bench-archive.zip.")
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            _check_members(infos, path)
            manifest = _manifest(archive, path)
            listed = {file["name"]: file for file in manifest["files"]}
            _check_listed(infos, listed, path)
            problems = Problems(ArchiveError, str(path))
            for info in infos:
                _unpack_one(archive, info, listed.get(info.filename), folder, problems)
            problems.raise_if_any()
    except _BROKEN as error:
        if isinstance(error, ArchiveError):
            raise
        raise ArchiveError(f"{path} is no archive that can be read, or is damaged: {error}") from error
    return manifest


def _check_members(infos: Sequence[zipfile.ZipInfo], path: Path) -> None:
    """What can be told from the list of members, before any is read."""
    problems = Problems(ArchiveError, str(path))
    size, total = path.stat().st_size, sum(info.file_size for info in infos)
    if len(infos) > MOST_MEMBERS:
        problems.add(f"it has {len(infos)} members; at most {MOST_MEMBERS} are unpacked")
    if total > min(LARGEST, RATIO * size):
        problems.add(
            f"it would unpack to {total} bytes, {total / max(size, 1):.0f} times its size; at most {RATIO} times and"
            f" {LARGEST // 10**9} GB are unpacked"
        )
    if sum(info.compress_size for info in infos) > size:
        problems.add("its members overlap")
    seen: set[str] = set()
    for info in infos:
        for wrong in _problems_of(info):
            problems.add(f"member '{info.filename[:100]!s}' {wrong}")
        if info.filename.lower() in seen:
            problems.add(f"member '{info.filename[:100]}' is there twice")
        seen.add(info.filename.lower())
    problems.raise_if_any()


def _problems_of(info: zipfile.ZipInfo) -> list[str]:
    mode = info.external_attr >> 16
    checks: dict[str, Callable[[], bool]] = {
        "has a name that could lead out of the folder, or that no archive of this project has": lambda: (
            not NAME.fullmatch(info.orig_filename)
        ),
        "is a link or another thing than a file": lambda: bool(stat.S_IFMT(mode)) and not stat.S_ISREG(mode),
        "is encrypted": lambda: bool(info.flag_bits & 1),
        "is compressed in a way that archives of this project are not": lambda: (
            info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        ),
    }
    return [wrong for wrong, check in checks.items() if check()]


def _manifest(archive: zipfile.ZipFile, path: Path) -> dict:
    if MANIFEST not in archive.namelist():
        raise ArchiveError(f"{path} has no {MANIFEST}: it is no archive of this project.")
    if archive.getinfo(MANIFEST).file_size > LARGEST_MANIFEST:
        raise ArchiveError(f"The {MANIFEST} of {path} is larger than {LARGEST_MANIFEST} bytes; it is not read.")
    manifest = json.loads(archive.read(MANIFEST).decode())
    kinds = {"name": str, "size": int, "sha256": str, "what": str}
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, list) or not all(
        isinstance(file, dict) and all(isinstance(file.get(key), kind) for key, kind in kinds.items()) for file in files
    ):
        raise ArchiveError(f"The {MANIFEST} of {path} does not list files by name, size, sha256 and what.")
    if manifest.get("format") != FORMAT:
        raise ArchiveError(
            f"{path} has format {manifest.get('format')}, and this version of the project reads format {FORMAT}; check it"
            f" with the version that made it: commit {manifest.get('commit')}."
        )
    return manifest


def _check_listed(infos: Sequence[zipfile.ZipInfo], listed: Mapping[str, Mapping], path: Path) -> None:
    problems = Problems(ArchiveError, str(path))
    there = {info.filename: info for info in infos if info.filename != MANIFEST}
    for name in sorted(set(there) - set(listed)):
        problems.add(f"'{name}' is in it and not in its {MANIFEST}")
    for name in sorted(set(listed) - set(there)):
        problems.add(f"'{name}' is in its {MANIFEST} and not in it")
    for name in sorted(set(listed) & set(there)):
        if there[name].file_size != listed[name]["size"]:
            problems.add(
                f"'{name}' has {there[name].file_size} bytes, and {listed[name]['size']} in the {MANIFEST}: it was changed"
            )
    problems.raise_if_any()


def _unpack_one(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, listed: Mapping | None, folder: Path, problems: Problems
) -> None:
    out = folder / info.filename
    out.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(info) as source, out.open("xb") as opened:  # reads no more than the size told
        shutil.copyfileobj(source, opened, 1 << 20)
    found = sha256(out)
    if listed is not None and found != listed["sha256"]:
        problems.add(
            f"'{info.filename}' has the sha256 {found}, and {listed['sha256']} in the {MANIFEST}: it was changed"
        )
    elif (memory := _memory(out)) > MOST_MEMORY:
        problems.add(f"'{info.filename}' would take {memory} bytes of memory; at most {MOST_MEMORY} are read")


def _memory(path: Path) -> int:
    """Bytes that reading a file would take at least: arrays and parquet files are compressed inside."""
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as arrays:
            return sum(info.file_size for info in arrays.infolist())
    if path.suffix == ".parquet":
        told = parquet.read_metadata(path)
        packed = sum(told.row_group(i).total_byte_size for i in range(told.num_row_groups))
        return max(4 * told.num_rows * told.num_columns, packed)
    return path.stat().st_size
