"""Metrics under weights against `armed.metrics` on rows that are really repeated."""

import numpy as np
import pytest

from armed import metrics
from armed.cells import Cells
from armed.weighted_metrics import Ranking, Weighted, WeightedCurve, compute

KINDS = {kind: [n for n, m in metrics.METRICS.items() if m.labels in labels] for kind, labels in
         {"binary": ("classes", "binary"), "multiclass": ("classes",), "continuous": ("continuous",)}.items()}  # fmt: skip


def sample(kind, n, rng, *, ties):
    if kind == "continuous":
        y = rng.normal(size=n)
        return (np.round(y) if ties else y), rng.normal(y)
    if kind == "multiclass":
        y = rng.integers(0, 3, n)
        output = rng.normal(2 * np.eye(3)[y])
    else:
        y = rng.integers(0, 2, n)
        output = rng.normal(1.5 * y)
    return y, np.round(output, 0 if kind == "binary" else 1) if ties else output


def weighted(y, output, weights, threshold=0.5):
    cell = Cells.of(np.zeros(len(y), int), y, output, threshold, 1)
    rankings = Ranking.all_of(cell) if np.isin(y, [0, 1, 2]).all() else ()
    return Weighted.of_cell(cell, np.asarray(weights, float), rankings)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in KINDS.items() for name in names])
def test_weights_are_repetitions_of_rows(kind, name, ties):
    rng = np.random.default_rng(0)
    for n in (3, 8, 40, 150):
        y, output = sample(kind, n, rng, ties=ties)
        # Few rows often lose a class, or leave one label only.
        weights = rng.multinomial(n, np.full(n, 1 / n), size=40).T
        found = compute(weighted(y, output, weights, threshold=0.4), name)
        for draw, count in enumerate(weights.T):
            rows = np.repeat(np.arange(n), count)
            expected = metrics.evaluate(y[rows], output[rows], [name], threshold=0.4)[name]
            assert found[draw] == pytest.approx(expected, abs=1e-10, nan_ok=True), (n, draw)


def test_a_weighting_without_rows_is_undefined():
    y, output = sample("binary", 20, np.random.default_rng(0), ties=True)
    for name in KINDS["binary"]:
        assert np.isnan(compute(weighted(y, output, np.zeros((20, 2))), name)).all()


@pytest.mark.parametrize("y", [[0, 0, 0], [1, 1, 1]])
def test_one_class_has_the_metrics_it_has_unweighted(y):
    y, output = np.array(y), np.array([-1.0, 0.5, 2.0])
    for name in KINDS["binary"]:
        expected = metrics.evaluate(y, output, [name])[name]
        assert compute(weighted(y, output, np.ones((3, 1))), name) == pytest.approx(expected, nan_ok=True)


def test_concordance_by_hand():
    # Positives at 2 (twice) and 1, negatives at 1 and 0 (three times): of 12 pairs 2 x (1 + 3) + 0.5 + 3 are concordant.
    ranking = Ranking.of(np.array([True, True, False, False]), np.array([2.0, 1.0, 1.0, 0.0]))
    concordant, pairs = WeightedCurve(ranking, np.array([[2.0], [1.0], [1.0], [3.0]])).concordance()
    assert (concordant.item(), pairs.item()) == (11.5, 12)
