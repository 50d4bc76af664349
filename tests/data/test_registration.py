"""Registration of one volume: the template, moved, turned, stretched, with other voxels and another orientation."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import volume_trees as trees
from scipy import ndimage

from armed.data import registration
from armed.data.registration import on_grid, register_once
from armed.data.slices import cut
from armed.errors import DataError

POINT = np.array([*trees.POINT, 1.0])


def moved_template(to_mni, codes, mm):
    """The template in a space of its own, on a grid of other voxels and another orientation."""
    from nilearn.datasets import load_mni152_template

    template = load_mni152_template(resolution=1)
    shape, affine = trees.grid(codes, mm)
    from_mni = np.linalg.inv(to_mni)
    affine[:3, 3] += (from_mni @ [*trees.CENTRE, 1])[:3] - trees.CENTRE
    to_template = np.linalg.solve(template.affine, to_mni @ affine)
    # Other scale and contrast of the intensities than the template's.
    values = ndimage.affine_transform(
        template.get_fdata(dtype=np.float32), to_template[:3, :3], to_template[:3, 3], output_shape=shape, order=1
    )
    return nib.Nifti1Image((900 * values**1.5).astype(np.int16), affine)


@pytest.fixture(scope="module")
def to_mni():
    from_mni = trees.rotation(9, -6, 11) @ np.diag([1.08, 0.94, 1.05, 1.0])
    from_mni[:3, 3] = (12, -20, 30)
    return np.linalg.inv(from_mni)


@pytest.fixture(scope="module")
def found(to_mni, tmp_path_factory):
    """Registered once for all tests: seconds."""
    folder = tmp_path_factory.mktemp("registration")
    image = moved_template(to_mni, "PIL", (2.0, 2.5, 2.0))
    path, checkpoint = folder / "a.nii.gz", folder / "kept" / "a.json"
    nib.save(image, path)
    return image, path, checkpoint, register_once(image, path, checkpoint)


class TestRegister:
    def test_hippocampus_is_found(self, to_mni, found):
        image, _, _, result = found
        there = np.linalg.solve(to_mni, POINT)
        assert np.linalg.norm((result.to_mni @ there - POINT)[:3]) < 1.5  # mm
        assert np.linalg.norm(np.linalg.solve(result.to_mni, POINT)[:3] - there[:3]) < 1.5
        assert result.similarity > 0.9
        by_truth, by_result = (cut(image, to_mni=a, size=96).point for a in (to_mni, result.to_mni))
        assert np.abs(np.subtract(by_truth, by_result)).max() < 2  # pixels

    def test_whole_brain_is_found(self, to_mni, found):
        corners = np.array([[-60, -90, -30, 1], [60, -90, 60, 1], [0, 60, 0, 1], [-32, -6, -26, 1]]).T
        away = (found[3].to_mni @ np.linalg.inv(to_mni) @ corners - corners)[:3]
        assert np.linalg.norm(away, axis=0).max() < 3

    def test_kept_and_taken_up(self, found, monkeypatch):
        image, path, checkpoint, result = found
        assert json.loads(checkpoint.read_text())["similarity"] == result.similarity
        monkeypatch.setattr(registration, "register", None)
        again = register_once(image, path, checkpoint)
        np.testing.assert_array_equal(again.to_mni, result.to_mni)
        assert again.similarity == result.similarity

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"key": 1}'])
    def test_what_does_not_fit_is_made_anew(self, found, monkeypatch, tmp_path, content):
        image, path, _, result = found
        monkeypatch.setattr(registration, "register", lambda image: result)
        checkpoint = tmp_path / "a.json"
        checkpoint.write_text(content)
        register_once(image, path, checkpoint)
        monkeypatch.setattr(registration, "register", None)
        np.testing.assert_array_equal(register_once(image, path, checkpoint).to_mni, result.to_mni)

    def test_another_file_is_registered_anew(self, found, monkeypatch, tmp_path):
        image, _, checkpoint, result = found
        other, kept = tmp_path / "b.nii.gz", tmp_path / "b.json"
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj) // 2, image.affine), other)
        kept.write_bytes(checkpoint.read_bytes())
        monkeypatch.setattr(registration, "register", lambda image: result._replace(similarity=0.123))
        assert register_once(image, other, kept).similarity == 0.123


def test_what_is_not_like_the_template(monkeypatch):
    """A volume that lies in place, and shows something else; without a step it stays there."""
    monkeypatch.setattr(registration, "STEPS", ((8.0, "rigid", 1),))
    shape, affine = trees.grid(mm=(4.0, 4.0, 4.0))
    noise = np.random.default_rng(0).uniform(1, 9, shape) * (trees.brain(shape, affine) > 0)
    with pytest.raises(DataError, match="not like the template"):
        registration.register(nib.Nifti1Image(noise.astype(np.float32), affine))


def test_grid_keeps_places():
    """The bright voxel is found at the same place of the world, whatever the volume's axes are."""
    for codes, turned in (("RAS", None), ("PIL", trees.rotation(10, 20, -15))):
        shape, affine = trees.grid(codes, (2.0, 3.0, 2.0), turned)
        ball = np.linalg.norm(trees.coordinates(shape, affine) - trees.POINT[:, None, None, None], axis=0) < 9
        values = trees.brain(shape, affine) + 1000 * ball
        sampled, grid = on_grid(values.astype(np.float32), affine, 4.0)
        assert np.quantile(sampled[sampled > 0], 0.98) == pytest.approx(1)
        places = trees.coordinates(sampled.shape, grid)[:, sampled > 0.5 * sampled.max()]
        assert np.linalg.norm(places.mean(axis=1) - trees.POINT) < 1
