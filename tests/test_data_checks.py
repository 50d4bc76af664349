"""The data check: every warning on data made for it, none on data without fault, and the page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from armed.data.clustered import ClusteredData
from armed.data.own_table import make
from armed.data.study import Remarks, StudyData
from armed.data_checks import Findings, check, write_page

VOID = {"meta", "br", "hr"}
N_CLUSTERS, PER_CLUSTER, P = 5, 40, 3


class Page(HTMLParser):
    """Checks that tags nest; keeps text and addresses."""

    def __init__(self, html):
        super().__init__()
        self.open, self.addresses, self.words = [], [], []
        self.feed(html)
        assert not self.open
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def sample(**changed: object) -> ClusteredData:
    """Data without fault: five clusters of forty, three features of noise."""
    rng = np.random.default_rng(3)
    n = N_CLUSTERS * PER_CLUSTER
    fields = {
        "X": rng.normal(size=(n, P)),
        "y": rng.integers(2, size=n),
        "clusters": np.repeat(list("abcde"), PER_CLUSTER),
        "allow_missing": True,
    }
    return ClusteredData(**(fields | changed))


def study(data: ClusteredData, *unseen: str, **changed: object) -> StudyData:
    is_unseen = np.isin(data.clusters, list(unseen)) if unseen else np.zeros(len(data), dtype=bool)
    parts = {"seen": data.take(np.flatnonzero(~is_unseen))}
    if unseen:
        parts["unseen"] = data.take(np.flatnonzero(is_unseen))
    return StudyData({"main": parts}, pd.DataFrame(), **changed)


def test_groups_of_a_table_with_a_continuous_label():
    data = sample(y=np.arange(N_CLUSTERS * PER_CLUSTER) / 7)
    group = np.array(["p", "q", "r"])[np.arange(len(data)) % 3]
    found = check(study(data, samples={"main": {"seen": pd.DataFrame({"group": group})}}), "mine")
    table = next(s.table for s in found.sections if s.title == "Groups").set_index("Group")
    assert table["Seen clusters"].tolist() == [N_CLUSTERS] * 3 and "Mean of label" in table
    assert not [text for text in found.warnings if "group" in text]


def warnings(data: ClusteredData, *unseen: str) -> list[str]:
    return check(study(data, *unseen), "mine").warnings


def only(data: ClusteredData, *unseen: str) -> str:
    found = warnings(data, *unseen)
    assert len(found) == 1, found
    return found[0]


def with_column(values: np.ndarray, **changed: object) -> ClusteredData:
    """Sample whose first feature is replaced."""
    data = sample(**changed)
    X = data.X.copy()
    X[:, 0] = values
    return sample(X=X, **changed)


def table(findings: Findings, title: str) -> pd.DataFrame:
    return next(s.table for s in findings.sections if s.title == title)


class TestWarnings:
    @pytest.mark.parametrize("unseen", [(), ("b",)])
    def test_none_on_data_without_fault(self, unseen):
        assert warnings(sample(), *unseen) == []
        assert warnings(sample(y=np.random.default_rng(5).normal(size=200)), *unseen) == []
        assert warnings(sample(y=np.arange(200) % 3), *unseen) == []

    def test_missing_in_a_whole_cluster(self):
        data = sample()
        X = data.X.copy()
        X[data.clusters == "c", :2] = np.nan
        assert only(sample(X=X)).startswith("Features 'x1', 'x2' are missing in the whole cluster 'c' (40 samples)")
        X[data.clusters == "d", 1] = np.nan
        found = warnings(sample(X=X))
        assert "Feature 'x1' is missing in the whole cluster 'c' (40 samples)" in found[0]
        assert "Feature 'x2' is missing in the whole clusters 'c' (40 samples), 'd' (40 samples)" in found[1]

    def test_missing_in_all_seen_samples_or_in_most(self):
        data = sample()
        assert "'x1' has no value in any seen sample" in only(
            with_column(np.where(data.clusters == "a", 1.0, np.nan)), "a"
        )
        values = np.where(np.arange(200) % 4, np.nan, data.X[:, 0])
        assert "'x1' (75%) is missing in more than half" in only(with_column(values))

    def test_constant_features(self):
        assert "Feature 'x1' has one value in all samples" in only(with_column(np.ones(200)))
        values = np.where(sample().clusters == "a", sample().X[:, 0], 1.0)
        assert "Feature 'x1' varies in unseen clusters only" in only(with_column(values), "a")

    @pytest.mark.parametrize("noise", [0.0, 0.01])
    def test_a_feature_that_identifies_the_cluster(self, noise):
        place = np.repeat(np.arange(N_CLUSTERS), PER_CLUSTER).astype(float)
        values = place + noise * np.random.default_rng(6).normal(size=200)
        assert re.match(r"Feature 'x1' \((1\.000|0\.9\d\d)\) identifies the cluster", only(with_column(values)))

    def test_a_covariate_shared_by_clusters_does_not(self):
        assert warnings(with_column(np.repeat([0.0, 1.0, 0.0, 1.0, 1.0], PER_CLUSTER))) == []

    def test_features_that_tell_the_label(self):
        y = sample().y
        noise = 0.1 * np.random.default_rng(7).normal(size=200)
        assert "Feature 'x1' is the label itself" in only(with_column(y.astype(float)))
        assert "'x1' alone tells the label (AUROC 0.000)" in only(with_column(1.0 - y))
        assert "'x1' alone tells the label (AUROC 1.000)" in only(with_column(y + noise))
        outcome = np.random.default_rng(8).normal(size=200)
        assert "'x1' alone tells the label (r -0.99" in only(with_column(-2 * outcome + noise, y=outcome))
        classes = np.arange(200) % 3
        assert "(balanced accuracy 1.000)" in only(with_column(10.0 - classes**2, y=classes))

    def test_clusters_of_one_sample_and_of_one_class(self):
        clusters = sample().clusters.copy()
        clusters[7] = "z"
        assert only(sample(clusters=clusters)) == (
            "1 cluster has one sample only, so nothing can be learned about it: z."
        )
        y = np.where(sample().clusters == "b", 1, sample().y)
        assert only(sample(y=y)).startswith("1 of 5 clusters holds one class only")

    def test_subjects(self):
        subject = np.arange(200)
        subject[[0, 199]] = 500
        assert only(sample(subject=subject)) == "1 subject is in several clusters: 500."
        assert warnings(sample(subject=subject), "e")[1].startswith("1 subject is in seen and in unseen clusters")

    def test_copies(self):
        data = sample()
        X, y = data.X.copy(), data.y.copy()
        X[5], y[5] = X[3], y[3]
        text = only(sample(X=X, y=y))
        assert text.startswith("1 sample is an exact copy of another") and "samples 3 and 5" in text
        assert warnings(sample(X=X, y=np.where(np.arange(200) == 5, 1 - y, y))) == [], "another label is no copy"


class TestTables:
    def test_facts_and_clusters(self):
        y = (np.arange(200) % 4 == 0).astype(int)
        found = check(study(sample(y=y), "d", "e"), "mine")
        facts = dict(table(found, "The data").itertuples(index=False))
        assert facts == {
            "Samples": "200",
            "Samples in seen clusters": "120",
            "Samples in unseen clusters": "80",
            "Clusters": "3 seen, 2 unseen",
            "Samples per cluster": "40 to 40, median 40",
            "Label": "class 0: 150 (75%), class 1: 50 (25%)",
            "Features": "3",
            "Missing values": "none",
        }
        clusters = table(found, "Clusters")
        assert clusters["Cluster"].tolist() == list("abcde")
        assert clusters["Part"].tolist() == ["seen"] * 3 + ["unseen"] * 2
        assert (clusters["Class 1"] == 10).all() and (clusters["Share of class 1"] == "25%").all()

    def test_missing_values_per_feature_and_cluster(self):
        data = sample()
        X = data.X.copy()
        X[:10, 1] = np.nan
        missing = table(check(study(sample(X=X)), "mine"), "Missing values")
        assert missing.iloc[0].tolist() == ["x2", 10, "5.0%", "25%", "0%", "0%", "0%", "0%"]
        many = sample(X=X, clusters=np.array([f"c{i // 10}" for i in range(200)]))
        assert table(check(study(many), "mine"), "Missing values").iloc[0].tolist() == [
            "x2",
            10,
            "5.0%",
            "1 of 20",
            "1",
        ]

    def test_continuous_labels_and_subjects(self):
        y = np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], PER_CLUSTER) + np.tile([-0.5, 0.5], 100)
        clusters = table(check(study(sample(y=y, subject=np.arange(200) // 2)), "mine"), "Clusters")
        assert clusters["Mean of label"].tolist() == ["1", "2", "3", "4", "5"]
        assert (clusters["S.d. of label"] == "0.5").all() and (clusters["Subjects"] == 20).all()

    def test_one_hospital_after_the_other_left_out(self):
        data = sample()
        parts = {f"main@{c}": study(data, c).parts["main"] for c in "abcde"}
        found = check(StudyData(parts, pd.DataFrame()), "heart")
        assert dict(table(found, "The data").itertuples(index=False))["Clusters"] == "5 seen and unseen in turn"
        assert found.warnings == []

    def test_simulated_parts_whose_ids_repeat(self):
        parts = {"seen": sample(), "unseen": sample(clusters=np.repeat(list("vwxyz"), PER_CLUSTER), X=-sample().X)}
        assert check(StudyData({"main": parts}, pd.DataFrame()), "spirals_radius").warnings == []

    def test_remarks_come_from_the_data_or_are_given(self):
        remarks = Remarks()
        remarks.add("subjects", "no MCI at baseline", 12)
        title = "Left out, repaired or chosen while reading"
        for found in (
            check(study(sample(), remarks=remarks.frame()), "mine"),
            check(study(sample()), "mine", remarks=remarks.frame()),
        ):
            assert table(found, title).iloc[0].tolist() == ["subjects", "no MCI at baseline", 12]


def images(**changed: object) -> ClusteredData:
    """Images without fault: five clusters of twenty subjects with two images each, grey levels alike, 0 around."""
    rng = np.random.default_rng(3)
    X = rng.integers(1, 256, size=(N_CLUSTERS * PER_CLUSTER, 1, 8, 6), dtype=np.uint8)
    X[:, :, 0] = 0
    fields = {"X": X, "y": np.arange(200) // 2 % 2, "subject": np.arange(200) // 2, "allow_missing": False}
    return sample(**(fields | changed))


class TestImages:
    def test_there_is_no_table_of_features(self):
        found = check(study(images(), "d", "e"), "ad_diagnosis")
        assert found.warnings == []
        titles = ["The data", "Images by part and label", "Grey levels of images", "Clusters"]
        assert [s.title for s in found.sections] == titles
        facts = dict(table(found, "The data").itertuples(index=False))
        assert facts["Images"] == "6 x 8 pixels, uint8" and facts["Grey levels"] == "0 to 255"
        assert facts["Subjects"] == "100" and facts["Samples per subject"] == "2 to 2, mean 2"
        assert "Features" not in facts and "Missing values" not in facts

    def test_counts_by_part_and_label(self):
        found = table(check(study(images(), "d", "e"), "ad_diagnosis"), "Images by part and label")
        assert found["Part"].tolist() == ["seen", "seen", "unseen", "unseen"]
        assert found["Label"].tolist() == ["class 0", "class 1"] * 2
        assert found["Images"].tolist() == [60, 60, 40, 40] and found["Subjects"].tolist() == [30, 30, 20, 20]
        assert (found["Images per subject"] == "2 to 2, mean 2").all() and found["Clusters"].tolist() == [3, 3, 2, 2]

    def test_grey_levels_are_of_the_pixels_above_0(self):
        X = images().X.copy()
        X[:, :, 1:] = np.where(np.arange(200) % 2, 90, 110)[:, None, None, None]
        clusters = table(check(study(images(X=X)), "ad_diagnosis"), "Clusters")
        assert (clusters["Mean grey level"] == "100.0 ± 10.0").all()
        assert (clusters["S.d. of grey levels"] == "0.0 ± 0.0").all()
        greys = table(check(study(images(X=X)), "ad_diagnosis"), "Grey levels of images").set_index("Measure")
        assert greys.loc["mean grey level", ["Mean", "S.d.", "Lowest", "Highest", "Label"]].tolist() == [
            *("100", "10", "90", "110", "0.50")
        ]

    def test_known_regions_are_told(self):
        data = images()
        regions = np.zeros((200, 8, 6), dtype=bool)
        regions[:, :2] = True
        found = check(StudyData({"main": {"seen": data}}, pd.DataFrame(), regions={"main": {"seen": regions}}), "mine")
        facts = dict(table(found, "The data").itertuples(index=False))
        assert facts["Known region, seen"] == "25% of the pixels, on average"

    def test_grey_levels_that_tell_the_label_or_the_cluster(self):
        data = images()
        dark = (data.X // np.where(data.y, 1, 2)[:, None, None, None]).astype(np.uint8)
        told = warnings(images(X=dark))
        assert any("mean grey level of an image alone tells the label (AUROC 1.000)" in text for text in told)
        by_cluster = (data.X // 16 + 40 * np.repeat(np.arange(5), 40)[:, None, None, None]).astype(np.uint8)
        told = warnings(images(X=by_cluster))
        assert any("mean grey level of an image alone tells the cluster (balanced accuracy 0.98" in t for t in told)

    def test_blank_images_and_images_that_occur_twice(self):
        X = images().X.copy()
        X[7] = 0
        assert only(images(X=X)) == "1 image has one grey level only: 7. Reject them."
        X = images().X.copy()
        X[5], X[199] = X[4], X[0]
        text = only(images(X=X))
        assert text.startswith("2 samples have the very image of another, such as samples 4 and 5.")
        assert "that occur more than once, 1 of several subjects, 1 of several labels, 1 of several clusters." in text

    def test_images_of_floats_and_of_many_labels(self):
        X = np.random.default_rng(0).normal(size=(200, 4, 4))
        found = check(study(images(X=X, y=np.random.default_rng(5).normal(size=200))), "mine")
        assert [s.title for s in found.sections] == ["The data", "Grey levels of images", "Clusters"]
        assert found.warnings == []
        assert check(study(images(y=np.arange(200) % 3)), "mine").warnings == []


class TestPage:
    @staticmethod
    def page(findings: Findings, folder) -> Page:
        write_page(findings, folder / "data_checks" / "mine.html")
        return Page((folder / "data_checks" / "mine.html").read_text(encoding="utf-8"))

    def test_warnings_come_first_and_nothing_from_outside(self, tmp_path):
        page = self.page(check(study(with_column(np.ones(200))), "mine", source="own"), tmp_path)
        order = [
            "Data check: mine",
            "The user's own data",
            "Warnings",
            "one value in all samples",
            "The data",
            "Clusters",
        ]
        places = [page.text.index(words) for words in order]
        assert places == sorted(places)
        assert page.addresses == []

    def test_names_are_escaped_and_long_tables_folded(self, tmp_path):
        data = sample(clusters=np.array([f"<b>{i // 5}" for i in range(200)]))
        self.page(check(study(data), "mine"), tmp_path)
        html = (tmp_path / "data_checks" / "mine.html").read_text(encoding="utf-8")
        assert "<b>" not in html and "&lt;b&gt;0" in html and "<summary>40 rows</summary>" in html

    def test_no_warnings_and_stand_ins(self, tmp_path):
        page = self.page(check(study(sample()), "mci_conversion", source="stand-in"), tmp_path)
        assert "Warnings None." in page.text and "STAND-IN" in page.text


def test_immunisation_in_guatemala(mirror):
    block = {"path": "x", "kind": "binary", "label": "immun", "positive": "Y", "cluster": "comm", "subject": "mom"}
    data = make(block | {"drop": ["rownames", "kid"]}, "guatemala", [0], [mirror("multilevel/guImmun.csv")])
    found = check(data, "guatemala", source="own")
    assert found.warnings[0] == "2 clusters have one sample only, so nothing can be learned about them: 1, 137."
    assert dict(table(found, "The data").itertuples(index=False))["Subjects"] == "1595"
    assert len(table(found, "Clusters")) == 161
