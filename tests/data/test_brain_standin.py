"""The tree of the stand-in of the AD study: its files, what disease changes in them, the truth, the same bytes twice."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from armed.data.brain_model import Settings, draw, other_diagnosis
from armed.data.brain_standin import make_volume, volume_path, write
from armed.errors import ConfigError

SMALL = {"voxel_mm": 3.0, "n_seen_sites": 2, "n_unseen_sites": 3, "n_subjects": 18}
HIPPOCAMPUS = (32, -6, -26)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("standin") / "ad"
    write(folder, SMALL, 0)
    return folder


@pytest.fixture(scope="module")
def table(tree):
    return pd.read_csv(tree / "subjects.tsv", sep="\t", dtype=str)


@pytest.fixture(scope="module")
def truth(tree):
    return json.loads((tree / "truth.json").read_text(encoding="utf-8"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def first_of(settings, diagnosis):
    """Subject, session, number of the site and site of someone at a seen site."""
    sites, subjects = draw(settings, 3)
    subject = next(s for s in subjects if s.diagnosis == diagnosis)
    number = [site.id for site in sites].index(subject.site)
    return subject, subject.sessions[0], number, sites[number]


def voxel_of(affine, point):
    return tuple(np.rint(nibabel.affines.apply_affine(np.linalg.inv(affine), point)).astype(int))


class TestTree:
    def test_table_and_files_are_of_each_other(self, tree, table):
        assert list(table) == ["subject", "session", "site", "diagnosis", "scanner", "age", "sex"]
        assert set(table["diagnosis"]) == {"AD", "CN"} and len(table) > 18
        wanted = {
            volume_path(*row, kind) for row in table[["subject", "session"]].to_numpy() for kind in ("T1w", "region")
        }
        assert {name for name in files(tree) if name.endswith(".nii.gz")} == wanted
        assert volume_path("a", "b") == "sub-a/ses-b/anat/sub-a_ses-b_T1w.nii.gz"

    def test_volumes(self, tree, table):
        for subject, session in table[["subject", "session"]].to_numpy():
            image, region = (nibabel.load(tree / volume_path(subject, session, kind)) for kind in ("T1w", "region"))
            assert image.shape == region.shape == (61, 73, 61) and (image.affine == region.affine).all()
            assert image.get_data_dtype() == np.int16 and region.get_data_dtype() == np.uint8
            assert image.header["sform_code"] == 4 and image.header.get_zooms() == (3.0, 3.0, 3.0)
            values, inside = np.asarray(image.dataobj), np.asarray(region.dataobj)
            brain = values > 0
            assert values[0].max() == values[:, 0].max() == values[:, :, -1].max() == 0
            assert 1300 < brain.sum() * 0.027 < 2400  # ml
            assert set(np.unique(inside)) == {0, 1} and brain[inside > 0].all()
            assert 40 < inside.sum() * 0.027 < 250

    def test_the_slice_meets_the_region_near_the_point(self, tree, table):
        for subject, session in table[["subject", "session"]].to_numpy():
            region = nibabel.load(tree / volume_path(subject, session, "region"))
            i, j, k = voxel_of(region.affine, HIPPOCAMPUS)
            around = np.asarray(region.dataobj)[i - 5 : i + 2, j, k - 3 : k + 5]
            assert around.sum() >= 4

    def test_truth(self, truth, table):
        assert truth["settings"] == SMALL | {"native": False} and truth["regions"] is True and truth["dataset"] == 0
        assert set(truth["sites"]) == set(table["site"]) and set(truth["subjects"]) == set(table["subject"])
        for row in table.itertuples():
            subject, site = truth["subjects"][row.subject], truth["sites"][row.site]
            session = subject["sessions"][row.session]
            assert (subject["site"], subject["diagnosis"], subject["sex"]) == (row.site, row.diagnosis, row.sex)
            assert session["age"] == pytest.approx(float(row.age), abs=0.06)
            assert 0.4 < session["hippocampi"] < 1.8 and 0.5 < session["ventricles"] < 8 and session["region_ml"] > 0
            assert row.scanner == site["scanner_name"] and row.scanner.startswith(site["maker"])
            assert set(site["scanner"]) > {"csf", "gm", "filter", "noise"}

    def test_no_time_in_the_files(self, tree):
        name = next(tree.rglob("*_T1w.nii.gz"))
        packed = name.read_bytes()
        assert packed == gzip.compress(gzip.decompress(packed), 1, mtime=0)

    def test_wrong_settings_write_nothing(self, tmp_path):
        with pytest.raises(ConfigError, match="voxel_mm"):
            write(tmp_path / "none", {"voxel_mm": 0}, 0)
        assert not (tmp_path / "none").exists()


class TestVolumes:
    @pytest.mark.parametrize("diagnosis", ["AD", "CN"])
    def test_disease_changes_the_image_where_the_region_is(self, diagnosis):
        settings = Settings(voxel_mm=2.0)
        subject, session, number, site = first_of(settings, diagnosis)
        image, region, _ = make_volume(settings, 3, subject, session, number, site)
        factors = dict(zip(("hippocampi", "ventricles"), other_diagnosis(session, diagnosis), strict=True))
        changed = replace(session, **factors)
        # The same noise: only the anatomy differs.
        other, _, _ = make_volume(settings, 3, subject, changed, number, site)
        both = (image > 0) & (other > 0)
        difference = np.abs(image.astype(float) - other) / np.percentile(image[image > 0], 90)
        assert difference[both & (region > 0)].mean() > 10 * difference[both & (region == 0)].mean()
        strong = both & (difference > 0.15)
        assert strong.sum() > 100 and region[strong].mean() > 0.85

    def test_sessions_are_more_alike_than_subjects(self):
        settings = Settings(voxel_mm=3.0)
        sites, subjects = draw(settings, 0)
        site = sites[0]
        repeated = next(s for s in subjects if len(s.sessions) == 2 and s.site == site.id)
        other = next(
            s for s in subjects if s is not repeated and s.site == site.id and s.diagnosis == repeated.diagnosis
        )
        first, second = (make_volume(settings, 0, repeated, s, 0, site)[0].ravel() for s in repeated.sessions)
        third = make_volume(settings, 0, other, other.sessions[0], 0, site)[0].ravel()
        assert np.corrcoef(first, second)[0, 1] > np.corrcoef(first, third)[0, 1] + 0.03
        assert (first != second).any()

    def test_native_space(self):
        settings = Settings(native=True)
        sites, subjects = draw(settings, 0)
        seen = set()
        for number in (0, 1):
            subject = next(s for s in subjects if s.site == sites[number].id)
            image, region, frame = make_volume(settings, 0, subject, subject.sessions[0], number, sites[number])
            i, j, k = voxel_of(frame.to_mni @ frame.affine, (25, -12, -20))
            assert image[i, j, k] > 0 and region[i - 6 : i + 7, j - 6 : j + 7, k - 6 : k + 7].sum() > 50
            assert not np.allclose(frame.to_mni, np.eye(4), atol=0.02)
            assert (frame.voxel >= 1).all() and (frame.voxel <= 1.3).all() and len(set(frame.voxel)) > 1
            brain = np.nonzero(image)
            assert all(w.min() > 0 and w.max() < n - 1 for w, n in zip(brain, image.shape, strict=True))
            seen.add(("".join(nibabel.aff2axcodes(frame.affine)), image.shape))
        assert len(seen) == 2
