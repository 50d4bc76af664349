"""Snakemake with --use-conda: jobs run in the environments that their rules name, where the project is not installed.

No channel can be reached by the tests, so that `local_conda` stands in for the client and makes the environments from the
packages installed here. Snakemake itself runs from an environment with nothing but Snakemake, since it hands its own packages
on to the scripts of jobs: what an environment's file lacks is found nowhere.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import local_conda
import pytest
from conda_files import pins
from conftest import Project
from test_environments import JOBS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("use_conda")]
STUDY = "spirals_radius"
PREDICTIONS = f"results/predictions/{STUDY}/conventional.parquet"
IMPORTS = """
import importlib, pkgutil, sys
import armed, baselines
for package in (armed, baselines):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


class Site(Project):
    """A clone of the project on a machine with conda and Snakemake; runs lie beside it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "clone")
        self.runs = folder / "runs"
        self.client = local_conda.client(folder / "conda")
        local_conda.environment(folder / "snakemake", ["snakemake"])
        self.python = folder / "snakemake" / "bin" / "python"

    def command(self, *arguments: str, directory: str = "run", config: str = "config/smoke.yaml") -> list[str]:
        _, *command = super().command(*arguments, directory=str(self.runs / directory), config=config)
        return [str(self.python), *command, "--use-conda"]

    def environment(self) -> dict[str, str]:
        given = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        return given | {"OMP_NUM_THREADS": "1", "PATH": f"{self.client}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def run(site) -> tuple[Path, str]:
    """Folder and output of a run up to the predictions of one model."""
    done = site.run(PREDICTIONS)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return site.runs / "run", done.stdout + done.stderr


def python(run) -> Path:
    """Python of the one environment that the run has made."""
    (found,) = (run[0] / ".snakemake" / "conda").glob("*/bin/python")
    return found


def test_jobs_find_the_project_where_it_is_not_installed(run):
    folder, told = run
    done = subprocess.run([python(run), "-c", "import armed"], cwd=folder, capture_output=True, text=True)
    assert "No module named 'armed'" in done.stderr
    assert (folder / PREDICTIONS).is_file()
    jobs = re.search(r"^total +(\d+)$", told, re.MULTILINE)[1]
    assert told.count("Activating conda environment:") >= int(jobs)


def test_jobs_run_on_the_pinned_packages_of_the_environment(run):
    packages = json.loads((run[0] / f"results/runs/{STUDY}/conventional/run.json").read_text())["environment"][
        "packages"
    ]
    assert packages["armed-bench"] is None  # not installed
    assert packages["torch"].split("+")[0] == pins(JOBS)["torch"].version


def test_all_that_any_rule_imports_is_in_the_environment(run, site):
    command = [python(run), "-c", IMPORTS, "gpboost", "lightgbm", "itables"]
    done = subprocess.run(command, cwd=site.folder, env=site.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("device, environments", [("cpu", {"armed"}), ("cuda", {"armed", "armed-gpu"})])
def test_what_trains_takes_the_environment_of_the_device(site, device, environments):
    done = site.run("--dry-run", "--config", f"device={device}", directory=device, config="config/config.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    created = re.findall(r"Conda environment \S*/envs/(\S+)\.yaml will be created", done.stdout + done.stderr)
    assert sorted(created) == sorted(environments)


def test_an_environment_holds_what_it_names_and_requires_alone(tmp_path):
    local_conda.environment(tmp_path / "small", ["pandas"])
    command = [tmp_path / "small" / "bin" / "python", "-c"]
    assert subprocess.run([*command, "import pandas, numpy, dateutil"], cwd=tmp_path).returncode == 0
    assert subprocess.run([*command, "import scipy"], cwd=tmp_path, capture_output=True).returncode == 1


def test_a_version_that_is_not_to_be_had_fails_before_any_job(site, tmp_path):
    other = Site(tmp_path)
    file = other.folder / "workflow" / "envs" / "armed.yaml"
    file.write_text(re.sub(r"numpy=\S+", "numpy=1.0", file.read_text()))
    done = other.run(PREDICTIONS)
    assert done.returncode != 0
    assert "PackagesNotFoundError: numpy=1.0" in done.stdout + done.stderr
    assert not (other.runs / "run" / "results").exists()
