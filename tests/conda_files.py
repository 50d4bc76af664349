"""The conda environments of the project, read from their files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import yaml

# Names of packages on conda-forge and bioconda that differ from those on PyPI.
ON_PYPI = {"pytorch": "torch", "matplotlib-base": "matplotlib", "snakemake-minimal": "snakemake"}


class Pin(NamedTuple):
    """Version of a package, and the pattern of its build where one is named."""

    version: str
    build: str | None = None


def pins(path: Path) -> dict[str, Pin]:
    """Packages by their names on PyPI, as an environment's file names them, without Python and pip."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))["dependencies"]
    by_pip = [tuple(name.split("==")) for entry in entries if isinstance(entry, dict) for name in entry["pip"]]
    by_conda = [tuple(entry.split("=")) for entry in entries if isinstance(entry, str) and "=" in entry]
    found = {ON_PYPI.get(name, name): Pin(*pin) for name, *pin in [*by_conda, *by_pip]}
    found.pop("python")
    return found
