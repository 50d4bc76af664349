"""Runs on movies of cells: a stand-in from end to end, trees of the user's own with bad files, and a table of images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Project

from armed import results

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cells")]

STUDY = "live_cell"
SMALL = """
run: {{studies: [live_cell], models: [{models}]}}
studies:
  live_cell:
    seeds: 2
    training: {{epochs: 1}}
    network: {{filters: [4, 4, 8], strided: 2, latent: 6, classifier: 4}}
    cluster_inference: {{epochs: 1, filters: [4, 4, 4], dense: 8}}
    settings:
      armed: &small
        adversary_units: [8]
        adversary_filters: [4, 4, 4]
        recogniser_units: [8]
        recogniser_filters: [4, 4]
    data:
      path: {path}
      image_size: 32
      stand_in: {{n_seen_cells: 64, n_unseen_cells: 20, n_seen_dates: 4, n_unseen_dates: 4, frames: 5}}
"""
PLATES = """
run: {studies: [plates], models: [conventional, armed]}
studies:
  plates:
    seeds: 1
    folds: 2
    training: {epochs: 1}
    network: {filters: [4, 4, 4], dense: 8}
    cluster_inference: {epochs: 1, filters: [4, 4, 4], dense: 8}
    settings:
      armed: {slopes: hidden.3, adversary_units: [8], adversary_filters: [4, 4, 4]}
    data:
      path: plates.csv
      image_size: 32
      positive: low
      unseen: 1
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("cells"))
    models = "conventional, armed, armed_randomized_z"
    for name, chosen, path in (("stand_in", models, "absent"), ("own", "conventional", "mine")):
        (project.folder / f"{name}.yaml").write_text(SMALL.format(models=chosen, path=path), encoding="utf-8")
    (project.folder / "plates.yaml").write_text(PLATES, encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def folder(project) -> Path:
    """A finished run on a stand-in."""
    done = project.run(directory="stand_in", config="stand_in.yaml")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return project.folder / "stand_in" / "results"


@pytest.fixture
def tree(folder, project, request) -> Path:
    """The stand-in's movies as if they were the user's own, in a folder of the test's to run in."""
    tree = project.folder / request.node.name / "mine"
    shutil.copytree(folder / "raw" / STUDY, tree, ignore=shutil.ignore_patterns("truth.json"))
    return tree


class TestStandIn:
    def test_tables(self, folder):
        metrics = results.read("metrics", folder / "metrics.tsv")
        assert set(metrics["source"]) == {"stand-in"}
        mse = metrics[metrics["metric"] == "mse"]
        assert set(mse["model"]) == {"conventional", "armed", "armed_randomized_z"} and mse["value"].between(0, 1).all()
        of_armed = set(mse.loc[mse["model"] == "armed", "partition"])
        assert of_armed == {"seen", "unseen", "seen_population", "unseen_population"}
        latents = metrics[metrics["partition"] == "latents"]
        assert {"davies_bouldin", "calinski_harabasz", "cluster_probe_accuracy"} <= set(latents["metric"])
        probe = latents[latents["metric"] == "cluster_probe_accuracy"]
        assert probe["note"].str.contains("chance").all() and len(probe) == 3 * 2

    def test_fixed_effects_of_randomised_z_are_those_of_armed(self, folder):
        ours, theirs = (np.load(folder / "latents" / STUDY / f"{m}.npz") for m in ("armed", "armed_randomized_z"))
        np.testing.assert_array_equal(ours["error_fixed"], theirs["error_fixed"])
        assert "shown_under" in ours.files and "shown_under" not in theirs.files

    def test_intervals(self, folder):
        summary = results.read("summary", folder / "summary.tsv")
        intervals = results.read("auroc_intervals", folder / "auroc_intervals.tsv")
        assert set(intervals["method"]) == {"delong", "cells"}
        keys = ["model", "partition"]
        delong = intervals[intervals["method"] == "delong"].set_index(keys)
        paper = summary[(summary["ci_method"] == "paper") & (summary["metric"] == "auroc")].set_index(keys)
        pd.testing.assert_series_equal(paper["ci_low"], delong["ci_low"].reindex(paper.index), check_exact=False)

    def test_claims_are_judged(self, folder):
        claims = results.read("claims", folder / "claims.tsv")
        assert set(claims.loc[claims["study"] != STUDY, "verdict"]) == {"not run"}
        assert len(claims[claims["study"] == STUDY]) >= 10

    def test_splits_are_by_cell(self, folder):
        folds = pd.read_parquet(folder / "splits" / f"{STUDY}.parquet")
        cells = np.load(folder / "data" / f"{STUDY}.npz")["main/seen/subject"]
        for _, own in folds.groupby("seed"):
            tested = own[(own["fold"] >= 0) & ~own["validation"]]["row"]
            validated = own[own["validation"]]["row"]
            rest = np.setdiff1d(np.arange(len(cells)), np.concatenate([tested, validated]))
            parts = [set(cells[rows]) for rows in (tested, validated, rest)]
            assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]

    def test_figures_and_report(self, folder):
        drawn = {path.stem for path in (folder / "figures").glob("*.png")}
        wanted = {"reconstructions", "performance", "roc"}
        assert {f"{STUDY}_{kind}" for kind in wanted} <= drawn
        report = (folder / "report.html").read_text(encoding="utf-8")
        assert "Live-cell images" in report and "STAND-IN" in report.upper()


class TestOwnMovies:
    def test_all_that_is_bad_at_once_before_anything_else(self, project, tree):
        cut = next(tree.glob("low/*/*/cell_001/*0.png"))
        cut.write_bytes(cut.read_bytes()[:200])
        moved = next((tree / "high").iterdir())
        shutil.copytree(moved, tree / "low" / moved.name)
        next(tree.glob("high/*/*")).joinpath("cell_999").mkdir()
        done = project.run(directory=tree.parent.name, config="own.yaml")
        told = done.stdout + done.stderr
        assert done.returncode != 0
        for part in (cut.name, moved.name, "cell_999"):
            assert part in told
        folder = tree.parent / "results"
        assert not (folder / "frames" / STUDY).exists() and not (folder / "runs").exists()

    def test_real_movies_are_restricted_data(self, project, tree):
        done = project.run(
            f"results/parts/{STUDY}/conventional/metrics.tsv", directory=tree.parent.name, config="own.yaml"
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        part = tree.parent / "results" / "parts" / STUDY / "conventional" / "metrics.tsv"
        assert set(results.read("metrics", part)["source"]) == {"restricted"}


def test_images_that_a_table_lists(project, folder):
    """The own-data door for images: any folder with a CSV, by the networks of the diagnosis from MRI."""
    place = project.folder / "plates"
    shutil.copytree(folder / "raw" / STUDY, place / "images")
    paths = sorted((place / "images").glob("*/*/*/*/*_0000.png"))
    rows = [path.relative_to(place).parts for path in paths]
    table = {
        "path": ["/".join(parts) for parts in rows],
        "label": [parts[1] for parts in rows],
        "cluster": [parts[2] for parts in rows],
        "group": ["/".join(parts[2:5]) for parts in rows],
    }
    pd.DataFrame(table).to_csv(place / "plates.csv", index=False)
    # Each specimen is of one class here; two of them together are a plate.
    plates = pd.read_csv(place / "plates.csv")
    plates["cluster"] = plates["cluster"].str[-1].astype(int) % 3
    plates.to_csv(place / "plates.csv", index=False)
    done = project.run(directory="plates", config="plates.yaml")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    metrics = results.read("metrics", place / "results" / "metrics.tsv")
    assert set(metrics["source"]) == {"own"} and set(metrics["model"]) == {"conventional", "armed"}
    assert {"seen", "unseen"} <= set(metrics["partition"])
    assert (place / "results" / "report.html").is_file()
