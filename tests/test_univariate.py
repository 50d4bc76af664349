"""Each feature by itself: relative risks and log odds by hand, mixed models against what was simulated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from armed import results
from armed.data.clustered import ClusteredData
from armed.univariate import (
    cluster_intercepts,
    feature_kinds,
    indicator_effect,
    mixed_effect,
    relative_risks,
    univariate,
)


def repeated(cells: dict[tuple[str, int, int], int]) -> tuple[np.ndarray, ...]:
    """x, y, clusters of {(cluster, x, y): how many}."""
    rows = [key for key, n in cells.items() for _ in range(n)]
    clusters, x, y = zip(*rows, strict=True)
    return np.array(x, float), np.array(y), np.array(clusters)


BY_HAND = {
    # Relative risk (2/4) / (1/4) = 2.
    **{("A", 1, 1): 2, ("A", 1, 0): 2, ("A", 0, 1): 1, ("A", 0, 0): 3},
    # (0/2) / (1/2) = 0.
    **{("B", 1, 0): 2, ("B", 0, 1): 1, ("B", 0, 0): 1},
    # No positive one without the level: undefined.
    **{("C", 1, 1): 1, ("C", 0, 0): 4},
    # Only people without the level: undefined.
    **{("D", 0, 1): 2, ("D", 0, 0): 2},
    # (3/3) / (1/1) = 1.
    **{("E", 1, 1): 3, ("E", 0, 1): 1},
}


def test_relative_risks_by_hand():
    assert relative_risks(*repeated(BY_HAND)).to_dict() == {"A": 2.0, "B": 0.0, "E": 1.0}


def test_indicator_by_hand():
    found = indicator_effect(*repeated(BY_HAND))
    # With the level: 6 positive, 4 negative; without: 5 positive, 10 negative.
    assert found.coefficient == pytest.approx(np.log((6 * 10) / (4 * 5)))
    assert found.coefficient_sd == pytest.approx(np.sqrt(1 / 6 + 1 / 4 + 1 / 5 + 1 / 10))
    assert found.relative_risk_sd == pytest.approx(1.0)  # of 2, 0 and 1
    assert (found.n, found.note) == (25, "relative risk defined in 3 of 5 clusters")
    assert np.isnan(found.slope_sd)


def test_indicators_without_odds_or_risks():
    found = indicator_effect(*repeated({("A", 1, 1): 2, ("A", 0, 1): 1, ("A", 0, 0): 3, ("B", 0, 0): 2}))
    assert np.isnan([found.coefficient, found.coefficient_sd, found.relative_risk_sd]).all()
    assert "all labels are equal" in found.note and "1 of 2 clusters" in found.note


def simulated(slope_sd: float, n_clusters: int = 60, size: int = 200, seed: int = 0) -> ClusteredData:
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_clusters), size)
    x = rng.normal(size=len(codes))
    intercepts, slopes = rng.normal(size=(2, n_clusters)) * [[0.8], [slope_sd]]
    logit = -0.5 + intercepts[codes] + (1.2 + slopes[codes]) * x
    y = (rng.random(len(codes)) < 1 / (1 + np.exp(-logit))).astype(int)
    flag = (rng.random(len(codes)) < np.where(y == 1, 0.4, 0.2)).astype(float)
    X = np.column_stack([50 + 10 * x, flag])
    X[::7, 0] = np.nan
    return ClusteredData(
        X, y, np.array([f"c{c:02d}" for c in codes]), feature_names=("measure", "flag"), allow_missing=True
    )


@pytest.mark.parametrize("slope_sd", [0.3, 0.8])
def test_recovers_what_was_simulated(slope_sd):
    data = simulated(slope_sd)
    known = pd.DataFrame({"dataset": [0, 1], "feature": "measure", "coefficient": [1.2, 9.9], "slope_sd": slope_sd})
    found = univariate(data, known.assign(predictive=1)).set_index("feature")
    measure, flag = found.loc["measure"], found.loc["flag"]
    # The estimate is of the mean of the 60 slopes drawn; the measure is given in another unit than its s.d.
    assert measure["coefficient"] == pytest.approx(1.2, abs=3 * slope_sd / np.sqrt(60) + 0.1)
    assert measure["slope_sd"] == pytest.approx(slope_sd, rel=0.3)
    assert 0.005 < measure["coefficient_sd"] < 0.1
    assert measure["n"] == np.isfinite(data.X[:, 0]).sum() and measure["kind"] == "continuous"
    assert (measure["true_coefficient"], measure["true_slope_sd"], measure["predictive"]) == (1.2, slope_sd, 1)
    assert flag["coefficient"] == pytest.approx(np.log(0.4 * 0.8 / (0.6 * 0.2)), abs=0.15)
    assert flag["kind"] == "categorical" and flag["predictive"] == -1 and np.isnan(flag["true_slope_sd"])
    results.validate("univariate", found.reset_index().assign(study="mci_conversion", source="stand-in"))


def test_the_unit_of_a_feature_does_not_matter():
    data = simulated(0.3, n_clusters=20, size=40)
    ok = np.isfinite(data.X[:, 0])
    x, y, clusters = data.X[ok, 0], data.y[ok], data.clusters[ok]
    np.testing.assert_allclose(
        mixed_effect(x, y, clusters)[:4],
        mixed_effect(3 - 0.01 * x, y, clusters)[:4] * np.array([1, -1, 1, 1]),
        rtol=1e-3,
    )


@pytest.mark.parametrize(("x", "y", "note"), [([2, 2, 2], [0, 1, 1], "constant"), ([1, 2, 3], [1, 1, 1], "labels")])
def test_features_that_cannot_be_fitted_say_so(x, y, note):
    found = mixed_effect(np.array(x, float), np.array(y), np.array(["a", "b", "b"]))
    assert np.isnan(found.coefficient) and note in found.note and found.n == 3


def test_kinds():
    X = np.array([[0.0, 1.0, 0.5], [np.nan, 0.0, 1.0], [1.0, 1.0, 0.0]])
    data = ClusteredData(X, [0, 1, 1], ["a", "a", "b"], feature_names=("p", "q", "r"), allow_missing=True)
    assert feature_kinds(data) == {"p": "categorical", "q": "categorical", "r": "continuous"}


def test_intercepts_follow_the_clusters_shares():
    data = simulated(0.0, n_clusters=20, size=50)
    found = cluster_intercepts(data)
    share = pd.Series(data.y).groupby(data.clusters).mean()
    assert list(found.index) == sorted(set(data.clusters))
    assert np.corrcoef(found, np.log(share / (1 - share)))[0, 1] > 0.98
