"""Files of tensors, whole or not at all: torch looks at no checksum when it reads, and hides what went wrong when it writes.

They may come from anyone: of the pickle inside only tensors and plain values are read (`weights_only`), nothing is run, and
what is read takes no more memory than the file.
"""

from __future__ import annotations

import errno
import io
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from armed.errors import DamagedError

_NAMED = re.compile(r"GLOBAL (\S+)|instantiated type (\S+)|type (\S+) to be", re.IGNORECASE)


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
        The file is cut short, damaged, no such file, or holds what this project does not write.
    """
    path = Path(path)
    try:
        why = _damage(path)
        if not why:
            content = torch.load(path, weights_only=True, map_location=device)
            tensors = list(_tensors(content))
            if not (why := _excess(tensors, path.stat().st_size)):
                return content
    except pickle.UnpicklingError as error:  # its own text advises to run what is in the file
        found = _NAMED.search(str(error))
        named = f" ({next(filter(None, found.groups()))})" if found else ""
        raise DamagedError(
            f"{path} holds more than tensors and plain values{named}, which this project never writes and which could run a"
            " program when read. Nothing of it was run; do not load it by other means, and get the model from who made it."
        ) from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a place before the beginning of the file
            raise
        why = "it tells of places that are not in it"
    except (
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        NotImplementedError,
        ValueError,
        TypeError,
        MemoryError,
    ) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise DamagedError(f"{path} is damaged ({why}): delete it, and make it again.")


def _damage(path: Path) -> str:
    """What is wrong with the zip file that holds the tensors; empty where nothing is."""
    with zipfile.ZipFile(path) as members:
        infos = members.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            return "its members are compressed, as torch does not"
        if sum(info.file_size for info in infos) > path.stat().st_size:
            return "its members overlap"
        damaged = members.testzip()
    return f"the checksum of {damaged} is wrong" if damaged else ""


def _excess(tensors: Sequence[torch.Tensor], size: int) -> str:
    """What would take more memory than the file once copied, or has a form that torch does not check; empty where nothing."""
    if any(t.layout is not torch.strided or t.is_quantized or t.is_meta for t in tensors):
        return "a tensor is sparse, quantised or without values"
    needed = sum(t.numel() * t.element_size() for t in tensors)
    return f"its tensors would take {needed} bytes, more than the file has" if needed > size else ""


def _tensors(content: object) -> Iterator[torch.Tensor]:
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, Mapping | list | tuple):
        for value in content.values() if isinstance(content, Mapping) else content:
            yield from _tensors(value)
