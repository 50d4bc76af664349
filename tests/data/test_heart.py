"""The heart disease data: published counts, rows worked out by hand, and files that cannot be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from armed.data import heart
from armed.data.study import StudyData
from armed.errors import DataError

NAN = float("nan")
LINES = {
    "processed.cleveland.data": ["63.0,1.0,1.0,145.0,233.0,1.0,2.0,150.0,0.0,2.3,3.0,0.0,6.0,0"],
    "processed.hungarian.data": ["49,0,2,110,?,0,0,160,0,0,?,?,?,0", "29,1,2,120,243,0,0,160,0,0,?,?,?,1"],
    "processed.switzerland.data": ["32,1,1,95,0,?,?,127,0,-.7,1,?,?,1"],
    "processed.va.data": ["55,0,3,0,223,1,1,100,0,0,?,?,7,4"],
}


@pytest.fixture(scope="module")
def raw(mirror):
    return [mirror(f"heart/{name}") for name in heart.HOSPITALS]


@pytest.fixture(scope="module")
def study(raw):
    return heart.make({}, "heart", range(3), raw)


@pytest.fixture
def write(tmp_path):
    """Write the four small files, some of them with other lines, and return their paths."""

    def write(**changes):
        lines = LINES | {f"processed.{name}.data": changed for name, changed in changes.items()}
        for name, rows in lines.items():
            (tmp_path / name).write_text("".join(f"{row}\n" for row in rows))
        return [tmp_path / name for name in lines]

    return write


def patient(data, sample_id):
    """Features of one patient, by name."""
    row = data.sample_id.tolist().index(sample_id)
    return dict(zip(data.feature_names, data.X[row], strict=True))


class TestRealFiles:
    def test_published_counts(self, raw):
        patients, dropped = heart.read(raw)
        everyone = patients["cluster"].value_counts() + dropped["cluster"].value_counts().reindex(
            heart.HOSPITALS.values(), fill_value=0
        )
        assert everyone.to_dict() == {"Cleveland": 303, "Hungary": 294, "Switzerland": 123, "VA Long Beach": 200}
        # The patient who stands twice is healthy in Hungary, and diseased in Long Beach.
        diseased = (patients["num"] > 0).groupby(patients["cluster"]).sum().to_dict()
        assert diseased == {"Cleveland": 139, "Hungary": 106, "Switzerland": 115, "VA Long Beach": 149 - 1}

    def test_patients_who_stand_twice(self, raw):
        dropped = heart.read(raw)[1]
        assert dropped["sample_id"].tolist() == ["Hungary-103", "VA Long Beach-188"]
        assert dropped["reason"].tolist() == [
            "the same as Hungary-102 in all 14 columns",
            "the same as VA Long Beach-140 in all 14 columns",
        ]
        for name, lines in (("hungarian", (102, 103)), ("va", (140, 188))):
            text = next(path for path in raw if name in path.name).read_text().split("\n")
            assert text[lines[0] - 1] == text[lines[1] - 1]

    def test_every_hospital_is_unseen_once(self, study):
        assert tuple(study.parts) == heart.VARIANTS
        everyone = set()
        for variant, parts in study.parts.items():
            seen, unseen = parts["seen"], parts["unseen"]
            assert set(unseen.clusters) == {variant.removeprefix("main@")}
            assert set(seen.clusters) == set(heart.HOSPITALS.values()) - set(unseen.clusters)
            assert not set(seen.sample_id) & set(unseen.sample_id) and len(seen) + len(unseen) == 918
            everyone |= set(unseen.sample_id)
            for part in parts.values():
                part.check()
                assert part.X.shape[1] == 18 and part.allow_missing
        assert len(everyone) == 918

    def test_rows_by_hand(self, study):
        """Line 1 of Cleveland, 4 and 5 of Hungary, 3 of Switzerland, and the one blood pressure of 0."""
        first = patient(study.part("unseen", "main@Cleveland"), "Cleveland-1")
        assert first == {
            "Age": 63,
            "Male": 1,
            "Chest pain: typical angina": 1,
            "Chest pain: atypical angina": 0,
            "Chest pain: not anginal": 0,
            "Resting blood pressure": 145,
            "Cholesterol": 233,
            "High fasting blood sugar": 1,
            "ECG: ST-T abnormality": 0,
            "ECG: ventricular hypertrophy": 1,
            "Maximum heart rate": 150,
            "Exercise-induced angina": 0,
            "ST depression": 2.3,
            "ST slope: up": 0,
            "ST slope: down": 1,
            "Coloured vessels": 0,
            "Thallium: fixed defect": 1,
            "Thallium: reversible defect": 0,
        }
        hungary = study.part("seen", "main@VA Long Beach")
        fourth, fifth = (patient(hungary, f"Hungary-{line}") for line in (4, 5))
        assert fourth["Male"] == 0 and fourth["Chest pain: typical angina"] == 1
        assert fourth["Thallium: fixed defect"] == 1 and np.isnan(fourth["ST slope: up"])
        assert fifth["Chest pain: atypical angina"] == 1 and fifth["ECG: ST-T abnormality"] == 1
        missing = {name for name, value in fifth.items() if np.isnan(value)}
        slope_and_scan = {"ST slope: up", "ST slope: down", "Thallium: fixed defect", "Thallium: reversible defect"}
        assert missing == slope_and_scan | {"Coloured vessels"}
        third = patient(study.part("unseen", "main@Switzerland"), "Switzerland-3")
        assert np.isnan([third["Resting blood pressure"], third["Cholesterol"]]).all()
        assert third["Thallium: reversible defect"] == 1 and third["Exercise-induced angina"] == 1

    def test_what_is_missing(self, study):
        data = {v.removeprefix("main@"): study.part("unseen", v) for v in heart.VARIANTS}
        names = data["Cleveland"].feature_names
        gaps = pd.DataFrame({h: np.isnan(d.X).sum(axis=0) for h, d in data.items()}, index=names)
        assert gaps["Cleveland"].sum() == 4 + 2 * 2  # vessels, and the two indicators of the scan
        assert gaps.loc["Cholesterol"].to_dict() == {
            "Cleveland": 0,
            "Hungary": 22,  # 23 with the patient who stands twice
            "Switzerland": 123,
            "VA Long Beach": 7 + 49,
        }
        assert gaps.loc["Resting blood pressure", "VA Long Beach"] == 56 + 1
        assert gaps.loc[["Age", "Male", "Chest pain: typical angina"]].to_numpy().sum() == 0
        depression = names.index("ST depression")
        assert np.nanmin(data["Switzerland"].X[:, depression]) == -2.6

    def test_truth(self, study):
        truth = study.truth
        assert list(truth.columns) == ["variant", "dataset", "part", "cluster", "n", "ratio"]
        assert len(truth) == 16 and not truth.isna().any().any() and set(truth["dataset"]) == {0}
        row = truth.query("part == 'unseen' and cluster == 'Hungary'").iloc[0]
        assert (row["variant"], row["n"], row["ratio"]) == ("main@Hungary", 293, 106 / 293)

    def test_order_of_files_and_seeds_change_nothing(self, study, raw, tmp_path):
        study.save(tmp_path / "one.npz")
        heart.make({}, "heart", [7], raw[::-1]).save(tmp_path / "two.npz")
        one, two = (StudyData.load(tmp_path / f"{name}.npz") for name in ("one", "two"))
        for variant in heart.VARIANTS:
            for name in ("seen", "unseen"):
                a, b = one.part(name, variant), two.part(name, variant)
                np.testing.assert_array_equal(a.X, b.X)
                assert a.sample_id.tolist() == b.sample_id.tolist() and (a.y == b.y).all()
        pd.testing.assert_frame_equal(one.truth, two.truth)


class TestSmallFiles:
    def test_values(self, write):
        patients, dropped = heart.read(write())
        assert not len(dropped)
        assert patients["sample_id"].tolist() == [
            *("Cleveland-1", "Hungary-1", "Hungary-2", "Switzerland-1", "VA Long Beach-1")
        ]
        expected = [[32, 1, 1, 95, NAN, NAN, NAN, 127, 0, -0.7, 1, NAN, NAN, 1]]
        np.testing.assert_array_equal(patients.loc[[3], list(heart.COLUMNS)], expected)
        assert np.isnan(patients.loc[4, "trestbps"])  # 0 in the file
        parts = heart.make({}, "heart", [0], write()).parts["main@Hungary"]
        assert parts["unseen"].y.tolist() == [0, 1] and parts["seen"].y.tolist() == [0, 1, 1]

    def test_a_missing_category_is_missing_in_its_indicators(self, write):
        table = heart.features(heart.read(write())[0])
        ecg = table[["ECG: ST-T abnormality", "ECG: ventricular hypertrophy"]]
        np.testing.assert_array_equal(ecg, [[0, 1], [0, 0], [0, 0], [NAN, NAN], [1, 0]])

    def test_dropped_are_equal_in_all_and_in_one_hospital(self, write):
        row = LINES["processed.hungarian.data"][0]
        other_label, other_hospital = row[:-1] + "1", row
        paths = write(hungarian=[row, other_label, "", row.replace("?,0,0,160", "0,0,0,160")], va=[other_hospital])
        patients, dropped = heart.read(paths)
        # The third has a cholesterol of 0, which is no other value than "?"; blank lines count as lines.
        assert dropped.to_dict("records") == [
            {
                "sample_id": "Hungary-4",
                "cluster": "Hungary",
                "reason": "the same as Hungary-1 in all 14 columns",
            }
        ]
        assert {"Hungary-1", "Hungary-2", "VA Long Beach-1"} < set(patients["sample_id"])

    def test_dropped_patients_are_logged(self, write, caplog):
        caplog.set_level("INFO")
        heart.make({}, "heart", [0], write(va=LINES["processed.va.data"] * 2))
        assert "patient VA Long Beach-2 left out: the same as VA Long Beach-1 in all 14 columns" in caplog.text

    def test_line_ends_spaces_and_byte_order_marks(self, write):
        paths = write()
        plain = heart.read(paths)[0]
        for path in paths:
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b" \r\n").replace(b",", b", "))
        pd.testing.assert_frame_equal(heart.read(paths)[0], plain)

    def test_all_problems_are_told_at_once(self, write):
        good = LINES["processed.va.data"][0]
        paths = write(
            cleveland=["63,1,5,145,233,1,2,150,0,2.3,3,0,6,0", "63,2,1,145,-9,1,2,0,0,inf,3,0.5,6,?"],
            va=[good, good.replace(",", ";"), "x" + good],
        )
        with pytest.raises(DataError) as error:
            heart.make({}, "heart", [0], paths)
        message = str(error.value)
        assert message.startswith("9 problems with the heart disease files:")
        where = "processed.cleveland.data, column "
        for told in (
            f"{where}2 (sex): '2' in row 2; expected 0, 1, or ? where missing",
            f"{where}3 (cp): '5' in row 1; expected 1, 2, 3, 4, or ?",
            f"{where}5 (chol): '-9' in row 2; expected a number of at least 0, or ? where missing (-9 marks that",
            f"{where}8 (thalach): '0' in row 2; expected a number above 0",
            f"{where}10 (oldpeak): 'inf' in row 2; expected a number, or ?",
            f"{where}12 (ca): '0.5' in row 2; expected 0, 1, 2, 3, or ?",
            f"{where}14 (num): '?' in row 2; expected 0, 1, 2, 3, 4; patients without a label must be left out",
            "processed.va.data: row 2 has 1 values; expected 14: age,sex,cp",
            "processed.va.data, column 1 (age): 'x55' in row 3; expected a number above 0",
        ):
            assert told in message

    def test_many_wrong_rows_are_counted(self, write):
        paths = write(switzerland=["32,1,9,95,0,?,0,127,0,.7,1,?,?,1"] * 8)
        with pytest.raises(DataError, match=r"'9' in row 5 and 3 more; expected 1, 2, 3, 4"):
            heart.read(paths)

    def test_wrong_files(self, write, tmp_path):
        paths = write(va=[])
        (tmp_path / "processed.hungary.data").write_text("")
        (tmp_path / "processed.switzerland.data").write_bytes(b"\xff\xfe")
        paths[1] = tmp_path / "processed.hungary.data"
        with pytest.raises(DataError) as error:
            heart.read([*paths, paths[0]])
        message = str(error.value)
        assert "Did you mean 'processed.hungarian.data'?" in message
        assert "processed.cleveland.data is given twice" in message
        assert "not given: processed.hungarian.data (Hungary); each hospital is once the unseen" in message
        assert "processed.switzerland.data cannot be read" in message
        assert "processed.va.data has no rows" in message

    def test_no_files(self):
        with pytest.raises(DataError, match=r"not given: processed\.cleveland\.data"):
            heart.make({}, "heart", [0], [])


def test_features_leave_one_code_of_each_category_out():
    for column, levels in heart.LEVELS.items():
        assert len(set(heart.CODES[column]) - set(levels)) == 1
    assert {*heart.FEATURES, *heart.LEVELS, heart.LABEL} == set(heart.COLUMNS)
