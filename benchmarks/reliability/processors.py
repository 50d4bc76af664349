"""How far a repeated run is from the stored one where libraries are held to the instructions of other processors.

``python -m benchmarks.reliability.processors --output results/reliability`` makes a run, repeats its fits by
`armed.reproduce` with other instruction sets and the compiled engine, and says how far weights, predictions and means of
scores are apart. `armed.tolerance` is stated from this.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmarks.reliability.repeat import THREADS, copy_of_sources

log = logging.getLogger(__name__)

CONFIG = """# Trainings of more than a thousand steps, 4 seeds x 4 folds.
run: {studies: [spirals_confounded], models: [mixedlm, conventional, armed]}
engine: eager
sweeps: null
studies:
  spirals_confounded:
    seeds: 4
    slow_seeds: 2
    folds: 4
    data: {n_per_cluster: 500, n_per_unseen_cluster: 200}
    tuning: {models: []}
"""
RUNS = ("mixedlm", "conventional", "armed", "cluster_inference")


class Change(NamedTuple):
    """What a repetition does in another way: variables of the environment, arguments of `armed.reproduce`."""

    environment: Mapping[str, str] = {}
    arguments: Sequence[str] = ()


CHANGES = {
    "nothing": Change(),
    "torch without vector instructions": Change({"ATEN_CPU_CAPABILITY": "default"}),
    "OpenBLAS for Sandy Bridge": Change({"OPENBLAS_CORETYPE": "SANDYBRIDGE"}),
    "torch without vectors, OpenBLAS for Nehalem, MKL compatible, NumPy without AVX2": Change(
        {
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "OPENBLAS_CORETYPE": "NEHALEM",
            "MKL_CBWR": "COMPATIBLE",
            "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3",
        }
    ),
    "compiled": Change(arguments=("--engine", "compiled")),
}


def measure(results: Path, runs: Sequence[str] = RUNS, changes: Mapping[str, Change] = CHANGES) -> pd.DataFrame:
    """Repeat runs of a results folder in other ways.

    Parameters
    ----------
    results : Path
        As `make` leaves it.
    runs : sequence of str
        Models of its study.
    changes : mapping of str to Change

    Returns
    -------
    pandas.DataFrame
        changed, model, status (of `armed.reproduce`), identical, weights, predictions and metrics (largest differences), beyond
        (means that are farther apart than the tolerance).
    """
    rows = []
    study = next((results / "runs").iterdir()).name
    for name, change in changes.items():
        for model in runs:
            told = _repeat(results / "runs" / study / model, change)
            rows.append({"changed": name, "model": model, **told})
            log.info("%s", rows[-1])
    return pd.DataFrame(rows)


def _repeat(run: Path, change: Change) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "found.json"
        command = [
            sys.executable,
            "-m",
            "armed.reproduce",
            str(run.resolve()),
            "--report",
            str(report),
            *change.arguments,
        ]
        environment = {**os.environ, **change.environment}
        root = Path(__file__).resolve().parents[2]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        if not report.is_file():
            raise RuntimeError(f"{run} could not be repeated:\n{(done.stdout + done.stderr)[-2000:]}")
        found = json.loads(report.read_text(encoding="utf-8"))
    largest = {part["name"]: part["largest"] for part in found["parts"]}
    weights = [value for name, value in largest.items() if name.endswith((".pt", ".npz")) and value is not None]
    told = {"status": done.returncode, "identical": found["identical"], "weights": max(weights, default=None)}
    told |= {"predictions": largest.get("predictions"), "metrics": largest.get("metrics.tsv")}
    return told | {"beyond": len(found["beyond"])}


def make(work: Path, config: str = CONFIG) -> Path:
    """Make the run that is repeated; returns its results folder."""
    project = copy_of_sources(work / "project", config)
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--directory", str(work / "run")]
    command += ["results/metrics.tsv", "--configfile", "repeat.yaml"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"The run in {work} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return work / "run" / "results"


def main(arguments: Iterable[str] | None = None) -> None:
    """Write ``processors.tsv``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability.processors", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/reliability"), help="folder for processors.tsv")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with tempfile.TemporaryDirectory() as work:
        table = measure(make(Path(work)))
    given.output.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.output / "processors.tsv", sep="\t", index=False)


if __name__ == "__main__":
    main()
