"""From a folder of slices to seen and unseen sites: who is left out, which sites are seen, what cannot be."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from armed.data import ad_diagnosis
from armed.data.ad_diagnosis import TRUTH_COLUMNS, make, read_slices
from armed.data.study import StudyData
from armed.errors import DataError

SIZE = 16


def session(subject, site, diagnosis, session="01", status="ok", reason=""):
    name = f"sub-{subject}_ses-{session}"
    told = {"sample_id": name, "subject": subject, "session": session, "site": site, "diagnosis": diagnosis}
    return told | {"scanner": f"maker of {site}", "age": 70.5, "sex": "F", "status": status, "reason": reason}


def site(name, n_ad, n_cn):
    counts = (("AD", n_ad), ("CN", n_cn))
    return [session(f"{name}{d}{i}", name, d) for d, n in counts for i in range(n)]


SITES = [*site("003", 4, 3), *site("010", 2, 9), *site("b", 2, 2), *site("c", 0, 12), *site("d", 3, 2)]


@pytest.fixture
def folder(tmp_path):
    """Write sessions as the job does; image i is filled with i."""

    def write(rows):
        table = pd.DataFrame(rows).sort_values("sample_id").reset_index(drop=True)
        is_cut = (table["status"] == "ok").to_numpy()
        table["row"] = np.where(is_cut, np.cumsum(is_cut) - 1, -1)
        table.to_csv(tmp_path / "slices.tsv", sep="\t", index=False)
        images = np.repeat(np.arange(is_cut.sum(), dtype=np.uint8), SIZE * SIZE).reshape(-1, SIZE, SIZE)
        np.save(tmp_path / "images.npy", images)
        return tmp_path

    return write


def made(folder, rows, seen=2):
    return make({"seen": seen, "image_size": SIZE}, "ad_diagnosis", [0], [folder(rows)])


def reasons(study):
    return {row.reason: row.count for row in study.remarks.itertuples(index=False)}


class TestMake:
    def test_parts(self, folder):
        study = made(folder, SITES)
        seen, unseen = study.part("seen"), study.part("unseen")
        assert seen.X.dtype == np.uint8 and seen.X.shape == (18, 1, SIZE, SIZE)
        assert seen.levels.tolist() == ["003", "010"] and unseen.levels.tolist() == ["b", "c", "d"]
        assert seen.sample_id.dtype.kind == seen.subject.dtype.kind == "U"
        table, images = read_slices(folder(SITES))
        by_id = table.set_index("sample_id")
        for data in (seen, unseen):
            for x, y, cluster, name, subject in zip(
                data.X, data.y, data.clusters, data.sample_id, data.subject, strict=True
            ):
                row = by_id.loc[name]
                assert (x == row["row"]).all() and (y == 1) == (row["diagnosis"] == "AD")
                assert (cluster, subject) == (row["site"], row["subject"])
        assert len(images) == len(seen) + len(unseen)

    def test_truth(self, folder):
        truth = made(folder, SITES).truth
        assert tuple(truth) == TRUTH_COLUMNS
        row = truth.set_index("cluster").loc["010"]
        assert row[["part", "n", "ratio", "subjects", "scanner"]].tolist() == ["seen", 11, 2 / 11, 11, "maker of 010"]

    def test_order_of_rows_does_not_matter(self, folder):
        first, second = made(folder, SITES), made(folder, SITES[::-1])
        np.testing.assert_array_equal(first.part("seen").sample_id, second.part("seen").sample_id)

    def test_saved_and_loaded(self, folder, tmp_path):
        study = made(folder, SITES)
        study.save(tmp_path / "data.npz")
        again = StudyData.load(tmp_path / "data.npz").part("unseen")
        np.testing.assert_array_equal(again.X, study.part("unseen").X)
        assert again.X.dtype == np.uint8

    def test_sessions_of_a_subject_stay_together(self, folder):
        rows = [*SITES, session("003AD0", "003", "AD", "02"), session("003AD0", "003", "AD", "03")]
        seen = made(folder, rows).part("seen")
        assert (seen.subject == "003AD0").sum() == 3 and len(seen) == 20


class TestLeftOut:
    def test_diagnosis_changes(self, folder):
        rows = [*SITES, session("b1", "b", "CN"), session("b1", "b", "AD", "02")]
        study = made(folder, rows)
        assert "b1" not in study.part("unseen").subject
        assert reasons(study) == {f"{ad_diagnosis.CHANGED}: left out, with all 2 sessions: b1": 1}

    def test_diagnosis_changes_in_a_session_without_a_slice(self, folder):
        rows = [*SITES, session("b1", "b", "CN"), session("b1", "b", "AD", "02", "unreadable", "broken")]
        study = made(folder, rows)
        assert "b1" not in study.part("unseen").subject
        assert len(study.remarks) == 2

    def test_several_sites(self, folder):
        rows = [*SITES, session("m", "003", "CN"), session("m", "b", "CN", "02")]
        study = made(folder, rows)
        assert "m" not in [*study.part("seen").subject, *study.part("unseen").subject]
        assert reasons(study) == {f"{ad_diagnosis.MOVED}: left out, with all 2 sessions: m": 1}

    def test_cells_of_one_subject(self, folder):
        rows = [*SITES, session("c1", "c", "AD"), session("c1", "c", "AD", "02"), *site("e", 1, 1)]
        study = made(folder, rows)
        unseen = study.part("unseen")
        assert "c1" not in unseen.subject and "e" not in unseen.clusters
        assert reasons(study) == {f"{ad_diagnosis.ALONE}: left out, with all 4 sessions: c AD, e AD, e CN": 3}

    def test_without_a_slice(self, folder):
        rows = [
            *SITES,
            session("b7", "b", "CN", status="unreadable", reason="broken"),
            session("b8", "b", "CN", status="rejected"),
            session("b9", "b", "CN", status="rejected"),
        ]
        study = made(folder, rows)
        assert reasons(study) == {
            "rejected, left out: sub-b8_ses-01, sub-b9_ses-01": 2,
            "unreadable, left out: sub-b7_ses-01": 1,
        }


class TestSeen:
    @pytest.mark.parametrize(
        ("n", "expected"), [(1, ["010"]), (2, ["003", "010"]), (3, ["003", "010", "d"]), (4, ["003", "010", "b", "d"])]
    )
    def test_largest_with_both_diagnoses(self, folder, n, expected):
        assert made(folder, SITES, n).part("seen").levels.tolist() == expected

    def test_size_is_counted_in_subjects(self, folder):
        many = [session("bAD0", "b", "AD", f"{i:02d}") for i in range(2, 30)]
        assert made(folder, [*SITES, *many]).part("seen").levels.tolist() == ["003", "010"]

    def test_of_equal_sites_the_first_by_name(self, folder):
        rows = [*site("z", 2, 2), *site("y", 2, 2), *site("x", 2, 2)]
        assert made(folder, rows).part("seen").levels.tolist() == ["x", "y"]

    def test_named(self, folder):
        study = made(folder, SITES, ["d", "b"])
        assert study.part("seen").levels.tolist() == ["b", "d"]
        assert study.part("unseen").levels.tolist() == ["003", "010", "c"]

    def test_names_that_cannot_be(self, folder):
        with pytest.raises(DataError) as caught:
            made(folder, SITES, ["01O", "c", "b", "b"])
        told = str(caught.value)
        assert "3 problems with the slices of ad_diagnosis" in told
        assert "the site '01O', of which no session is used. Did you mean '010'?" in told
        assert "a site with one diagnosis: c (0 AD, 12 CN)" in told
        assert "names the site 'b' 2 times" in told

    def test_too_few_sites(self, folder):
        with pytest.raises(DataError, match=r"5 seen sites are wanted, and 4 of 5 sites .* c \(0 AD, 12 CN\)"):
            made(folder, SITES, 5)

    @pytest.mark.parametrize("seen", [0, []])
    def test_none(self, folder, seen):
        with pytest.raises(DataError, match="seen"):
            made(folder, SITES, seen)

    def test_none_left_unseen(self, folder):
        with pytest.raises(DataError, match="none is left unseen"):
            made(folder, site("a", 2, 2) + site("b", 2, 2), 2)


class TestFolder:
    def test_missing(self, tmp_path):
        with pytest.raises(DataError, match="no folder of slices"):
            make({"seen": 2}, "ad_diagnosis", [0], [tmp_path / "slices"])

    def test_one_folder(self, tmp_path):
        with pytest.raises(DataError, match="one folder"):
            make({"seen": 2}, "ad_diagnosis", [0], [tmp_path, tmp_path])

    @pytest.mark.parametrize(
        ("spoil", "told"),
        [
            (lambda p: p.table.drop(columns="site").to_csv(p.tsv, sep="\t"), "no column site"),
            (lambda p: p.table.iloc[1:].to_csv(p.tsv, sep="\t"), "do not fit together"),
            (lambda p: np.save(p.npy, np.zeros((47, 3, 3))), "expected uint8"),
            (lambda p: np.save(p.npy, np.zeros((40, 3, 3), np.uint8)), "do not fit together"),
            (lambda p: p.npy.write_bytes(b"no array"), "no folder of slices"),
        ],
    )
    def test_damaged(self, folder, spoil, told):
        where = folder(SITES)
        places = SimpleNamespace(tsv=where / "slices.tsv", npy=where / "images.npy")
        places.table = pd.read_csv(places.tsv, sep="\t", dtype=str)
        spoil(places)
        with pytest.raises(DataError, match=told):
            make({"seen": 2}, "ad_diagnosis", [0], [where])
