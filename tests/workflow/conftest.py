"""A copy of the project with its smoke run, shared by the tests of the workflow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("armed", "baselines", "workflow", "config", "pyproject.toml")


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

    def planned(self, *arguments: str, **options: str) -> set[str]:
        """Rules with jobs to run, from a dry run."""
        done = self.run("--dry-run", "--quiet", "rules", *arguments, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        done = self.run("--dry-run", *arguments, **options)
        lines = done.stdout.splitlines()
        return {line.split()[1].rstrip(":") for line in lines if line.startswith(("rule ", "localrule "))}


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Project:
    """The smoke run, finished."""
    project = Project(tmp_path_factory.mktemp("project"))
    done = project.run()
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return project
