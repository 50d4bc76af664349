"""Stands in for the conda client in tests, where no channel can be reached: what Snakemake asks of conda, and no more.

An environment is made out of packages that are installed here: those that its file names, which must have the versions it
names, and what they require. Neither the project itself nor anything else that is installed is in it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

from conda_files import pins
from packaging.requirements import Requirement

CLIENT = '#!/bin/sh\nPYTHONPATH="{tests}" LOCAL_CONDA="{prefix}" exec "{python}" -m local_conda "$@"\n'
ACTIVATE = 'export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"\n'


def required(names: list[str]) -> dict[str, Distribution]:
    """These packages and all that they require, by name."""
    found, waiting = {}, list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found[name] = distribution(name)
        requirements = map(Requirement, found[name].requires or [])
        waiting += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def environment(prefix: Path, names: list[str]) -> None:
    """A Python of its own with these packages and what they require: links to where they are installed here."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(prefix)], check=True)
    (packages,) = prefix.glob("lib/python*/site-packages")
    for installed in required(names).values():
        for top in {file.parts[0] for file in installed.files} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(installed.locate_file(top))


def client(prefix: Path) -> Path:
    """Folder with a command `conda`, which is this file."""
    folder = prefix / "bin"
    folder.mkdir(parents=True)
    command = CLIENT.format(tests=Path(__file__).parent, prefix=prefix, python=sys.executable)
    (folder / "conda").write_text(command, encoding="utf-8")
    (folder / "conda").chmod(0o755)
    (folder / "activate").write_text(ACTIVATE, encoding="utf-8")
    return folder


def create(file: Path, prefix: Path) -> None:
    """Make the environment of a file; ends with a message where a package is not here in its version."""
    wanted = pins(file)
    here = {name: distribution(name).version.split("+")[0] for name in wanted}
    if absent := [f"{name}={pin.version}" for name, pin in wanted.items() if here[name] != pin.version]:
        sys.exit(f"PackagesNotFoundError: {', '.join(absent)}")
    environment(prefix, list(wanted))


def main() -> None:
    asked = sys.argv[1:]
    if asked == ["info", "--json"]:
        print(json.dumps({"conda_prefix": os.environ["LOCAL_CONDA"], "platform": "linux-64"}))
    elif asked == ["--version"]:
        print("conda 25.1.0")
    elif asked == ["config", "--get", "channel_priority", "--json"]:
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif asked[:2] == ["env", "create"]:
        parser = argparse.ArgumentParser()
        parser.add_argument("--file", type=Path, required=True)
        parser.add_argument("--prefix", type=Path, required=True)
        for flag in ("--quiet", "--no-default-packages"):
            parser.add_argument(flag, action="store_true")
        given = parser.parse_args(asked[2:])
        create(given.file, given.prefix)
    elif asked[0] != "clean":  # nothing was downloaded
        sys.exit(f"conda: not known here: {' '.join(asked)}")


if __name__ == "__main__":
    main()
