"""From visits to the study's data: hand-made cases, each worked out by hand, and what holds for any table."""

import time

import numpy as np
import pandas as pd
import pytest
import visit_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from armed.data import adni_format as fmt
from armed.data import adnimerge, mci
from armed.data.study import StudyData
from armed.errors import DataError

LABELS = {1: 1, 2: 0, 3: 1, 4: 0, 6: 0, 9: 1, 11: 0, 12: 0, 15: 0}
"""By hand, of `visit_rows.SUBJECTS`."""
DROPPED = {
    5: (12, mci.LATE_DEMENTIA),  # month 24 without a diagnosis, between MCI and Dementia
    7: (12, mci.NO_DIAGNOSIS),  # last seen at month 12
    8: (12, mci.NOT_MCI),
    10: (13, mci.LATE_DEMENTIA),  # no visit at month 24; MCI again after that counts for nothing
    13: (14, mci.NOT_MCI),  # diagnosis at baseline not known
    14: (9, mci.NO_DIAGNOSIS),  # month 24 without a diagnosis is the last visit
}
INDICATORS = (
    *("ApoE4 1", "ApoE4 2", "Female", "Hispanic/Latino", "Race: Asian", "Race: Black", "Race: more than one"),
    *("Divorced", "Never married", "Widowed"),
)
"""Of the seen subjects; there is no indicator of Am Indian/Alaskan and Hawaiian/Other PI, which only unseen subjects are."""
SEEN = {
    1: {"ApoE4 1": 1, "Female": 1},
    2: {"ApoE4 2": 1, "Hispanic/Latino": 1, "Race: Black": 1, "Divorced": 1},
    3: {"ApoE4 1": np.nan, "ApoE4 2": np.nan},
    4: {},  # all Unknown
    6: {"Race: Asian": 1, "Widowed": 1},
    9: {"Race: more than one": 1, "Never married": 1},
}
UNSEEN = {11: {}, 12: {"Female": np.nan}, 15: {}}
LIMITS = {
    **{(1, "CSF beta-amyloid"): 1700, (4, "CSF beta-amyloid"): 200, (2, "CSF tau"): 80, (6, "CSF tau"): 1300},
    **{(3, "CSF phosphorylated tau"): 120, (9, "CSF phosphorylated tau"): 8, (2, "PET FDG"): np.nan},
}


def by_hand(subjects):
    """The features of the subjects: column j of subject RID is j + RID / 100, apart from limits and missing values."""
    names = (*fmt.FEATURE_NAMES.values(), *INDICATORS)
    table = pd.DataFrame(0.0, index=list(subjects), columns=names)
    for j, name in enumerate(fmt.FEATURE_NAMES.values(), 1):
        table[name] = j + table.index / 100
    for (rid, name), value in LIMITS.items():
        if rid in subjects:
            table.loc[rid, name] = value
    for rid, ones in subjects.items():
        for name, value in ones.items():
            table.loc[rid, name] = value
    return table


@pytest.fixture
def raw(tmp_path):
    return visit_rows.write(tmp_path / "ADNIMERGE.csv", visit_rows.rows())


@pytest.fixture
def visits(raw):
    return adnimerge.read(raw)


def table(*subjects, baseline="LMCI"):
    """Visits and diagnoses alone: one dict of them per subject."""
    rows = [
        {"RID": rid, "SITE": 1, "VISCODE": visit, "DX_bl": baseline, "DX": diagnosis or np.nan}
        for rid, visits in enumerate(subjects)
        for visit, diagnosis in visits.items()
    ]
    return pd.DataFrame(rows, columns=["RID", "SITE", "VISCODE", "DX_bl", "DX"])


def label(**visits):
    labels, dropped = mci.conversion(mci.fill_diagnoses(table(visits)))
    return int(labels.iloc[0]) if len(labels) else dropped["reason"].iloc[0]


class TestHandMadeCases:
    def test_labels_and_dropped_subjects(self, visits):
        labels, dropped = mci.conversion(mci.fill_diagnoses(visits))
        assert labels.to_dict() == LABELS and labels.name == "progressive" and labels.dtype == np.int64
        assert list(dropped) == ["subject", "site", "reason"]
        assert {row.subject: (row.site, row.reason) for row in dropped.itertuples()} == DROPPED

    def test_seen_and_unseen(self, visits):
        """Site 11 has 4 labelled subjects, 12 and 14 have 2: the lower number is seen. Subject 11's site is its first, 13."""
        seen, unseen, dropped = mci.from_visits(visits, n_seen=2)
        for data, subjects, sites in (
            (seen, SEEN, ["site 011"] * 4 + ["site 012"] * 2),
            (unseen, UNSEEN, ["site 013", "site 014", "site 014"]),
        ):
            expected = by_hand(subjects)
            assert data.feature_names == tuple(expected)
            np.testing.assert_allclose(data.X, expected.to_numpy(), rtol=0, atol=1e-12)
            assert data.y.tolist() == [LABELS[rid] for rid in subjects]
            assert data.sample_id.tolist() == data.subject.tolist() == list(subjects)
            assert data.clusters.tolist() == sites and data.allow_missing and set(data.dataset) == {0}
        assert set(dropped["subject"]) == set(DROPPED)

    def test_counts_of_dropped_subjects(self, visits):
        counts = mci.describe(mci.from_visits(visits, n_seen=2)[2])
        assert counts.to_dict("list") == {
            "reason": list(mci.REASONS),
            "subjects": [2, 2, 2],
            "sites": [2, 2, 2],
        }
        assert mci.describe(pd.DataFrame(columns=["subject", "site", "reason"]))["subjects"].tolist() == [0, 0, 0]

    def test_the_37_features(self, visits):
        """All levels but Hawaiian/Other PI, as in the paper."""
        table = mci.features(mci.to_limits(visits[visits["RID"] != 12]))
        assert table.shape == (14, 37)
        assert list(table) == [
            name for name in (*fmt.FEATURE_NAMES.values(), *fmt.LEVEL_NAMES.values()) if "Haw" not in name
        ]

    def test_limits(self, visits):
        limited = mci.to_limits(visits.assign(ABETA=visits["ABETA_bl"]))
        assert limited.loc[0, ["ABETA", "ABETA_bl"]].tolist() == [1700, 1700]
        assert limited["PTAU_bl"].dtype == limited["TAU_bl"].dtype == np.float64
        pd.testing.assert_frame_equal(mci.to_limits(limited), limited)
        with pytest.raises(DataError, match=r"Column TAU_bl has '>1200'; expected a number or one of <80, >1300"):
            mci.to_limits(visits.assign(TAU_bl=">1200"))


@pytest.mark.parametrize(
    ("visits", "expected"),
    [
        ({"bl": "MCI", "m24": "MCI"}, 0),
        ({"bl": "MCI", "m24": "CN"}, 0),
        ({"bl": "MCI", "m24": "Dementia"}, 1),
        ({"bl": "MCI", "m03": "Dementia"}, 1),
        ({"bl": "Dementia", "m24": "MCI"}, 1),
        ({"bl": "MCI", "m18": "Dementia", "m24": "MCI", "m36": "MCI"}, 1),
        ({"bl": "MCI", "m24": "MCI", "m30": "Dementia"}, 0),
        ({"bl": "MCI", "m30": "MCI", "m36": "Dementia"}, 0),
        ({"bl": "MCI", "m30": "", "m36": "MCI"}, 0),
        ({"bl": "", "m24": "", "m48": "CN", "m60": "Dementia"}, 0),
        ({"bl": "MCI", "m24": "", "m30": "Dementia", "m36": "MCI"}, mci.LATE_DEMENTIA),
        ({"bl": "MCI", "m30": "", "m36": "Dementia"}, mci.LATE_DEMENTIA),
        ({"bl": "MCI", "m18": "MCI"}, mci.NO_DIAGNOSIS),
        ({"bl": "MCI", "m24": "", "m120": ""}, mci.NO_DIAGNOSIS),
        ({"bl": ""}, mci.NO_DIAGNOSIS),
    ],
)
def test_label_of_one_subject(visits, expected):
    assert label(**visits) == expected
    assert label(**dict(reversed(visits.items()))) == expected


def test_filling_diagnoses():
    one = {"bl": "", "m06": "MCI", "m12": "", "m18": "", "m24": "MCI", "m36": "", "m48": "Dementia", "m60": ""}
    other = {"bl": "CN", "m120": "", "m96": "CN"}  # as text, m120 would come before m96
    filled = mci.fill_diagnoses(table(one, other, {"bl": "", "m06": "CN"}))["DX"].fillna("").tolist()
    assert filled == ["", "MCI", "MCI", "MCI", "MCI", "", "Dementia", "", "CN", "", "CN", "", "CN"]


VISITS = ("bl", "m03", "m06", "m12", "m18", "m24", "m30", "m36", "m48", "m96", "m120")
histories = st.lists(
    st.dictionaries(st.sampled_from(VISITS), st.sampled_from(["", *fmt.DIAGNOSES]), min_size=1), min_size=1, max_size=5
)


@settings(max_examples=80, deadline=None)
@given(histories=histories, random=st.randoms(use_true_random=False))
def test_filling_keeps_what_is_known_and_rows_may_come_in_any_order(histories, random):
    visits = table(*histories)
    filled = mci.fill_diagnoses(visits)
    known = visits["DX"].notna()
    assert (filled["DX"][known] == visits["DX"][known]).all()
    pd.testing.assert_frame_equal(filled.drop(columns="DX"), visits.drop(columns="DX"))

    for row in np.flatnonzero(~known):  # one by one, as the rule says it
        own = visits[known & (visits["RID"] == visits["RID"][row])]
        month, row_month = adnimerge.months(own["VISCODE"]), adnimerge.months(visits["VISCODE"])[row]
        before, after = own["DX"][month < row_month], own["DX"][month > row_month]
        previous = before.iloc[np.argmax(month[month < row_month])] if len(before) else "none"
        following = after.iloc[np.argmin(month[month > row_month])] if len(after) else "nothing"
        assert filled["DX"].fillna("")[row] == (previous if previous == following else "")

    order = random.sample(range(len(visits)), len(visits))
    shuffled = visits.iloc[order]
    pd.testing.assert_series_equal(mci.fill_diagnoses(shuffled)["DX"], filled["DX"].iloc[order])
    labels, dropped = mci.conversion(filled)
    again, dropped_again = mci.conversion(mci.fill_diagnoses(shuffled))
    pd.testing.assert_series_equal(labels, again)
    pd.testing.assert_frame_equal(dropped, dropped_again)
    assert len(labels) + len(dropped) == visits["RID"].nunique()
    pd.testing.assert_series_equal(mci.conversion(visits)[0], labels)  # filling changes no label


@settings(max_examples=20, deadline=None)
@given(random=st.randoms(use_true_random=False))
def test_order_of_the_file_does_not_matter(tmp_path_factory, random):
    folder = tmp_path_factory.mktemp("raw")
    rows = visit_rows.rows()
    one = mci.from_visits(adnimerge.read(visit_rows.write(folder / "one.csv", rows)), n_seen=2)
    random.shuffle(rows)
    other = mci.from_visits(adnimerge.read(visit_rows.write(folder / "other.csv", rows)), n_seen=2)
    for a, b in zip(one[:2], other[:2], strict=True):
        np.testing.assert_array_equal(a.X, b.X)
        np.testing.assert_array_equal(a.y, b.y)
        np.testing.assert_array_equal(a.sample_id, b.sample_id)
        np.testing.assert_array_equal(a.clusters, b.clusters)
        assert a.feature_names == b.feature_names
    pd.testing.assert_frame_equal(one[2], other[2])


def test_seen_sites():
    sites = np.repeat([30, 7, 100, 8], [2, 3, 2, 1])
    assert mci.seen_sites(sites, 1).tolist() == [7]
    assert mci.seen_sites(sites, 2).tolist() == [7, 30]
    assert mci.seen_sites(sites, 9).tolist() == [7, 8, 30, 100]


class TestMake:
    @pytest.fixture
    def files(self, tmp_path):
        """Dataset 1 differs: subject 1 is Am Indian/Alaskan, subject 2 is not Hispanic."""
        rows = visit_rows.rows()
        for row in rows:
            row["PTRACCAT"] = "Am Indian/Alaskan" if row["RID"] == 1 else row["PTRACCAT"]
            row["PTETHCAT"] = "Not Hisp/Latino" if row["RID"] == 2 else row["PTETHCAT"]
        (tmp_path / "1").mkdir()
        one = visit_rows.write(tmp_path / "ADNIMERGE.csv", visit_rows.rows())
        return [one, visit_rows.write(tmp_path / "1" / "ADNIMERGE.csv", rows)]

    def test_main_alone(self, files, tmp_path):
        study = mci.make({"n_seen": 2, "other": 1}, "mci_conversion", [0, 5], files[:1])
        assert list(study.parts) == ["main"] and list(study.parts["main"]) == ["seen", "unseen"]
        np.testing.assert_allclose(study.part("seen").X, by_hand(SEEN).to_numpy())
        assert list(study.truth) == list(mci.TRUTH_COLUMNS)
        rows = [tuple(row) for row in study.truth.itertuples(index=False)]
        assert rows == [
            ("main", 0, "seen", "site 011", 4, 0.5),
            ("main", 0, "seen", "site 012", 2, 0.5),
            ("main", 0, "unseen", "site 013", 1, 0.0),
            ("main", 0, "unseen", "site 014", 2, 0.0),
        ]

    def test_variants(self, files):
        chosen = {"n_seen": 2, "resampled": True, "reference_protocol": True}
        study = mci.make(chosen, "mci_conversion", [1, 0], files)
        assert list(study.parts) == ["main", "resampled", "reference_protocol"]
        assert study.parts["reference_protocol"] == study.parts["main"]
        assert study.truth.groupby("variant").size().to_dict() == {"main": 4, "reference_protocol": 4, "resampled": 8}
        assert set(study.truth.query("variant == 'resampled'")["dataset"]) == {0, 1}

        seen, unseen = study.part("seen", "resampled"), study.part("unseen", "resampled")
        assert seen.dataset.tolist() == [0] * 6 + [1] * 6
        assert seen.sample_id.tolist() == [*SEEN, *(100_000 + rid for rid in SEEN)] == seen.subject.tolist()
        # Levels of either dataset's seen subjects; the features of main are those of its own dataset.
        added = by_hand(SEEN).columns.insert(33, "Race: Am. Indian/Alaskan")
        assert seen.feature_names == unseen.feature_names == tuple(added)
        assert study.part("seen").feature_names == tuple(by_hand(SEEN))
        by_name = pd.DataFrame(seen.X, index=seen.sample_id, columns=seen.feature_names)
        assert by_name["Race: Am. Indian/Alaskan"].to_dict() == {rid: float(rid == 100_001) for rid in seen.sample_id}
        assert by_name["Hispanic/Latino"].to_dict() == {rid: float(rid == 2) for rid in seen.sample_id}
        # Now that its level has a column, unseen subject 11 has a 1 in it.
        assert unseen.X[:, 33].tolist() == [1, 0, 0] * 2

    def test_each_file_is_read_once(self, files, monkeypatch):
        read = []
        monkeypatch.setattr(mci, "read", lambda path: read.append(path) or adnimerge.read(path))
        mci.make({"n_seen": 2, "resampled": True}, "mci_conversion", [0, 1, 1], files)
        assert read == files

    def test_round_trip(self, files, tmp_path):
        study = mci.make({"n_seen": 2, "resampled": True}, "mci_conversion", [0, 1], files)
        study.save(tmp_path / "study.npz")
        loaded = StudyData.load(tmp_path / "study.npz")
        pd.testing.assert_frame_equal(loaded.truth, study.truth)
        for variant, parts in study.parts.items():
            for name, data in parts.items():
                other = loaded.part(name, variant)
                assert other.feature_names == data.feature_names and other.allow_missing
                for field in ("X", "y", "clusters", "sample_id", "subject", "dataset"):
                    np.testing.assert_array_equal(getattr(other, field), getattr(data, field))

    def test_errors(self, files):
        with pytest.raises(DataError, match=r"mci_conversion has 2 raw files.*there is none for 2, 7"):
            mci.make({"n_seen": 2, "resampled": True}, "mci_conversion", [0, 7, 2], files)
        with pytest.raises(DataError, match=r"mci_conversion has 0 raw files.*there is none for 0"):
            mci.make({"n_seen": 2}, "mci_conversion", [3], [])
        with pytest.raises(
            DataError, match=r"ADNIMERGE.csv: the 9 subjects with a label are of 4 sites; .* n_seen = 4"
        ):
            mci.make({"n_seen": 4}, "mci_conversion", [0], files)
        with pytest.raises(DataError, match="n_seen is 0"):
            mci.make({"n_seen": 0}, "mci_conversion", [0], files)


def test_many_rows_are_fast():
    rng = np.random.default_rng(0)
    n, codes = 14_000, ["bl", "m06", "m12", "m18", "m24", "m36", "m48"]
    visits = pd.DataFrame({"RID": np.repeat(np.arange(n), 7), "VISCODE": np.tile(codes, n)})
    visits["SITE"] = visits["RID"] % 55
    visits["DX_bl"] = np.where(visits["RID"] % 2, "LMCI", "CN")
    visits["DX"] = rng.choice(["MCI", "Dementia", None], size=len(visits), p=[0.8, 0.1, 0.1])
    for name, levels in fmt.CATEGORICAL.items():
        visits[name] = np.repeat(rng.choice(levels, size=n), 7)
    for name in (*fmt.DEMOGRAPHIC, *fmt.BASELINE):
        visits[name] = np.repeat(rng.normal(size=n), 7)
    for name in adnimerge.LIMITED:
        visits[name] = visits[name].astype(str)
    start = time.perf_counter()
    seen, unseen, dropped = mci.from_visits(visits, n_seen=20)
    assert time.perf_counter() - start < 4
    assert len(seen) + len(unseen) + len(dropped) == n
