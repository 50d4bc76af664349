"""Compiled steps on disk: compiled once, loaded by every process after, without torch's compiler.

A step is known by its graph, and, so that it need not even be traced, by the structure that it was traced from. The latter
holds for modules and programs of this project and of torch alone, whose sources and versions are part of it.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, fx

from armed.files import atomic

log = logging.getLogger(__name__)

OURS = ("armed", "baselines", "torch")
USED: set[str] = set()
"""Names of the compiled steps that were run since this was last cleared, for the record of a fit."""


def folder() -> Path:
    """Where compiled steps are kept: ``$ARMED_CACHE``, else ``armed-bench`` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "armed-bench"
    return Path(os.environ.get("ARMED_CACHE") or default)


def digest(*parts: object) -> str:
    """Name of a file for what `parts`, this torch, its threads and this processor determine."""
    here = (torch.__version__, torch.get_num_threads(), torch.backends.cpu.get_cpu_capability(), _processor())
    return hashlib.sha256(repr((parts, here)).encode()).hexdigest()


def sources(types: Iterable[type]) -> str | None:
    """Digest of the files that classes and their bases are written in; None where one is not ours or torch's."""
    bases = {base for t in types for base in t.__mro__ if base is not object}
    names = {base.__module__ for base in bases}
    if any(name.split(".")[0] not in (*OURS, "abc", "typing") for name in names):
        return None
    return "".join(_file_digest(name) for name in sorted(names) if name.split(".")[0] in OURS[:2])


def known(structure: str) -> Callable | None:
    """The step of a structure, or None."""
    note = folder() / f"{structure}.step"
    if not note.is_file():
        return None
    return _load(folder() / f"{note.read_text()}.pt2")


def compiled(step: fx.GraphModule, example: tuple[Tensor, ...], structure: str | None) -> Callable:
    """Compile a step, or load it where it was compiled before; then it is known by its structure."""
    constants = [(name, str(t.dtype), t.cpu().numpy().tobytes()) for name, t in step.named_buffers()]
    shapes = [(tuple(t.shape), str(t.dtype), str(t.device)) for t in example]
    key = digest(step.code, constants, shapes)
    path = folder() / f"{key}.pt2"
    loaded = _load(path)
    if loaded is None:
        log.info("Compiling the step of %d replicas; kept in %s.", example[0].shape[-1], folder())
        with warnings.catch_warnings(), atomic(path) as temporary:
            warnings.simplefilter("ignore")  # of torch's own compiler; nothing a user could act on
            exported = torch.export.export(step, example)
            torch._inductor.aoti_compile_and_package(exported, package_path=str(temporary))
        loaded = _load(path)
    if structure is not None:
        with atomic(folder() / f"{structure}.step") as temporary:
            temporary.write_text(key)
    return loaded


def _load(path: Path) -> Callable | None:
    """Load by torch's own loader: `torch._inductor.aoti_load_package` is the same, and imports the whole compiler."""
    if not path.is_file():
        return None
    try:
        loader = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)
    except RuntimeError as error:
        log.warning("%s cannot be loaded (%s); it is compiled anew.", path, str(error).strip().splitlines()[0])
        path.unlink(missing_ok=True)
        return None

    def step(*tensors: Tensor) -> list[Tensor]:
        USED.add(path.stem)
        return loader.run(list(tensors))

    return step


@cache
def _file_digest(module: str) -> str:
    return hashlib.sha256(Path(inspect.getsourcefile(sys.modules[module])).read_bytes()).hexdigest()


@cache
def _processor() -> str:
    """What a program compiled for this very processor may rely on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
