"""Files of tensors, whole or not at all: torch looks at no checksum when it reads, and hides what went wrong when it writes."""

from __future__ import annotations

import errno
import io
import pickle
import zipfile
from pathlib import Path

import torch

from armed.errors import DamagedError


def write(content: object, path: Path) -> None:
    """Write tensors in dicts and lists; equal content gives equal bytes, whatever the file's name.

    Raises
    ------
    OSError
        As writing any file; `torch.save` would raise an error of its own that does not tell of a full disk.
    """
    packed = io.BytesIO()
    torch.save(content, packed)
    path.write_bytes(packed.getbuffer())


def read(path: Path, device: str | None = None) -> object:
    """Read what `write` wrote, every byte of it checked, onto a device or those that it came from.

    Raises
    ------
    DamagedError
        The file is cut short, damaged, or no such file.
    """
    try:
        with zipfile.ZipFile(path) as members:
            damaged = members.testzip()
        if damaged is None:
            return torch.load(path, weights_only=True, map_location=device)
        why = f"the checksum of {damaged} is wrong"
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a place before the beginning of the file
            raise
        why = "it tells of places that are not in it"
    except (
        zipfile.BadZipFile,
        RuntimeError,
        pickle.UnpicklingError,
        EOFError,
        NotImplementedError,
        ValueError,
    ) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise DamagedError(f"{path} is damaged ({why}): delete it, and make it again.")
