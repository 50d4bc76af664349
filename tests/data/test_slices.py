"""The slice through the hippocampus: where it lies, how it is turned, scaled, and described."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import volume_trees as trees
from hypothesis import given, settings
from hypothesis import strategies as st

from armed.data.slice_statistics import by_site, far_from_site, slice_statistics
from armed.data.slices import HIPPOCAMPUS, MARGIN, cut
from armed.errors import DataError

SIZE = 64
ORIENTATIONS = ["".join(codes) for order in permutations(("RL", "AP", "SI")) for codes in product(*order)]


def pair(codes="RAS", mm=(4.0, 4.0, 4.0), turned=None, to_mni=None):
    """A volume without and with a mark at the point."""
    shape, affine = trees.grid(codes, mm, turned)
    if to_mni is not None:
        affine = np.linalg.inv(to_mni) @ affine
    plain = trees.brain(shape, affine, to_mni)
    marked = plain.copy()
    marked[trees.nearest_voxel(affine, to_mni)] = trees.MARK
    return nib.Nifti1Image(plain, affine), nib.Nifti1Image(marked, affine)


def check_mark(plain, marked, to_mni=None, size=SIZE):
    """The mark is in the slice, where the slice says that the point is; return row and column of the mark."""
    without, with_mark = (cut(image, to_mni=to_mni, size=size) for image in (plain, marked))
    gain = with_mark.image.astype(float) - without.image
    assert gain.max() > 40
    gain[gain < 20] = 0  # what the scale gained is no mark
    places = np.indices(gain.shape).reshape(2, -1)
    row, column = np.average(places, axis=1, weights=gain.ravel())
    pixel = with_mark.statistics["pixel_mm"]
    reach = 1 + 0.5 * max(nib.affines.voxel_sizes(plain.affine)) / pixel  # half a voxel, and rounding
    assert np.abs(np.array(with_mark.point) - (row, column)).max() <= reach
    return row, column


def expected_place(size=SIZE):
    """Row and column of the point by the geometry of the ellipsoid: superior up, the subject's right on the left."""
    share = np.sqrt(1 - ((HIPPOCAMPUS[1] - trees.CENTRE[1]) / trees.SEMI_AXES[1]) ** 2)
    side = 2 * max(trees.SEMI_AXES[0], trees.SEMI_AXES[2]) * share
    row = size * (0.5 - (HIPPOCAMPUS[2] - trees.CENTRE[2]) / side)
    column = size * (0.5 - (HIPPOCAMPUS[0] - trees.CENTRE[0]) / side)
    return np.array([row, column])


class TestMark:
    @pytest.mark.parametrize("codes", ORIENTATIONS)
    def test_any_orientation(self, codes):
        place = check_mark(*pair(codes))
        assert np.abs(place - expected_place()).max() < 4

    @pytest.mark.parametrize("mm", [(1, 1, 1), (2, 2, 2), (1, 3, 1), (2.5, 1.2, 1), (1, 1, 3), (5, 1.5, 2)])
    @pytest.mark.parametrize("codes", ["RAS", "LAS", "LPI", "PSR"])
    def test_any_voxel_size(self, codes, mm):
        place = check_mark(*pair(codes, tuple(float(v) for v in mm)))
        assert np.abs(place - expected_place()).max() < 4

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(
        st.sampled_from(ORIENTATIONS),
        st.tuples(*[st.floats(2.0, 5.0)] * 3),
        st.tuples(*[st.floats(-30, 30)] * 3),
    )
    def test_oblique(self, codes, mm, degrees):
        check_mark(*pair(codes, mm, trees.rotation(*degrees)))

    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(
        st.tuples(*[st.floats(-20, 20)] * 3),
        st.tuples(*[st.floats(0.85, 1.15)] * 3),
        st.tuples(*[st.floats(-60, 60)] * 3),
    )
    def test_another_space(self, degrees, stretch, shift):
        to_mni = trees.rotation(*degrees) @ np.diag([*stretch, 1.0])
        to_mni[:3, 3] = shift
        check_mark(*pair("LPS", (3.0, 3.0, 3.0), to_mni=to_mni), to_mni=to_mni)

    @pytest.mark.parametrize("codes", ["RAS", "LPI", "SAL"])
    def test_shifted_space(self, codes):
        to_mni = np.diag([1.1, 0.9, 1.0, 1.0])
        to_mni[:3, 3] = (20, -30, 40)
        place = check_mark(*pair(codes, to_mni=to_mni), to_mni=to_mni)
        assert abs(place[0] - expected_place()[0]) < 4  # the height, not stretched, still fills the square

    def test_other_planes_do_not_show_it(self):
        plain, marked = pair()
        values = np.roll(marked.get_fdata(dtype=np.float32), 1, axis=1)
        values = np.where(values == trees.MARK, trees.MARK, plain.get_fdata(dtype=np.float32))
        beside = nib.Nifti1Image(values, plain.affine)
        same = cut(plain, to_mni=None, size=SIZE).image == cut(beside, to_mni=None, size=SIZE).image
        assert same.all()


class TestImage:
    def test_whatever_the_orientation_the_same_image(self):
        image = trees.image("RAS", (3.0, 4.0, 3.0), noise=1)
        expected = cut(image, to_mni=None, size=SIZE)
        for codes in ORIENTATIONS[::5]:
            ornt = nib.orientations.ornt_transform(
                nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes)
            )
            found = cut(image.as_reoriented(ornt), to_mni=None, size=SIZE)
            np.testing.assert_array_equal(found.image, expected.image)
            assert found.statistics == pytest.approx(expected.statistics, rel=1e-4)

    def test_square_around_the_brain(self):
        found = cut(trees.image("RAS", (2.0, 2.0, 2.0)), to_mni=None, size=96)
        assert found.image.shape == (96, 96) and found.image.dtype == np.uint8
        filled = found.image > 20
        rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
        border = MARGIN * 2.0 / found.statistics["pixel_mm"]
        # The ellipsoid is higher than wide: the height fills the square but for the margin, the width is padded evenly.
        assert rows[0] == pytest.approx(border, abs=1) and 95 - rows[-1] == pytest.approx(border, abs=1)
        assert columns[0] == pytest.approx(95 - columns[-1], abs=1) and columns[0] > rows[0]

    @pytest.mark.parametrize("mm", [(2.0, 2.0, 2.0), (1.0, 3.0, 3.0), (3.0, 2.0, 1.0)])
    def test_pixels_are_isotropic(self, mm):
        """Width and height keep their ratio, whatever the voxels are."""
        filled = cut(trees.image("RAS", mm), to_mni=None, size=128).image > 20
        ratio = filled.any(axis=0).sum() / filled.any(axis=1).sum()
        assert ratio == pytest.approx(trees.SEMI_AXES[0] / trees.SEMI_AXES[2], abs=0.04)

    def test_percentiles_become_black_and_white(self):
        image = trees.image("RAS", (2.0, 2.0, 2.0), noise=2)
        found = cut(image, to_mni=None, size=96).image
        assert found.min() == 0 and found.max() == 255
        assert (found == 255).mean() == pytest.approx(0.02, abs=0.005)
        assert (found[:, 0] == 0).all()  # background

    def test_scale_and_type_of_intensities_do_not_matter(self):
        values = trees.image(noise=3).get_fdata()
        affine = trees.grid()[1]
        first = cut(nib.Nifti1Image(values.astype(np.float32), affine), to_mni=None, size=SIZE)
        second = cut(nib.Nifti1Image((1000 * values).astype(np.int32), affine), to_mni=None, size=SIZE)
        assert np.abs(first.image.astype(int) - second.image).max() <= 1
        assert second.statistics["mean"] == pytest.approx(1000 * first.statistics["mean"], rel=1e-3)
        for name in ("contrast", "snr", "sharpness", "foreground", "pixel_mm"):
            assert second.statistics[name] == pytest.approx(first.statistics[name], rel=1e-2)

    def test_traces_of_interpolation_are_background(self):
        plain = trees.image()
        values = plain.get_fdata(dtype=np.float32).copy()
        values[values == 0] = 1e-6
        traces = nib.Nifti1Image(values, plain.affine)
        first, second = (cut(image, to_mni=None, size=SIZE) for image in (plain, traces))
        np.testing.assert_array_equal(first.image, second.image)


class TestRegion:
    @pytest.mark.parametrize("codes", ["RAS", "LAS", "LPI", "SRP"])
    def test_goes_the_way_of_the_image(self, codes):
        shape, affine = trees.grid(codes, (2.0, 2.0, 2.0), trees.rotation(5, -8, 10))
        places = trees.coordinates(shape, affine)
        ball = np.linalg.norm(places - trees.POINT[:, None, None, None], axis=0) < 12
        values = np.where(ball, trees.MARK, trees.brain(shape, affine))
        image, mask = nib.Nifti1Image(values, affine), nib.Nifti1Image(ball.astype(np.uint8), affine)
        found = cut(image, to_mni=None, size=96, region=mask)
        assert found.region.dtype == bool and found.region.shape == (96, 96)
        assert found.region[tuple(np.rint(found.point).astype(int))]
        bright = found.image > 200
        overlap = (bright & found.region).sum() / (bright | found.region).sum()
        assert overlap > 0.9

    def test_without_one(self):
        assert cut(trees.image(), to_mni=None, size=SIZE).region is None

    def test_another_grid(self):
        image = trees.image()
        moved = image.affine.copy()
        moved[0, 3] += 2
        for mask in (image.slicer[1:], nib.Nifti1Image(np.ones(image.shape, dtype=np.uint8), moved)):
            with pytest.raises(DataError, match="expected one grid"):
                cut(image, to_mni=None, size=SIZE, region=mask)


class TestWrongPlace:
    @pytest.mark.parametrize(
        ("shift", "told"),
        [((300, 0, 0), "outside the volume"), ((0, 0, 50), "beside the brain"), ((0, 104, 0), "empty")],
    )
    def test_the_point_must_lie_in_the_brain(self, shift, told):
        image = trees.image()
        affine = image.affine.copy()
        affine[:3, 3] += shift
        with pytest.raises(DataError, match=told):
            cut(nib.Nifti1Image(image.get_fdata(dtype=np.float32), affine), to_mni=None, size=SIZE)

    def test_one_intensity(self):
        shape, affine = trees.grid()
        values = np.full(shape, 5, dtype=np.float32)
        values[0] = 0
        with pytest.raises(DataError, match="one intensity"):
            cut(nib.Nifti1Image(values, affine), to_mni=None, size=SIZE)


class TestStatistics:
    def test_by_hand(self):
        brain = np.zeros((40, 40), dtype=bool)
        brain[5:35, 5:35] = True
        values = np.where(brain, np.arange(40) * 3.0 + 100, 0).astype(np.float32)  # rises by 3 a column, of 2 mm
        found = slice_statistics(values, brain, (1.0, 2.0))
        inside = values[brain]
        assert found["mean"] == pytest.approx(inside.mean()) and found["sd"] == pytest.approx(inside.std())
        assert found["contrast"] == pytest.approx(
            (np.percentile(inside, 98) - np.percentile(inside, 2)) / inside.mean()
        )
        assert found["sharpness"] == pytest.approx(1.5 / inside.mean(), rel=1e-5)
        assert np.isnan(found["snr"])  # a plane has no noise

    @pytest.mark.parametrize("sd", [1.0, 4.0])
    def test_signal_to_noise(self, sd):
        noise = np.random.default_rng(0).normal(0, sd, (120, 120))
        brain = np.zeros((120, 120), dtype=bool)
        brain[10:110, 10:110] = True
        values = np.where(brain, 100 + noise, 0).astype(np.float32)
        assert slice_statistics(values, brain, (1.0, 1.0))["snr"] == pytest.approx(100 / sd, rel=0.05)

    @staticmethod
    def table():
        rng = np.random.default_rng(1)
        names = ("mean", "sd", "contrast", "foreground", "snr", "sharpness", "pixel_mm")
        rows = pd.DataFrame({name: rng.normal(10, 0.5, 14) for name in names})
        told = {"site": ["a"] * 10 + ["b"] * 4, "subject": ["1", "1", *"abcdefghijkl"], "scanner": "GE"}
        rows = rows.assign(**told, diagnosis=["AD", "CN"] * 7, status="ok")
        rows.loc[3, "snr"], rows.loc[12, "snr"] = 90.0, 90.0
        rows.loc[4, "status"] = "unreadable"
        return rows

    def test_by_site(self):
        table = self.table()
        sites = by_site(table).set_index("site")
        assert sites.loc["a", ["images", "subjects", "AD", "CN", "left_out"]].tolist() == [9, 8, 4, 5, 1]
        used = table[(table["site"] == "a") & (table["status"] == "ok")]
        assert sites.loc["a", "mean_mean"] == pytest.approx(used["mean"].mean())
        assert sites.loc["a", "mean_sd"] == pytest.approx(used["mean"].std())

    def test_far_from_site(self):
        far = far_from_site(self.table())
        assert "snr 90 (median " in far[3]
        assert far[4] == ""  # has no slice
        assert far[12] == ""  # a site of four
