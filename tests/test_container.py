"""The container's Dockerfile: checked by a linter, its versions those of the project, its sources enough to run from.

No container engine runs in the tests: docs/environments.md says what was built by hand.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_environments import constraints, required

ROOT = Path(__file__).resolve().parent.parent
LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
HADOLINT = Path(sys.executable).parent / "hadolint"


def told(instruction: str) -> list[str]:
    """Arguments of all lines of the Dockerfile with this instruction."""
    return [line.removeprefix(instruction).strip() for line in LINES if line.startswith(f"{instruction} ")]


def sources(folder: Path) -> Path:
    """A copy of what .dockerignore lets into the image."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    entries = [line for line in lines if line and not line.startswith("#")]
    assert entries[0] == "*"
    for name in (entry[1:] for entry in entries if entry.startswith("!")):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, folder / name)
    return folder


def test_the_linter_finds_nothing():
    done = subprocess.run([HADOLINT, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_linter_finds_what_is_wrong(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /etc && apt-get install g++\n")
    done = subprocess.run([HADOLINT, tmp_path / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "DL3008" in done.stdout


def test_the_base_has_the_python_that_the_tests_run_on():
    (base,) = [given for given in told("ARG") if given.startswith("BASE=")]
    assert re.fullmatch(rf"BASE=python:{sys.version_info.major}\.{sys.version_info.minor}\.\d+-slim-\w+", base)


def test_packages_are_installed_as_make_does():
    steps = [step.strip() for line in told("RUN") for step in line.split("&&")]
    torch, project = [step for step in steps if "pip install" in step]
    made = (ROOT / "Makefile").read_text(encoding="utf-8")
    for step, last in ((torch, f"torch=={constraints()['torch']}"), (project, '-e ".[workflow')):
        assert f"pip install -c constraints.txt {last}" in step.replace(
            '${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} ', ""
        )
        assert f"pip install --quiet -c constraints.txt {last}" in made
    assert required("workflow") <= set(constraints())


def test_the_container_does_not_run_as_root():
    assert told("USER") == ["1000"]
    assert any("useradd --uid 1000" in line for line in told("RUN"))


@pytest.mark.slow
def test_the_workflow_plans_from_the_image_s_sources_alone(tmp_path):
    project = sources(tmp_path / "image")
    (data := tmp_path / "data").mkdir()
    (home,) = told("WORKDIR")
    line = [*json.loads(told("ENTRYPOINT")[0]), *json.loads(told("CMD")[0])]
    program, *arguments = [part.replace(home, str(project)).replace("/data", str(data)) for part in line]
    done = subprocess.run(
        [sys.executable, "-m", program, *arguments, "--dry-run", "--configfile", "config/smoke.yaml"],
        cwd=project,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Writing the tables and the report." in done.stdout + done.stderr
    assert [path.name for path in data.iterdir()] == [".snakemake"]
