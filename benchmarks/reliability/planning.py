"""How long Snakemake plans a run of thousands of jobs: many studies of one's own, each a small table, all tabular models.

``python -m benchmarks.reliability.planning --output results/reliability``
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from armed import registry

ROOT = Path(__file__).resolve().parents[2]
JOBS = (1000, 3000, 10_000)
LIMIT_S = 60
"""Seconds that a plan of 10 000 jobs may take."""
# What a study costs beside its models (data, check, folds, Z-predictor, figures), and a model in it (fit, prediction).
_OF_STUDY, _OF_MODEL = 5, 2
_MODELS = ("conventional", "cluster_input", "mldg", "domain_adversarial", "menet", "lmmnn", "mixed_logit", "armed")
_ROWS, _CLUSTERS = 120, 4


def measure(jobs: Sequence[int] = JOBS, folder: Path | None = None) -> pd.DataFrame:
    """Plan runs of about so many jobs.

    Parameters
    ----------
    jobs : sequence of int
        How many jobs to plan for, at least.
    folder : Path, optional
        Where tables and configurations are written; a temporary one where not given.

    Returns
    -------
    DataFrame
        studies, jobs (as Snakemake counts them), seconds (wall), cpu_s, jobs_per_s, peak_mb.
    """
    with tempfile.TemporaryDirectory() as temporary:
        return pd.DataFrame([_planned(n, (folder or Path(temporary)) / f"jobs{n}") for n in jobs])


def write_run(folder: Path, n_studies: int) -> Path:
    """Write tables and the configuration of a run of many studies; returns its path."""
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    names = [f"own_{i:05d}" for i in range(n_studies)]
    for i, name in enumerate(names):
        _table(i).to_csv(folder / "tables" / f"{name}.csv", index=False)
    data = {"kind": "binary", "label": "y", "cluster": "site"}
    studies = {name: {"data": data | {"path": f"tables/{name}.csv", "unseen": ["s3"]}} for name in names}
    off = {
        key: []
        for key in ("lambda_g", "lambda_K", "lambda_F", "prior_scale", "n_clusters", "n_per_cluster", "ratio_sd")
    }
    config = {"run": {"studies": names, "models": list(_MODELS)}, "sweeps": off, "recovery": None, "studies": studies}
    path = folder / "many.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def _table(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    site = np.arange(_ROWS) % _CLUSTERS
    x = rng.standard_normal((_ROWS, 2))
    y = (x[:, 0] + 0.5 * site + rng.standard_normal(_ROWS) > 0.75).astype(int)
    return pd.DataFrame({"x1": x[:, 0], "x2": x[:, 1], "site": [f"s{s}" for s in site], "y": y}).round(3)


def _planned(jobs: int, folder: Path) -> dict:
    applied = [m for m in _MODELS if registry.OWN in registry.model(m).studies]
    n_studies = -(-jobs // (_OF_STUDY + _OF_MODEL * len(applied)))
    config = write_run(folder, n_studies)
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "workflow" / "Snakefile"), "--dry-run", "--nolock"]
    command += ["--cores", "2", "--quiet", "rules", "--directory", str(folder), "--configfile", str(config)]
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = re.search(r"^total\s+(\d+)", done.stdout + done.stderr, re.MULTILINE)
    if done.returncode or found is None:
        raise RuntimeError(f"Snakemake did not plan the run in {folder}: {(done.stderr or done.stdout)[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    planned = int(found[1])
    return {
        "studies": n_studies,
        "jobs": planned,
        "seconds": seconds,
        "cpu_s": cpu,
        "jobs_per_s": planned / seconds,
        "peak_mb": after.ru_maxrss * 1024 / 1e6,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Plan and write the table; returns 1 if a plan of 10 000 jobs took longer than it may, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability.planning", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/reliability"), help="folder for planning.tsv")
    parser.add_argument("--jobs", type=int, nargs="+", default=JOBS, help="how many jobs to plan for")
    given = parser.parse_args(arguments)
    table = measure(given.jobs)
    given.output.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.output / "planning.tsv", sep="\t", index=False, float_format="%.4g")
    print(table.to_string(index=False))
    return int((table.loc[table["jobs"] <= 1.2e4, "seconds"] > LIMIT_S).any())


if __name__ == "__main__":
    sys.exit(main())
