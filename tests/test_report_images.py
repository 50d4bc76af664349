"""The report of a study on images: its volumes, the paper's claims, and none of the sections on features."""

from __future__ import annotations

import pandas as pd
import pytest
from synthetic_claims import AD as STUDY
from synthetic_claims import SETTINGS, ad_run
from synthetic_results import comparison_of, paired_tests_of
from test_image_tables import slices
from test_report import Page

from armed import claims_tables, results
from armed import config as configuration
from armed.claim_evidence import Evidence
from armed.claim_rules import judge
from armed.plotting.catalogue import figures
from armed.report import build_report, write_tables
from armed.reproducibility import ROOT
from armed.statistics import summarise


@pytest.fixture(scope="module")
def config():
    config = configuration.load(ROOT / "config" / "config.yaml")
    config["run"]["studies"] = [STUDY]
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    metrics, cluster_metrics, draws = ad_run()
    metrics.loc[metrics["metric"] == "localisation", "note"] = "chance 0.08; HiResCAM"
    summary = summarise(metrics, cluster_metrics, SETTINGS, draws)
    frames = {
        "metrics": metrics,
        "summary": summary,
        "comparison": comparison_of(summary).assign(verdict="not comparable"),
        "paired_tests": paired_tests_of(summary, "auroc"),
        "claims": judge(Evidence(metrics, cluster_metrics, SETTINGS, draws)),
    }
    for name in ("deconfounding", "tuning", "univariate"):
        frames[name] = results.empty(name)
    for name, frame in frames.items():
        results.write(name, frame, folder / f"{name}.tsv")
    made = folder / "slices" / STUDY
    made.mkdir(parents=True)
    (made / "index.html").write_text("slices")
    odd = slices().replace({"reason": {"moved head": "moved <head>"}})
    odd.to_csv(made / "slices.tsv", sep="\t", index=False)
    return folder


@pytest.fixture(scope="module")
def page(folder, config):
    build_report(folder, config, folder / "report.html")
    return (folder / "report.html").read_text()


def test_it_links_to_the_slices_and_counts_the_volumes(page):
    read = Page(page)
    assert f"slices/{STUDY}/index.html" in read.addresses
    assert ["unreadable", "1", "1", "1"] in read.rows and ["used", "6", "6", "2"] in read.rows
    assert ["sub-AAD0_ses-2", "A", "AD", "unreadable", "the file is cut off"] in read.rows
    assert "moved &lt;head&gt;" in page and "BCN1" in read.text
    assert "STAND-IN" in read.text and "not a reproduction" in read.text


def test_claims_have_verdicts_in_the_study_and_among_the_findings(page, folder):
    read = Page(page)
    confounding = claims_tables.said("confounding")
    of_study = claims_tables.study_ledger(results.read("claims", folder / "claims.tsv"), STUDY)
    (row,) = [row for row in read.rows if row and row[0] == confounding.statement and len(row) == of_study.shape[1]]
    assert row[1] == "supported" and row[2].startswith("+0.") and row[3] == "+0.100"
    n = len(of_study)
    assert f"Of {n}: {n - 1} supported and 1 not run" in read.text and 'class="verdict-supported"' in page


def test_localisation_stands_beside_chance_once(page):
    read = Page(page)
    assert any(row[:1] == ["Chance (the region's share of the brain)"] for row in read.rows)
    assert "HiResCAM at layer hidden.2" in read.text and "Results: localisation" not in read.text


def test_there_is_nothing_about_features(page, config):
    assert {spec.kind for spec in figures(STUDY, config)} == {
        *("performance", "roc", "calibration", "saliency", "saliency_models", "localisation", "random_intercepts")
    }
    text = Page(page).text.lower()
    for absent in ("importance", "univariate", "single features", "probe", "linear and logistic"):
        assert absent not in text, absent


def test_without_slices_and_claims_there_are_no_such_sections(folder, config, tmp_path):
    for name in ("metrics", "summary", "comparison", "paired_tests", "deconfounding", "tuning"):
        (tmp_path / f"{name}.tsv").write_bytes((folder / f"{name}.tsv").read_bytes())
    build_report(tmp_path, config, tmp_path / "report.html")
    text = Page((tmp_path / "report.html").read_text()).text
    assert "Volumes" not in text and "The paper's claims" not in text and "Claims of the paper" not in text


def test_the_tables_are_written(folder, config):
    names = {path.name for path in write_tables(folder, config)}
    for kind in ("claims", "volumes", "volumes_not_used", "localisation", "comparison"):
        assert f"{STUDY}_{kind}.tsv" in names
    assert {"claims.tsv", "claims.html", "claims.tex", "claims_summary.tsv"} <= names
    counts = pd.read_csv(folder / "tables" / f"{STUDY}_volumes.tsv", sep="\t", index_col=0)
    assert counts.loc["left out by the study's rules", "Sessions"] == 4
