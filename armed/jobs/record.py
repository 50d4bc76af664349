"""What a fit writes down of itself (`run.json`), so that it can be repeated and compared: `python -m armed.reproduce`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from armed.reproducibility import environment
from armed.same import digest, files

RECORD = "run.json"


class Inputs(NamedTuple):
    """Files that a fit reads: what `armed.jobs.data` wrote."""

    data: Path
    splits: Path


def begin_record() -> None:
    """Forget which compiled steps an earlier fit of this process has run."""
    _steps_run().clear()


def record_of_run(settings: Mapping, code: list[str], arguments: Mapping, inputs: Inputs, folder: Path) -> dict:
    """Tell what a fit was made of and on, and what it has written.

    Parameters
    ----------
    settings : mapping
        Its block of the configuration, seeds and torch's threads among them.
    code : list of str
        Digests of the sources used (`armed.reproducibility.sources_of_fit`).
    arguments : mapping
        Of the method: ``device``, ``engine`` and ``stack_size`` where it is trained in stacks.
    inputs : Inputs
    folder : Path
        What was written so far.

    Returns
    -------
    dict
        ``settings``, ``source_digest``, ``device``, ``engine`` (as asked for), ``stack_size``, ``inputs`` (sha256 of data and
        splits), ``files`` (sha256 of each file written), ``environment`` (`armed.reproducibility.environment`), ``torch`` (what
        it computes with) and ``compiled_steps`` (names in the cache of those run since `begin_record`;
        none where all was trained step by step).
    """
    return {
        "settings": settings,
        "source_digest": code,
        "device": arguments.get("device", "cpu"),
        "engine": arguments.get("engine"),
        "stack_size": arguments.get("stack_size"),
        "inputs": {name: digest(path) for name, path in inputs._asdict().items()},
        "files": {path.relative_to(folder).as_posix(): digest(path) for path in files(folder)},
        "environment": environment(),
        "torch": _torch(arguments.get("device", "cpu")),
        "compiled_steps": sorted(_steps_run()),
    }


def _steps_run() -> set[str]:
    """The set that the cache of steps keeps; an empty one where that was not loaded."""
    return getattr(sys.modules.get("armed.step_cache"), "USED", set())


def _torch(device: str) -> dict | None:
    """Threads and instruction sets that torch has chosen; None where it was not loaded."""
    if "torch" not in sys.modules:
        return None
    import torch

    told = {"threads": torch.get_num_threads(), "instructions": torch.backends.cpu.get_cpu_capability()}
    return told | ({"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda} if device == "cuda" else {})
