"""The brain of the stand-in volumes: where the structures are, and that atrophy gives them the volumes asked for."""

from __future__ import annotations

import numpy as np
import pytest

from armed.data import brain_anatomy as anatomy
from armed.data.brain_anatomy import atrophy, random_warp, sources, template

SLICE_Y = -6


def block(low, high, step):
    """Points of a regular block, (n, 3), and its shape."""
    axes = [np.arange(a, b, step, dtype=np.float32) for a, b in zip(low, high, strict=True)]
    return np.stack([p.ravel() for p in np.meshgrid(*axes, indexing="ij")], axis=1), tuple(map(len, axes))


def signed_distance(structure, *points):
    return structure.distance(np.array(points, dtype=np.float32))


@pytest.fixture(scope="module")
def middle():
    """Points of a block about both structures, 1.5 mm apart."""
    return block((-50, -70, -40), (51, 50, 50), 1.5)[0]


class TestStructures:
    def test_hippocampi(self):
        hippocampi = template().hippocampi
        sides = [(sign * 22, SLICE_Y, -22) for sign in (-1, 1)], [(sign * 30, -26, -11) for sign in (-1, 1)]
        assert (signed_distance(hippocampi, *sides[0], *sides[1]) < -1).all()
        assert (signed_distance(hippocampi, (0, -20, -20), (50, -6, -26), (24, 20, -22)) > 5).all()
        # Hippocampus and amygdala of both sides: 3 to 4 and 1.5 to 2 ml each.
        assert 8 < hippocampi.volume_ml < 12

    def test_ventricles(self):
        ventricles = template().ventricles
        inside = [(s * x, y, z) for s in (-1, 1) for x, y, z in ((8, 20, 8), (12, -20, 24), (25, -46, 8))]
        assert (signed_distance(ventricles, *inside) < 0).all()
        assert (signed_distance(ventricles, (0, -15, 0), (0, -45, -30), (40, 0, 40)) > 3).all()
        assert 12 < ventricles.volume_ml < 25

    def test_the_slice_meets_both(self):
        points, _ = block((-60, SLICE_Y, -50), (61, SLICE_Y + 1, 60), 1.0)
        for structure in (template().hippocampi, template().ventricles):
            area = (structure.distance(points) < 0).sum()
            assert 60 < area < 500  # mm^2

    def test_sides_are_alike(self):
        for structure in (template().hippocampi, template().ventricles):
            x = structure.grid.origin[0] + np.nonzero(structure.phi < 0)[0]
            assert (x < 0).sum() == pytest.approx((x > 0).sum(), rel=0.03)


class TestAtrophy:
    def test_none_leaves_the_template(self, middle):
        t1, brain, _ = atrophy(middle, (1.0, 1.0))
        assert t1 == pytest.approx(template().grid.sample(template().t1, middle), abs=1e-5)
        assert (brain == template().grid.nearest(template().brain, middle)).all()

    @pytest.mark.parametrize("factors", [(0.6, 4.0), (0.775, 1.5), (1.0, 2.5), (1.2, 0.8)])
    def test_volumes_are_those_asked_for(self, middle, factors):
        for i, structure in enumerate((template().hippocampi, template().ventricles)):
            moved = middle.copy()
            structure.move(moved, factors[i])
            before, after = (0.5 - structure.distance(points) / 1.5 for points in (middle, moved))
            ratio = np.clip(after, 0, 1).sum() / np.clip(before, 0, 1).sum()
            assert ratio == pytest.approx(factors[i], rel=0.06)

    def test_large_ventricles_are_fluid_throughout(self, middle):
        """A motion longer than a ventricle is wide must not bring the tissue of its other wall into it."""
        t1, _, structure = atrophy(middle, (1.0, 5.0))
        inside = structure & (middle[:, 2] > -3) & (np.abs(middle[:, 0]) > 6)
        assert inside.sum() > 5000
        assert (t1[inside] < 0.6).mean() > 0.97

    def test_fluid_takes_the_place_of_a_hippocampus(self, middle):
        (full, _, structure), (shrunken, _, _) = (atrophy(middle, (h, 1.0)) for h in (1.0, 0.65))
        there = structure & (middle[:, 2] < -5) & (np.abs(middle[:, 0]) > 15)
        assert (shrunken - full)[there].mean() < -0.02

    def test_nothing_changes_far_away(self, middle):
        (full, _, _), (sick, _, _) = (atrophy(middle, factors) for factors in ((1.0, 1.0), (0.7, 3.0)))
        to_hippocampi, to_ventricles = template().hippocampi.distance(middle), template().ventricles.distance(middle)
        away = (to_hippocampi > 15) & (to_ventricles > 27)
        assert away.mean() > 0.1 and (full == sick)[away].all()
        assert np.abs(full - sick)[(to_hippocampi < 4) | (to_ventricles < 4)].mean() > 0.05


class TestWarp:
    def test_size(self):
        warps = np.stack([random_warp(np.random.default_rng(i)) for i in range(30)])
        wanted = np.sqrt(sum(sd**2 for _, sd in anatomy.WARPS))
        assert warps.std(axis=(0, 2, 3, 4)) == pytest.approx([wanted] * 3, rel=0.15)
        assert np.abs(warps.mean()) < 0.3

    def test_it_never_folds(self):
        for seed in range(20):
            warp = random_warp(np.random.default_rng(seed))
            slopes = np.stack([np.stack(np.gradient(part, anatomy.COARSE_MM)) for part in warp])
            jacobian = np.moveaxis(slopes, (0, 1), (-2, -1)) + np.eye(3)
            assert np.linalg.det(jacobian).min() > 0.1

    def test_seed(self):
        first, same, other = (random_warp(np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert (first == same).all() and not np.allclose(first, other)

    def test_sources(self):
        points = np.array([[30.0, -20.0, 10.0], [0.0, 0.0, 0.0]], dtype=np.float32)
        warp = np.zeros_like(random_warp(np.random.default_rng(0)))
        warp[2] = 3.0
        assert sources(points, warp) == pytest.approx(points + np.float32([0, 0, 3]))
