"""Tables, findings and the report of the clinical studies: published metrics, stand-ins, data that were not to be had."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from synthetic_clinical import HEART, MCI, MCI_PROBES, clinical_config, write_clinical
from test_report import Page

from armed import clinical_tables, labels, registry, results, tables
from armed.absent import absent_cells, not_run
from armed.findings import findings
from armed.report import NOT_ALWAYS, TABLES, build_report, write_tables


@pytest.fixture(scope="module")
def config():
    return clinical_config()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, config):
    folder = write_clinical(tmp_path_factory.mktemp("results"), config)
    (folder / "data_checks").mkdir()
    (folder / "data_checks" / f"{MCI}.html").write_text("checked")
    return folder


@pytest.fixture
def frames(folder):
    return {name: results.read(name, folder / f"{name}.tsv") for name in (*TABLES, *NOT_ALWAYS)}


@pytest.fixture(scope="module")
def page(folder, config):
    build_report(folder, config, folder / "report.html")
    return (folder / "report.html").read_text()


def said(study, frames, config):
    return {f.about: f.text for f in findings(study, frames, config)}


class TestTables:
    def test_the_published_table_is_laid_out_as_printed(self, frames):
        made = clinical_tables.published_tables(frames["comparison"], MCI)
        assert list(made) == ["seen", "unseen"]
        seen = made["seen"].set_index("Model")
        metrics = ("AUROC", "Balanced accuracy", "Sensitivity", "Specificity")
        assert list(seen.columns) == [f"{m}: {whose}" for m in metrics for whose in ("paper", "ours")]
        assert len(seen) == 8 and seen.loc["ARMED", "AUROC: paper"] == "0.926 [0.901, 0.951]"
        ours = frames["comparison"].query(
            "study == @MCI and model == 'armed' and partition == 'seen' and metric == 'sensitivity' "
            "and variant == 'main' and ci_method == 'corrected'"
        )
        row = ours.iloc[0]
        assert seen.loc["ARMED", "Sensitivity: ours"] == tables.interval(row["mean"], row["ci_low"], row["ci_high"])

    def test_one_published_metric_needs_no_such_table(self, frames):
        one = frames["comparison"].query("metric == 'auroc'")
        assert clinical_tables.published_tables(one, MCI) == {}

    def test_pooled_and_within_clusters_stand_side_by_side(self, frames):
        shown = clinical_tables.discrimination_table(frames["summary"], HEART)
        assert list(shown.columns) == [
            "Model",
            "Seen clusters: pooled",
            "Seen clusters: within clusters",
            "Unseen clusters: pooled",
            "Unseen clusters: within clusters",
        ]
        assert len(shown) == len(registry.models_for(HEART)) and "–" not in set(
            shown["Unseen clusters: within clusters"]
        )
        pooled = frames["summary"].query("metric == 'auroc'")
        assert clinical_tables.discrimination_table(pooled, HEART).empty

    def test_truth_is_told_per_model(self, frames):
        shown = clinical_tables.truth_table(frames["summary"], MCI)
        assert set(shown["Data"]) == {"main", "new dataset per seed"}
        row = shown.query("Model == 'Conventional'").iloc[0]
        assert row["S.d. of slopes: r with the truth"] == "–" and row.iloc[2] != "–"
        assert clinical_tables.truth_table(frames["summary"], HEART).empty

    def test_recovery_has_means_over_datasets(self, frames):
        shown = clinical_tables.recovery_table(frames["sensitivity"], MCI)
        assert shown["Subjects"].tolist() == ["x1", "x4", "x16"] * 3 and set(shown["Datasets"]) == {20}
        own = frames["sensitivity"].query("model == 'oracle' and level == '4' and metric == 'slope_recovery'")["value"]
        half = 2.093 * own.std() / np.sqrt(20)  # t with 19 degrees of freedom
        expected = tables.interval(own.mean(), own.mean() - half, own.mean() + half)
        assert shown.iloc[7]["S.d. of slopes: r with the truth"] == expected
        assert clinical_tables.recovery_table(frames["sensitivity"], HEART).empty

    def test_the_clearest_univariate_effects_come_first(self, frames):
        shown = clinical_tables.univariate_table(frames["univariate"], MCI)
        strongest = frames["univariate"].set_index("feature")["coefficient"].abs().nlargest(10)  # all of one s.d.
        assert shown["Feature"].tolist() == list(strongest.index)
        assert {"True log odds", "Truly predictive"} <= set(shown)
        unknown = {"true_coefficient": np.nan, "true_slope_sd": np.nan, "predictive": -1}
        real = clinical_tables.univariate_table(frames["univariate"].assign(**unknown), MCI, top=None)
        assert len(real) == 37 and not [c for c in real if "True" in c or "Truly" in c]
        assert clinical_tables.univariate_table(frames["univariate"], HEART).empty

    def test_probes_by_the_criterion_of_the_study(self, frames):
        shown = tables.deconfounding_table(frames["deconfounding"], MCI_PROBES)
        assert list(shown.columns) == ["Model", "Data", "A probe in the top ten in", "Seeds", "Counted by"]
        assert "weakest" in labels.probe_criterion("spirals_confounded")
        assert "ten most important" in labels.probe_criterion(MCI_PROBES)

    def test_all_are_written(self, folder, config):
        names = {p.name.split(".")[0] for p in write_tables(folder, config)}
        kinds = (
            "published_seen",
            "published_unseen",
            "discrimination",
            "truth",
            "recovery",
            "univariate",
            "comparison",
        )
        assert {f"{MCI}_{kind}" for kind in kinds} <= names
        assert f"{HEART}_discrimination" in names and f"{HEART}_truth" not in names


class TestFindings:
    def test_a_stand_in_says_so_first(self, frames, config):
        first = findings(MCI, frames, config)[0]
        assert first.about == "Stand-in data" and "nothing about patients" in first.text
        assert "Stand-in data" not in said(HEART, frames, config)
        text = " ".join(said(MCI, frames, config).values())
        assert "agree with ours" not in text and "reproduces no published number" in text

    def test_the_authors_early_stopping_is_left_to_the_tables(self, frames, config):
        assert {"Seen clusters", "Seen clusters, new dataset per seed", "Unseen clusters"} <= set(
            said(MCI, frames, config)
        )
        assert not [about for about in said(MCI, frames, config) if "early stopping" in about]

    def test_probes_of_new_datasets(self, frames, config):
        found = [text for about, text in said(MCI_PROBES, frames, config).items() if about.startswith("Probes")]
        assert len(found) == 2 and all("among the ten most important features" in text for text in found)
        assert all(text.count("ARMED without adversary") == 1 for text in found)

    def test_recovery_and_truth(self, frames, config):
        found = said(MCI, frames, config)
        own = frames["sensitivity"].query("model == 'armed' and metric == 'slope_recovery'")
        mean = own.groupby("level")["value"].mean()
        text = found["Recovery by number of subjects, s.d. of slopes: r with the truth"]
        assert text.startswith(f"ARMED {mean['1']:.2f} [") and text.index("(x4)") < text.index("(x16)")
        assert "ARMED without adversary 0.66" in found["Truth of the stand-in"]

    def test_where_lower_is_better(self, frames, monkeypatch):
        """The best has the lowest MSE, and a negative difference from mixedlm is an improvement."""
        entry = registry.Study("own_c", "Own", "own", "m:f", ("seen",), ("mse", "r2"), kind="continuous", raw="own")
        monkeypatch.setitem(registry.STUDIES, "own_c", entry)
        config = clinical_config()
        config["studies"]["own_c"] = {"data": {}}
        change = {"study": "own_c", "source": "own", "metric": "mse"}
        frames["summary"] = frames["summary"].query("study == @HEART and metric == 'auroc'").assign(**change)
        tests = frames["paired_tests"].query("study == @HEART and partition == 'seen' and model != 'mixedlm'")
        tests = tests.assign(**change, reference="mixedlm", p_holm=0.5)
        tests.loc[tests["model"] == "armed", ["difference", "p_holm"]] = (-0.2, 0.01)
        tests.loc[tests["model"] == "mldg", ["difference", "p_holm"]] = (0.3, 0.01)
        found = said("own_c", frames | {"paired_tests": tests}, config)
        lowest = frames["summary"].query("partition == 'seen' and ci_method == 'corrected'").set_index("model")["mean"]
        assert f"{labels.model(lowest.idxmin())} has the lowest MSE" in found["Seen clusters"]
        assert (
            "better than Linear mixed model: ARMED (−0.200); worse: Meta-learning (MLDG) (+0.300)"
            in found["Seen clusters"]
        )
        assert "lower is better" in found["ARMED against Linear mixed model"]


class TestReport:
    def test_stand_ins_are_never_reproductions(self, page):
        text = Page(page).text
        assert "Stand-in data. The data of MCI conversion, MCI conversion with site probes were not available" in text
        assert "not comparable" in text and ">agrees<" not in page and ">differs<" not in page

    def test_sections(self, page):
        text = Page(page).text
        for part in (
            "As printed, metrics side by side: Seen clusters",
            "AUROC, pooled and within clusters",
            "Against the stand-in's truth",
            "Recovery by number of subjects",
            "10 clearest of 37 features",
            "it is among the ten most important features",
        ):
            assert part in text, part
        assert text.count("Recovery by number of subjects") - text.count("Recovery by number of subjects,") == 1
        assert "[0.901,\u00a00.951]" in page

    def test_the_data_check_is_linked_where_there_is_one(self, page, folder):
        links = [a for a in Page(page).addresses if not a.startswith(("#", "data:"))]
        assert links == [f"data_checks/{MCI}.html"] and (folder / links[0]).is_file()

    def test_a_study_whose_data_could_not_be_had(self, folder, config, tmp_path):
        for name in (*TABLES, *NOT_ALWAYS):
            frame = results.read(name, folder / f"{name}.tsv")
            frame = frame[frame["study"] != HEART]
            results.write(name, frame, tmp_path / f"{name}.tsv", models=["oracle"])
        problem = "processed.va.data of heart could not be had:\n  - <offline>"
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw" / "heart.json").write_text(json.dumps({"files": [], "problem": problem}))
        build_report(tmp_path, config, tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text()
        text = Page(page).text
        assert "Not run: its data could not be had" in text and "&lt;offline&gt;" in page
        assert f'id="{HEART}_roc"' not in page
        absent = absent_cells(HEART, pd.DataFrame(columns=["study", "model", "variant"]), tmp_path, config)
        assert absent.to_dict("list")["Reason"] == [f"not run: {problem}"]

    def test_data_that_were_had_are_no_problem(self, tmp_path):
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw" / "heart.json").write_text(json.dumps({"files": ["a"], "problem": ""}))
        assert not_run(HEART, tmp_path) == "" == not_run(MCI, tmp_path)
