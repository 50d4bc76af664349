"""Runs on volumes: a stand-in from end to end, and trees of the user's own with files that are bad or absent."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import Project

from armed import results

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("images")]

STUDY = "ad_diagnosis"
SMALL = """
run: {{studies: [ad_diagnosis], models: [{models}]}}
studies:
  ad_diagnosis:
    seeds: 1
    folds: 2
    training: {{epochs: 1}}
    network: {{filters: [4, 4, 4, 4, 4, 4, 4], dense: 8}}
    cluster_inference: {{epochs: 1, filters: [4, 4, 4, 4, 4, 4, 4], dense: 8}}
    settings:
      armed: {{adversary_units: [8], adversary_filters: [4, 4, 4, 4, 4, 4, 4]}}
    saliency: {{layer: hidden.1, subjects: 1}}
    data:
      path: {path}
      seen: 4
      image_size: 48
      stand_in: {{n_subjects: 60, n_seen_sites: 4, n_unseen_sites: 4, voxel_mm: 4.0}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("images"))
    for name, models, path in (("stand_in", "conventional, armed", "absent"), ("own", "conventional", "mine")):
        (project.folder / f"{name}.yaml").write_text(SMALL.format(models=models, path=path), encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def folder(project) -> Path:
    """A finished run on a stand-in."""
    done = project.run(directory="stand_in", config="stand_in.yaml")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return project.folder / "stand_in" / "results"


@pytest.fixture
def tree(folder, project, request) -> Path:
    """The stand-in's volumes as if they were the user's own, in a folder of the test's to run in."""
    tree = project.folder / request.node.name / "mine"
    shutil.copytree(folder / "raw" / STUDY, tree, ignore=shutil.ignore_patterns("truth.json", "derivatives"))
    return tree


def sessions(tree: Path) -> pd.DataFrame:
    return pd.read_csv(tree / "subjects.tsv", sep="\t", dtype=str)


def volume(tree: Path, session: pd.Series) -> Path:
    (found,) = tree.glob(f"sub-{session['subject']}/ses-{session['session']}/anat/*")
    return found


def cut_off(path: Path) -> None:
    """As a transfer that broke off leaves a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def of_largest_cell(table: pd.DataFrame) -> pd.Series:
    """A session that can be missed: of the site and diagnosis with most subjects."""
    site, diagnosis = table.groupby(["site", "diagnosis"])["subject"].nunique().idxmax()
    return table[(table["site"] == site) & (table["diagnosis"] == diagnosis)].iloc[0]


def test_a_stand_in_from_volumes_to_report(folder):
    metrics = results.read("metrics", folder / "metrics.tsv")
    assert set(metrics["source"]) == {"stand-in"} and set(metrics["model"]) == {"conventional", "armed"}
    assert {"seen", "unseen", "unseen_population"} <= set(metrics["partition"])
    assert "localisation" in set(metrics["metric"])
    page = (folder / "report.html").read_text(encoding="utf-8")
    for told in (
        "STAND-IN",
        f'href="slices/{STUDY}/index.html"',
        f'href="data_checks/{STUDY}.html"',
        "Claims of the paper",
    ):
        assert told in page
    assert "This figure was not drawn" not in page and "ad_diagnosis_importance" not in page
    volumes = pd.read_csv(folder / "tables" / f"{STUDY}_volumes.tsv", sep="\t", index_col=0)
    assert volumes.loc["unreadable", "Sessions"] == 0 < volumes.loc["used", "Sessions"]
    claims = results.read("claims", folder / "claims.tsv").set_index(["study", "claim"])["verdict"][STUDY]
    assert claims["menet_unseen"] == "not run" != claims["gain_seen"]


def test_again_there_is_nothing_to_do(folder, project):
    assert project.planned(directory="stand_in", config="stand_in.yaml").rules == set()


def test_all_that_is_wrong_is_told_at_once_and_before_any_fit(tree, project):
    table = sessions(tree)
    absent, broken = (table.iloc[i] for i in (0, 14))
    volume(tree, absent).unlink()
    cut_off(volume(tree, broken))
    table.loc[7, "diagnosis"] = "ADD"
    table.to_csv(tree / "subjects.tsv", sep="\t", index=False)
    done = project.run(directory=tree.parent.name, config="own.yaml")
    told = done.stdout + done.stderr
    assert done.returncode != 0
    problems = told[told.index("problems with the volumes") :]
    assert absent["subject"] in problems and "line 9 'ADD'" in problems
    assert broken["subject"] in told  # no problem of the tree, and said all the same
    made = tree.parent / "results"
    assert not any((made / name).exists() for name in ("runs", "splits", f"slices/{STUDY}", "report.html"))


def test_a_volume_that_cannot_be_read_is_listed_and_counted_and_the_rest_goes_on(tree, project):
    broken = of_largest_cell(sessions(tree))
    cut_off(volume(tree, broken))
    done = project.run(directory=tree.parent.name, config="own.yaml")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    made = tree.parent / "results"
    name = f"sub-{broken['subject']}_ses-{broken['session']}"
    lost = pd.read_csv(made / "tables" / f"{STUDY}_volumes_not_used.tsv", sep="\t", dtype=str)
    assert lost["Session"].tolist() == [name] and lost["What"].tolist() == ["unreadable"] and lost["Reason"].item()
    counts = pd.read_csv(made / "tables" / f"{STUDY}_volumes.tsv", sep="\t", index_col=0)["Sessions"]
    assert counts["unreadable"] == 1 and counts["used"] + counts["left out by the study's rules"] + 1 == len(
        sessions(tree)
    )
    page = (made / "report.html").read_text(encoding="utf-8")
    assert name in page and "STAND-IN" not in page
    assert set(results.read("metrics", made / "metrics.tsv")["source"]) == {"restricted"}
