"""GradientBoosting against LightGBM called by hand, what a missing cluster means, and what holds for all boosted trees."""

from __future__ import annotations

import gzip
import json
import sys

import lightgbm as lgb
import numpy as np
import pytest

from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.errors import ConfigError
from baselines.boosted_trees import MODELS
from baselines.gpboost import GPBoost
from baselines.gradient_boosting import GradientBoosting

TREES = pytest.mark.parametrize("cls", [GradientBoosting, GPBoost])


def folds(n: int, validation: int = 0) -> Splits:
    """One fold of all rows, the last of them for validation."""
    rows = np.arange(n)
    return Splits((Fold(0, 0, rows[: n - validation], rows[n - validation :], rows[:0]),))


def simulated(n: int = 600, n_clusters: int = 6, seed: int = 0, slope: float = 0.0) -> ClusteredData:
    """Binary labels; each second cluster has the opposite slope where `slope` is not 0."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.arange(n) % n_clusters)
    X = rng.normal(size=(n, 3))
    linear = np.sin(2 * X[:, 0]) + slope * X[:, 1] * (1 - 2 * (codes % 2)) + 1.5 * (codes - codes.mean()) / n_clusters
    y = (rng.random(n) < 1 / (1 + np.exp(-2 * linear))).astype(int)
    return ClusteredData(X, y, np.array([f"c{c:02d}" for c in codes]))


def loss(y: np.ndarray, logit: np.ndarray) -> float:
    return float(np.logaddexp(0, -(2 * y - 1) * logit).mean())


@pytest.mark.parametrize("label", ["binary", "multiclass", "continuous"])
def test_predictions_are_those_of_lightgbm(label):
    data = simulated()
    y = {"binary": data.y, "multiclass": data.y + (data.X[:, 2] > 0.5), "continuous": data.X[:, 0] + data.y}[label]
    data = ClusteredData(data.X, y, data.clusters)
    p = GradientBoosting(label=label, trees=20, leaves=8).fit(data, folds(600, 100)).predict(data)
    parameters = {"objective": {"continuous": "regression"}.get(label, label), "num_leaves": 8, "verbosity": -1}
    parameters |= {"min_data_per_group": 20, "num_threads": 1, "seed": 0} | (
        {"num_class": 3} if label[0] == "m" else {}
    )
    table = np.column_stack([data.X, data.codes(data.levels)])
    train = lgb.Dataset(table[:500], y[:500], categorical_feature=[3], params=parameters)
    stop = lgb.early_stopping(10, verbose=False)
    held = lgb.Dataset(table[500:], y[500:], reference=train)
    theirs = lgb.train(parameters, train, 20, valid_sets=[held], callbacks=[stop])
    np.testing.assert_allclose(p.mixed, theirs.predict(table, raw_score=True), rtol=1e-6, atol=1e-6)
    table[:, 3] = np.nan
    np.testing.assert_allclose(p.fixed, theirs.predict(table, raw_score=True), rtol=1e-6, atol=1e-6)


def test_a_missing_cluster_goes_with_those_that_were_not_singled_out():
    """One cluster differs from five others, which are alike: the population is like the five, not like the mean of six."""
    rng = np.random.default_rng(0)
    codes = np.arange(600) % 6
    X, y = rng.normal(size=(600, 2)), np.where(codes == 2, 6.0, 0.0) + 0.1 * rng.normal(size=600)
    data = ClusteredData(X, y, codes)
    method = GradientBoosting(label="continuous").fit(data, folds(600))
    new = ClusteredData(X, y, np.full(600, "new"))
    p = method.predict(new, new_clusters="population")
    np.testing.assert_array_equal(p.mixed, p.fixed)
    assert np.abs(p.mixed).max() < 0.5
    assert method.predict(data).mixed[codes == 2].mean() == pytest.approx(6, abs=0.1)


def test_clusters_of_a_few_dozen_rows_have_a_say():
    """LightGBM's own `min_data_per_group` would keep clusters of less than 100 rows out of splits, several at a time."""
    data, new = simulated(700, 20, slope=2.0), simulated(700, 20, seed=1, slope=2.0)
    p = GradientBoosting().fit(data, folds(700)).predict(new)
    assert loss(new.y, p.mixed) < loss(new.y, p.fixed) - 0.1


def test_soft_membership_blends_the_clusters():
    data = simulated()
    method = GradientBoosting(trees=10).fit(data, folds(600))
    rows, codes = [np.arange(50)], data.codes(method.levels_)[:50]

    def mixed(membership):
        ((_, found),) = method._outputs(data, [(0, 0)], rows, [membership])
        return found

    known, other = np.eye(6)[codes], np.eye(6)[(codes + 1) % 6]
    np.testing.assert_allclose(mixed(known), mixed(codes), atol=1e-12)
    ((fixed, _),) = method._outputs(data, [(0, 0)], rows, [codes])
    np.testing.assert_allclose(mixed(0 * known), fixed, atol=1e-12)
    expected = 0.5 * mixed(codes) + 0.3 * mixed((codes + 1) % 6) + 0.2 * fixed
    np.testing.assert_allclose(mixed(0.5 * known + 0.3 * other), expected, atol=1e-12)


def test_a_class_without_training_rows_in_a_fold():
    data = simulated()
    y = data.y.copy()
    y[-50:] = 2
    data = ClusteredData(data.X, y, data.clusters)
    rows = np.arange(550)
    method = GradientBoosting(label="multiclass", trees=5)
    p = method.fit(data, Splits((Fold(0, 0, rows, rows[:0], rows[:0]),))).predict(data)
    assert p.mixed.shape == (600, 3) and (p.mixed.argmax(1) < 2).all()


@TREES
def test_boosting_stops_by_the_validation_rows(cls):
    """Far fewer trees than without validation rows, and a better loss on new data."""
    data, new = simulated(400), simulated(2000, seed=1)
    whole, stopped = (cls(trees=400).fit(data, folds(400, validation)) for validation in (0, 100))
    counts = [method.models_[0].count("Tree=") for method in (whole, stopped)]
    assert counts[0] == 400 and 1 <= counts[1] < 200
    assert loss(new.y, stopped.predict(new).mixed) < loss(new.y, whole.predict(new).mixed)


@TREES
def test_importance_has_the_scale_of_the_others(cls):
    """Of a function that is linear in a normal feature, abs(coefficient) times the s.d.; of noise next to nothing."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 3)) * [1.0, 3.0, 1.0]
    y = 2 * X[:, 0] - X[:, 1] + 0.1 * rng.normal(size=2000)
    data = ClusteredData(X, y, np.arange(2000) % 5)
    method = cls(label="continuous", trees=200).fit(data, folds(2000))
    found = method.importance(data, {(0, 0): np.arange(500)})["importance"]
    np.testing.assert_allclose(found[:2], [2, 1] * X[:500, :2].std(0), rtol=0.07)
    assert found.iloc[2] < 0.1
    assert found.equals(method.importance(data, {(0, 0): np.arange(500)})["importance"])


@TREES
def test_saved_trees_are_text(cls, tmp_path):
    """What is loaded is data: nothing in it can be executed."""
    data = simulated()
    cls(trees=5).fit(data, folds(600)).save(tmp_path / "run")
    with gzip.open(tmp_path / "run" / MODELS, "rt") as file:
        (text,) = json.load(file)
    assert text.startswith("tree\n") and text.count("Tree=") == 5
    files = sorted(f.name for f in (tmp_path / "run").iterdir())
    assert files == [*(["estimates.npz"] if cls is GPBoost else []), "method.json", MODELS]
    again = tmp_path / "again"
    cls(trees=5).fit(data, folds(600)).save(again)
    assert (again / MODELS).read_bytes() == (tmp_path / "run" / MODELS).read_bytes()


@TREES
def test_a_library_that_is_absent_is_named(cls, monkeypatch):
    monkeypatch.setitem(sys.modules, cls.library, None)
    with pytest.raises(ConfigError, match=rf"{cls.__name__} needs .*pip install {cls.library}") as error:
        cls().fit(simulated(), folds(600))
    assert "run.models" in str(error.value)


@TREES
def test_features_that_say_nothing(cls):
    data = simulated()
    data = ClusteredData(np.zeros((600, 3)), data.y, np.full(600, "only"))
    p = cls(trees=5).fit(data, folds(600)).predict(data)
    expected = np.log(data.y.mean() / (1 - data.y.mean()))
    np.testing.assert_allclose(p.fixed, expected, atol=0.05)
    np.testing.assert_allclose(p.mixed, p.fixed, atol=0.05)


@TREES
def test_settings_of_a_fold(cls):
    """`assign` gives a fold settings of its own; whole numbers may come as floats, as searches draw them."""
    data, rows = simulated(), np.arange(600)
    two = Splits(tuple(Fold(0, fold, rows, rows[:0], rows[:0]) for fold in (0, 1)))
    method = cls(trees=5).fit(data, two, assign={(0, 1): {"leaves": 4.0, "min_samples_leaf": 10.0}})
    alone = cls(trees=5, leaves=4, min_samples_leaf=10).fit(data, folds(600))
    assert method.models_ == [cls(trees=5).fit(data, folds(600)).models_[0], alone.models_[0]]
    assert method.models_[0] != method.models_[1]
