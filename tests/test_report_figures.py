"""Drawings in the report: lines in fewer points look the same."""

from __future__ import annotations

import re
from urllib.parse import unquote

import numpy as np
import pytest

from armed import report_figures

ROUNDING = 2 * 10.0**-report_figures.DECIMALS


def written(points: np.ndarray) -> str:
    """Path data as matplotlib writes it."""
    return "\n".join(f"{'L' if i else 'M'} {x:.6f} {y:.6f} " for i, (x, y) in enumerate(points))


def shortened(points: np.ndarray) -> np.ndarray:
    """Corners of the path that the report has, in absolute coordinates."""
    svg = re.sub(r'(?<=\sd=")[^"]*', report_figures._shorter_path, f'<path d="{written(points)}"/>')
    steps = re.findall(r"([Ml])(-?[\d.e-]+) (-?[\d.e-]+)", svg)
    assert [c for c, *_ in steps] == ["M", *["l"] * (len(steps) - 1)]
    return np.cumsum([(float(x), float(y)) for _, x, y in steps], axis=0)


def distance(point: np.ndarray, corners: np.ndarray) -> float:
    """Distance of a point from a line of several pieces."""
    begin, along = corners[:-1], np.diff(corners, axis=0)
    share = ((point - begin) * along).sum(1) / np.maximum((along**2).sum(1), 1e-12)
    nearest = begin + np.clip(share, 0, 1)[:, None] * along
    return float(np.hypot(*(point - nearest).T).min())


@pytest.mark.parametrize("seed", range(5))
def test_a_line_passes_all_points_that_it_leaves_out(seed):
    points = np.cumsum(np.random.default_rng(seed).normal(0.3, 0.4, (300, 2)), axis=0)
    corners = shortened(points)
    assert 2 < len(corners) < len(points)
    assert max(distance(p, corners) for p in points) <= report_figures.STRAIGHT + ROUNDING
    np.testing.assert_allclose(corners[[0, -1]], points[[0, -1]], atol=ROUNDING)


def test_stairs_of_pixels_become_a_line_and_corners_stay():
    stairs = np.repeat(np.arange(0, 6, 0.2), 2)
    straight = shortened(np.column_stack([stairs[1:], stairs[:-1]]))
    assert len(straight) <= 4
    square = np.array([(0, 0), (10, 0), (10, 10), (0, 10), (0, 0)], float)
    np.testing.assert_allclose(shortened(square), square, atol=ROUNDING)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("", ""), ("M 1.5 2", "M1.5 2"), ("M 1 2 z", "M1 2z"), ("M 0 0 \nL 1 0 \nz\nM 3 3", "M0 0l1 0zM3 3")],
    ids=["empty", "one point", "one closed point", "a point after a line"],
)
def test_paths_of_a_point_or_of_nothing_are_kept(path, expected):
    assert report_figures.drawing(f'<path d="{path}"/>') == report_figures.drawing(f'<path d="{expected}"/>')
    assert re.search(r"d='([^']*)'", unquote(report_figures.drawing(f'<path d="{path}"/>')))[1] == expected
