"""Runs on tables: stand-in, open data and a table of the user's own; what happens where data are bad or not to be had."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import Project

from armed import results

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tables")]

SMALL = """seeds: 1
    slow_seeds: 1
    folds: 2
    training: {epochs: 2}
    cluster_inference: {epochs: 2}
    tuning: {models: []}"""
OVERLAY = f"""
run:
  studies: [mci_conversion, heart, wards]
  models: [conventional, mixed_logit, armed]
recovery: {{datasets: 2, subjects: [0.5]}}
studies:
  mci_conversion:
    {SMALL}
    data: {{resampled: false}}
  heart:
    {SMALL}
  wards:
    {SMALL}
    data: {{path: wards.csv, label: ill, cluster: ward, unseen: 2}}
"""
BAD = f"""
run: {{studies: [wards], models: [conventional]}}
studies:
  wards:
    {SMALL}
    data: {{path: wards.csv, label: ill, cluster: ward}}
"""
ALONE = f"""
run: {{studies: [heart, wards], models: [conventional]}}
studies:
  heart:
    {SMALL}
  wards:
    {SMALL}
    data: {{path: wards.csv, label: ill, cluster: ward}}
"""


def wards() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.normal(50, 10, 160).round(1), "sex": np.where(rng.random(160) < 0.5, "f", "m")})
    return frame.assign(ward=np.arange(160) // 20, ill=(rng.random(160) < 0.4).astype(int))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("tables"))
    for name, text in {"all": OVERLAY, "bad": BAD, "alone": ALONE}.items():
        (project.folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def folder(project, mirror):
    """A finished run of three studies, of which none is a simulation."""
    mirror("heart/processed.va.data")  # or skip
    where = project.folder / "all"
    where.mkdir()
    wards().to_csv(where / "wards.csv", index=False)
    done = project.run(
        "--config", f"data_mirror={mirror('heart/processed.va.data').parents[1]}", directory="all", config="all.yaml"
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return where / "results"


def test_every_table_says_what_data_it_is_of(folder):
    metrics = results.read("metrics", folder / "metrics.tsv")
    sources = metrics.groupby("study")["source"].unique().map(list).to_dict()
    assert sources == {"mci_conversion": ["stand-in"], "heart": ["open"], "wards": ["own"]}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "STAND-IN" in page and "The user&#39;s own data" in page
    comparison = results.read("comparison", folder / "comparison.tsv")
    assert set(comparison["verdict"]) == {"not comparable"} and set(comparison["study"]) == {"mci_conversion"}


def test_data_are_checked_first(folder):
    checks = {p.stem for p in (folder / "data_checks").glob("*.html")}
    assert checks == {"mci_conversion", "heart", "wards"}
    heart = (folder / "data_checks" / "heart.html").read_text(encoding="utf-8")
    assert "Cholesterol" in heart and "Switzerland" in heart


def test_what_is_known_to_be_true_is_scored(folder):
    metrics = results.read("metrics", folder / "metrics.tsv")
    known = {"slope_recovery", "slope_ratio", "intercept_recovery", "feature_recovery"}
    scored = metrics[metrics["metric"].isin(known)].groupby("study")["metric"].agg(set).to_dict()
    assert scored == {"mci_conversion": known}
    sizes = results.read("sensitivity", folder / "sensitivity.tsv")
    assert set(sizes["level"]) == {"0.5"} and set(sizes["model"]) == {"armed", "oracle"}
    univariate = results.read("univariate", folder / "univariate.tsv")
    assert len(univariate) == 37 and univariate["true_slope_sd"].notna().all()


def test_again_there_is_nothing_to_do(project, folder, mirror):
    given = f"data_mirror={mirror('heart/processed.va.data').parents[1]}"
    assert project.planned("--config", given, directory="all", config="all.yaml").rules == set()


def test_a_bad_table_is_told_before_anything_is_fitted(project):
    where = project.folder / "bad"
    where.mkdir()
    frame = wards().astype({"ill": object, "age": object})
    frame.loc[3, "ill"], frame.loc[5, "age"] = "maybe", "old"
    frame.to_csv(where / "wards.csv", index=False)
    done = project.run(directory="bad", config="bad.yaml")
    told = done.stdout + done.stderr
    assert done.returncode != 0 and "maybe" in told and "old" in told and "row 7" in told.replace("line 7", "row 7")
    left = {p.name for p in (where / "results").iterdir()}
    assert not left & {"data", "runs", "splits"} or not list((where / "results" / "data").glob("*.npz"))


def test_without_network_and_mirror_a_study_is_not_run_and_the_rest_goes_on(project, monkeypatch):
    where = project.folder / "alone"
    where.mkdir()
    wards().to_csv(where / "wards.csv", index=False)
    # A port where nobody answers stands for the network.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY", "ARMED_DATA_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    done = project.run(directory="alone", config="alone.yaml")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    told = json.loads((where / "results" / "raw" / "heart.json").read_text(encoding="utf-8"))
    assert told["files"] == [] and "processed.va.data" in told["problem"]
    metrics = results.read("metrics", where / "results" / "metrics.tsv")
    assert set(metrics["study"]) == {"wards"}
    assert "not run" in (where / "results" / "report.html").read_text(encoding="utf-8")
    assert "retrieve" in project.planned(directory="alone", config="alone.yaml").rules  # the next run tries again
    shutil.rmtree(where)
