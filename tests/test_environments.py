"""The conda environments, the pip constraints and the project's requirements name the same packages in the same versions."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
import yaml
from conda_files import Pin, pins

ROOT = Path(__file__).resolve().parent.parent
PROJECT, PROJECT_GPU = ROOT / "environment.yml", ROOT / "environment-gpu.yml"
JOBS, JOBS_GPU = ROOT / "workflow" / "envs" / "armed.yaml", ROOT / "workflow" / "envs" / "armed-gpu.yaml"
ENVIRONMENTS = (PROJECT, PROJECT_GPU, JOBS, JOBS_GPU)
BUILDS = {PROJECT: "cpu*", PROJECT_GPU: "cuda*", JOBS: "cpu*", JOBS_GPU: "cuda*"}
LOADED_BY_NAME = {
    "gpboost",
    "lightgbm",
    "itables",
}  # not in an import statement: the library of a baseline, files of a package
RULE = re.compile(r"^\s*(?:rule|checkpoint) \w+:$", re.MULTILINE)


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normal(name): pinned for name, pinned in pairs}


def required(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return {re.match(r"[A-Za-z0-9_-]+", entry)[0].lower() for entries in lists for entry in entries}


def imported(*places: str) -> set[str]:
    """Packages, by their names on PyPI, that the Python files of these folders of the project import anywhere."""
    names = set()
    for path in (file for place in places for file in (ROOT / place).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module)
    known = packages_distributions()
    tops = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"armed", "baselines", "_job"}
    return {normal(known[top][0]) for top in tops}


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.name)
def test_conda_pins_are_the_constraints(path):
    told, pinned = pins(path), constraints()
    assert {name: pinned.get(name) for name in told} == {name: pin.version for name, pin in told.items()}


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.name)
def test_of_builds_only_that_of_torch_is_named(path):
    assert {name: pin.build for name, pin in pins(path).items() if pin.build} == {"torch": BUILDS[path]}


@pytest.mark.parametrize("cpu, gpu", [(PROJECT, PROJECT_GPU), (JOBS, JOBS_GPU)], ids=lambda path: path.name)
def test_the_variant_for_a_gpu_differs_in_torch_alone(cpu, gpu):
    read = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (cpu, gpu)]
    assert read[0].pop("name") + "-gpu" == read[1].pop("name")
    instead = [
        entry.replace("=cpu*", "=cuda*") if isinstance(entry, str) else entry for entry in read[0]["dependencies"]
    ]
    assert read[0] | {"dependencies": instead} == read[1]
    assert instead != read[0]["dependencies"]


def test_conda_environments_have_all_that_is_required():
    assert required("workflow", "slurm", "dev", "docs") <= set(pins(PROJECT))
    assert required() <= set(pins(JOBS))


def test_the_environment_of_jobs_names_what_they_import_and_no_more():
    used = imported("armed", "baselines", "workflow/scripts")
    assert {"torch", "scikit-learn", "pillow"} <= used
    assert used | LOADED_BY_NAME == set(pins(JOBS))


def test_the_tests_run_on_the_constraints():
    pinned = constraints()
    names = required("workflow", "slurm", "dev", "docs")
    assert {name: version(name).split("+")[0] for name in names} == {name: pinned[name] for name in names}


def test_the_tests_run_on_the_python_that_is_pinned():
    for path in ENVIRONMENTS:
        dependencies = yaml.safe_load(path.read_text(encoding="utf-8"))["dependencies"]
        assert f"python={sys.version_info.major}.{sys.version_info.minor}" in dependencies


def test_every_rule_names_an_environment_and_those_that_train_the_one_of_the_device():
    for file in (ROOT / "workflow" / "rules").glob("*.smk"):
        for rule in RULE.split(file.read_text())[1:]:
            named = re.findall(r"^\s*conda:\s+(\S+)$", rule, re.MULTILINE)
            assert named == (["TRAINING_ENVIRONMENT"] if "gpu=" in rule else ['"../envs/armed.yaml"']), file.name


def test_a_pin_is_read_with_its_build(tmp_path):
    told = {"dependencies": ["python=3.11", "pytorch=2.0=cpu*", "numpy=2", "pip", {"pip": ["gpboost==1.8.0"]}]}
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(told))
    assert pins(tmp_path / "e.yaml") == {"torch": Pin("2.0", "cpu*"), "numpy": Pin("2"), "gpboost": Pin("1.8.0")}
