"""The same numbers whatever the cores and the user's environment; stored runs repeated bit for bit; what a run records."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from conftest import Project

from armed import config as configuration
from armed.same import IDENTICAL, MISSING, compare_folders, digest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("workflow")]
STUDY = "spirals_confounded"
ELSEWHERE = {
    "OMP_NUM_THREADS": "4",
    "OPENBLAS_NUM_THREADS": "4",
    "PYTHONHASHSEED": "7",
    "TZ": "Asia/Tokyo",
    "LC_ALL": "C",
}


def reproduced(smoke: Project, run: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "armed.reproduce", run]
    return subprocess.run(
        command, cwd=smoke.folder, env=smoke.environment(), capture_output=True, text=True, timeout=300
    )


def test_cores_threads_and_environment_change_nothing(smoke):
    """The fits and scores of a study, on one core."""
    models = ("mixedlm", "armed")
    targets = [f"results/parts/{STUDY}/{model}/metrics.tsv" for model in models]
    command = smoke.command("--cores", "1", *targets, directory="in another place")
    done = subprocess.run(
        command, cwd=smoke.folder, env={**smoke.environment(), **ELSEWHERE}, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    folders = (smoke.folder / "in another place" / "results", smoke.folder / "run" / "results")
    found = compare_folders(*folders)
    made = found[[(folders[0] / name).is_file() for name in found["file"]]]
    assert MISSING not in set(made["outcome"])
    assert list(made.loc[made["outcome"] != IDENTICAL, "file"]) == []
    names = set(made["file"])
    assert {f"runs/{STUDY}/{m}/run.json" for m in (*models, "cluster_inference")} <= names and len(names) > 20


@pytest.mark.parametrize("model", ["armed", "cluster_inference"])
def test_a_run_is_repeated_bit_for_bit(smoke, model):
    done = reproduced(smoke, f"run/results/runs/{STUDY}/{model}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Code, versions and machine are as recorded." in done.stdout
    assert done.stdout.endswith("The same, bit for bit.\n")
    assert "main/weights.pt" in done.stdout and ("metrics.tsv" in done.stdout) == (model == "armed")


def test_the_results_have_a_record(smoke):
    folder = smoke.folder / "run" / "results"
    told = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    assert len(told["environment"]["packages"]) > 50 and told["environment"]["cpu_count"] == os.cpu_count()
    assert told["studies"][STUDY]["seeds"]["armed"] == [0, 1] and told["studies"][STUDY]["source"] == "simulated"
    for name, path in (("data", f"data/{STUDY}.npz"), ("splits", f"splits/{STUDY}.parquet")):
        record = json.loads((folder / "runs" / STUDY / "armed" / "run.json").read_text(encoding="utf-8"))
        assert told["studies"][STUDY][name] == record["inputs"][name] == digest(folder / path)
    assert told["tables"]["metrics.tsv"] == digest(folder / "metrics.tsv") and len(told["configuration_sha256"]) == 64
    configuration.check(told["configuration"])  # the whole of it, as it was
