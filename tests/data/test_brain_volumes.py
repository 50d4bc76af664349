"""Reading a tree of volumes, its table and the list of rejected sessions; every bad input by name."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
import volume_trees as trees

from armed.data.brain_volumes import (
    COLUMNS,
    UnreadableVolumeError,
    check_region,
    check_volume,
    load,
    read_rejected,
    read_tree,
)
from armed.errors import DataError, Problems


@pytest.fixture
def tree(tmp_path):
    return trees.Tree(tmp_path / "ad")


def spoiled(change, **header):
    """A volume whose voxels were changed."""
    image = trees.image()
    values = image.get_fdata(dtype=np.float32).copy()
    return nib.Nifti1Image(change(values), image.affine)


def with_affine(affine):
    """A volume with an affine that nibabel would not write: read from bytes whose header has it."""
    values = trees.image().get_fdata(dtype=np.float32)
    content = nib.Nifti1Image(values, None).to_bytes()
    if affine is None:
        return nib.Nifti1Image.from_bytes(content)
    header = nib.Nifti1Header(content[:348])
    header.set_sform(affine, code=1)
    return nib.Nifti1Image.from_bytes(header.binaryblock + content[348:])


class TestTree:
    def test_table(self, tree):
        tree.add("s 1", "AD", subject="007", session="m12", age=71.5, sex="F")
        tree.add("s 2", "CN", subject="sub-ab", session="ses-1", volume=False, age="", sex="M")
        tree.put("sub-ab_ses-1", trees.image(), suffix=".nii")
        found = read_tree(tree.write())
        table = found.table
        assert tuple(table) == COLUMNS
        assert table["sample_id"].tolist() == ["sub-007_ses-m12", "sub-ab_ses-1"]
        assert table["subject"].tolist() == ["007", "ab"] and table["session"].tolist() == ["m12", "1"]
        assert table["age"].tolist() == pytest.approx([71.5, np.nan], nan_ok=True)
        assert table["path"].tolist() == [
            str(tree.path("sub-007_ses-m12")),
            str(tree.path("sub-ab_ses-1").with_suffix("")),
        ]
        assert not found.remarks.found  # tabs are as it should be
        assert not table["rejected"].any() and not found.has_regions and not found.is_stand_in

    def test_stand_in_with_regions(self, tree):
        name = tree.add("a", "AD")
        image = trees.image()
        path = tree.put_region(name, image.get_fdata() > 130, image.affine)
        (tree.root / "truth.json").write_text("{}")
        found = read_tree(tree.write())
        assert found.is_stand_in and found.has_regions and found.table["region"].tolist() == [str(path)]

    def test_rejected_sessions_need_no_file(self, tree):
        name = tree.add("a", "AD", volume=False)
        tree.add("a", "AD")
        table = read_tree(tree.write(), {name}).table
        assert table["rejected"].tolist() == [True, False]

    def test_every_problem_in_one_message(self, tree):
        tree.add("a", "AD", subject="there")
        tree.add("a", "AD", subject="absent", volume=False)
        tree.add("", "ad", subject="odd")
        tree.add("a", "MCI", subject="mild", age="old")
        tree.add("a", "CN", subject="bad id")
        tree.rows += [dict(tree.rows[0])]
        tree.put("sub-extra_ses-01", trees.image())
        tree.put("sub-there_ses-01", trees.image(), suffix=".nii")
        tree.put("sub-run_ses-01", trees.image(), kind="run-1_T1w")
        image = trees.image()
        tree.put_region("sub-odd_ses-01", image.get_fdata() > 0, image.affine)
        with pytest.raises(DataError) as caught:
            read_tree(tree.write(), {"sub-ther_ses-01"})
        told = str(caught.value)
        for part in (
            "column 'site' is empty in line 4",
            "unknown diagnosis in line 4 'ad', line 5 'MCI'; expected AD",
            "Did you mean 'AD'?",
            "column 'subject' has line 6 'bad id'",
            "age is no number in line 5 'old'",
            "sub-there_ses-01 stand more than once, in lines 2, 7",
            "1 sessions of subjects.tsv have no volume: sub-absent_ses-01",
            "1 volumes are of no row of subjects.tsv: sub-extra",
            "are of one session",
            "sub-run_ses-01_run-1_T1w.nii.gz is not of the form",
            "has no mask for sub-there_ses-01",
            "names 'sub-ther_ses-01', which is no session of subjects.tsv. Did you mean 'sub-there_ses-01'?",
        ):
            assert part in told, f"{part}\n{told}"

    def test_missing_columns(self, tree):
        tree.rows = [{"subject": "1", "session": "1", "sites": "a", "diagnosis": "AD", "scanner": "GE"}]
        with pytest.raises(DataError, match=r"no column 'site'\. Did you mean 'sites'\?"):
            read_tree(tree.write())

    @pytest.mark.parametrize("made", [True, False])
    def test_no_table(self, tmp_path, made):
        root = tmp_path / "ad"
        if made:
            root.mkdir()
        with pytest.raises(DataError, match="no subjects.tsv" if made else "no such folder"):
            read_tree(root)

    def test_problems_can_be_collected(self, tree):
        tree.add("a", "AD", volume=False)
        problems = Problems(DataError, "all")
        found = read_tree(tree.write(), problems=problems)
        assert len(problems.found) == 1 and found.table["path"].tolist() == [""]


class TestRejected:
    def test_list(self, tmp_path):
        path = tmp_path / "rejected.txt"
        path.write_text("# by me\n\nsub-1_ses-1   # motion\n  sub-2_ses-1\n#sub-3_ses-1\n")
        assert read_rejected(path) == {"sub-1_ses-1": "motion", "sub-2_ses-1": ""}

    def test_none(self):
        assert read_rejected(None) == {}

    def test_no_file(self, tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_rejected(tmp_path / "rejected.txt")


class TestVolume:
    @pytest.mark.parametrize("codes", ["RAS", "LPI"])
    def test_good(self, codes):
        assert check_volume(trees.image(codes)) == []
        assert check_volume(trees.image(codes, dtype=np.int16)) == []

    @pytest.mark.parametrize(
        ("image", "told"),
        [
            (spoiled(lambda v: np.stack([v, v], axis=-1)), "expected one volume of three dimensions"),
            (spoiled(lambda v: v[:, :, :1]), "expected one volume of three dimensions"),
            (spoiled(lambda v: 0 * v), "is empty"),
            (spoiled(lambda v: 0 * v + 7), "is constant: all voxels are 7"),
            (spoiled(lambda v: (v > 0).astype(np.float32)), "is constant: all voxels but those of 0 are 1"),
            (spoiled(lambda v: np.where(v > 130, np.nan, v)), "NaN or infinite"),
            (spoiled(lambda v: np.where(v > 130, np.inf, v)), "NaN or infinite"),
            (spoiled(lambda v: v + 9), "strip the skull"),
            (with_affine(None), "has no affine"),
            (with_affine(np.diag([2.0, 2.0, 0.0, 1.0])), "cannot be inverted"),
            (with_affine(np.diag([2.0, 2.0, 30.0, 1.0])), "voxels of 2 x 2 x 30 mm"),
            (with_affine(np.diag([0.01, 2.0, 2.0, 1.0])), "voxels of 0.01 x 2 x 2 mm"),
            (with_affine(np.diag([np.nan, 2.0, 2.0, 1.0])), "cannot be inverted"),
        ],
    )
    def test_bad(self, image, told):
        (problem,) = check_volume(image)
        assert told in problem

    def test_several_problems(self):
        image = nib.Nifti1Image(np.zeros((4, 4, 4, 2), dtype=np.float32), None)
        assert len(check_volume(image)) == 2

    def test_region(self):
        image = trees.image()
        assert check_region(image, image) == []
        assert "shape" in check_region(image.slicer[1:], image)[0]


class TestLoad:
    def test_good(self, tree):
        path = tree.put("sub-1_ses-1", trees.image())
        np.testing.assert_array_equal(load(path).get_fdata(), trees.image().get_fdata())

    def test_truncated(self, tree):
        path = tree.put("sub-1_ses-1", trees.image(noise=0))
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UnreadableVolumeError, match=r"sub-1_ses-1_T1w\.nii\.gz cannot be read"):
            load(path)

    def test_damaged(self, tree):
        path = tree.put("sub-1_ses-1", trees.image(noise=0))
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 2 : len(whole) // 2 + 50] = b"\0" * 50
        path.write_bytes(whole)
        with pytest.raises(UnreadableVolumeError):
            load(path)

    @pytest.mark.parametrize(
        "content", [b"", b"no volume", gzip.compress(b"no volume" * 100, mtime=0)], ids=["empty", "text", "gzip"]
    )
    def test_no_volume(self, tmp_path, content):
        path = tmp_path / "a_T1w.nii.gz"
        path.write_bytes(content)
        with pytest.raises(UnreadableVolumeError):
            load(path)

    def test_uncompressed_and_truncated(self, tree):
        path = tree.put("sub-1_ses-1", trees.image(), suffix=".nii")
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(UnreadableVolumeError):
            load(path)
