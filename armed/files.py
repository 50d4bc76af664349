"""Files and folders that appear under their name only when complete, and their checksums."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HOST = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname()) or "host"


@contextmanager
def atomic(path: str | Path, *, folder: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its name only when the block ends without an error.

    Parameters
    ----------
    path : path
        File or folder to make or to replace; its parent folders are made.
    folder : bool
        Make the temporary path as an empty folder (otherwise the caller makes a file or a folder there).

    Yields
    ------
    pathlib.Path
        Temporary path with the same suffix, in the same folder (so that the move is one rename).

    Raises
    ------
    FileNotFoundError
        The block ended without writing to the path it was given.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(path)
    mark = f"{_HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    temporary = path.with_name(f".partial-{mark}-{path.name}")
    if folder:
        temporary.mkdir()
    try:
        yield temporary
        if not temporary.exists():
            raise FileNotFoundError(f"Nothing was written for {path}: write to the path that atomic() gives.")
        _put(temporary, path, path.with_name(f".replaced-{mark}-{path.name}"))
    except BaseException:
        _remove(temporary)
        raise


def _clear_leftovers(path: Path) -> None:
    """Remove what killed processes of this machine left behind for `path`."""
    for leftover in path.parent.glob(f".partial-{_HOST}-*-{glob.escape(path.name)}"):
        number = leftover.name.removeprefix(f".partial-{_HOST}-").partition("-")[0]
        if number.isdigit() and not is_running(int(number)):
            _remove(leftover)


def is_running(pid: int) -> bool:
    """Whether there is a process of this id on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _put(temporary: Path, path: Path, aside: Path) -> None:
    # A folder cannot be renamed onto a full one: the old one steps aside first, and goes when the new one is there.
    moved = path.is_dir() and not path.is_symlink()
    if moved:
        os.replace(path, aside)
    try:
        os.replace(temporary, path)
    except BaseException:
        if moved:
            os.replace(aside, path)
        raise
    if moved:
        shutil.rmtree(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
