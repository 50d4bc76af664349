"""Whether a run gives the same results again, whatever the cores, the folder and the user's environment.

``python -m benchmarks.reliability.repeat --output results/reliability`` makes a small run in a fresh folder, then others of the
same sources and settings in which one thing of the surroundings is changed, and compares every file under `results/`.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from armed.same import IDENTICAL, compare_folders

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("armed", "baselines", "workflow", "config", "pyproject.toml")
SMALL = """# A study on stand-ins: a tree ensemble, a mixed model, networks with inferred clusters.
run: {studies: [mci_conversion], models: [gradient_boosting, mixed_logit, armed]}
recovery: null
statistics: {bootstrap: 200}
sweeps: null
studies:
  mci_conversion:
    seeds: 2
    slow_seeds: 1
    folds: 2
    training: {epochs: 3}
    cluster_inference: {epochs: 3}
    tuning: {models: []}
    data: {resampled: false, reference_protocol: false}
"""
OF_A_USER = {"PYTHONHASHSEED": "12345", "TZ": "Pacific/Auckland", "LC_ALL": "C", "LANG": "C"}


@dataclass(frozen=True)
class Change:
    """What is different in a run.

    Parameters
    ----------
    cores : int
    environment : mapping of str to str or None
        Variables that are set, or taken away where None.
    folder : str
        Of the run; with a space, a place that no path is written for.
    """

    cores: int = 2
    environment: Mapping[str, str | None] = field(default_factory=dict)
    folder: str = "run"


THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CHANGES = {
    "nothing": Change(),
    "--cores 1": Change(cores=1),
    "--cores 4, threads of other libraries: 4": Change(cores=4, environment=dict.fromkeys(THREADS, "4")),
    "threads of other libraries: not set": Change(environment=dict.fromkeys(THREADS)),
    "hash seed, time zone, locale, folder": Change(environment=OF_A_USER, folder="in another place"),
}
"""What is changed from the first run: 2 cores, one thread for each library."""


def measure(
    changes: Mapping[str, Change] = CHANGES, config: str = SMALL, work: Path | None = None, base: Path | None = None
) -> pd.DataFrame:
    """Make a run, and others with one thing changed; compare all files of their results.

    Parameters
    ----------
    changes : mapping of str to Change
    config : str
        Overlay of `config/config.yaml`.
    work : Path, optional
        Where runs are made and left; by default a temporary folder.
    base : Path, optional
        Results folder to compare with, where there is one of this very configuration; by default a run is made.

    Returns
    -------
    pandas.DataFrame
        changed, files, identical, differing (how many), largest (difference of numbers in them), where (files that differ).
    """
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) if work is None else work
        project = copy_of_sources(work / "project", config)
        base = base or run(project, Change(), work / "first")
        rows = []
        for number, (name, change) in enumerate(changes.items()):
            found = compare_folders(base, run(project, change, work / f"{number}"))
            other = found[found["outcome"] != IDENTICAL]
            told = {"files": len(found), "identical": len(found) - len(other), "differing": len(other)}
            rows.append({"changed": name, **told, "largest": other["largest"].max(), "where": " ".join(other["file"])})
            log.info("%s", rows[-1])
        return pd.DataFrame(rows)


def copy_of_sources(folder: Path, config: str) -> Path:
    """Copy what a run is made from, so that edits meanwhile do not count; with its configuration as ``repeat.yaml``."""
    ignore = shutil.ignore_patterns("__pycache__")
    folder.mkdir(parents=True)
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=ignore)
        else:
            shutil.copy(ROOT / part, folder / part)
    (folder / "repeat.yaml").write_text(config, encoding="utf-8")
    return folder


def run(project: Path, change: Change, folder: Path) -> Path:
    """Run the workflow in a fresh folder with a fresh cache of compiled steps; returns its results."""
    where = folder / change.folder
    (where / "tmp").mkdir(parents=True)
    own = {"ARMED_CACHE": str(where / "cache"), "TMPDIR": str(where / "tmp")}
    own |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    told = {**os.environ, **dict.fromkeys(THREADS, "1"), **own, **change.environment}
    command = [sys.executable, "-m", "snakemake", "--cores", str(change.cores), "--directory", str(where)]
    done = subprocess.run(
        [*command, "--configfile", "repeat.yaml"],
        cwd=project,
        env={name: value for name, value in told.items() if value is not None},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"The run in {where} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return where / "results"


def main(arguments: Iterable[str] | None = None) -> None:
    """Write ``repeat.tsv``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability.repeat", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/reliability"), help="folder for repeat.tsv")
    parser.add_argument("--work", type=Path, help="folder where runs are made and left")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    table = measure(work=given.work)
    given.output.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.output / "repeat.tsv", sep="\t", index=False)


if __name__ == "__main__":
    main()
