"""A user's own table: what is read, what is repaired and told, and what is refused, all problems at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from armed.data.own_table import make
from armed.data.splits import make_splits
from armed.data.study import StudyData
from armed.errors import DataError

PLAIN = """\
id,site,sick,age,sex,dose
p1,A,1,30,f,0.5
p2,A,0,41,m,1.5
p3,B,1,52,m,
p4,B,0,63,m,2.5
p5,C,0,74,f,3
p6,C,1,85,m,4
"""
BLOCK = {"path": "own.csv", "kind": "binary", "label": "sick", "cluster": "site", "drop": ["id"]}


@pytest.fixture
def own(tmp_path):
    """Make the study of a text (or bytes) and of changed settings."""

    def read(text: str | bytes = PLAIN, study: str = "mine", **changed: object) -> StudyData:
        path = tmp_path / "own.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return make(BLOCK | changed, study, [0], [path])

    return read


def refused(own, text=PLAIN, **changed) -> list[str]:
    """The problems told of a file."""
    with pytest.raises(DataError, match=r"problems? with .*own\.csv \(study mine\)") as error:
        own(text, **changed)
    return [line.removeprefix("  - ") for line in str(error.value).splitlines()[1:]]


def only(problems: list[str]) -> str:
    assert len(problems) == 1, problems
    return problems[0]


def told(data: StudyData) -> dict[str, tuple[str, int]]:
    return {row.what: (row.reason, row.count) for row in data.remarks.itertuples(index=False)}


def changed(line: int, cells: str) -> str:
    """PLAIN with another line; the header is line 1."""
    lines = PLAIN.splitlines()
    lines[line - 1] = cells
    return "\n".join(lines) + "\n"


class TestReading:
    def test_a_plain_table(self, own):
        data = own()
        seen = data.part("seen")
        assert list(data.parts["main"]) == ["seen"]
        assert seen.feature_names == ("age", "sex=f", "dose")
        expected = [[30, 1, 0.5], [41, 0, 1.5], [52, 0, np.nan], [63, 0, 2.5], [74, 1, 3], [85, 0, 4]]
        np.testing.assert_array_equal(seen.X, expected)
        np.testing.assert_array_equal(seen.y, [1, 0, 1, 0, 0, 1])
        assert seen.y.dtype == np.int64 and seen.allow_missing
        assert seen.clusters.tolist() == list("AABBCC")
        assert seen.sample_id.tolist() == seen.subject.tolist() == [2, 3, 4, 5, 6, 7], "lines of the file"
        assert told(data)["column 'id'"] == ("named under drop: left out", 1)
        assert told(data)["classes"] == ("of the label 'sick': 0 is '0', 1 is '1'", 2)

    def test_truth(self, own):
        truth = own(unseen=["C"]).truth
        assert list(truth) == ["variant", "dataset", "part", "cluster", "n", "ratio"]
        assert truth[["part", "cluster", "n", "ratio"]].to_numpy().tolist() == [
            ["seen", "A", 2, 0.5],
            ["seen", "B", 2, 0.5],
            ["unseen", "C", 2, 0.5],
        ]

    def test_the_study_comes_back_with_its_remarks(self, own, tmp_path):
        saved = own()
        saved.save(tmp_path / "study.npz")
        loaded = StudyData.load(tmp_path / "study.npz")
        pd.testing.assert_frame_equal(loaded.remarks, saved.remarks)
        pd.testing.assert_frame_equal(loaded.truth, saved.truth)

    def test_whether_values_may_be_missing_is_said_of_all_parts(self, own):
        parts = own(unseen=["B"]).parts["main"]
        assert parts["seen"].allow_missing and parts["unseen"].allow_missing
        assert not own(features=["age"], drop=[]).part("seen").allow_missing

    @pytest.mark.parametrize("marker", ["", "NA", "NaN", "?", ".", " "])
    def test_markers_of_missing_values(self, own, marker):
        seen = own(PLAIN.replace("p3,B,1,52,m,\n", f"p3,B,1,{marker},{marker},2\n")).part("seen")
        assert np.isnan(seen.X[2, :2]).all() and seen.X[2, 2] == 2

    def test_a_missing_category_is_missing_in_all_its_indicators(self, own):
        rows = [f"p{i},{'AB'[i % 2]},{i // 4},{sex}" for i, sex in enumerate(["f", "m", "", "x", "m", "x", "x", "m"])]
        seen = own("id,site,sick,sex\n" + "\n".join(rows)).part("seen")
        assert seen.feature_names == ("sex=f", "sex=x"), "of the two most frequent the first is the reference"
        np.testing.assert_array_equal(seen.X[:3], [[1, 0], [0, 0], [np.nan, np.nan]])

    def test_numbers_that_are_categories(self, own):
        rows = [f"p{i},{'AB'[i % 2]},{i // 4},{code}" for i, code in enumerate([10, 9, 2, 2, 10, 9, 2, 10])]
        seen = own("id,site,sick,code\n" + "\n".join(rows), categorical=["code"]).part("seen")
        assert seen.feature_names == ("code=9", "code=10"), "in the order of numbers"

    def test_constant_columns_and_copies_are_left_out_and_told(self, own):
        lines = [line + tail for line, tail in zip(PLAIN.splitlines(), [",same,twice", *([",7,"] * 6)], strict=True)]
        lines = [lines[0], *(line + line.split(",")[3] for line in lines[1:])]
        data = own("\n".join(lines))
        assert data.part("seen").feature_names == ("age", "sex=f", "dose")
        assert told(data)["column 'same'"] == ("one value only, or none: left out", 1)
        assert told(data)["feature 'twice'"] == ("the same values as 'age': left out", 1)

    def test_a_multiclass_label(self, own):
        text = PLAIN.replace(",1,", ",high,").replace(",0,", ",low,").replace("p6,C,high", "p6,C,mid")
        data = own(text, kind="multiclass")
        assert data.part("seen").y.tolist() == [0, 1, 0, 1, 1, 2]
        assert told(data)["classes"][0] == "of the label 'sick': 0 is 'high', 1 is 'low', 2 is 'mid'"
        assert list(data.truth) == ["variant", "dataset", "part", "cluster", "n"]

    def test_small_clusters_are_left_out_and_told(self, own):
        data = own(PLAIN + "p7,D,0,1,f,1\n", min_cluster_size=2)
        assert data.part("seen").levels.tolist() == ["A", "B", "C"]
        assert told(data)["clusters"] == ("fewer than min_cluster_size = 2 rows each (1 in all): left out: D", 1)
        assert "D" in own(PLAIN + "p7,D,0,1,f,1\n").part("seen").levels

    def test_cluster_and_subject_may_be_one_column(self, own):
        assert own(subject="site").part("seen").subject.tolist() == list("AABBCC")

    @pytest.mark.parametrize(
        ("values", "positive", "one"),
        [
            (("Y", "N"), "Y", "Y"),
            (("Y", "N"), None, "Y"),
            (("Yes", "No"), None, "Yes"),
            (("yes", "no"), True, "yes"),  # YAML makes a boolean of yes
            (("1", "2"), 2, "2"),
            (("1.0", "2.0"), 1, "1.0"),
            (("True", "False"), None, "True"),
        ],
    )
    def test_the_positive_value(self, own, values, positive, one):
        text = PLAIN.replace(",1,", f",{values[0]},").replace(",0,", f",{values[1]},")
        expected = np.array([1, 0, 1, 0, 0, 1]) if one == values[0] else np.array([0, 1, 0, 1, 1, 0])
        assert own(text, positive=positive).part("seen").y.tolist() == expected.tolist()


class TestUnseen:
    def test_named_ones(self, own):
        data = own(unseen=["B"])
        assert data.part("seen").levels.tolist() == ["A", "C"]
        assert data.part("unseen").sample_id.tolist() == [4, 5]

    def test_numbers_from_yaml_name_labels(self, own):
        text = PLAIN.replace(",A,", ",1,").replace(",B,", ",02,").replace(",C,", ",3,")
        assert own(text, unseen=[2]).part("unseen").levels.tolist() == ["02"]

    def test_drawn_ones_depend_on_the_study_alone(self, own):
        text = "id,site,sick,age\n" + "\n".join(f"p{i},s{i // 4},{i % 2},{i}" for i in range(80))
        one, again, other = own(text, unseen=5), own(text, unseen=5), own(text, study="other", unseen=5)
        levels = [d.part("unseen").levels.tolist() for d in (one, again, other)]
        assert len(levels[0]) == 5 and levels[0] == levels[1] != levels[2]
        reason, count = told(one)["unseen clusters"]
        assert count == 5 and all(level in reason for level in levels[0])

    def test_what_cannot_be(self, own):
        assert "'D', of which no row is used. There are: A, B, C" in only(refused(own, unseen=["D"]))
        assert "unseen is 2 of 3 clusters; expected to leave at least two" in only(refused(own, unseen=2))
        assert "unseen names 3 of 3 clusters" in refused(own, unseen=["A", "B", "C"])[0]
        text = PLAIN.replace("p1,A,1", "p1,A,0").replace("p3,B,1", "p3,B,0")
        assert "1 of its classes are in no row of a seen cluster" in only(refused(own, text, unseen=["C"]))


class TestRepaired:
    """Each gives the same data as PLAIN, and says what was done."""

    @staticmethod
    def same(data: StudyData, other: StudyData) -> None:
        for name in ("X", "y", "clusters"):
            np.testing.assert_array_equal(getattr(data.part("seen"), name), getattr(other.part("seen"), name))
        assert data.part("seen").feature_names == other.part("seen").feature_names

    def test_a_byte_order_mark(self, own, caplog):
        caplog.set_level("INFO")
        data = own(b"\xef\xbb\xbf" + PLAIN.encode())
        self.same(data, own())
        assert "byte order mark" in told(data) and "byte order mark" in caplog.text

    def test_semicolons_and_decimal_commas(self, own, caplog):
        caplog.set_level("INFO")
        data = own(PLAIN.replace(",", ";").replace(".", ","))
        self.same(data, own())
        assert told(data)["separator"] == ("semicolons in place of commas, read as such", 6)
        assert told(data)["decimal commas in column 'dose'"] == ("read as decimal points", 3)
        assert "semicolons" in caplog.text and "read as decimal points" in caplog.text

    def test_commas_in_the_names_of_a_semicolon_table(self, own):
        text = PLAIN.replace(",", ";").replace(".", ",").replace("dose", "dose, mg")
        assert own(text).part("seen").feature_names == ("age", "sex=f", "dose, mg")

    def test_tabs(self, own):
        data = own(PLAIN.replace(",", "\t"))
        self.same(data, own())
        assert told(data)["separator"][0] == "tabs in place of commas, read as such"

    def test_line_ends_quotes_spaces_and_blank_lines(self, own):
        text = PLAIN.replace("p1,A", '"p1", "A"').replace("\n", "\r\n") + "\r\n\r\n"
        self.same(own(text), own())

    def test_columns_without_a_name_and_empty_rows(self, own):
        lines = PLAIN.splitlines()
        text = "\n".join([f",{lines[0]}", *(f"{i},{line}" for i, line in enumerate(lines[1:])), ",,,,,,"])
        data = own(text)
        self.same(data, own())
        assert told(data)["columns"] == ("without a name, left out: column 1 of line 1", 1)
        assert told(data)["rows"] == ("without any value, left out", 1)


class TestRefused:
    def test_columns_of_one_name(self, own):
        text = PLAIN.replace("sex,dose", "age,age")
        expected = "column name 'age' stands 3 times, columns 4, 5, 6 of line 1; rename all but one"
        assert expected in refused(own, text)

    def test_a_third_value_of_a_binary_label(self, own):
        problem = only(refused(own, changed(4, "p3,B,9,52,m,")))
        assert "label column 'sick' has 3 values where two are expected of kind: binary" in problem
        assert "'0' (3), '1' (2), '9' (1)" in problem and "line 4 '9'" in problem
        assert "kind: multiclass" in problem

    def test_clusters_unique_per_row(self, own):
        problem = only(refused(own, cluster="id", drop=["site"]))
        assert "cluster column 'id' has another value in each of its 6 rows" in problem

    def test_one_cluster(self, own):
        text = PLAIN.replace(",B,", ",A,").replace(",C,", ",A,")
        assert "is 'A' in every row; expected at least two clusters" in only(refused(own, text))

    def test_empty_labels_clusters_and_subjects(self, own):
        text = changed(3, "p2,,0,41,m,1.5").replace("p4,B,0", "p4,B,NA").replace("p6,C", ",C")
        problems = refused(own, text, subject="id", drop=[])
        assert "label column 'sick' is empty in 1 of 6 rows: line 5;" in problems[0]
        assert "cluster column 'site' is empty in 1 of 6 rows: line 3;" in problems[1]
        assert "subject column 'id' is empty in 1 of 6 rows: line 7;" in problems[2]

    def test_text_among_numbers(self, own):
        rows = [f"p{i},{'AB'[i % 2]},{i // 10},{i}" for i in range(20)]
        rows[7] = "p7,B,0,unknown"
        problem = only(refused(own, "id,site,sick,age\n" + "\n".join(rows)))
        assert "column 'age' has text among its numbers: line 9 'unknown'; mend it" in problem
        rows[8:10] = ["p8,A,0,x", "p9,B,0,y"]
        names = own("id,site,sick,age\n" + "\n".join(rows)).part("seen").feature_names
        assert "age=unknown" in names, "less than nine in ten are numbers: categories"

    @pytest.mark.parametrize(
        ("cell", "problem"),
        [
            ('"1,234"', "column 'dose' has commas in numbers: line 3 '1,234'; which may be decimal or of thousands"),
            ('"1,234,567.5"', "column 'dose' has separators of thousands: line 3 '1,234,567.5'"),
            ("inf", "column 'dose' has infinite values: line 3 'inf'"),
            ("-Infinity", "column 'dose' has infinite values: line 3 '-Infinity'"),
            ("1e999", "column 'dose' has infinite values: line 3 '1e999'"),
        ],
    )
    def test_numbers_that_cannot_be_used(self, own, cell, problem):
        assert problem in only(refused(own, changed(3, f"p2,A,0,41,m,{cell}")))

    def test_decimal_commas_and_points_in_one_column(self, own):
        problem = only(refused(own, changed(3, "p2,A,0,41,m,1#5").replace(",", ";").replace("#", ",")))
        assert (
            "column 'dose' has decimal commas (line 3 '1,5') and decimal points (line 2 '0.5', line 5 '2.5')" in problem
        )

    def test_another_encoding(self, own):
        problem = only(refused(own, PLAIN.replace("p3,B", "p3,Bärn").encode("cp1252")))
        assert "the file is not UTF-8: line 4, near '" in problem and "Bärn" in problem and "CSV UTF-8" in problem
        assert "UTF-16" in only(refused(own, PLAIN.encode("utf-16")))

    def test_rows_of_another_length_and_open_quotes(self, own):
        assert "1 of 6 rows have not the 6 cells of the header: line 3 has 7" in only(
            refused(own, changed(3, "p2,A,0,41,m,1,5"))
        )
        assert "the row that begins on line 5 cannot be read" in only(refused(own, changed(5, 'p4,"B,0,63,m,2.5')))

    def test_lines_are_counted_in_the_file(self, own):
        """Line breaks in quotes and blank lines count."""
        text = PLAIN.replace("p1,", '"p\n1",').replace("p3,", "\np3,").replace("p4,B,0", "p4,B,7")
        assert "line 7 '7'" in only(refused(own, text))

    def test_no_table(self, own, tmp_path):
        assert "the file is empty" in only(refused(own, ""))
        assert "there is no row below the header" in only(refused(own, PLAIN.splitlines()[0]))
        assert "line 1 has one column only, 'nothing here'" in only(refused(own, "nothing here\n1\n"))
        with pytest.raises(DataError, match=r"cannot be read \(No such file"):
            make(BLOCK, "mine", [0], [tmp_path / "absent.csv"])
        with pytest.raises(DataError, match="one CSV file, but 0 raw files"):
            make(BLOCK, "mine", [0], [])

    def test_columns_that_are_not_there(self, own):
        problems = refused(own, label="sik", drop=["Id"], features=["age", "Dose"])
        assert "there is no column 'sik'. Did you mean 'sick'?" in problems[0]
        assert "there is no column 'Dose'. Did you mean 'dose'?" in problems[1]
        assert "there is no column 'Id'. Did you mean 'id'?" in problems[2]

    def test_too_many_categories(self, own):
        text = "id,site,sick,when\n" + "\n".join(f"p{i},{'AB'[i % 2]},{i % 3 // 2},day {i:02}" for i in range(60))
        problem = only(refused(own, text))
        assert "column 'when' has 60 categories, such as 'day 00', 'day 01', 'day 02'; at most 50" in problem

    def test_labels(self, own):
        text = PLAIN.replace(",1,", ",ill,").replace(",0,", ",well,")
        assert "say which is class 1: positive: well" in only(refused(own, text))
        assert "no value 'il', which the study names as positive. Did you mean 'ill'?" in only(
            refused(own, text, positive="il")
        )
        assert "expected kind: binary" in only(refused(own, text, kind="multiclass"))
        assert "has text among its numbers: line 2 'ill'" in only(refused(own, text, kind="continuous"))
        assert "is 'ill' in every row" in only(refused(own, text.replace("well", "ill"), positive="ill"))

    def test_no_feature(self, own):
        assert "no feature is left" in only(refused(own, features=[]))

    def test_no_cluster_large_enough(self, own):
        assert "the largest has 2" in only(refused(own, min_cluster_size=9))

    def test_all_problems_at_once(self, own, tmp_path):
        text = changed(3, "p2,,7,inf,m,1.5").replace("sex", "age")
        problems = refused(own, text, unseen=["X"], categorical=["weight"])
        for part in (
            "'age' stands 2 times",
            "no column 'weight'",
            "3 values",
            "empty in 1 of 6 rows: line 3",
            "infinite",
        ):
            assert [p for p in problems if part in p], part
        assert [p for p in problems if "unseen names the cluster 'X'" in p]
        assert [p.name for p in tmp_path.iterdir()] == ["own.csv"], "nothing is written"


class TestOpenData:
    def test_immunisation_in_guatemala(self, mirror):
        block = {"path": "guImmun.csv", "kind": "binary", "label": "immun", "positive": "Y", "cluster": "comm"}
        block |= {"subject": "mom", "drop": ["rownames", "kid"], "unseen": 20}
        data = make(block, "guatemala", [0], [mirror("multilevel/guImmun.csv")])
        seen, unseen = data.part("seen"), data.part("unseen")
        assert len(seen) + len(unseen) == 2159
        assert (len(seen.levels), len(unseen.levels)) == (141, 20)
        assert seen.y.sum() + unseen.y.sum() == 964
        assert len({*seen.subject, *unseen.subject}) == 1595
        assert seen.feature_names == (
            *("kid2p=N", "mom25p=N", "ord=01", "ord=46", "ord=7p", "ethn=N", "ethn=S", "momEd=P", "momEd=S"),
            *("husEd=N", "husEd=S", "husEd=U", "momWork=Y", "rural=N", "pcInd81"),
        )
        assert not seen.allow_missing
        splits = make_splits(seen, [0], 5, "guatemala")
        for fold in splits.folds:
            assert not {*seen.subject[fold.test]} & {*seen.subject[fold.train]}

    def test_growth(self, mirror):
        block = {"path": "x", "kind": "continuous", "label": "distance", "cluster": "Subject", "drop": ["rownames"]}
        data = make(block, "growth", [0], [mirror("multilevel/Orthodont.csv")])
        seen = data.part("seen")
        assert seen.X.shape == (108, 2) and seen.feature_names == ("age", "Sex=Female")
        assert seen.y.dtype == np.float64 and seen.y.mean() == pytest.approx(24.0231, abs=1e-4)
        first = data.truth[data.truth["cluster"] == "M01"].iloc[0]
        assert (first["n"], first["mean"]) == (4, 27.75)
