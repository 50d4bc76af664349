"""Statistics of images, on images of which they are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, stats

from armed.data import image_statistics
from armed.data.image_statistics import NAMES, f_statistics, statistics
from armed.errors import DataError

SIZE = (48, 40)


def smooth(seed=0):
    """A bright blob on a gradient."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] / 40
    return 0.4 + 0.1 * x + 0.3 * np.exp(-((x - 0.5) ** 2 + (y - 0.4 - 0.1 * seed) ** 2) / 0.02)


def of(image):
    return dict(zip(NAMES, statistics(image[None])[0], strict=True))


class TestStatistics:
    def test_brightness_and_contrast_are_mean_and_sd(self):
        images = np.random.default_rng(0).random((3, *SIZE))
        found = statistics(images)
        assert found.shape == (3, 4) and found.dtype == np.float32
        np.testing.assert_allclose(found[:, 0], images.mean((1, 2)), rtol=1e-6)
        np.testing.assert_allclose(found[:, 1], images.std((1, 2)), rtol=1e-6)

    def test_sharpness_is_the_variance_of_the_laplacian(self):
        image = np.random.default_rng(1).random(SIZE)
        assert of(image)["sharpness"] == pytest.approx(ndimage.laplace(image)[1:-1, 1:-1].var(), rel=1e-6)

    @pytest.mark.parametrize("sd", [0.005, 0.02, 0.08])
    def test_noise_is_found_again_under_structure(self, sd):
        image = smooth() + np.random.default_rng(2).normal(0, sd, SIZE)
        assert of(image)["snr"] == pytest.approx(20 * np.log10(image.mean() / sd), abs=0.8)

    def test_each_tells_of_its_own_change(self):
        rng = np.random.default_rng(3)
        base = smooth() + rng.normal(0, 0.01, SIZE)
        plain = of(base)
        bright, faded = of(base + 0.1), of(base.mean() + 0.5 * (base - base.mean()))
        blurred, noisy = of(ndimage.gaussian_filter(base, 1)), of(base + rng.normal(0, 0.03, SIZE))
        assert bright["brightness"] == pytest.approx(plain["brightness"] + 0.1, abs=1e-6)
        assert bright["contrast"] == pytest.approx(plain["contrast"], abs=1e-6)
        assert faded["contrast"] == pytest.approx(plain["contrast"] / 2, rel=1e-5)
        assert faded["brightness"] == pytest.approx(plain["brightness"], rel=1e-5)
        assert blurred["sharpness"] < plain["sharpness"] / 5
        assert noisy["snr"] < plain["snr"] - 6

    def test_a_plane_has_no_noise(self):
        found = of(np.full(SIZE, 0.3))
        assert np.isnan(found["snr"]) and found["brightness"] == np.float32(0.3) and found["sharpness"] == 0
        assert np.isnan(of(np.add.outer(np.arange(48), np.arange(40)) / 100)["snr"])
        assert np.isnan(of(np.zeros(SIZE))["snr"])

    def test_many_images_in_parts(self, monkeypatch):
        images = np.random.default_rng(4).random((7, *SIZE))
        whole = statistics(images)
        monkeypatch.setattr(image_statistics, "_AT_ONCE", 2 * SIZE[0] * SIZE[1])
        assert (statistics(images) == whole).all() and statistics(images[:0]).shape == (0, 4)

    @pytest.mark.parametrize("shape", [(4, 4), (2, 1, 8, 8), (3, 2, 8)])
    def test_other_shapes_are_refused(self, shape):
        with pytest.raises(DataError, match="expected"):
            statistics(np.zeros(shape))


class TestFStatistics:
    def test_by_scipy(self):
        rng = np.random.default_rng(5)
        clusters = np.repeat(list("abc"), [10, 12, 8])
        values = rng.normal(size=(30, 4)) + (clusters == "b")[:, None] * [0, 1, 2, 3]
        found = f_statistics(values, clusters).set_index("statistic")
        for j, name in enumerate(NAMES):
            f, p = stats.f_oneway(*(values[clusters == c, j] for c in "abc"))
            assert found.loc[name, ["f", "p", "n", "clusters"]].tolist() == pytest.approx([f, p, 30, 3])
        assert found["f"].is_monotonic_increasing

    def test_frames_of_a_cell_are_no_independent_images(self):
        """Cells that differ, on dates that do not: frames taken for images make F large."""
        rng = np.random.default_rng(6)
        subjects = np.repeat(np.arange(24), 10)
        values = rng.normal(size=(24, 4))[subjects] + 0.01 * rng.normal(size=(240, 4))
        clusters = np.repeat(list("abcd"), 60)
        by_cell, by_frame = f_statistics(values, clusters, subjects), f_statistics(values, clusters)
        assert (by_cell["n"] == 24).all() and (by_frame["f"] > 5 * by_cell["f"]).all()
        assert by_cell["p"].min() > 0.01

    def test_undefined(self):
        values = np.arange(12.0).reshape(3, 4)
        values[0, 3] = np.nan
        assert f_statistics(values, ["a", "a", "a"])["f"].isna().all()
        assert f_statistics(values, ["a", "b", "c"])["f"].isna().all()
        assert f_statistics(values, ["a", "a", "b"])["f"].isna().tolist() == [False, False, False, True]
        assert f_statistics(np.ones((4, 4)), list("aabb"))["f"].isna().all()
