"""What the job that summarises a run judges claims by: tables, data and the file of claims, from their files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_claims import SUPPORTED, evidence_for

from armed import claims, results
from armed import config as configuration
from armed.claim_evidence import BALANCE
from armed.data.clustered import ClusteredData
from armed.data.study import StudyData, read_truth
from armed.jobs.collect import read_balance, summarise_all
from armed.reproducibility import ROOT

STUDY = "spirals_confounded"
CLAIM = next(claim for claim in claims.load() if claim.id == "intercepts_follow_balance")


@pytest.fixture
def evidence():
    return evidence_for(CLAIM, STUDY, SUPPORTED)


@pytest.fixture
def data(evidence, tmp_path):
    """The study's data, with clusters of another part whose names are the same."""
    seen = evidence.balance.assign(part="seen", radius=1.0).drop(columns="study")
    truth = pd.concat([seen, seen.assign(part="unseen", ratio=1 - seen["ratio"])], ignore_index=True)
    some = ClusteredData(np.zeros((4, 1), np.float32), np.array([0, 1, 0, 1]), np.array(["c0", "c0", "c1", "c1"]))
    path = tmp_path / f"{STUDY}.npz"
    StudyData({"main": {"seen": some}}, truth).save(path)
    return path


def test_the_balance_is_that_of_seen_clusters(data, evidence):
    pd.testing.assert_frame_equal(read_balance([data]), evidence.balance, check_dtype=False)
    assert read_balance([]).empty and tuple(read_balance([])) == BALANCE
    pd.testing.assert_frame_equal(read_truth(data), StudyData.load(data).truth)


def judged(evidence, data, folder, **more) -> pd.DataFrame:
    config = configuration.load(ROOT / "config" / "config.yaml")
    config["run"]["studies"] = [STUDY]
    paths = {name: folder / f"{name}.tsv" for name in ("metrics", "cluster_metrics", "importance", "random_effects")}
    for name, path in paths.items():
        results.write(name, getattr(evidence, name), path)
    more |= {"balanced": [data], "random_effects": [paths.pop("random_effects")]}
    out = {name: folder / name for name in ("summary", "comparison", "paired_tests", "claims", "deconfounding")}
    published = ROOT / "config" / "published_results.csv"
    summarise_all(config, paths, published, out, **more)
    return results.read("claims", out["claims"]).set_index(["claim", "study"])


def test_claims_are_judged_by_all_tables(data, evidence, tmp_path):
    table = judged(evidence, data, tmp_path)
    row = table.loc[(CLAIM.id, STUDY)]
    assert row["verdict"] == SUPPORTED and row["estimate"] > 0.9
    assert table.loc[("probes", STUDY), "verdict"] == "not run"


def test_the_file_of_claims_that_is_given_is_the_one_that_counts(data, evidence, tmp_path):
    changed = tmp_path / "claims.yaml"
    text = claims.CLAIMS.read_text(encoding="utf-8")
    changed.write_text(text.replace(f"id: {CLAIM.id}", "id: renamed"), encoding="utf-8")
    table = judged(evidence, data, tmp_path, claimed=changed)
    assert table.loc[("renamed", STUDY), "verdict"] == SUPPORTED and CLAIM.id not in table.index.get_level_values(0)
