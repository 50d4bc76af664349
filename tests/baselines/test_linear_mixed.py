"""What holds for both statsmodels mixed models."""

from __future__ import annotations

import numpy as np
import pytest

from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits, make_splits
from armed.errors import ConfigError, DataError, NotFittedError, UnseenClusterError
from baselines.linear_mixed import Design
from baselines.mixed_logit import MixedLogit
from baselines.mixedlm import MixedLM

METHODS = (MixedLM, MixedLogit)
BOTH = pytest.mark.parametrize("cls", METHODS)


def simulated(n_clusters=8, size=60, seed=0, prefix="c") -> ClusteredData:
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(n_clusters), size)
    X = rng.normal(size=(len(clusters), 2)) * [1.0, 3.0] + [0.0, 5.0]
    effects = rng.normal(size=(n_clusters, 2))[clusters]
    linear = 0.3 + effects[:, 0] + (1 + effects[:, 1]) * X[:, 0] + 0.3 * (X[:, 1] - 5)
    y = (rng.random(len(X)) < 1 / (1 + np.exp(-linear))).astype(int)
    return ClusteredData(X, y, np.array([f"{prefix}{c}" for c in clusters]), feature_names=("dose", "age"))


def whole(data: ClusteredData, rows=None) -> Splits:
    """One fold whose training rows are all rows, or those given."""
    rows = np.arange(len(data)) if rows is None else rows
    return Splits((Fold(0, 0, rows, rows[:0], rows[:0]),))


@pytest.fixture(scope="module")
def data():
    return simulated()


@pytest.fixture(scope="module")
def splits(data):
    return make_splits(data, [0, 1], 2, "test")


@pytest.fixture(scope="module", params=METHODS, ids=lambda cls: cls.__name__)
def fitted(request, data, splits):
    return request.param(study="test").fit(data, splits)


def test_one_model_for_each_fold_and_seeds_choose(fitted, data, splits):
    assert fitted.replicas_ == [(0, 0), (0, 1), (1, 0), (1, 1)]
    chosen = type(fitted)(study="test").fit(data, splits, [1])
    assert chosen.replicas_ == [(1, 0), (1, 1)]
    np.testing.assert_array_equal(chosen.betas_, fitted.betas_[2:])


def test_mixed_separates_better_than_fixed_where_clusters_differ(fitted, data, splits):
    test = {(f.seed, f.fold): f.test for f in splits}
    p = fitted.predict(data, test)
    y = data.y[p.row] == 1
    assert p.mixed.dtype == np.float32 and p.mixed.shape == (2 * len(data),)
    assert ((p.mixed > 0) == y).mean() > ((p.fixed > 0) == y).mean() + 0.02


def test_fit_is_deterministic_and_leaves_the_global_generator_alone(fitted, data, splits):
    before = np.random.get_state()[1].copy()
    again = type(fitted)(study="test").fit(data, splits)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    for name in ("betas_", "effects_", "effect_sds_", "covariances_", "residual_sds_"):
        np.testing.assert_array_equal(getattr(again, name), getattr(fitted, name))


@BOTH
def test_only_training_rows_count(cls, data, splits):
    fold = splits.folds[0]
    y, X = data.y.copy(), data.X.copy()
    y[fold.test] = 1 - y[fold.test]
    X[fold.test] += 100
    other = ClusteredData(X, y, data.clusters, feature_names=data.feature_names)
    one = Splits((fold,))
    np.testing.assert_array_equal(cls().fit(data, one).betas_, cls().fit(other, one).betas_)


def test_unseen_clusters_are_refused_or_get_the_population_prediction(fitted):
    new = simulated(3, 10, seed=5, prefix="new")
    with pytest.raises(UnseenClusterError, match="new0"):
        fitted.predict(new)
    p = fitted.predict(new, new_clusters="population")
    np.testing.assert_array_equal(p.fixed, p.mixed)
    assert np.ptp(p.fixed) > 0


class Inference:
    """Answers with a given Z."""

    def __init__(self, Z):
        self.Z = Z

    def infer(self, data, rows, levels):
        return {key: self.Z[r] for key, r in rows.items()}


def test_soft_membership_blends_random_effects(fitted):
    new = simulated(2, 10, seed=5, prefix="new")
    q = len(fitted.levels_)
    Z = np.random.default_rng(0).dirichlet(np.ones(q), size=len(new)).astype(np.float32)
    rows = {(1, 0): np.arange(len(new))}
    p = fitted.predict(new, rows, new_clusters="infer", cluster_inference=Inference(Z))
    if isinstance(fitted, MixedLM):
        p.fixed, p.mixed = (1 / (1 + np.exp(-o)) for o in (p.fixed, p.mixed))
    effects = Z @ fitted.effects_[2]
    random = effects[:, 0] + (new.X * effects[:, 1:]).sum(1)
    inside = (p.mixed > 1e-5) & (p.mixed < 1 - 1e-5) | isinstance(fitted, MixedLogit)
    assert inside.sum() > 10
    np.testing.assert_allclose((p.mixed - p.fixed)[inside], random[inside], atol=1e-4)


def test_a_one_hot_row_is_the_cluster_itself(fitted, data):
    rows = np.arange(0, len(data), 7)
    codes = data.codes(fitted.levels_)[rows]
    hard = fitted._outputs(data, [(0, 1)], [rows], [codes])[0]
    soft = fitted._outputs(data, [(0, 1)], [rows], [np.eye(len(fitted.levels_))[codes]])[0]
    np.testing.assert_allclose(hard[1], soft[1], rtol=1e-10)


def test_save_and_load_give_the_same_predictions_and_tables(fitted, data, tmp_path):
    fitted.notes_[(0, 1)] = "a note"
    fitted.save(tmp_path / "model")
    loaded = type(fitted).load(tmp_path / "model")
    one, two = fitted.predict(data), loaded.predict(data)
    np.testing.assert_array_equal(one.mixed, two.mixed)
    np.testing.assert_array_equal(one.fixed, two.fixed)
    assert loaded.notes_ == fitted.notes_ and loaded.settings == fitted.settings
    for table in ("random_effects_", "components_", "coefficients_"):
        assert getattr(loaded, table).equals(getattr(fitted, table))


def test_random_effects_table(fitted):
    table = fitted.random_effects_
    assert list(table.columns) == ["seed", "fold", "cluster", "effect", "feature", "mean", "sd"]
    assert len(table) == 4 * 8 * 3
    assert not table.duplicated(["seed", "fold", "cluster", "effect", "feature"]).any()
    assert (table.loc[table["effect"] == "intercept", "feature"] == "").all()
    assert set(table.loc[table["effect"] == "slope", "feature"]) == {"dose", "age"}
    assert (table["sd"] >= 0).all() and (table.loc[table["feature"] == "dose", "sd"] > 0.005).all()
    cell = table.query("seed == 1 and fold == 0 and cluster == 'c3' and feature == 'age'")
    assert cell["mean"].item() == fitted.effects_[2, 3, 2]


@BOTH
def test_a_cluster_without_training_rows_has_the_spread_over_clusters(cls, data):
    rows = np.arange(len(data))
    without = rows[data.clusters != "c2"]
    splits = Splits((Fold(0, 0, rows, rows[:0], rows[:0]), Fold(0, 1, without, without[:0], without[:0])))
    method = cls(slopes=["dose"]).fit(data, splits)
    table = method.random_effects_.query("fold == 1 and cluster == 'c2'")
    assert (table["mean"] == 0).all()
    components = method.components_.query("fold == 1 and kind == 'random' and first == second")
    np.testing.assert_allclose(table["sd"], components["sdcor"])
    assert (method.random_effects_.query("fold == 0 and cluster == 'c2'")["mean"] != 0).all()


@BOTH
@pytest.mark.parametrize("slopes, features", [(None, []), (["age"], ["age"]), ("all", ["dose", "age"])])
def test_slopes_setting(cls, slopes, features, data):
    table = cls(slopes=slopes).fit(data, whole(data)).random_effects_
    assert list(dict.fromkeys(table.loc[table["effect"] == "slope", "feature"])) == features


def test_importance_is_coefficient_times_spread(fitted, data):
    rows = {(0, 1): np.arange(50), (1, 0): np.arange(200)}
    table = fitted.importance(data, rows)
    assert table[["seed", "fold"]].drop_duplicates().values.tolist() == [[0, 1], [1, 0]]
    expected = np.abs(fitted.betas_[2, 1:]) * data.X[:200].std(0)
    np.testing.assert_allclose(table.query("seed == 1")["importance"], expected)
    coefficients = fitted.coefficients_.query("seed == 1 and fold == 0 and feature != ''")["coefficient"]
    np.testing.assert_array_equal(coefficients, fitted.betas_[2, 1:])


@BOTH
def test_units_of_a_feature_do_not_matter(cls, data):
    rescaled = ClusteredData(data.X * [1e4, 1e-3] + [7e4, 3], data.y, data.clusters, feature_names=data.feature_names)
    one, two = (cls().fit(d, whole(d)) for d in (data, rescaled))
    np.testing.assert_allclose(one.predict(data).mixed, two.predict(rescaled).mixed, atol=0.01)
    rows = {(0, 0): np.arange(len(data))}
    np.testing.assert_allclose(
        one.importance(data, rows)["importance"], two.importance(rescaled, rows)["importance"], rtol=0.01
    )


@BOTH
def test_constant_and_dependent_features_are_left_out_with_a_note(cls, data):
    X = np.column_stack([data.X, np.full(len(data), 0.1), data.X @ [1.0, -2.0]])
    more = ClusteredData(X, data.y, data.clusters, feature_names=("dose", "age", "site_altitude", "sum"))
    method = cls().fit(more, whole(more))
    assert "site_altitude, sum" in method.notes_[(0, 0)]
    np.testing.assert_array_equal(method.betas_[0, 3:], 0)
    alone = cls().fit(data, whole(data))
    np.testing.assert_allclose(method.predict(more).mixed, alone.predict(data).mixed, rtol=1e-5)


def test_design_standardises_and_turns_back():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3)) * [1, 10, 100] + [5, 0, -300]
    design = Design.of(X, X[:, 0], rng.integers(4, size=50), [2])
    np.testing.assert_allclose(design.X[:, 1:].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(design.X[:, 1:].std(0), 1)
    beta = rng.normal(size=4)
    np.testing.assert_allclose(np.column_stack([np.ones(50), X]) @ (design.to_raw @ beta), design.X @ beta)
    assert design.slopes.tolist() == [3]


def test_more_features_than_rows_keeps_as_many_as_can_be_told_apart():
    X = np.random.default_rng(0).normal(size=(5, 9))
    assert len(Design.of(X, X[:, 0], np.zeros(5, int), []).kept) == 4


@BOTH
@pytest.mark.parametrize(
    "settings, message",
    [
        ({"slopes": ["dosis"]}, "Did you mean 'dose'"),
        ({"slopes": "dose"}, r"write \['dose'\]"),
        ({"slopes": "al"}, "Did you mean 'all'"),
    ],
)
def test_wrong_settings_are_refused_before_fitting(cls, settings, message, data):
    method = cls(**settings)
    with pytest.raises(ConfigError, match=message):
        method.fit(data, whole(data))
    with pytest.raises(NotFittedError):
        method.predict(data)


@BOTH
def test_classes_are_refused(cls):
    with pytest.raises(ConfigError, match=f"label is 'multiclass', but {cls.__name__} takes binary"):
        cls(label="multiclass")


@BOTH
def test_data_that_cannot_be_used(cls, data):
    missing = data.X.copy()
    missing[3, 1] = np.nan
    missing = ClusteredData(missing, data.y, data.clusters, allow_missing=True)
    with pytest.raises(DataError, match="1 NaN"):
        cls().fit(missing, whole(missing))
    with pytest.raises(DataError, match="expects binary labels"):
        continuous = ClusteredData(data.X, data.y * 0.5, data.clusters)
        cls().fit(continuous, whole(continuous))
    with pytest.raises(DataError, match="seed 0, fold 0 are 1"):
        cls().fit(data, whole(data, np.flatnonzero(data.y == 1)))


def test_a_model_that_was_not_fitted_is_named(fitted, data):
    with pytest.raises(DataError, match="seed 7, fold 0"):
        fitted.predict(data, {(7, 0): np.arange(3)})
    with pytest.raises(DataError, match="seed 7, fold 0"):
        fitted.importance(data, {(7, 0): np.arange(3)})
