"""The microscope of the stand-in movies: what each effect does, and that dates differ by it and by nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import f_oneway
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import cross_val_predict

from armed.data.cell_drawing import draw_scene
from armed.data.cell_microscope import DATES, TYPICAL, Microscope, acquire, draw_debris
from armed.data.cell_model import Settings, draw, stream
from armed.data.cell_motion import move

CLEAN = replace(TYPICAL, noise=0.0, debris=0.0, grain=0.0, rim=0.0, blur=0.0005)
BLANK = np.zeros((1, 64, 64), dtype=np.float32)


@pytest.fixture(scope="module")
def scenes():
    """A frame of each cell of the seen dates of a data set, and these dates."""
    _, dates, cells = draw(Settings(), 1)
    dates = {date.id: date for date in dates if date.seen}
    return [
        (cell.date, draw_scene(move(cell, stream("motion", 1, cell.index), 1), 64, cell.texture))
        for cell in cells
        if cell.date in dates
    ], dates


def image(scene, microscope, seed=0):
    return acquire(scene.phase, scene.scatter, microscope, np.random.default_rng(seed))[0] / 255.0


def blank(microscope, seed=0):
    return acquire(BLANK, BLANK, microscope, np.random.default_rng(seed))[0] / 255.0


def measures(picture):
    """Brightness, contrast, sharpness, noise; left to right, top to bottom."""
    border = np.r_[picture[:6].ravel(), picture[-6:].ravel()]
    fine = picture - ndimage.gaussian_filter(picture, 1.0)
    sides = picture[:, :8].mean() - picture[:, -8:].mean(), picture[:8].mean() - picture[-8:].mean()
    return np.array([np.median(border), picture.std(), ndimage.laplace(picture).std(), fine[:6].std(), *sides])


@pytest.fixture(scope="module")
def statistics(scenes):
    """Measures of the images with the dates' microscopes, and with one microscope for all; the dates."""
    found, dates = scenes
    own = np.array([measures(image(scene, dates[date].microscope, i)) for i, (date, scene) in enumerate(found)])
    same = np.array([measures(image(scene, TYPICAL, i)) for i, (_, scene) in enumerate(found)])
    return own, same, np.array([date for date, _ in found])


class TestEffects:
    def test_phase_contrast(self, scenes):
        """Cells are darker than the medium, with a bright halo outside; a stronger one lightens both."""
        for _, scene in scenes[0][:10]:
            ring = ndimage.binary_dilation(scene.cell[0] > 0.02, iterations=3) & (scene.cell[0] < 0.01)
            inside = scene.cell[0] > 0.95
            for halo in (0.6, 1.0):
                picture = image(scene, replace(CLEAN, halo=halo, gradient_x=0, gradient_y=0))
                assert picture[ring].mean() > CLEAN.brightness + 0.02
                assert picture[inside].mean() < CLEAN.brightness
            strong = image(scene, replace(CLEAN, halo=1.0))
            weak = image(scene, replace(CLEAN, halo=0.6))
            assert strong[ring].mean() > weak[ring].mean() + 0.01

    def test_brightness_and_contrast(self, scenes):
        scene = scenes[0][0][1]
        assert blank(replace(CLEAN, brightness=0.6)).mean() == pytest.approx(0.6, abs=0.003)
        flat, steep = (image(scene, replace(CLEAN, contrast=c)).std() for c in (-0.3, 0.3))
        assert steep / flat == pytest.approx(np.exp(0.6), rel=0.08)

    def test_lamp(self):
        picture = blank(replace(CLEAN, gradient_x=0.4, gradient_y=-0.2))
        assert np.log(picture[:, -1].mean() / picture[:, 0].mean()) == pytest.approx(0.4, abs=0.02)
        assert np.log(picture[-1].mean() / picture[0].mean()) == pytest.approx(-0.2, abs=0.02)
        dark = blank(replace(CLEAN, rim=0.2))
        assert np.log(dark[0, 0] / dark[32, 32]) == pytest.approx(-0.2, abs=0.02)

    def test_noise(self):
        first, second = (blank(replace(CLEAN, noise=0.03), seed) for seed in (0, 1))
        assert (first - second).std() / np.sqrt(2) == pytest.approx(0.03, rel=0.05)

    def test_blur(self, scenes):
        scene = scenes[0][0][1]
        rough = [ndimage.laplace(image(scene, replace(CLEAN, blur=b))).std() for b in (0.002, 0.008, 0.016)]
        assert rough[0] > 1.1 * rough[1] > 1.2 * rough[2]

    def test_debris_and_grain(self):
        counts = [draw_debris(replace(CLEAN, debris=9.0), np.random.default_rng(i), 2).x.shape for i in range(60)]
        assert np.mean([n for _, n in counts]) / 2 == pytest.approx(9, abs=1.2)  # two blobs each
        assert np.ptp(blank(CLEAN)) == 0
        assert blank(replace(CLEAN, debris=9.0)).std() > 0.003 and blank(replace(CLEAN, grain=0.08)).std() > 0.005

    def test_draws(self):
        drawn = [Microscope.draw(np.random.default_rng(i)) for i in range(400)]
        for name, (middle, sd, log) in DATES.items():
            values = np.array([getattr(m, name) for m in drawn])
            deviations = np.log(values / middle) / sd if log else (values - middle) / sd
            assert np.abs(deviations).max() <= 2.0 + 1e-9 and deviations.std() == pytest.approx(0.93, abs=0.1), name
        assert all(0.2 < m.brightness < 0.7 for m in drawn)


class TestDates:
    def test_differ_by_their_microscopes(self, statistics):
        """F of brightness, sharpness and the lamp's gradients over dates; about 1 with one microscope for all."""
        own, same, dates = statistics
        groups = [dates == date for date in np.unique(dates)]
        for k, least in ((0, 300), (2, 10), (4, 50), (5, 50)):
            assert f_oneway(*(own[g, k] for g in groups)).statistic > least, k
            assert f_oneway(*(same[g, k] for g in groups)).statistic < 3, k

    def test_can_be_told_apart_by_them_only(self, statistics):
        own, same, dates = statistics
        told = [(cross_val_predict(LinearDiscriminantAnalysis(), X, dates, cv=4) == dates).mean() for X in (own, same)]
        assert told[0] > 0.85 and told[1] < 0.3  # chance 0.125

    def test_cells_can_be_seen_at_all(self, scenes):
        found, dates = scenes
        for date in dates.values():
            scene = next(scene for where, scene in found if where == date.id)
            picture = image(scene, date.microscope)
            ring = ndimage.binary_dilation(scene.cell[0] > 0.02, iterations=4) & (scene.cell[0] < 0.01)
            assert picture[ring].mean() - picture[scene.cell[0] > 0.95].mean() > 0.03
            assert ((picture > 0) & (picture < 1)).mean() > 0.99
