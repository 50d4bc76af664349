"""Intervals against closed forms, other implementations and simulated coverage."""

import logging
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metric_rows import NO_CLUSTERS, cluster_rows, noise, rows
from scipy import stats

from armed import config as configuration
from armed import results
from armed.statistics import (
    ClusterSums,
    Settings,
    Values,
    cluster_bootstrap,
    corrected_t,
    draws_interval,
    estimate,
    paper_interval,
    summarise,
    t_interval,
)

DEFAULT = Path(__file__).resolve().parents[1] / "config" / "config.yaml"
RESAMPLED = Settings(dataset_per_seed={"spirals_inverted", "spirals_confounded"})


def values_of(array):
    return Values.of(rows(array))


def test_the_papers_interval_by_hand():
    # Seed 0: folds 0.7, 0.9 (mean 0.8, s.d. 0.1414); seed 1: 0.6, 0.6 (no spread): half-width 1.96 * 0.1 / 2.
    found = paper_interval(values_of([[0.7, 0.9], [0.6, 0.6]]))
    assert found[:3] == pytest.approx((0.7, 0.7 - 0.098, 0.7 + 0.098))


def test_the_papers_interval_is_one_seeds_where_there_is_one():
    values = 0.7 + noise(1, 10)
    mean, half = values.mean(), 1.96 * values.std(ddof=1) / math.sqrt(10)
    assert paper_interval(values_of(values))[:3] == pytest.approx((mean, mean - half, mean + half))


def test_corrected_t_by_hand():
    # Mean 2, s^2 1, n 3, ratio 1/9: se = sqrt(1/3 + 1/9) = 2/3; t(2) at 0.975 is 4.302653.
    found = corrected_t([1, 2, 3], 1 / 9)
    assert found[:3] == pytest.approx((2, 2 - 4.302653 * 2 / 3, 2 + 4.302653 * 2 / 3), rel=1e-6)
    assert found.p == pytest.approx(2 * stats.t.sf(3, 2))


@given(
    st.lists(st.floats(-1, 1), min_size=3, max_size=30).filter(lambda v: np.std(v) > 1e-3),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
)
def test_corrected_t_without_ratio_is_students_and_widens_with_it(values, ratio, more):
    plain = corrected_t(values, 0.0)
    expected = stats.ttest_1samp(values, 0)
    assert plain.p == pytest.approx(expected.pvalue)
    assert plain[1:3] == pytest.approx(tuple(expected.confidence_interval(0.95)))
    narrow, wide = corrected_t(values, ratio), corrected_t(values, ratio + more)
    assert wide.ci_low < narrow.ci_low < plain.ci_low and plain.p <= narrow.p <= wide.p


@pytest.mark.parametrize(
    ("values", "p"), [([0.0, 0.0, 0.0], 1.0), ([0.1, 0.1, 0.1], 0.0), ([1e-17, 2e-17, 1e-17], 1.0)]
)
def test_values_without_spread_have_a_point_for_an_interval(values, p):
    assert t_interval(values) == pytest.approx((values[0], values[0], values[0], p), abs=1e-15)


@pytest.mark.parametrize("values", [[], [0.3]])
def test_one_value_has_no_interval(values):
    found = t_interval(values)
    assert np.isnan([found.ci_low, found.ci_high, found.p]).all()
    assert found.mean == 0.3 or not values


def test_corrected_t_covers_where_the_plain_one_does_not():
    """Cross-validated error of a mean, repeated: folds share their data, and only the corrected interval knows it."""
    rng, hits = np.random.default_rng(0), {"plain": 0, "corrected": 0}
    n, k, repeats, trials = 60, 5, 6, 200
    # Expected squared error of the mean of 48 standard normal values, for a new one: 1 + 1/48.
    truth = 1 + k / (n * (k - 1))
    for _ in range(trials):
        y, errors = rng.normal(size=n), []
        for _ in range(repeats):
            for test in rng.permutation(n).reshape(k, -1):
                train_mean = (y.sum() - y[test].sum()) / (n - len(test))
                errors.append(((y[test] - train_mean) ** 2).mean())
        for name, ratio in (("plain", 0.0), ("corrected", 1 / (k - 1))):
            found = corrected_t(errors, ratio)
            hits[name] += found.ci_low <= truth <= found.ci_high
    assert hits["plain"] / trials < 0.75
    assert hits["corrected"] / trials > 0.9


def test_within_one_dataset_all_folds_are_corrected():
    values = 0.75 + noise(20, 10)
    summary = summarise(rows(values), NO_CLUSTERS).set_index("ci_method")
    expected = corrected_t(values.ravel(), 1 / 9)
    assert summary.loc["corrected", ["mean", "ci_low", "ci_high"]].tolist() == pytest.approx(expected[:3])
    assert summary[["n_seeds", "n_folds"]].to_numpy().tolist() == [[20, 10]] * 2
    paper = paper_interval(values_of(values))
    assert summary.loc["paper", ["mean", "ci_low", "ci_high"]].tolist() == pytest.approx(paper[:3])


def test_the_ratio_can_be_given_for_other_splits():
    values = 0.75 + noise(3, 5)
    found = estimate(
        values_of(values), "spirals_radius", "main", "seen", None, Settings(test_to_train={"spirals_radius": 2 / 7})
    )
    assert found == pytest.approx(corrected_t(values.ravel(), 2 / 7))


@pytest.mark.parametrize("partition", ["seen", "unseen"])
@pytest.mark.parametrize(("study", "variant"), [("spirals_radius", "resampled"), ("spirals_inverted", "main")])
def test_with_a_dataset_per_seed_the_seeds_are_the_sample(study, variant, partition):
    values = 0.75 + noise(20, 10) + noise(20, 1, seed=1)
    frame = rows(values, study=study, variant=variant, partition=partition)
    summary = summarise(frame, NO_CLUSTERS, RESAMPLED).set_index("ci_method")
    expected = t_interval(values.mean(axis=1))
    assert summary.loc["corrected", ["mean", "ci_low", "ci_high"]].tolist() == pytest.approx(expected[:3])


def sums_of(values, weights=1.0):
    values = np.asarray(values, float)
    weights = np.broadcast_to(np.asarray(weights, float), values.shape)
    return ClusterSums(np.arange(len(values)), np.arange(values.shape[1]).astype(str), values * weights, weights)


def test_bootstrap_over_clusters_has_the_spread_of_their_mean():
    values = 0.7 + noise(1, 40, sd=0.1)
    found = cluster_bootstrap(sums_of(values), values.mean(), 0, Settings(bootstrap=20000))
    se = values.std() / math.sqrt(40)
    assert found.ci_high - found.ci_low == pytest.approx(2 * 1.96 * se, rel=0.05)
    assert found.p < 0.001


def test_bootstrap_counts_the_luck_of_training_as_well():
    """A value common to all clusters of a seed is no evidence about clusters: seeds are drawn too."""
    values = 0.7 + noise(30, 1, sd=0.1) + np.zeros((30, 12))
    found = cluster_bootstrap(sums_of(values), values.mean(), 0, Settings(bootstrap=20000))
    assert found.ci_high - found.ci_low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(30), rel=0.06)


def test_bootstrap_weighs_clusters_and_shifts_to_its_centre():
    values, weights = [[0.5, 0.9]], [[300.0, 100.0]]
    found = cluster_bootstrap(sums_of(values, weights), 0.6, 0, Settings())
    assert (found.mean, found.ci_low, found.ci_high) == pytest.approx((0.6, 0.5, 0.9))
    moved = cluster_bootstrap(sums_of(values, weights), 0.65, 0, Settings())
    assert moved[:3] == pytest.approx((0.65, 0.55, 0.95))


def test_bootstrap_of_nothing_is_no_evidence():
    assert cluster_bootstrap(sums_of(np.zeros((3, 12))), 0.0, 0, Settings()) == (0, 0, 0, 1)
    alone = cluster_bootstrap(sums_of([[0.6], [0.7]]), 0.65, 0, Settings())
    assert np.isnan(alone[1:]).all()


def test_bootstrap_survives_clusters_absent_from_seeds():
    found = cluster_bootstrap(sums_of(np.eye(3), np.eye(3)), 1.0, 0, Settings())
    assert found[:3] == (1.0, 1.0, 1.0)


def test_unseen_clusters_of_one_dataset_are_bootstrapped():
    clusters = np.linspace(0.6, 0.9, 12) + noise(5, 4, 12, sd=0.01)
    frame = rows(clusters.mean(axis=2), partition="unseen")
    inside = cluster_rows(clusters, partition="unseen")
    found = summarise(frame, inside).set_index("ci_method").loc["corrected"]
    assert found["mean"] == pytest.approx(clusters.mean())
    width = 2 * 1.96 * clusters.mean(axis=(0, 1)).std() / math.sqrt(12)
    assert found["ci_high"] - found["ci_low"] == pytest.approx(width, rel=0.15)
    pd.testing.assert_frame_equal(summarise(frame, inside), summarise(frame, inside))


def test_one_value_per_seed_is_bootstrapped_over_clusters_and_has_no_papers_interval():
    clusters = np.linspace(0.6, 0.9, 10) + noise(5, 1, 10, sd=0.01)
    names = {"metric": "within_cluster_auroc", "fold0": -1}
    summary = summarise(rows(clusters.mean(axis=2), **names), cluster_rows(clusters, **names))
    found = summary.set_index("ci_method")
    assert found["n_folds"].tolist() == [0, 0] and found["n_seeds"].tolist() == [5, 5]
    assert found.loc["paper", ["ci_low", "ci_high"]].isna().all()
    assert found.loc["corrected", "ci_low"] < clusters.mean() < found.loc["corrected", "ci_high"]
    results.validate("summary", summary)


def test_few_clusters_are_warned_of(caplog):
    values = 0.7 + noise(2, 2, 3)
    with caplog.at_level(logging.WARNING):
        summarise(rows(values.mean(axis=2), partition="unseen"), cluster_rows(values, partition="unseen"))
    assert "spirals_radius: intervals are bootstrapped over 3 clusters only" in caplog.text


def test_undefined_values_are_left_out_and_counted():
    values = 0.7 + noise(4, 3)
    values[0, 0], values[1] = np.nan, np.nan
    found = summarise(rows(values), NO_CLUSTERS).iloc[0]
    expected = np.mean([values[0, 1:].mean(), values[2].mean(), values[3].mean()])
    assert found["mean"] == pytest.approx(expected)
    assert (found["n_seeds"], found["n_folds"]) == (3, 3)
    nothing = summarise(rows(np.full((2, 2), np.nan)), NO_CLUSTERS)
    assert nothing[["mean", "ci_low", "ci_high"]].isna().all(axis=None)
    assert (nothing["n_seeds"] == 0).all() and len(results.validate("summary", nothing)) == 2


def test_settings_come_from_the_config():
    config = {
        "statistics": {"confidence": 0.9, "bootstrap": 100, "tolerance": 0.01},
        "studies": {
            "spirals_radius": {"data": {"dataset_seed": 48}},
            "spirals_inverted": {"data": {"dataset_seed": None}},
            "heart": {},
        },
    }
    settings = Settings.from_config(config)
    assert (settings.confidence, settings.bootstrap, settings.tolerance) == (0.9, 100, 0.01)
    assert settings.is_resampled("spirals_inverted", "main")
    assert settings.is_resampled("spirals_radius", "resampled")
    assert not settings.is_resampled("spirals_radius", "main") and not settings.is_resampled("heart", "main")


def test_the_ratio_is_that_of_the_studys_folds_however_often_they_are_repeated():
    config = {
        "statistics": {},
        "studies": {
            "heart": {"folds": 5, "data": {}},
            "mci_conversion": {"folds": 10},
            "one": {"folds": 1},
            "none": {},
        },
    }
    settings = Settings.from_config(config)
    values = 0.75 + noise(3, 20)  # 4 hospitals x 5 folds
    found = estimate(values_of(values), "heart", "main", "seen", None, settings)
    assert found == pytest.approx(corrected_t(values.ravel(), 1 / 4))
    assert settings.ratio("mci_conversion", 7) == 1 / 9 and settings.ratio("none", 5) == 1 / 4
    assert math.isnan(settings.ratio("one", 1))
    assert not settings.is_resampled("heart", "main") and settings.is_resampled("mci_conversion", "resampled")


def test_the_ratio_of_monte_carlo_splits_is_that_of_their_test_fraction_however_many_they_are():
    study = {"folds": 10, "test_fraction": 0.2, "data": {}}
    settings = Settings.from_config({"statistics": {}, "studies": {"ad_diagnosis": study, "heart": {"folds": 10}}})
    values = 0.75 + noise(3, 10)
    frame = rows(values, study="ad_diagnosis")
    found = summarise(frame, NO_CLUSTERS, settings).set_index("ci_method").loc["corrected"]
    half = stats.t.ppf(0.975, 29) * values.std(ddof=1) * math.sqrt(1 / 30 + 20 / 80)
    assert found["ci_high"] - found["ci_low"] == pytest.approx(2 * half)
    assert settings.ratio("ad_diagnosis", 3) == pytest.approx(1 / 4) and settings.ratio("heart", 3) == pytest.approx(
        1 / 9
    )
    one = Settings.from_config({"statistics": {}, "studies": {"ad_diagnosis": {**study, "folds": 1}}})
    assert one.ratio("ad_diagnosis", 1) == pytest.approx(1 / 4), "one split in each of several seeds"
    none = Settings.from_config({"statistics": {}, "studies": {"ad_diagnosis": {**study, "test_fraction": None}}})
    assert none.ratio("ad_diagnosis", 3) == 1 / 9
    unseen = estimate(values_of(values), "ad_diagnosis", "main", "unseen", None, settings)
    assert np.isnan(unseen[1:]).all(), "unseen clusters are bootstrapped, whatever the splits"


def test_corrected_t_covers_over_monte_carlo_splits_with_their_own_ratio():
    """Error of a mean over random splits: with the ratio of as many folds it would cover too seldom."""
    rng, hits = np.random.default_rng(1), {"folds": 0, "fraction": 0}
    n, k, share, trials = 60, 20, 0.2, 200
    truth, tested = 1 + 1 / (n * (1 - share)), round(n * share)
    for _ in range(trials):
        y, errors = rng.normal(size=n), []
        for _ in range(k):
            order = rng.permutation(n)
            test, train = order[:tested], order[tested:]
            errors.append(((y[test] - y[train].mean()) ** 2).mean())
        for name, ratio in (("folds", 1 / (k - 1)), ("fraction", share / (1 - share))):
            found = corrected_t(errors, ratio)
            hits[name] += found.ci_low <= truth <= found.ci_high
    assert hits["folds"] / trials < 0.87
    assert hits["fraction"] / trials > 0.9


def draw_rows(values, **names):
    base = {"study": "spirals_radius", "model": "armed", "variant": "main", "partition": "unseen", "metric": "accuracy"}
    return pd.DataFrame({"draw": np.arange(len(values)), "value": values}).assign(**base | names)


def test_draws_of_subjects_go_before_clusters_and_are_not_warned_of(caplog):
    values = 0.7 + noise(1, 2, 3)
    frame, inside = (make(v, partition="unseen") for make, v in ((rows, values.mean(axis=2)), (cluster_rows, values)))
    draws = 0.9 + noise(2000, seed=1, sd=0.05)
    with caplog.at_level(logging.WARNING):
        found = summarise(frame, inside, draws=draw_rows(draws).sample(frac=1, random_state=0))
    assert not caplog.text
    found = found.set_index("ci_method").loc["corrected"]
    expected = np.quantile(draws - draws.mean(), [0.025, 0.975]) + values.mean()
    assert found[["mean", "ci_low", "ci_high"]].tolist() == pytest.approx([values.mean(), *expected])
    with caplog.at_level(logging.WARNING):
        other = summarise(frame, inside, draws=draw_rows(draws, model="menet"))
    assert "over 3 clusters only" in caplog.text
    pd.testing.assert_frame_equal(other, summarise(frame, inside))


def test_draws_of_subjects_count_the_luck_of_training_as_well():
    values = 0.7 + noise(12, 1, sd=0.03) + np.zeros((12, 4))
    draws = noise(20000, seed=1, sd=0.02)
    found = draws_interval(draws, values_of(values), 0, Settings())
    sd = math.sqrt(draws.var() + values.var() / 12)
    assert found.mean == pytest.approx(values.mean())
    assert found.ci_high - found.ci_low == pytest.approx(2 * 1.96 * sd, rel=0.04)
    assert found.p < 0.001


def test_undefined_draws_are_left_out_unless_they_are_most():
    values, draws = values_of([[0.7, 0.7]]), noise(2000, sd=0.02)
    draws[:500] = np.nan
    found = draws_interval(draws, values, 0, Settings())
    expected = np.quantile(draws[500:] - draws[500:].mean(), [0.025, 0.975])
    assert found[1:3] == pytest.approx(0.7 + expected)
    draws[:1500] = np.nan
    assert np.isnan(draws_interval(draws, values, 0, Settings())[1:]).all()


def test_draws_serve_metrics_with_one_value_per_seed_but_not_studies_with_a_dataset_per_seed():
    values = 0.7 + noise(4, 1)
    frame = rows(values, metric="within_cluster_auroc", fold0=-1)
    draws = draw_rows(noise(500), partition="seen", metric="within_cluster_auroc")
    within = summarise(frame, NO_CLUSTERS, draws=draws).set_index("ci_method").loc["corrected"]
    assert within["ci_low"] < values.mean() < within["ci_high"]
    resampled = frame.assign(variant="resampled")
    found = summarise(resampled, NO_CLUSTERS, draws=draws.assign(variant="resampled")).iloc[1]
    assert found[["mean", "ci_low", "ci_high"]].tolist() == pytest.approx(t_interval(values.ravel())[:3])


class TestRandomSplits:
    """Monte Carlo splits are trainings of their own: they are drawn in place of seeds, and there are few."""

    SPLITS = Settings(bootstrap=4000, random_splits={"ad_diagnosis"}, test_to_train={"ad_diagnosis": 0.25})

    @staticmethod
    def rows(values, partition="unseen", metric="auroc"):
        named = {"study": "ad_diagnosis", "source": "stand-in", "model": "armed", "variant": "main"}
        cells = [{"seed": s, "fold": f, "value": v} for (s, f), v in np.ndenumerate(values)]
        return pd.DataFrame(cells).assign(**named, partition=partition, metric=metric, n=60, note="")

    def test_the_config_tells_which_studies_have_them(self):
        settings = Settings.from_config(configuration.load(DEFAULT))
        assert set(settings.random_splits) == {"ad_diagnosis", "live_cell"}
        assert settings.widening("spirals_radius", 2) == 1.0 == settings.widening("ad_diagnosis", 1)
        assert settings.widening("ad_diagnosis", 6) == pytest.approx(stats.t.ppf(0.975, 5) / 1.959964 * np.sqrt(1.2))

    def test_draws_of_clusters_and_luck_of_splits_add(self):
        """Clusters alone say nothing of the splits: with clusters that do not matter the interval is nearly Student's t."""
        values = np.array([[0.5, 0.62, 0.58], [0.66, 0.54, 0.6]])
        draws = pd.DataFrame({"draw": np.arange(4000), "value": 0.58})
        draws = draws.assign(study="ad_diagnosis", model="armed", variant="main", partition="unseen", metric="auroc")
        row = summarise(self.rows(values), NO_CLUSTERS, self.SPLITS, draws).query("ci_method == 'corrected'").iloc[0]
        half = stats.t.ppf(0.975, 5) * values.std(ddof=1) / np.sqrt(6)
        assert row["mean"] == pytest.approx(values.mean())
        assert (row["ci_high"] - row["ci_low"]) / 2 == pytest.approx(half, rel=0.08)

    def test_cluster_metrics_of_splits_too(self):
        values = np.array([[0.5, 0.62, 0.58], [0.66, 0.54, 0.6]])
        clusters = pd.concat([self.rows(values).assign(cluster=f"s{c}", n=3) for c in range(30)])
        row = summarise(self.rows(values), clusters, self.SPLITS).query("ci_method == 'corrected'").iloc[0]
        half = stats.t.ppf(0.975, 5) * values.std(ddof=1) / np.sqrt(6)
        assert (row["ci_high"] - row["ci_low"]) / 2 == pytest.approx(half, rel=0.08)
        by_seed = summarise(self.rows(values), clusters, Settings(bootstrap=4000)).query("ci_method == 'corrected'")
        assert by_seed["ci_high"].item() - by_seed["ci_low"].item() < half  # two seeds of nearly equal means

    def test_an_interval_ends_where_the_metric_does(self):
        values = np.array([[0.99, 0.7, 1.0], [0.95, 1.0, 0.9]])
        table = summarise(self.rows(values, "seen"), NO_CLUSTERS, self.SPLITS).set_index("ci_method")
        assert (
            table.loc["corrected", "ci_high"] == 1.0 > table.loc["corrected", "mean"] > table.loc["corrected", "ci_low"]
        )
        free = summarise(self.rows(values, "seen", "mse"), NO_CLUSTERS, self.SPLITS).set_index("ci_method")
        assert free.loc["corrected", "ci_high"] > 1.0
