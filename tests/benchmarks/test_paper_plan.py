"""The plan of the full study: jobs as Snakemake says them, hours in proportion to what was measured."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from armed import config as configuration
from benchmarks.reliability import paper_plan

SAID = "\n".join(
    "\t".join(line)
    for line in (
        ("output_file", "date", "rule", "log-file(s)", "status", "plan"),
        ("results/runs/heart/armed", "-", "fit", "", "missing", "update pending"),
        ("results/runs/heart/cluster_inference", "-", "infer_clusters", "", "missing", "update pending"),
        ("results/predictions/heart/armed.parquet", "-", "predict", "", "missing", "update pending"),
        ("results/parts/heart/armed/metrics.tsv", "-", "predict", "", "missing", "update pending"),
        ("results/figures/.heart.done", "-", "figures", "", "missing", "update pending"),
        ("results/metrics.tsv", "-", "collect", "", "missing", "update pending"),
        ("results/importance.tsv", "-", "collect", "", "missing", "update pending"),
    )
)


def test_jobs_are_counted_by_study_and_model():
    expected = {("heart", "armed"): 2, ("heart", "cluster_inference"): 1, ("heart", "all"): 1, ("all", "all"): 1}
    assert paper_plan.jobs_of(SAID) == expected


@pytest.fixture
def run(tmp_path):
    """A finished run of one model with 5 seeds: half an hour of CPU for fit and prediction, 3000 bytes kept."""
    results = tmp_path / "results"
    for rule, seconds in (("fit", 1500.0), ("predict", 300.0)):
        folder = results / "timings" / rule / "heart"
        folder.mkdir(parents=True)
        row = {"s": 2 * seconds, "h:m:s": "-", "max_rss": 400.0, "cpu_time": seconds}
        pd.DataFrame([row]).to_csv(folder / "armed.tsv", sep="\t", index=False)
    fitted = results / "runs" / "heart" / "armed"
    fitted.mkdir(parents=True)
    record = json.dumps({"settings": {"seeds": list(range(5))}})
    (fitted / "run.json").write_text(record)
    default = configuration.load([paper_plan.ROOT / "config" / "config.yaml"])
    (results / "environment.json").write_text(json.dumps({"configuration": default}))
    (fitted / "weights.pt").write_bytes(bytes(3000 - len(record)))
    return tmp_path


def test_hours_and_storage_grow_with_the_seeds(run, monkeypatch):
    said = {("heart", "armed"): 2, ("heart", "menet"): 2, ("live_cell", "armed"): 3, ("all", "all"): 7}
    monkeypatch.setattr(paper_plan, "planned_jobs", lambda *_: said)
    table = paper_plan.measure(run, seeds=100).set_index(["study", "model"])
    armed = table.loc[("heart", "armed")]
    assert armed["cpu_h"] == pytest.approx(0.5 * 100 / 5) and armed["storage_gb"] == pytest.approx(3e-6 * 100 / 5)
    assert armed["longest_h"] == pytest.approx(1500 * 20 / 3600) and armed["seeds"] == 100
    assert "measured of 25 networks" in armed["basis"]
    assert "no finished run" in table.loc[("heart", "menet"), "basis"]
    assert pd.isna(table.loc[("heart", "menet"), "cpu_h"])
    image = table.loc[("live_cell", "armed")]
    assert "no GPU was measured" in image["basis"] and image["gpu_h"] > 0 and pd.isna(image["cpu_h"])
    assert table["jobs"].sum() == 14


def test_replicas_are_seeds_folds_and_variants():
    config = configuration.load([paper_plan.ROOT / "config" / "config.yaml"])
    configuration.complete(config)
    block = config["studies"]["spirals_radius"]
    of_seeds, tuning = block["seeds"] * block["folds"], block["tuning"]
    # Main settings on the authors' data and on a new one for each seed, shared initial weights, and the search.
    searched = tuning["seeds"] * block["folds"] * (1 + tuning["candidates"] * tuning["inner_folds"])
    for model, trainings in (("conventional", 3 * of_seeds + searched), ("cluster_inference", 2 * of_seeds)):
        assert paper_plan._cost(config, "spirals_radius", model, None)["replicas"] == trainings


def test_fits_are_put_on_nodes_longest_first():
    table = pd.DataFrame({"longest_h": [5.0, 3.0, 3.0, 1.0, None]})
    found = paper_plan.on_nodes(table, [1, 2, 10]).set_index("nodes")["wall_h"]
    assert found.tolist() == [12.0, 6.0, 5.0]
