"""What latents hold and how sure the AUROC is, as tables for readers; and the report of a study with autoencoders."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_cells import STUDY, auroc_intervals, metrics, write_cells
from synthetic_results import comparison_of, summary_of
from test_report import Page

from armed import autoencoder_tables, clinical_tables, results, tables
from armed import config as configuration
from armed.plotting import draw, style
from armed.plotting.catalogue import figures
from armed.report import build_report, write_tables
from armed.reproducibility import ROOT

READ = {"cluster_probe_accuracy": "Date: accuracy of a linear probe", "variance_group": "Variance: PDX"}


@pytest.fixture(scope="module")
def found():
    return metrics()


@pytest.fixture(scope="module")
def summary(found):
    return summary_of(found)


def corrected(summary, model, metric, partition):
    keep = (summary["model"] == model) & (summary["metric"] == metric) & (summary["partition"] == partition)
    row = summary[keep & (summary["ci_method"] == "corrected")].iloc[0]
    return tables.interval(row["mean"], row["ci_low"], row["ci_high"])


class TestReadings:
    @pytest.mark.parametrize("partition", autoencoder_tables.PARTITIONS)
    def test_models_down_and_readings_across(self, summary, found, partition):
        made = autoencoder_tables.readings_table(summary, found, STUDY, partition).set_index("Model")
        for metric, column in READ.items():
            assert made.loc["ARMED", column] == corrected(summary, "armed", metric, partition)
        assert made.loc["ARMED", ["Variance: shared", "Variance: rest"]].tolist() == ["0.060", "0.400"]

    def test_levels_to_compare_with_come_last(self, summary, found):
        made = autoencoder_tables.readings_table(summary, found, STUDY, "latents")
        assert made["Model"].tolist()[-2:] == ["Chance (the largest date)", "The PDX alone"]
        assert made.iloc[-2:, 1].tolist() == ["0.125", "0.310"] and (made.iloc[-2:, 2:] == "–").all(axis=None)

    def test_another_models_latents_are_told_once(self, summary, found):
        made = autoencoder_tables.readings_table(summary, found, STUDY, "latents")
        assert "ARMED" in set(made["Model"]) and not made["Model"].str.contains("randomised").any()

    def test_a_share_that_is_not_defined_is_a_dash(self, found):
        lost = found.copy()
        lost.loc[lost["metric"] == "variance_group", ["value", "note"]] = [np.nan, "cluster and phenotype determine it"]
        made = autoencoder_tables.readings_table(summary_of(lost), lost, STUDY, "latents").set_index("Model")
        assert made.loc["ARMED", "Variance: PDX"] == "–" and made.loc["ARMED", "Variance: shared"] == "0.060"

    def test_negative_shares_in_notes(self, summary, found):
        lost = found.assign(note=found["note"].str.replace("shared 0.06", "shared -0.0213"))
        made = autoencoder_tables.readings_table(summary, lost, STUDY, "latents").set_index("Model")
        assert made.loc["ARMED", "Variance: shared"] == "−0.021"

    def test_a_study_without_latents_has_no_such_tables(self, summary, found):
        frames = {"summary": summary, "metrics": found, "auroc_intervals": results.empty("auroc_intervals")}
        assert not autoencoder_tables.study_tables("heart", frames)
        assert autoencoder_tables.readings_table(summary, found, "heart", "latents").empty


class TestIntervals:
    def test_both_intervals_stand_side_by_side(self, summary):
        made = autoencoder_tables.auroc_intervals_table(auroc_intervals(summary), STUDY)
        assert list(made.columns) == ["Clusters", "Model", "DeLong: frames", "bootstrap: cells", "Fits"]
        assert made["Clusters"].tolist() == ["seen"] * 5 + ["unseen"] * 5 and set(made["Fits"]) == {3}
        mean = summary.query("model == 'armed' and metric == 'auroc' and partition == 'seen'")["mean"].iloc[0]
        row = made[(made["Model"] == "ARMED") & (made["Clusters"] == "seen")].iloc[0]
        assert row["DeLong: frames"] == tables.interval(mean, mean - 0.01, mean + 0.01)
        assert row["bootstrap: cells"] == tables.interval(mean, mean - 0.03, mean + 0.03)

    def test_one_of_them_alone(self, summary):
        rows = auroc_intervals(summary).query("method == 'delong'")
        assert "bootstrap: cells" not in autoencoder_tables.auroc_intervals_table(rows, STUDY)


class TestDigits:
    @pytest.mark.parametrize(
        ("metric", "values", "digits"),
        [("mse", [0.0019, 0.0024], 5), ("mse", [0.13, 0.2], 3), ("mse", [], 3), ("mse", [0.0, np.nan], 3),
         ("calinski_harabasz", [545.9, 20.4], 1), ("davies_bouldin", [8.885], 3), ("ece", [0.004], 3)],
    )  # fmt: skip
    def test_three_significant_ones_where_there_is_no_scale(self, metric, values, digits):
        assert tables.decimals(metric, values) == digits

    def test_table_v(self, summary):
        """Errors of thousandths beside indices of hundreds, each partition with the metrics it has."""
        made = clinical_tables.published_tables(comparison_of(summary), STUDY)
        assert list(made) == ["seen", "unseen", "latents"]
        seen = made["seen"].set_index("Model")
        assert seen.loc["ARMED", ["MSE: paper", "AUROC: paper"]].tolist() == ["0.00120", "0.869 [0.865, 0.874]"]
        assert not any("Davies" in column or "Calinski" in column for column in seen)
        latents = made["latents"].set_index("Model")
        assert latents.loc["Conventional"].iloc[[0, 2]].tolist() == ["8.885", "545.9"] and len(latents.columns) == 4

    def test_every_number_of_the_long_table_too(self, summary):
        shown = tables.comparison_table(comparison_of(summary), STUDY)
        errors = shown[shown["Metric"] == "MSE"]
        assert errors["Paper"].str.fullmatch(r"0\.00\d{3}").all() and errors["Difference"].str.contains(r"\d{5}").all()
        ours = tables.results_table(summary, STUDY, "mse")
        assert ours.iloc[:, 1].str.startswith("0.00").all() and ours["unseen clusters, Z = 0"].iloc[0] == "–"


@pytest.fixture(scope="module")
def config():
    config = configuration.load(ROOT / "config" / "config.yaml")
    config["run"]["studies"] = [STUDY]
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory, config):
    folder = write_cells(tmp_path_factory.mktemp("results"))
    for spec in figures(STUDY, config):
        if spec.kind in ("reconstruction_errors", "reconstructions"):
            style.save(draw.draw(spec, folder, config), folder / "figures" / spec.name)
    (folder / "frames" / STUDY).mkdir(parents=True)
    (folder / "frames" / STUDY / "index.html").write_text("frames")
    return folder


@pytest.fixture(scope="module")
def page(folder, config):
    build_report(folder, config, folder / "report.html")
    return Page((folder / "report.html").read_text())


class TestReport:
    def test_it_links_to_the_images(self, page):
        assert f"frames/{STUDY}/index.html" in page.addresses
        assert "every image by date, to be looked at." in page.text

    def test_what_latents_hold_stands_there_for_seen_and_unseen_clusters(self, page):
        assert page.text.count("What latents hold") == 2 and "Results: accuracy of a linear probe" not in page.text
        assert sum(row[:1] == ["The PDX alone"] for row in page.rows) == 2  # seen and unseen
        assert (
            "Intervals of the AUROC" in page.text and "Neither tells how much further dates would differ" in page.text
        )

    def test_chance_levels_are_no_remarks_on_fits(self, page):
        assert "Remarks on fits" not in page.text

    def test_it_is_about_cells(self, page):
        assert "nothing about cells" in page.text and "patients" not in page.text
        assert "STAND-IN" in page.text and "not a reproduction" in page.text

    def test_figures_are_embedded(self, page):
        images = [a for a in page.addresses if a.startswith("data:")]
        assert len(images) == 2 and all(len(image) < 130_000 for image in images)
        assert "as each seen date would show it" in page.text

    def test_the_tables_are_written(self, folder, config):
        names = {path.name for path in write_tables(folder, config)}
        for kind in ("readings_latents", "readings_latents_unseen", "auroc_intervals", "published_latents"):
            assert f"{STUDY}_{kind}.tsv" in names
        told = pd.read_csv(folder / "tables" / f"{STUDY}_auroc_intervals.tsv", sep="\t")
        assert len(told) == 10

    def test_other_studies_have_none_of_it(self, folder, config, tmp_path):
        other = {**config, "run": {**config["run"], "studies": ["heart"]}}
        build_report(folder, other, tmp_path / "report.html")
        text = Page((tmp_path / "report.html").read_text()).text
        assert "What latents hold" not in text and "Intervals of the AUROC" not in text
