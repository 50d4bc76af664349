"""What the full study at 100 seeds takes on a cluster: jobs, CPU and GPU hours, memory, storage, and wall time.

``python -m benchmarks.reliability.paper_plan --run FOLDER --output results/reliability``, where FOLDER is that of a finished
run, whose jobs were timed (`results/timings`) and which has a report (`results/environment.json`).
"""

from __future__ import annotations

import argparse
import heapq
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import yaml

from armed import config as configuration
from armed import registry

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 100
NODES = (1, 4, 16, 64)
ALL = "all"
"""Stands for jobs of no one study or model."""
COLUMNS = (
    "study",
    "model",
    "jobs",
    "seeds",
    "replicas",
    "cpu_h",
    "gpu_h",
    "longest_h",
    "mem_mb",
    "storage_gb",
    "basis",
)
# Images through a training step, each second, on one GPU. Not measured: at a tenth of an H200's peak (benchmarks/README.md,
# "What the paper's scale costs"). And training images of a fold of a study.
GPU_IMAGES_PER_S = {"ad_diagnosis": 2000.0, "live_cell": 500.0}
_TRAINING_IMAGES = {"ad_diagnosis": 520, "live_cell": 25_000}
_NOT_MEASURED = "no finished run has it"


def measure(
    run: Path | None, seeds: int = SEEDS, overlays: Sequence[Path] = (ROOT / "config" / "paper.yaml",)
) -> pd.DataFrame:
    """Plan the study.

    Parameters
    ----------
    run : Path or None
        Folder of a finished run with fewer seeds (`results/` lies in it).
    seeds : int
        Of every study. Models that a library fits slowly keep their own number (`slow_seeds`).
    overlays : sequence of Path
        Configurations laid over the defaults.

    Returns
    -------
    DataFrame
        `COLUMNS`: a row for each study and model, and for each study and over all studies one with the model `ALL`. Hours and
        storage are NaN where `basis` says that they were not measured.
    """
    changed = {"studies": {study: {"seeds": seeds} for study in registry.BUILT_IN}}
    with tempfile.TemporaryDirectory() as temporary:
        own = Path(temporary) / "seeds.yaml"
        own.write_text(yaml.safe_dump(changed))
        config = configuration.load([ROOT / "config" / "config.yaml", *overlays, own])
        jobs = planned_jobs([*overlays, own], Path(temporary))
    configuration.complete(config)
    found = measured(run) if run is not None else {}
    rows = []
    for (study, model), n in sorted(jobs.items()):
        own_row = _cost(config, study, model, found.get((study, model)))
        rows.append({"study": study, "model": model, "jobs": n} | own_row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def planned_jobs(overlays: Sequence[Path], folder: Path) -> Counter:
    """Jobs by study and model, as Snakemake plans them."""
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "workflow" / "Snakefile"), "--summary", "--nolock"]
    command += ["--cores", "2", "--directory", str(folder), "--configfile", *map(str, overlays)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"Snakemake did not plan the run: {(done.stderr or done.stdout)[-2000:]}")
    return jobs_of(done.stdout)


def jobs_of(summary: str) -> Counter:
    """Jobs by study and model, from Snakemake's table of all files and the rules that make them."""
    lines = [line.split("\t") for line in summary.splitlines() if "\t" in line]
    places = {name: lines[0].index(name) for name in ("output_file", "rule")} if lines else {}
    jobs = set()
    for line in lines[1:]:
        names = [Path(part).stem for part in Path(line[places["output_file"]]).parts]
        names += [name.removeprefix(".") for name in names]  # figures/.STUDY.done
        study = next((name for name in names if name in registry.STUDIES), ALL)
        model = next((name for name in names if name in registry.MODELS or name == "cluster_inference"), ALL)
        jobs.add((line[places["rule"]], study, model))
    return Counter((study, model) for _, study, model in jobs)


def measured(run: Path) -> dict[tuple[str, str], dict]:
    """Of each study and model of a finished run: networks, CPU seconds, of the fit alone too, memory, and bytes kept."""
    results, found = Path(run) / "results", {}
    config = json.loads((results / "environment.json").read_text(encoding="utf-8"))["configuration"]
    for record in sorted(results.glob("runs/*/*/run.json")):
        study, model = record.parts[-3:-1]
        seeds = json.loads(record.read_text(encoding="utf-8"))["settings"]["seeds"]
        timings = [_timing(path) for path in _timings(results, study, model)]
        timings = [t for t in timings if t is not None]
        if not timings:
            continue
        kept = [record.parent, results / "predictions" / study / f"{model}.parquet", results / "parts" / study / model]
        found[study, model] = {
            "replicas": _replicas(config, study, model, len(seeds)),
            "cpu_s": sum(t["cpu_time"] for t in timings),
            "fit_s": max(
                t["cpu_time"] for t in timings
            ),  # on one core; wall seconds are those of a machine with other work
            "peak_mb": max(t["max_rss"] for t in timings),
            "bytes": sum(map(_bytes, kept)),
        }
    return found


def _timings(results: Path, study: str, model: str) -> list[Path]:
    if model == "cluster_inference":
        return [results / "timings" / "infer_clusters" / f"{study}.tsv"]
    return [results / "timings" / rule / study / f"{model}.tsv" for rule in ("fit", "predict")]


def _timing(path: Path) -> Mapping | None:
    """What Snakemake measured of a job; None where it did not."""
    if not path.is_file():
        return None
    row = pd.read_csv(path, sep="\t", na_values=["-"]).iloc[-1]
    return None if pd.isna(row["cpu_time"]) else row[["s", "cpu_time", "max_rss"]].fillna(0).to_dict()


def _bytes(path: Path) -> int:
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size if path.is_file() else 0


def _cost(config: Mapping, study: str, model: str, found: Mapping | None) -> dict:
    """Everything of a row but its jobs."""
    fitted = model in registry.MODELS and registry.model(model).weights_from is None
    if study == ALL or not (fitted or model == "cluster_inference"):
        return {"basis": "jobs of minutes on one core"}
    block = config["studies"][study]
    seeds = block["seeds"] if model == "cluster_inference" else len(configuration.seeds(config, study, model))
    row = {"seeds": seeds, "replicas": _replicas(config, study, model, seeds)}
    row["mem_mb"] = configuration.fit_memory_mb(config, study)
    if study in GPU_IMAGES_PER_S:
        images = row["replicas"] * block["training"]["epochs"] * _TRAINING_IMAGES[study]
        hours = images / GPU_IMAGES_PER_S[study] / 3600
        basis = (
            f"estimate, no GPU was measured: {images / 1e6:.0f} million images, {GPU_IMAGES_PER_S[study]:g} a second"
        )
        return row | {"gpu_h": hours, "longest_h": hours, "basis": basis}
    if found is None:
        return row | {"basis": _NOT_MEASURED}
    more = row["replicas"] / found["replicas"]
    row |= {"cpu_h": found["cpu_s"] * more / 3600, "longest_h": found["fit_s"] * more / 3600}
    row |= {"storage_gb": found["bytes"] * more / 1e9, "mem_mb": max(row["mem_mb"], found["peak_mb"])}
    return row | {"basis": f"measured of {found['replicas']} networks, in proportion"}


def _replicas(config: Mapping, study: str, model: str, seeds: int) -> int:
    """Networks that a fit trains: each variant of the model and of the data on all folds, and the search where there is one."""
    folds, others = config["studies"][study]["folds"], len(configuration.data_variants(config, study)) - 1
    if model == "cluster_inference":
        return seeds * folds * (1 + others)
    settings = configuration.settings(config, study, model)
    trained = seeds * folds * (len(settings["variants"]) + others)
    if plan := settings.get("tuning"):
        trained += len(plan["seeds"]) * folds * (1 + plan["candidates"] * plan["inner_folds"])
    return trained


def on_nodes(table: pd.DataFrame, nodes: Sequence[int] = NODES) -> pd.DataFrame:
    """Wall hours of all fits whose hours are known, the longest first, a fit to a node at a time.

    Returns
    -------
    DataFrame
        nodes, wall_h, and longest_h: that of the longest fit, below which no number of nodes gets.
    """
    hours = sorted(table["longest_h"].dropna(), reverse=True)
    rows = []
    for n in nodes:
        busy = [0.0] * n
        for each in hours:
            heapq.heappush(busy, heapq.heappop(busy) + each)
        rows.append({"nodes": n, "wall_h": max(busy), "longest_h": max(hours, default=0.0)})
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Plan and write `paper_plan.tsv` and `paper_plan_nodes.tsv`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability.paper_plan", description=__doc__)
    parser.add_argument("--run", type=Path, help="folder of a finished run, from whose timings hours are told")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of every study")
    parser.add_argument("--output", type=Path, default=Path("results/reliability"), help="folder for the tables")
    given = parser.parse_args(arguments)
    table = measure(given.run, given.seeds)
    given.output.mkdir(parents=True, exist_ok=True)
    for name, frame in (("paper_plan", table), ("paper_plan_nodes", on_nodes(table))):
        frame.to_csv(given.output / f"{name}.tsv", sep="\t", index=False, float_format="%.4g")
    print(table.drop(columns="basis").to_string(index=False))
    print(
        f"\n{table['jobs'].sum()} jobs; {table['cpu_h'].sum():.1f} CPU hours, {table['gpu_h'].sum():.1f} GPU hours (estimated)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
