"""Tables, findings and the report page: right numbers in the right places, everything escaped, nothing from outside."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from synthetic_results import small_config, write_results

from armed import registry, results, tables
from armed.findings import findings
from armed.plotting import draw, style
from armed.plotting.catalogue import figures
from armed.report import _webp, absent_cells, build_report, fit_notes, write_tables

RADIUS, INVERTED, CONFOUNDED = "spirals_radius", "spirals_inverted", "spirals_confounded"
MODELS = len(registry.models_for("spirals_radius"))
TABLES = ("metrics", "summary", "comparison", "paired_tests", "deconfounding", "tuning")
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Checks that tags nest, and keeps the text, the addresses, the ids and the tables."""

    def __init__(self, html):
        super().__init__()
        self.open, self.addresses, self.ids, self.words, self.rows = [], [], [], [], []
        self.feed(html)
        assert not self.open
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.addresses += [attributes[a] for a in ("src", "href") if a in attributes]
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


@pytest.fixture(scope="module")
def config():
    return small_config()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, config):
    folder = write_results(tmp_path_factory.mktemp("results"), config, without={(INVERTED, "lmmnn")})
    for spec in figures(INVERTED, config):
        if spec.kind in ("data", "performance"):
            style.save(draw.draw(spec, folder, config), folder / "figures" / spec.name)
    return folder


@pytest.fixture(scope="module")
def page(folder, config):
    build_report(folder, config, folder / "report.html")
    return (folder / "report.html").read_text()


@pytest.fixture
def frames(folder):
    return {name: results.read(name, folder / f"{name}.tsv") for name in TABLES}


def said(study, frames, config):
    return " ".join(f"{f.about}. {f.text}" for f in findings(study, frames, config))


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "signed", "text"),
        [(0.1234, False, "0.123"), (-0.5, False, "−0.500"), (0.02, True, "+0.020"), (-0.0001, True, "0.000"),
         (np.nan, True, "–")],
    )  # fmt: skip
    def test_number(self, value, signed, text):
        assert tables.number(value, signed=signed) == text

    def test_interval(self):
        assert tables.interval(0.7349, 0.73, 0.74) == "0.735 [0.730, 0.740]"
        assert tables.interval(0.7, np.nan, np.nan) == "0.700"

    def test_p_value(self):
        assert [tables.p_value(p) for p in (0.0004, 0.0126, np.nan)] == ["< 0.001", "0.013", "–"]


class TestTables:
    def test_comparison(self, frames):
        shown = tables.comparison_table(frames["comparison"], RADIUS)
        row = shown[(shown["Model"] == "ARMED") & (shown["Published in"] == "authors' notebook")].iloc[0]
        source = (
            frames["comparison"]
            .query("study == @RADIUS and model == 'armed' and table == 'notebook' and ci_method == 'corrected'")
            .iloc[0]
        )
        assert row["Paper"] == "0.788 [0.780, 0.796]"
        assert row["Ours"] == tables.interval(source["mean"], source["ci_low"], source["ci_high"])
        assert row["Difference"] == tables.number(source["mean"] - 0.7878, signed=True)
        assert row["Verdict"] == source["verdict"]
        assert len(shown) == 13  # 7 of the notebook, 6 of the rerun; once each though there are two kinds of interval

    def test_results_have_models_down_and_partitions_across(self, frames):
        shown = tables.results_table(frames["summary"], RADIUS, "accuracy").set_index("Model")
        assert list(shown.columns) == [
            "seen clusters",
            "seen clusters, new dataset per seed",
            "unseen clusters",
            "unseen clusters, new dataset per seed",
            "unseen clusters, Z = 0",
            "unseen clusters, Z = 0, new dataset per seed",
        ]
        cell = (
            frames["summary"]
            .query(
                "study == @RADIUS and model == 'armed' and variant == 'resampled' and partition == 'unseen' "
                "and metric == 'accuracy' and ci_method == 'corrected'"
            )
            .iloc[0]
        )
        expected = tables.interval(cell["mean"], cell["ci_low"], cell["ci_high"])
        assert shown.loc["ARMED", "unseen clusters, new dataset per seed"] == expected
        assert shown.loc["Conventional", "unseen clusters, Z = 0"] == "–"
        assert shown.loc["Meta-learning (MLDG), label defect", "seen clusters, new dataset per seed"] == "–"
        known = [registry.model(m).label for m in registry.models_for(RADIUS)]
        assert [n for n in shown.index if n in known] == known

    def test_paired_tests(self, frames):
        shown = tables.tests_table(frames["paired_tests"], CONFOUNDED, "accuracy")
        assert "Data" not in shown  # one variant only
        assert set(shown["Against"]) == {"Conventional"} and "Conventional" not in set(shown["Model"])
        assert list(dict.fromkeys(shown["Clusters"])) == ["seen", "unseen", "deconfounded"]

    def test_deconfounding(self, frames):
        shown = tables.deconfounding_table(frames["deconfounding"], CONFOUNDED)
        assert shown.query("Model == 'ARMED'")["A probe wins in"].tolist() == ["4% [0, 19]", "4% [0, 10]"]

    def test_tables_of_a_study_are_those_with_rows(self, frames):
        made = tables.study_tables(RADIUS, frames, "accuracy")
        assert list(made) == [f"{RADIUS}_{kind}" for kind in ("comparison", "results", "tests", "tuning")]
        confounded = tables.study_tables(CONFOUNDED, frames, "accuracy")
        assert f"{CONFOUNDED}_deconfounding" in confounded and f"{CONFOUNDED}_tuning" not in confounded

    def test_tuned_models_have_a_row_of_results_and_their_choices(self, frames):
        assert "ARMED, tuned" in set(tables.results_table(frames["summary"], RADIUS, "accuracy")["Model"])
        shown = tables.tuning_table(frames["tuning"], RADIUS)
        assert list(dict.fromkeys(shown["Model"]))[:2] == ["Conventional", "Cluster input"]
        (row,) = shown[(shown["Model"] == "ARMED") & (shown["Hyperparameter"] == "lambda_g")].to_dict("records")
        assert row == {
            "Model": "ARMED",
            "Hyperparameter": "lambda_g",
            "Own value": "0.5",
            "Chosen (median)": "0.75",
            "Chosen (range)": "0.5 to 1",
            "Own settings kept": "1 of 2 folds",
            "Gain in AUROC, inner folds": "+0.005",
        }

    def test_written_in_three_formats(self, tmp_path):
        frame = pd.DataFrame({"Model": ["A & <b>_1"], "Ours": ["−0.1 [−0.2, 0.0]"], "Verdict": ["differs"]})
        tsv, html, tex = tables.table("main", frame, tmp_path / "tables", caption="All 5%")
        assert pd.read_csv(tsv, sep="\t").equals(frame)
        assert "A &amp; &lt;b&gt;_1" in html.read_text() and 'class="verdict-differs"' in html.read_text()
        latex = tex.read_text()
        assert r"A \& <b>\_1" in latex and r"$-$0.1" in latex and r"\begin{tabular}{lrl}" in latex
        assert sorted(p.name for p in (tmp_path / "tables").iterdir()) == ["main.html", "main.tex", "main.tsv"]

    def test_a_fragment_nests_and_aligns(self):
        html = tables.fragment(pd.DataFrame({"Model": ["a", "b"], "n": [1, 2], "p": ["< 0.001", "–"]}))
        assert Page(html).rows == [["Model", "n", "p"], ["a", "1", "< 0.001"], ["b", "2", "–"]]
        assert html.count('class="num"') == 6


class TestFindings:
    def test_best_model_and_tests(self, frames, config):
        tests = frames["paired_tests"]
        mine = (tests["study"] == RADIUS) & (tests["partition"] == "seen") & (tests["variant"] == "main")
        tests.loc[mine, "p_holm"] = 0.5
        tests.loc[mine & (tests["model"] == "armed"), ["p_holm", "difference"]] = (0.01, 0.0123)
        tests.loc[mine & (tests["model"] == "mldg"), ["p_holm", "difference"]] = (0.01, -0.02)
        text = findings(RADIUS, frames, config)[0].text
        assert "better than Conventional: ARMED (+0.012)" in text
        assert f"worse: Meta-learning (MLDG) (−0.020); no difference shown for {MODELS - 3} others" in text

    def test_nothing_significant(self, frames, config):
        frames["paired_tests"]["p_holm"] = 0.9
        assert "show no model to differ from Conventional" in said(RADIUS, frames, config)
        assert "better than" not in said(RADIUS, frames, config)

    def test_the_best_is_that_of_the_table(self, frames, config):
        summary = frames["summary"]
        summary.loc[(summary["model"] == "mixedlm") & (summary["partition"] == "unseen"), "mean"] = 0.999
        found = {f.about: f.text for f in findings(CONFOUNDED, frames, config)}
        assert found["Unseen clusters"].startswith("Linear mixed model has the highest accuracy, 0.999")
        assert not found["Seen clusters"].startswith("Linear mixed model")

    def test_null_check_both_ways(self, frames, config):
        summary = frames["summary"]
        mine = (summary["study"] == INVERTED) & (summary["partition"] == "unseen")
        summary.loc[mine, ["mean", "ci_low", "ci_high"]] = (0.5, 0.49, 0.51)
        fitted = MODELS - 1  # that of LMMNN is absent
        assert f"{fitted} of {fitted} models hold 0.5." in said(INVERTED, frames, config)
        summary.loc[mine & (summary["model"] == "armed"), ["mean", "ci_low"]] = (0.507, 0.505)
        assert f"{fitted - 1} of {fitted} models hold 0.5; not those of ARMED 0.507" in said(INVERTED, frames, config)
        assert "Unseen clusters. " not in said(INVERTED, frames, config)  # no ranking of noise

    def test_verdicts_are_counted(self, frames, config):
        frames["comparison"]["verdict"] = "agrees"
        assert "7 of 7 numbers agree with ours." in said(RADIUS, frames, config)
        frames["comparison"]["verdict"] = "differs"
        assert "0 of 7 numbers agree with ours; different: Conventional (theirs 0.764" in said(RADIUS, frames, config)

    def test_what_cannot_be_compared_is_not_called_agreement(self, frames, config):
        frames["comparison"]["verdict"] = "not comparable"
        text = said(RADIUS, frames, config)
        assert "None of its numbers can be compared" in text and "agree with ours" not in text

    def test_probes(self, frames, config):
        assert "ARMED 4% [0, 19]" in said(CONFOUNDED, frames, config)
        assert "probe" not in said(RADIUS, frames, config)

    def test_no_results(self, frames, config):
        assert findings(RADIUS, {name: frame.iloc[:0] for name, frame in frames.items()}, config) == []


class TestAbsent:
    def test_a_missing_model_and_an_undefined_value(self, frames, folder, config):
        absent = absent_cells(INVERTED, frames["metrics"], folder, config).set_index("Model")
        assert absent.loc["LMMNN", "What"] == "all" and "no finished fit" in absent.loc["LMMNN", "Reason"]
        assert absent.loc["Logistic mixed model"].tolist() == ["Brier score (1 cell)", "no variance <p>"]
        assert len(absent) == 2

    def test_a_fit_without_scores_and_a_missing_variant(self, frames, folder, config, tmp_path):
        metrics = frames["metrics"]
        metrics = metrics[~((metrics["model"] == "mldg") & (metrics["variant"] == "label_defect"))]
        (tmp_path / "runs" / RADIUS / "mldg").mkdir(parents=True)
        absent = absent_cells(RADIUS, metrics, tmp_path, config)
        assert absent["What"].tolist() == ["label defect"] and "not scored" in absent["Reason"].iloc[0]

    def test_a_tuned_variant_that_was_asked_for(self, frames, folder, config):
        metrics = frames["metrics"]
        chosen = [registry.model(m) for m in registry.models_for(RADIUS)]
        absent = absent_cells(RADIUS, metrics[metrics["variant"] != "tuned"], folder, config)
        assert set(absent["What"]) == {"tuned"} and len(absent) == sum(bool(m.tunable) for m in chosen)

    def test_nothing_absent(self, frames, folder, config):
        assert absent_cells(RADIUS, frames["metrics"], folder, config).empty

    def test_remarks_are_counted_once_a_fit(self, frames):
        notes = fit_notes(RADIUS, frames["metrics"])
        assert notes.to_dict("list") == {
            "Model": ["Linear mixed model", "Linear mixed model"],
            "Remark": ["did not converge"] * 2,
            "Fits": [2, 2],  # two seeds, one fold each; main and resampled
        }


def test_tables_of_all_studies_are_written_and_tell_the_source(folder, config):
    written = write_tables(folder, config)
    assert {p.name.split(".")[0] for p in written} == {
        f"{study}_{kind}" for study in (RADIUS, INVERTED, CONFOUNDED) for kind in ("comparison", "results", "tests")
    } | {f"{CONFOUNDED}_deconfounding", f"{RADIUS}_tuning", "author_choices"}
    assert {p.suffix for p in written} == {".tsv", ".html", ".tex"}
    assert all("Simulated data" in p.read_text() for p in written if p.suffix == ".tex")


class TestReport:
    def test_opens_offline(self, page):
        parsed = Page(page)
        anchors = {a[1:] for a in parsed.addresses if a.startswith("#")}
        assert anchors <= set(parsed.ids)
        assert all(a.startswith(("#", "data:")) for a in parsed.addresses)
        assert not re.search(r"https?://|@import|url\(|<script|<link", page.split("</style>")[0] + parsed.text)
        assert len(parsed.ids) == len(set(parsed.ids))
        assert len(page.encode()) < 5e6

    def test_what_was_run(self, page):
        parsed = Page(page)
        rows = {row[0]: row[1:] for row in parsed.rows if row}
        assert rows["Spirals, random radius"][:4] == ["Simulated data", str(MODELS), "3", "2"]
        assert rows["Spirals, inverted radii"][1] == str(MODELS - 1)
        # One of the studies x models was not fitted, 6 s each.
        assert rows["Time of all fits"] == [f"{(3 * MODELS - 1) / 10:.1f} min"]
        assert rows["Commit"] == ["0123abc"] and rows["torch"] == ["2.13.0"] and rows["Device"] == ["cpu"]

    def test_every_study_has_its_parts(self, page):
        text = Page(page).text
        for part in ("Key findings", "As published, and ours", "Paired tests: accuracy", "Absent cells"):
            assert part in text
        assert "no finished fit" in text and "did not converge" in text
        assert "A probe wins in" in text
        assert text.count("Hyperparameters chosen") == 1 and "1 of 2 folds" in text

    def test_figures_are_embedded_and_missing_ones_are_told(self, page):
        kinds = re.findall(r'<img src="data:(image/[a-z+]+);base64,', page)
        assert len(kinds) == 2 and set(kinds) <= {"image/svg+xml", "image/webp"}
        assert Page(page).text.count("This figure was not drawn.") == 13

    def test_small_marks_keep_their_colours_in_fewer_bytes(self, tmp_path):
        colours = ["#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#7A7A7A", "#6B3E00"]
        figure = style.new_figure(3.0)
        ax = figure.subplots()
        ax.scatter(range(len(colours)), range(len(colours)), c=colours, s=20)
        ax.set_title("A title, for the shades of grey that letters have")
        _, png = style.save(figure, tmp_path / "marks")
        small = _webp(png)
        assert len(small) < 0.5 * png.stat().st_size
        before, after = (np.asarray(Image.open(f).convert("RGB"), int) for f in (png, io.BytesIO(small)))
        for colour in colours:
            places = (before == np.array(to_rgb(colour)) * 255).all(-1)
            assert places.sum() > 20
            assert np.abs(after[places] - before[places]).max() <= 8, colour

    def test_pictures_of_many_shades_are_lossy(self, tmp_path):
        y, x, k = np.mgrid[:200, :300, :3]
        shades = (128 + 100 * np.sin(x / (20 + 9 * k) + y / 30)).astype(np.uint8)
        Image.fromarray(shades).save(tmp_path / "photo.png")
        small = _webp(tmp_path / "photo.png")
        assert len(small) < 0.5 * (tmp_path / "photo.png").stat().st_size
        after = np.asarray(Image.open(io.BytesIO(small)).convert("RGB"), float)
        assert np.corrcoef(shades.ravel(), after.ravel())[0, 1] > 0.99

    def test_names_are_escaped(self, page):
        assert "no variance &lt;p&gt;" in page and "no variance <p>" not in page

    def test_the_same_each_time(self, folder, config, page, tmp_path):
        build_report(folder, config, tmp_path / "again.html")
        assert (tmp_path / "again.html").read_text() == page

    def test_stand_ins_are_called_so(self, frames, folder, config, tmp_path):
        for name, frame in frames.items():
            frame = frame.assign(source="stand-in") if "source" in frame else frame
            frame = frame.assign(verdict="not comparable") if "verdict" in frame else frame
            results.write(name, frame, tmp_path / f"{name}.tsv")
        build_report(tmp_path, config, tmp_path / "report.html")
        text = Page((tmp_path / "report.html").read_text()).text
        assert "Stand-in data. The data of Spirals, random radius" in text
        assert text.count("STAND-IN data") >= 2 * len(config["run"]["studies"])
        assert "Simulated data" not in text

    def test_a_folder_with_nothing_in_it(self, config, tmp_path):
        build_report(tmp_path, config, tmp_path / "report.html")
        text = Page((tmp_path / "report.html").read_text()).text
        assert "not run" in text and "No results." in text and "no finished fit" in text

    def test_versions_that_differ_are_both_told(self, folder, config, tmp_path):
        for study, version in ((RADIUS, "2.13.0"), (INVERTED, "2.14.0")):
            run = tmp_path / "runs" / study / "armed"
            run.mkdir(parents=True)
            (run / "run.json").write_text(json.dumps({"environment": {"packages": {"torch": version}}}))
        build_report(tmp_path, config, tmp_path / "report.html")
        # Folders are read in order of their names.
        assert ["torch", "2.14.0, 2.13.0"] in Page((tmp_path / "report.html").read_text()).rows
