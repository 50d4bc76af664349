"""The figures show what the tables say."""

from __future__ import annotations

import numpy as np
import pytest
from benchmark_rows import rows

from armed.errors import DataError
from benchmarks import figures, tables
from benchmarks.cases import Case, plan


@pytest.fixture(scope="module")
def scaling():
    return rows([case for block in plan() for case in block])


def texts(ax):
    return [t.get_text() for t in ax.texts]


def drawn(ax, colour):
    """x and y of the marks of one colour."""
    return [line.get_xydata() for line in ax.lines if line.get_color() == colour and line.get_marker() == "o"]


class TestSpeed:
    def test_a_panel_for_each_method_with_the_speed_of_the_stack_of_1000(self, scaling):
        comparison = tables.comparison(scaling)
        figure = figures.speed(comparison)
        assert [ax.get_title("left") for ax in figure.axes] == ["Conventional", "ARMED", "Meta-learning (MLDG)"]
        of_1000 = comparison.query("method == 'armed' and replicas == 1000").set_index("engine")["ratio"]
        assert texts(figure.axes[1]) == [f"{of_1000[e]:.0f}x" for e in ("compiled", "eager")]

    def test_marks_are_the_ratios(self, scaling):
        comparison = tables.comparison(scaling)
        marks = drawn(figures.speed(comparison).axes[0], figures.COLOURS["compiled"])
        rows = comparison.query("method == 'conventional' and engine == 'compiled'")
        np.testing.assert_allclose(marks[0], rows[["replicas", "ratio"]])

    def test_nothing_to_draw(self, scaling):
        with pytest.raises(DataError, match="make benchmark"):
            figures.speed(tables.comparison(scaling).iloc[:0])


class TestCost:
    def test_a_panel_for_each_factor_and_one_for_memory(self, scaling):
        figure = figures.cost(scaling)
        labels = [ax.get_xlabel() for ax in figure.axes]
        assert labels == [*figures.FACTORS.values(), figures.FACTORS["replicas"]]
        assert figure.axes[-1].get_ylabel() == "peak memory, MB"

    def test_guides_have_slope_one_and_start_where_the_curves_do(self, scaling):
        ax = figures.cost(scaling).axes[1]
        guides = [line.get_xydata() for line in ax.lines if line.get_linestyle() == "--"]
        curves = scaling.query("factor == 'clusters'").groupby("engine")["cpu_s_per_model"].first()
        assert len(guides) == len(curves)
        for guide, first in zip(guides, curves, strict=True):
            assert guide[0, 1] == pytest.approx(first)
            assert np.ptp(np.log(guide[:, 1] / guide[:, 0])) == pytest.approx(0, abs=1e-12)

    def test_one_factor_is_enough(self, scaling):
        figure = figures.cost(scaling[scaling["factor"].isin(["samples", "replicas"])])
        assert sum(ax.axison for ax in figure.axes) == 3

    def test_single_levels_make_no_curve(self):
        with pytest.raises(DataError, match="no factor at two levels"):
            figures.cost(rows([Case("armed", "plain")]))
