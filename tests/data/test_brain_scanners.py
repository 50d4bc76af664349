"""Scanners of the stand-in volumes: what each effect does, and that makers and sites can be told, if not perfectly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from armed.data.brain_anatomy import HEAD_MM, template
from armed.data.brain_scanners import MAKERS, SCANNERS, SESSION_SD, SITE_SD, Scanner, acquire, contrast_curve

PLAIN = Scanner(csf=0.3, gm=0.7, filter=0.0, noise=0.005, bias_rim=0.0, bias_y=0.0, bias_z=0.0, scale=6.0)
VOXEL = np.array([2.0, 2.0, 2.0])
N_SITES, N_SESSIONS = 16, 4


@pytest.fixture(scope="module")
def slab():
    """Seven coronal slices of the template about y = -6 at 2 mm: intensities, brain mask, places of its voxels."""
    axes = [np.arange(a, b, 2.0, dtype=np.float32) for a, b in ((-80, 81), (-12, 1), (-60, 86))]
    points = np.stack([p.ravel() for p in np.meshgrid(*axes, indexing="ij")], axis=1)
    shape = tuple(map(len, axes))
    t1 = template().grid.sample(template().t1, points).reshape(shape)
    brain = template().grid.nearest(template().brain, points).reshape(shape)
    return t1, brain, points[brain.ravel()] - HEAD_MM


def image(slab, scanner, seed=0):
    return acquire(*slab, scanner, VOXEL, np.random.default_rng(seed)).astype(float)


def scaled(picture):
    low, high = np.percentile(picture, [2, 98])
    return np.clip((picture - low) / (high - low), 0, 1)


def features(picture):
    """Histogram and texture of the middle slice, scaled by percentiles."""
    s = scaled(picture[:, 3])
    inside = ndimage.binary_erosion(s > 0.02, iterations=2)
    mean = ndimage.uniform_filter(s, 3)
    local = (ndimage.uniform_filter(s * s, 3) - mean * mean)[inside]
    texture = [np.log(ndimage.laplace(s)[inside].var()), *np.log(np.percentile(local, [10, 50, 90]))]
    return np.concatenate([np.histogram(s[inside], 24, (0, 1))[0] / inside.sum(), texture])


@pytest.fixture(scope="module")
def scans(slab):
    """Features, makers and sites of some sessions of some sites of each maker, all of one and the same brain."""
    rng = np.random.default_rng(5)
    X, makers, sites = [], [], []
    for maker, scanner in MAKERS.items():
        for n in range(N_SITES):
            site = scanner.deviate(SITE_SD, rng)
            for _ in range(N_SESSIONS):
                session = site.deviate(SESSION_SD, rng)
                X.append(features(acquire(*slab, session, VOXEL, rng).astype(float)))
                makers.append(maker)
                sites.append(f"{maker} {n}")
    return np.array(X), np.array(makers), np.array(sites)


def classifier():
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=2000))


class TestEffects:
    def test_background_is_zero_and_brain_is_not(self, slab):
        values = acquire(*slab, MAKERS["GE"], VOXEL, np.random.default_rng(0))
        assert values.dtype == np.int16
        assert (values[~slab[1]] == 0).all() and (values[slab[1]] > 0).all()

    def test_tissues_have_the_signals_asked_for(self, slab):
        signal = image(slab, PLAIN)[slab[1]] / np.exp(PLAIN.scale)
        t1 = slab[0][slab[1]]
        for tissue, wanted in ((0.28, 0.3), (0.66, 0.7), (0.87, 1.0)):
            assert signal[np.abs(t1 - tissue) < 0.02].mean() == pytest.approx(wanted, abs=0.02)

    def test_curves_rise_at_all_sites(self):
        rng = np.random.default_rng(0)
        for scanner in MAKERS.values():
            for _ in range(100):
                assert (np.diff(contrast_curve(scanner.deviate(SITE_SD, rng))[1]) > 0).all()

    def test_scale_is_gone_after_scaling_and_contrast_is_not(self, slab):
        base = scaled(image(slab, PLAIN))
        assert scaled(image(slab, replace(PLAIN, scale=7.5))) == pytest.approx(base, abs=0.01)
        other = scaled(image(slab, replace(PLAIN, gm=0.76, csf=0.36)))
        assert np.abs(other - base)[slab[1]].mean() > 0.02

    def test_filter(self, slab):
        inside = ndimage.binary_erosion(slab[1][:, 3], iterations=3)
        pictures = [image(slab, replace(PLAIN, noise=0.03, filter=k))[:, 3] for k in (-0.4, 0.0, 0.5)]
        rough = [ndimage.laplace(picture)[inside].std() for picture in pictures]
        assert rough[0] > 1.2 * rough[1] > 1.2 * 1.2 * rough[2]

    def test_noise_has_the_size_asked_for(self, slab):
        noisy = replace(PLAIN, noise=0.04)
        difference = (image(slab, noisy, 1) - image(slab, noisy, 2))[slab[1] & (slab[0] > 0.6)]
        assert difference.std() / np.sqrt(2) / np.exp(PLAIN.scale) == pytest.approx(0.04, rel=0.05)

    def test_bias(self, slab):
        plain, biased = (image(slab, s, 1) for s in (PLAIN, replace(PLAIN, bias_z=0.2)))
        gain = (biased / np.maximum(plain, 1))[slab[1]]
        place = slab[2]
        top, bottom = (gain[place[:, 2] > 40].mean(), gain[place[:, 2] < -30].mean())
        assert top > 1.08 and bottom < 0.95

    def test_names_tell_the_maker(self):
        assert all(name.startswith(maker) for maker, names in SCANNERS.items() for name in names)


class TestTelling:
    def test_makers_at_new_sites_well_but_not_perfectly(self, scans):
        X, makers, sites = scans
        told = cross_val_predict(classifier(), X, makers, groups=sites, cv=GroupKFold(8))
        assert 0.80 < (told == makers).mean() < 0.995

    @pytest.mark.parametrize("maker", MAKERS)
    def test_sites_of_a_maker_above_chance(self, scans, maker):
        X, makers, sites = scans
        of_maker = makers == maker
        folds = StratifiedKFold(N_SESSIONS, shuffle=True, random_state=0)
        told = cross_val_predict(classifier(), X[of_maker], sites[of_maker], cv=folds)
        assert (told == sites[of_maker]).mean() > 4 / N_SITES
