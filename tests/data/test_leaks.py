"""What one feature tells of the cluster or the label, against cases worked out by hand and against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from armed.data import leaks


def column(*values):
    return np.array(values, dtype=float)[:, None]


class TestGroupToldByValue:
    def test_a_constant_of_each_group(self):
        assert leaks.group_told_by_value(column(3, 3, 1, 1, 2, 2), np.array(list("aabbcc"))) == 1

    def test_values_that_lie_apart(self):
        """Only the neighbours at the border are of another group: 3 of 3 and a half."""
        found = leaks.group_told_by_value(column(1, 2, 3, 11, 12, 13), np.array(list("aaabbb")))
        assert found == pytest.approx((1 + 1 + 0.5) / 3)

    def test_shared_values(self):
        """Value 1: a, a, a, b: each a has two others of its own against one; b none. Value 2: b, b."""
        assert leaks.group_told_by_value(column(1, 1, 1, 1, 2, 2), np.array(list("aaabbb"))) == pytest.approx(
            (1 + 2 / 3) / 2
        )

    def test_continuous_noise_tells_nothing(self):
        rng = np.random.default_rng(0)
        groups = np.repeat(np.arange(20), 50)
        assert leaks.group_told_by_value(rng.normal(size=(1000, 3)), groups).max() < 0.08

    def test_missing_values_and_groups_of_one_are_left_out(self):
        X = column(3, 3, np.nan, 1, 1, 7)
        assert leaks.group_told_by_value(X, np.array(list("aaabbc"))) == 1
        assert np.isnan(leaks.group_told_by_value(column(1, 1, 2), np.array(list("aab"))))
        assert np.isnan(leaks.group_told_by_value(column(*[np.nan] * 4), np.array(list("aabb"))))


def test_auroc_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    X, y = rng.integers(5, size=(200, 4)).astype(float), rng.integers(2, size=200)
    X[rng.random(X.shape) < 0.2] = np.nan
    X[y == 1, 3] = np.nan
    found = leaks.auroc(X, y)
    for j in range(3):
        there = ~np.isnan(X[:, j])
        assert found[j] == pytest.approx(roc_auc_score(y[there], X[there, j]))
    assert np.isnan(found[3]), "no value in class 1"


def test_correlation_is_that_of_numpy():
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(100, 3)), rng.normal(size=100)
    X[:30, 0] = np.nan
    X[:, 2] = 4.0
    found = leaks.correlation(X, y)
    assert found[0] == pytest.approx(np.corrcoef(X[30:, 0], y[30:])[0, 1])
    assert found[1] == pytest.approx(np.corrcoef(X[:, 1], y)[0, 1])
    assert np.isnan(found[2])
