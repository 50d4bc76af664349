"""A copy of the project with its smoke run, shared by the tests of the workflow."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("armed", "baselines", "workflow", "config", "pyproject.toml")


class Plan(NamedTuple):
    """Rules with jobs to run, and the fits among them as study/model."""

    rules: set[str]
    fits: set[str]


class Project:
    """A copy of the project's sources in a folder of its own, and Snakemake runs of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignore = shutil.ignore_patterns("__pycache__")
        for part in PARTS:
            source = ROOT / part
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, folder / part, **({"ignore": ignore} if source.is_dir() else {}))

    def command(self, *arguments: str, directory: str = "run", config: str = "config/smoke.yaml") -> list[str]:
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--rerun-incomplete", "--directory", directory]
        return [*command, *arguments, "--configfile", *config.split()]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(self, *arguments: str, **options: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*arguments, **options),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=500,
        )

    def planned(self, *arguments: str, **options: str) -> Plan:
        """What a dry run would do."""
        done = self.run("--dry-run", *arguments, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        told = done.stdout + done.stderr
        if "Nothing to be done" in told:
            return Plan(set(), set())
        stats = told[told.index("Job stats:") :].split("\n\n")[0].splitlines()[3:]
        fits = {f"{study}/{model}" for model, study in re.findall(r"Fitting (\w+) on (\w+)\.", told)}
        fits |= {f"{study}/cluster_inference" for study in re.findall(r"Fitting the Z-predictor of (\w+)\.", told)}
        return Plan({line.split()[0] for line in stats} - {"total"}, fits)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Project:
    """The smoke run, finished."""
    project = Project(tmp_path_factory.mktemp("project"))
    done = project.run()
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return project
