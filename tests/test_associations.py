"""Shares and correlations by hand and against scipy."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from armed import results
from armed.associations import cluster_correlation, deconfounding_shares, probe_in_top_ten, probe_shares, wilson
from armed.errors import DataError


def test_wilson_interval_of_a_known_case():
    # 10 of 20, z = 1.96: centre 0.5, half-width z sqrt(1/(4n) + z^2/(4n^2)) / (1 + z^2/n) with n = 20.
    z = stats.norm.ppf(0.975)
    half = z * math.sqrt(0.25 / 20 + z**2 / 1600) / (1 + z**2 / 20)
    assert wilson(10, 20) == pytest.approx((0.5 - half, 0.5 + half))
    low, high = wilson(0, 20)
    assert low == pytest.approx(0, abs=1e-12) and 0.1 < high < 0.2
    assert np.isnan(wilson(0, 0)).all()


def test_a_correlation_over_clusters_counts_clusters():
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=10), 50)
    y = np.repeat(x[::50] + rng.normal(size=10), 50)
    clusters = np.repeat([f"c{i}" for i in range(10)], 50)
    found = cluster_correlation(x + 0, y, clusters)
    expected = stats.pearsonr(x[::50], y[::50])
    assert found.n == 10
    assert (found.r, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    z, half = math.atanh(found.r), stats.norm.ppf(0.975) / math.sqrt(7)
    assert (found.ci_low, found.ci_high) == pytest.approx((math.tanh(z - half), math.tanh(z + half)))


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([1, 1, 1, 1], [1, 2, 3, 4]), ([], [])])
def test_correlations_that_are_not_defined_are_nan(x, y):
    found = cluster_correlation(x, y, range(len(x)))
    assert np.isnan(found[:4]).all() and found.n == len(x)


def importance(table):
    """Importance rows of {seed: [[x1, x2, probe1, probe2] per fold]}."""
    features = ["x1", "x2", "probe1", "probe2"]
    found = [
        {"seed": seed, "fold": fold, "feature": f, "importance": v}
        for seed, folds in table.items()
        for fold, values in enumerate(folds)
        for f, v in zip(features, values, strict=True)
    ]
    return pd.DataFrame(found).assign(study="spirals_confounded", model="armed", variant="main", rank=1)


def test_shares_of_datasets_where_a_probe_beats_the_weakest_real_feature():
    frame = importance(
        {
            0: [[1.0, 0.5, 0.1, 0.2], [1.0, 0.5, 0.1, 0.6]],  # one fold wins, the average does not
            1: [
                [1.0, 0.5, 0.9, 0.2],
                [0.4, 1.0, 0.1, 0.5],
            ],  # both folds, by different probes; and the average does not
            2: [[1.0, 0.2, 0.3, 0.0], [1.0, 0.2, 0.5, 0.0]],  # all
            3: [[1.0, 0.5, 0.1, 0.0], [1.0, 0.5, 0.1, 0.0]],  # none
        }
    )
    found = deconfounding_shares(frame)
    results.validate("deconfounding", found)
    found = found.set_index("unit")
    assert found.loc["dataset", "share"] == 1 / 4
    assert found.loc["fold", "share"] == 5 / 8
    assert found.loc["dataset", ["ci_low", "ci_high"]].tolist() == pytest.approx(wilson(1, 4))
    assert found.loc["fold", ["ci_low", "ci_high"]].tolist() == pytest.approx(wilson(2.5, 4))
    assert found[["n_seeds", "n_folds"]].to_numpy().tolist() == [[4, 2]] * 2


def test_shares_are_by_model_and_variant_and_need_probes():
    strong, weak = importance({0: [[1, 1, 2, 0]]}), importance({0: [[1, 1, 0, 0]]})
    frame = pd.concat([strong, weak.assign(variant="lambda_F1"), weak.assign(model="menet")])
    found = deconfounding_shares(frame).query("unit == 'dataset'")
    assert found.set_index(["model", "variant"])["share"].to_dict() == {
        ("armed", "main"): 1.0,
        ("armed", "lambda_F1"): 0.0,
        ("menet", "main"): 0.0,
    }
    assert len(deconfounding_shares(frame[~frame["feature"].str.startswith("probe")])) == 0
    assert len(deconfounding_shares(strong, probes=["age"])) == 0
    assert deconfounding_shares(strong, probes=["x1"])["share"].tolist() == [1.0, 1.0]
    with pytest.raises(DataError, match="has importance of probes only"):
        deconfounding_shares(strong[strong["feature"].str.startswith("probe")])


def test_importance_that_is_undefined_everywhere_leaves_no_share():
    found = deconfounding_shares(importance({0: [[np.nan] * 4]}))
    assert found[["share", "ci_low", "ci_high"]].isna().all(axis=None) and (found["n_seeds"] == 0).all()


def test_each_study_has_its_own_criterion():
    """With four features a probe is always among the ten first, and here never above the weakest real feature."""
    frame = importance({0: [[1.0, 0.5, 0.1, 0.2]]})
    both = pd.concat([frame, frame.assign(study="mci_probes")], ignore_index=True)
    shares = probe_shares(both).set_index(["study", "unit"])["share"]
    assert shares["spirals_confounded"].tolist() == [0, 0] and shares["mci_probes"].tolist() == [1, 1]
    assert probe_in_top_ten(frame, top=2)["share"].tolist() == [0, 0]
    assert probe_in_top_ten(frame, top=3)["share"].tolist() == [1, 1]
    results.validate("deconfounding", probe_shares(both))
    assert probe_shares(both.iloc[:0]).empty
