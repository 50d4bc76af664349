"""The conda environments, the pip constraints and the project's own requirements name the same versions."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib", "snakemake-minimal": "snakemake"}
ENVIRONMENTS = ("environment.yml", "workflow/envs/armed.yaml")


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {name.lower().replace("_", "-"): pinned for name, pinned in pairs}


def conda(path: str) -> dict[str, str]:
    entries = yaml.safe_load((ROOT / path).read_text())["dependencies"]
    by_pip = [entry.replace("==", "=") for entry in entries[-1]["pip"]]
    pairs = (entry.partition("=")[::2] for entry in [*entries[:-1], *by_pip])
    return {CONDA_NAMES.get(name, name): pinned for name, pinned in pairs if name not in ("python", "pip")}


def required(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return {re.match(r"[A-Za-z0-9_-]+", entry)[0].lower() for entries in lists for entry in entries}


@pytest.mark.parametrize("path", ENVIRONMENTS)
def test_conda_pins_are_the_constraints(path):
    pinned = constraints()
    assert {name: pinned.get(name) for name in conda(path)} == conda(path)


def test_conda_environments_have_all_that_is_required():
    assert required("workflow", "slurm", "dev", "docs") <= set(conda("environment.yml"))
    assert required() <= set(conda("workflow/envs/armed.yaml"))


def test_the_tests_run_on_the_constraints():
    pinned = constraints()
    names = required("workflow", "slurm", "dev", "docs")
    assert {name: version(name).split("+")[0] for name in names} == {name: pinned[name] for name in names}


def test_every_rule_names_an_environment_that_is_there():
    for file in (ROOT / "workflow" / "rules").glob("*.smk"):
        text = file.read_text()
        named = re.findall(r'conda:\s+"([^"]+)"', text)
        assert len(named) == len(re.findall(r"^\s*(?:rule|checkpoint) ", text, re.MULTILINE)), file.name
        assert all((file.parent / path).resolve().is_file() for path in named)
