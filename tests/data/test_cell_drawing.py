"""Cells of the stand-in as drawn: what the phenotype changes, how they move, the same at any image size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from armed.data.cell_blobs import Blobs, Wave, add_blobs
from armed.data.cell_drawing import draw_scene
from armed.data.cell_model import Settings, draw
from armed.data.cell_motion import move

N_CELLS = 24


@pytest.fixture(scope="module")
def cells():
    """Cells of all PDX."""
    return draw(Settings(), 3)[2][:: 176 // N_CELLS][:N_CELLS]


def drawn(cell, frames=6, size=64, seed=0):
    return draw_scene(move(cell, np.random.default_rng([seed, cell.index]), frames), size, cell.texture)


def mean_of(cells, measure, **traits):
    """Mean of a measure over cells that are given these traits; all else, chance included, is the same."""
    return np.mean([measure(drawn(replace(cell, **traits))) for cell in cells])


def outline_length(mask):
    dy, dx = np.gradient(mask, axis=(1, 2))
    return np.hypot(dx, dy).sum(axis=(1, 2))


def roughness(scene):
    """Length of the outline over that of a disc of the same area; 1 for a disc."""
    return (outline_length(scene.cell) / np.sqrt(4 * np.pi * scene.cell.sum(axis=(1, 2)))).mean()


def reach(scene):
    """Distance of the farthest part of the cell from its middle, over the radius of a disc of its area."""
    y, x = np.mgrid[:64, :64]
    far = [np.hypot(x - 31.5, y - 31.5)[mask > 0.5].max() / np.sqrt(mask.sum() / np.pi) for mask in scene.cell]
    return np.mean(far)


class TestPhenotype:
    @pytest.mark.parametrize(
        ("trait", "measure", "factor"),
        [("protrusion", reach, 1.1), ("roundness", roughness, 0.98), ("bleb", roughness, 1.02)],
    )
    def test_shape(self, cells, trait, measure, factor):
        """Without protrusions, which roughen the outline most."""
        few, many = (mean_of(cells, measure, **{"protrusion": -3.0} | {trait: value}) for value in (-1.2, 1.2))
        assert many > factor * few if factor > 1 else many < factor * few

    def test_light_scattering(self, cells):
        def light(scene):
            return scene.scatter.sum() / scene.cell.sum()

        assert mean_of(cells, light, scatter=1.2) > 1.8 * mean_of(cells, light, scatter=-1.2)

    def test_granules_are_faster_not_more(self, cells):
        def change(scene):
            return np.abs(np.diff(scene.scatter, axis=0)).mean() / scene.scatter.mean()

        def light(scene):
            return scene.scatter.mean()

        assert mean_of(cells, change, speed=1.2) > 1.4 * mean_of(cells, change, speed=-1.2)
        assert mean_of(cells, light, speed=1.2) == pytest.approx(mean_of(cells, light, speed=-1.2), rel=0.05)

    def test_a_high_cell_looks_high(self, cells):
        """All traits at their means for either class: longer reach, more scattering."""
        low = {"protrusion": -0.7, "bleb": 0.6, "roundness": 0.4, "scatter": -0.5, "speed": -0.6}
        high = {name: -value for name, value in low.items()}
        assert mean_of(cells, reach, **high) > 1.1 * mean_of(cells, reach, **low)

    def test_size_and_texture(self, cells):
        def area(scene):
            return scene.cell.mean()

        def contrast(scene):
            return scene.phase[scene.cell > 0.9].std()

        radii = 0.14, 0.19
        small, large = (mean_of(cells, area, radius=r) for r in radii)
        assert large / small == pytest.approx((radii[1] / radii[0]) ** 2, rel=0.15)
        assert mean_of(cells, contrast, texture=0.4) > 1.1 * mean_of(cells, contrast, texture=-0.4)


class TestMotion:
    def test_changes_smoothly(self, cells):
        """The outline moves, about a pixel a frame, and farther in four frames than in one."""
        for cell in cells:
            mask = drawn(cell, frames=13).cell
            one, four = (
                np.abs(mask[n:] - mask[:-n]).sum(axis=(1, 2)) / outline_length(mask)[n:] for n in (1, 4)
            )  # fmt: skip
            assert 0.02 < one.mean() < 1.2 and four.mean() > 1.5 * one.mean()
            assert one.max() < 3

    def test_waves(self):
        wave = Wave(np.random.default_rng(0), (4000,), 5.0)
        values = wave(np.arange(20.0))
        assert values.shape == (20, 4000)
        assert np.abs(values.mean(axis=1)).max() < 0.06 and values.std(axis=1) == pytest.approx(np.ones(20), abs=0.05)
        near, far = (np.mean(values[0] * values[n]) for n in (1, 15))
        assert near > 0.95 and abs(far) < 0.1

    def test_parts(self, cells):
        motion = move(cells[0], np.random.default_rng(0), 7)
        whole = draw_scene(motion, 48)
        part = draw_scene(motion.part(slice(4, 6)), 48)
        assert (part.phase == whole.phase[4:6]).all() and (part.scatter == whole.scatter[4:6]).all()


class TestSizes:
    @pytest.mark.parametrize("size", [32, 64, 100, 256])
    def test_any(self, cells, size):
        for cell in cells[:3]:
            scene = drawn(cell, frames=2, size=size)
            assert scene.phase.shape == scene.scatter.shape == scene.cell.shape == (2, size, size)
            assert scene.phase.dtype == scene.scatter.dtype == scene.cell.dtype == np.float32
            assert scene.cell.min() >= 0 and scene.cell.max() == 1 and np.isfinite(scene.phase).all()
            assert 0.03 < scene.cell.mean() < 0.35

    def test_the_same_cell(self, cells):
        for cell in cells[:8]:
            small, large = drawn(cell, frames=2), drawn(cell, frames=2, size=256)
            for name in ("phase", "cell", "scatter"):
                a, b = getattr(small, name), getattr(large, name).reshape(2, 64, 4, 64, 4).mean(axis=(2, 4))
                assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > (0.9 if name == "scatter" else 0.98)
            assert small.cell.mean() == pytest.approx(large.cell.mean(), rel=0.04)

    def test_blobs(self):
        """A blob smaller than a pixel keeps what it adds in all."""
        for width in (0.002, 0.02):
            blob = Blobs(*(np.full((1, 1), v) for v in (0.4, 0.6, width, 0.5)))
            for size in (32, 256):
                image = add_blobs(blob, size)[0]
                assert image.sum() / size**2 == pytest.approx(0.5 * 2 * np.pi * width**2, rel=0.02)
                y, x = np.unravel_index(image.argmax(), image.shape)
                assert abs((x + 0.5) / size - 0.4) < 1 / size and abs((y + 0.5) / size - 0.6) < 1 / size
