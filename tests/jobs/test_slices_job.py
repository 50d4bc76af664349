"""The job that cuts slices: what it writes, what it refuses before writing, what it lists, and that it goes on when killed."""

from __future__ import annotations

import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import volume_trees as trees
from PIL import Image

from armed.data.ad_diagnosis import make, read_slices
from armed.data.registration import Registration
from armed.errors import DataError
from armed.jobs import slices as job
from armed.jobs import volume_cuts

SIZE = 32


@pytest.fixture
def tree(tmp_path):
    return trees.Tree(tmp_path / "ad")


@pytest.fixture
def run(tmp_path):
    def run(tree, rejected="", processes=1, out="slices", **settings):
        (tmp_path / "rejected.txt").write_text(rejected)
        given = {"image_size": SIZE, "registration": "none"} | settings
        checkpoints = tmp_path / "checkpoints"
        target = tmp_path / out
        job.cut_slices(
            given, tree.write(), tmp_path / "rejected.txt", target, processes=processes, checkpoints=checkpoints
        )
        return target

    return run


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class TestWritten:
    def test_files(self, tree, run):
        out = run(tree.fill())
        assert sorted(files_of(out)) == [
            *("images.npy", "index.html", "sheets/a.png", "sheets/b.png", "sites.tsv", "slices.tsv"),
        ]
        table, images = read_slices(out)
        assert tuple(table) == job.COLUMNS
        assert images.shape == (8, SIZE, SIZE) and images.dtype == np.uint8
        assert table["row"].tolist() == list(range(8)) and (table["status"] == "ok").all()
        assert table["sample_id"].is_monotonic_increasing
        assert table[["mean", "contrast", "snr", "point_row"]].notna().all().all()
        sites = pd.read_csv(out / "sites.tsv", sep="\t").set_index("site")
        assert sites.loc["a", ["images", "subjects", "AD", "CN", "left_out"]].tolist() == [4, 4, 2, 2, 0]
        study = make({"seen": 1}, "ad_diagnosis", [0], [out])
        assert study.part("seen").X.shape == (4, 1, SIZE, SIZE)

    def test_number_of_processes_changes_nothing(self, tree, run):
        tree.fill()
        assert files_of(run(tree, processes=1, out="one")) == files_of(run(tree, processes=2, out="two"))

    def test_order_of_the_table_changes_nothing(self, tree, run):
        tree.fill()
        first = run(tree, out="one")
        tree.rows.reverse()
        assert files_of(first) == files_of(run(tree, out="two"))

    def test_regions(self, tree, run):
        image = trees.image()
        for name in (tree.add("a", "AD"), tree.add("a", "CN")):
            places = trees.coordinates(image.shape, image.affine)
            ball = np.linalg.norm(places - trees.POINT[:, None, None, None], axis=0) < 15
            tree.put_region(name, ball, image.affine)
        out = run(tree)
        regions, table = np.load(out / "regions.npy"), read_slices(out)[0]
        assert regions.shape == (2, SIZE, SIZE) and regions.dtype == bool
        for region, row, column in zip(regions, table["point_row"], table["point_column"], strict=True):
            assert region[round(row), round(column)] and 0 < region.mean() < 0.2

    def test_page_and_sheets(self, tree, run):
        tree.fill(sites=1, subjects=5)
        noisy = trees.image(noise=1)
        values = noisy.get_fdata(dtype=np.float32)
        values = values + (values > 0) * np.random.default_rng(0).normal(0, 25, values.shape).astype(np.float32)
        odd = tree.add("a", "CN", volume=nib.Nifti1Image(values, noisy.affine))
        tree.add("b/<b>", "CN")
        out = run(tree, rejected="sub-001_ses-01 # moved\n")
        page = (out / "index.html").read_text()
        assert "sub-001_ses-01" in page and "moved" in page
        first = page[page.index('id="first"') : page.index('id="sites"')]
        assert odd in first and "snr" in first
        assert "<b>" not in page.replace("<b>mean", "").split("<h2>Sites</h2>")[0] and "b/&lt;b&gt;" in page
        assert not re.search(r'(src|href)="(?!data:|#)', page)  # needs no other file
        assert page.count("data:image/jpeg;base64,") == 2
        assert "Stand-in" not in page
        sheets = sorted(path.name for path in (out / "sheets").iterdir())
        assert sheets == ["a.png", "b_b_.png"]
        with Image.open(out / "sheets" / "a.png") as sheet:
            assert sheet.mode == "L" and np.asarray(sheet).max() == 255

    def test_stand_ins_are_told(self, tree, run):
        tree.fill(sites=1)
        (tree.root / "truth.json").write_text("{}")
        assert "stand-in" in (run(tree) / "index.html").read_text().lower()


class TestRefused:
    def test_every_problem_in_one_message_and_nothing_written(self, tree, run, tmp_path):
        tree.fill(sites=1)
        bad = trees.image()
        values = bad.get_fdata(dtype=np.float32)
        four = nib.Nifti1Image(np.stack([values, values], axis=-1), bad.affine)
        far = bad.affine.copy()
        far[:3, 3] += 500
        names = {
            "4D": tree.add("a", "AD", subject="four", volume=four),
            "empty": tree.add("a", "AD", subject="empty", volume=nib.Nifti1Image(0 * values, bad.affine)),
            "constant": tree.add("a", "AD", subject="constant", volume=nib.Nifti1Image(0 * values + 3, bad.affine)),
            "no affine": tree.add("a", "AD", subject="noaffine", volume=nib.Nifti1Image(values, None)),
            "far": tree.add("a", "AD", subject="far", volume=nib.Nifti1Image(values, far)),
            "absent": tree.add("a", "CN", subject="absent", volume=False),
        }
        tree.add("a", "MCI", subject="mild")
        tree.add("one", "CN"), tree.add("one", "CN")
        tree.put("sub-extra_ses-01", bad)
        with pytest.raises(DataError) as caught:
            run(tree, rejected="sub-001_ses-0\n", seen=["a", "one"])
        told = str(caught.value)
        for part in (
            f"{names['4D']}: has shape",
            f"{names['empty']}: is empty",
            f"{names['constant']}: is constant",
            f"{names['no affine']}: has no affine",
            f"{names['far']}: the point (32.0, -6.0, -26.0) mm of MNI152 lies outside the volume",
            f"have no volume: {names['absent']}",
            "are of no row of subjects.tsv: sub-extra",
            "unknown diagnosis in line 12 'MCI'",
            "a site with one diagnosis: one (0 AD, 2 CN)",
            "names 'sub-001_ses-0', which is no session",
        ):
            assert part in told, f"{part}\n{told}"
        assert sorted(p.name for p in tmp_path.iterdir()) == ["ad", "rejected.txt"]

    def test_volumes_with_one_problem_share_a_line(self, tree, run):
        image = trees.image()
        empty = nib.Nifti1Image(0 * image.get_fdata(dtype=np.float32), image.affine)
        first, second = (tree.add("a", "AD", volume=empty) for _ in range(2))
        with pytest.raises(DataError, match=f"1 problem .*\n.*{first}, {second}: is empty"):
            run(tree)

    def test_rejecting_is_a_way_out(self, tree, run):
        tree.fill(sites=1)
        name = tree.add("a", "AD", volume=nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), np.eye(4)))
        table, images = read_slices(run(tree, rejected=f"{name}  # a series\n"))
        row = table.set_index("sample_id").loc[name]
        assert row[["status", "reason", "row"]].tolist() == ["rejected", "a series", -1] and len(images) == 4

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"registration": "afine"}, "Did you mean 'affine'"),
            ({"image_size": 4}, "at least 16"),
            ({"processes": 0}, "1"),
        ],
    )
    def test_settings(self, tree, run, settings, told):
        with pytest.raises(DataError, match=told):
            run(tree.fill(sites=1), **settings)


class TestUnreadable:
    @pytest.mark.parametrize("processes", [1, 2])
    def test_is_listed_and_the_others_go_on(self, tree, run, processes, caplog):
        tree.fill()
        path = tree.path("sub-003_ses-01")
        path.write_bytes(path.read_bytes()[:3000])
        out = run(tree, processes=processes)
        table, images = read_slices(out)
        row = table.set_index("sample_id").loc["sub-003_ses-01"]
        assert row["status"] == "unreadable" and path.name in row["reason"] and row["row"] == -1
        assert len(images) == 7 and (table["status"] == "ok").sum() == 7
        page = (out / "index.html").read_text()
        assert path.name in page and "1 unreadable" in page
        assert pd.read_csv(out / "sites.tsv", sep="\t")["left_out"].sum() == 1
        assert "sub-003_ses-01, left out" in caplog.text
        remarks = make({"seen": 1}, "ad_diagnosis", [0], [out]).remarks["reason"].tolist()
        assert "unreadable, left out: sub-003_ses-01" in remarks

    def test_all_of_them(self, tree, run, tmp_path):
        tree.fill(sites=1)
        for row in tree.rows:
            tree.path(f"sub-{row['subject']}_ses-01").write_bytes(b"")
        with pytest.raises(DataError, match=r"no volume of .* can be used"):
            run(tree)
        assert not (tmp_path / "slices").exists()


class TestRegistered:
    """With the registration of one volume replaced: that is tested on its own."""

    @pytest.fixture
    def registered(self, monkeypatch):
        """Calls so far; what the volume of a subject named 'killed' or 'strange' does is up to the test."""
        calls = []

        def register_once(image, path, checkpoint):
            calls.append(checkpoint.name)
            if "strange" in path.name:
                raise DataError("it is not like the template")
            to_mni = np.eye(4)
            to_mni[:3, 3] = -40
            return Registration(to_mni, 0.9)

        monkeypatch.setattr(volume_cuts, "register_once", register_once)
        return calls

    def moved(self):
        image = trees.image()
        affine = image.affine.copy()
        affine[:3, 3] += 40
        return nib.Nifti1Image(image.get_fdata(dtype=np.float32), affine)

    def test_slices(self, tree, run, registered):
        name = tree.add("a", "AD", volume=self.moved())
        out = run(tree, registration="affine")
        table, images = read_slices(out)
        in_mni = trees.Tree(tree.root.parent / "mni")
        in_mni.add("a", "AD", volume=trees.image())
        expected = read_slices(run(in_mni, out="expected"))[1]
        np.testing.assert_array_equal(images, expected)
        assert table["similarity"].tolist() == [0.9] and registered == [f"{name}.json"]

    def test_one_that_cannot_be_registered_is_listed(self, tree, run, registered):
        tree.add("a", "AD", volume=self.moved())
        tree.add("a", "AD", subject="strange", volume=self.moved())
        table, images = read_slices(run(tree, registration="affine"))
        row = table.set_index("sample_id").loc["sub-strange_ses-01"]
        assert (
            row[["status", "reason"]].tolist() == ["unregistered", "it is not like the template"] and len(images) == 1
        )

    def test_nothing_is_registered_before_all_volumes_are_checked(self, tree, run, registered, tmp_path):
        tree.add("a", "AD", volume=self.moved())
        tree.add("a", "AD", volume=nib.Nifti1Image(np.zeros((5, 5, 5), np.float32), np.eye(4)))
        with pytest.raises(DataError, match="is empty"):
            run(tree, registration="affine")
        assert not registered and not (tmp_path / "checkpoints").exists()


def test_a_killed_job_goes_on(tree, run, monkeypatch):
    """Affines found before the kill are not searched again, and the result is that of a run without it."""
    from armed.data import registration

    for _ in range(3):
        tree.add("a", "AD")
    done = []

    def register(image):
        if len(done) == 2 and not resumed:
            raise KeyboardInterrupt
        done.append(image)
        shift = np.eye(4)
        shift[0, 3] = image.get_fdata().mean()  # tells the volumes apart
        return Registration(shift, 0.8)

    monkeypatch.setattr(registration, "register", register)
    resumed = False
    with pytest.raises(KeyboardInterrupt):
        run(tree, registration="affine")
    assert len(done) == 2
    resumed = True
    out = run(tree, registration="affine")
    assert len(done) == 3
    for path in (out.parent / "checkpoints").iterdir():
        path.unlink()
    assert files_of(out) == files_of(run(tree, registration="affine", out="again"))
