"""GPBoost against known effects, the library called by hand, and the closed form of Gaussian random intercepts."""

from __future__ import annotations

import gpboost as gpb
import numpy as np
import pytest

from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from baselines.gpboost import GPBoost


def folds(n: int, validation: int = 0) -> Splits:
    rows = np.arange(n)
    return Splits((Fold(0, 0, rows[: n - validation], rows[n - validation :], rows[:0]),))


def simulated(label: str, n_clusters: int = 30, size: int = 60, seed: int = 0) -> tuple[ClusteredData, np.ndarray]:
    """Data, and the true intercepts of the clusters, of s.d. 1."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(n_clusters), size))
    X, effects = rng.normal(size=(len(codes), 2)), np.random.default_rng(99).normal(size=n_clusters)
    linear = 1.5 * np.sin(2 * X[:, 0]) + effects[codes]
    y = (rng.random(len(codes)) < 1 / (1 + np.exp(-linear))).astype(int)
    y = y if label == "binary" else linear + 0.5 * rng.normal(size=len(codes))
    return ClusteredData(X, y, np.array([f"c{c:02d}" for c in codes])), effects


@pytest.mark.parametrize("label", ["binary", "continuous"])
def test_true_intercepts_are_recovered(label):
    data, truth = simulated(label)
    method = GPBoost(label=label, leaves=4, trees=50).fit(data, folds(len(data)))
    table = method.random_effects_
    error = table["mean"] - (truth - truth.mean())
    assert np.corrcoef(table["mean"], truth)[0, 1] > (0.93 if label == "binary" else 0.99)
    centred = error - error.mean()
    assert np.abs(centred / table["sd"]).max() < 4 and (centred / table["sd"]).std() < 1.6
    assert 0.5 < np.sqrt(method.variances_[0]) / truth.std() < 1.3


@pytest.mark.parametrize("label", ["binary", "continuous"])
def test_predictions_are_those_of_gpboost(label):
    """With the trees and intercepts of its own objects, for seen clusters and an unseen one."""
    data, _ = simulated(label, 8)
    new, _ = simulated(label, 9, 10, seed=1)
    method = GPBoost(label=label, trees=30).fit(data, folds(len(data)))
    p = method.predict(new, new_clusters="population")
    names = {"binary": ("bernoulli_logit", "binary"), "continuous": ("gaussian", "regression_l2")}[label]
    model = gpb.GPModel(group_data=data.clusters, likelihood=names[0], num_parallel_threads=1)
    train = gpb.Dataset(data.X, data.y.astype(float))
    parameters = {"objective": names[1], "verbose": -1, "num_threads": 1, "leaves_newton_update": label[0] == "c"}
    theirs = gpb.train(parameters, train, 30, gp_model=model, verbose_eval=False)
    expected = theirs.predict(new.X, group_data_pred=new.clusters, pred_latent=True)
    np.testing.assert_allclose(p.fixed, expected["fixed_effect"], rtol=1e-5, atol=1e-5)
    mixed = expected["fixed_effect"] + expected["random_effect_mean"]
    np.testing.assert_allclose(p.mixed, mixed, rtol=1e-5, atol=1e-5)
    unseen = new.clusters == "c08"
    assert unseen.any() and (p.mixed[unseen] == p.fixed[unseen]).all() and (p.mixed != p.fixed)[~unseen].all()


def test_gaussian_intercepts_are_the_best_linear_unbiased_predictions():
    """Given the trees and the variances: sum of residuals / (n + error variance / variance)."""
    data, _ = simulated("continuous", 10, 30)
    method = GPBoost(label="continuous", trees=20).fit(data, folds(len(data)))
    p = method.predict(data)
    residual, codes = data.y - p.fixed, data.codes(method.levels_)
    sums, sizes = np.bincount(codes, residual), np.bincount(codes)
    ratio = sums / method.effects_[0] - sizes  # error variance over variance, of each cluster alike
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)
    assert ratio.mean() > 0
    np.testing.assert_allclose(method.effect_sds_[0] ** 2, method.variances_[0] / (1 + sizes / ratio.mean()), rtol=1e-3)


def test_the_unit_of_a_continuous_label_does_not_matter():
    data, _ = simulated("continuous", 10)
    fits = {
        unit: GPBoost(label="continuous").fit(ClusteredData(data.X, unit * data.y, data.clusters), folds(len(data)))
        for unit in (1.0, 1000.0)
    }
    np.testing.assert_allclose(fits[1000.0].effects_, 1000 * fits[1.0].effects_, rtol=1e-3)
    outputs = [fits[unit].predict(data).mixed / unit for unit in fits]
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-2, atol=1e-2)


def test_a_cluster_without_training_rows():
    data, _ = simulated("binary", 6)
    rows = [np.flatnonzero(data.clusters != "c03"), np.arange(len(data))]
    splits = Splits(tuple(Fold(0, k, r, r[:0], r[:0]) for k, r in enumerate(rows)))
    table = GPBoost(trees=10).fit(data, splits).random_effects_.set_index(["fold", "cluster"])
    absent, present = table.loc[(0, "c03")], table.loc[(1, "c03")]
    assert absent["mean"] == 0 and absent["sd"] > 2 * present["sd"] and present["mean"] != 0


def test_after_an_early_stop_all_is_that_of_the_best_number_of_trees():
    data, _ = simulated("binary", 10)
    stopped = GPBoost(trees=200).fit(data, folds(len(data), 150))
    best = stopped.models_[0].count("Tree=")
    rows = np.arange(len(data) - 150)
    fixed = GPBoost(trees=best).fit(data, Splits((Fold(0, 0, rows, rows[:0], rows[:0]),)))
    assert best < 200 and stopped.models_ == fixed.models_
    np.testing.assert_array_equal(stopped.effects_, fixed.effects_)
    np.testing.assert_array_equal(stopped.variances_, fixed.variances_)


def test_soft_membership_blends_the_intercepts():
    data, _ = simulated("binary", 5)
    method = GPBoost(trees=5).fit(data, folds(len(data)))
    Z = np.random.default_rng(0).dirichlet(np.ones(6), size=40)[:, :5]
    ((fixed, mixed),) = method._outputs(data, [(0, 0)], [np.arange(40)], [Z])
    np.testing.assert_allclose(mixed - fixed, (Z @ method.effects_[0])[:, None])
