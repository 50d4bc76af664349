"""The scikit-learn estimators: conventions, clusters, routing, files and bad input."""

import doctest
import logging
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import armed.sklearn
from armed.data.clustered import ClusteredData
from armed.errors import ArmedError, ConfigError, DataError, LayerNotFoundError, UnseenClusterError
from armed.sklearn import ArmedClassifier, ArmedRegressor
from armed.tabular import hold_out

FAST = {"hidden": (8,), "epochs": 4, "patience": None, "batch_size": 64, "learning_rate": 0.05, "random_state": 0}
# Clusters whose slopes of the first feature differ in sign, so that fixed effects alone cannot do.
LEARNS = FAST | {"epochs": 40, "slope_prior_sd": 2.0, "intercept_prior_sd": 2.0, "lambda_K": 1e-4}
SITES = np.repeat(["a", "b", "c"], 60)
SLOPES = np.repeat([3.0, 1.0, -3.0], 60)


def table(seed=0):
    return np.random.default_rng(seed).normal(size=(180, 2))


X = table()
Y = (SLOPES * X[:, 0] + X[:, 1] > 0).astype(int)


@pytest.fixture(scope="module")
def model():
    return ArmedClassifier(**LEARNS).fit(X, Y, SITES)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@parametrize_with_checks(
    [
        ArmedClassifier(**FAST | {"epochs": 20, "batch_size": 100, "random_state": None}),
        ArmedRegressor(**FAST | {"epochs": 20, "batch_size": 100, "random_state": None}),
    ]
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def test_examples_of_the_documentation_run():
    results = doctest.testmod(armed.sklearn)
    assert results.attempted > 15 and results.failed == 0


def test_clusters_improve_predictions_and_slopes_are_recovered(model):
    assert model.score(X, Y, clusters=SITES) > model.score(X, Y) + 0.15
    effects = model.random_effects_
    assert effects.columns.tolist() == ["cluster", "effect", "feature", "mean", "sd"]
    assert effects["cluster"].tolist() == list(np.repeat(["a", "b", "c"], 3))
    assert effects["effect"].tolist() == ["slope", "slope", "intercept"] * 3
    assert effects["feature"].tolist() == ["x1", "x2", ""] * 3
    assert (effects["sd"] > 0).all()
    assert effects.loc[effects["feature"] == "x1", "mean"].is_monotonic_decreasing


def test_probabilities_logits_and_classes_agree(model):
    logits = model.decision_function(X, SITES)
    np.testing.assert_allclose(model.predict_proba(X, SITES)[:, 1], 1 / (1 + np.exp(-logits)))
    np.testing.assert_array_equal(model.predict(X, SITES), (logits > 0).astype(int))
    assert model.score(X, Y, clusters=SITES, sample_weight=Y) == np.average((logits > 0)[Y == 1])


def test_unseen_clusters_are_the_callers_choice(model):
    clusters = np.where(np.arange(180) < 10, "new", SITES)
    with pytest.raises(UnseenClusterError, match=r"1 cluster was never seen in training \(new"):
        model.predict(X, clusters)
    known, population = model.decision_function(X, SITES), model.decision_function(X)
    left = model.decision_function(X, clusters, new_clusters="population")
    np.testing.assert_allclose(left[:10], population[:10], rtol=1e-5)
    np.testing.assert_allclose(left[10:], known[10:], rtol=1e-5)
    inferred = model.decision_function(X, clusters, new_clusters="infer")
    np.testing.assert_allclose(inferred[10:], known[10:], rtol=1e-5, atol=1e-6)
    assert np.abs(inferred[:10] - population[:10]).min() > 1e-4


def test_without_labels_predictions_are_the_populations_or_inferred(model):
    clusters = np.repeat("new", 180)
    for choice in ("population", "infer"):
        np.testing.assert_array_equal(
            model.decision_function(X, new_clusters=choice), model.decision_function(X, clusters, choice)
        )
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X, new_clusters="population"))


def test_inference_can_be_set_and_left_out():
    bare = ArmedClassifier(**FAST, infer_clusters=False).fit(X, Y, SITES)
    with pytest.raises(ConfigError, match="infer_clusters=True"):
        bare.predict(X, np.repeat("new", 180), new_clusters="infer")
    own = ArmedClassifier(**FAST, infer_clusters={"hidden": [3], "epochs": 2}).fit(X, Y, SITES)
    assert own.cluster_inference_.network == {"hidden": (3,)} and own.cluster_inference_.training["epochs"] == 2
    default = ArmedClassifier(**FAST, infer_clusters={}).fit(X, Y, SITES)
    assert default.cluster_inference_.network == {"hidden": (8,)}


def test_fitted_without_clusters_all_samples_are_one(caplog):
    with caplog.at_level(logging.INFO, logger="armed.sklearn"):
        model = ArmedClassifier(**FAST).fit(X, Y)
    assert "all samples are treated as one cluster" in caplog.text
    assert model.clusters_.tolist() == ["all"] and model.random_effects_.empty
    one = ArmedClassifier(**FAST).fit(X, Y, np.repeat("here", 180))
    np.testing.assert_array_equal(one.predict_proba(X, np.repeat("here", 180)), model.predict_proba(X))
    np.testing.assert_array_equal(
        model.predict(X, np.repeat("new", 180), new_clusters="infer"), model.predict(X, new_clusters="population")
    )
    with pytest.raises(UnseenClusterError):
        model.predict(X, SITES)


@pytest.mark.parametrize(
    "classes", [["no", "yes", "maybe"], [True, False], [3, 7], [2.0, 4.0, 8.0]], ids=["str", "bool", "int", "float"]
)
def test_labels_of_any_type(classes):
    which = np.argmax(X @ np.random.default_rng(1).normal(size=(2, len(classes))), axis=1)
    y = np.array(classes)[which]
    model = ArmedClassifier(**FAST | {"epochs": 25}).fit(X, y, SITES)
    np.testing.assert_array_equal(model.classes_, np.unique(y))
    assert model.predict(X, SITES).dtype == y.dtype
    assert model.score(X, y, clusters=SITES) > 0.8
    probability = model.predict_proba(X, SITES)
    assert probability.shape == (180, len(classes))
    np.testing.assert_allclose(probability.sum(1), 1)
    features = set(model.random_effects_["feature"])
    assert features == (
        {"x1", "x2", ""} if len(classes) == 2 else {f"{f}->{k}" for f in ("x1", "x2", "") for k in range(3)}
    )


def test_cluster_labels_keep_their_type():
    as_text = ArmedClassifier(**FAST).fit(X, Y, SITES)
    numbers = np.repeat([10, 9, 100], 60)
    model = ArmedClassifier(**FAST).fit(
        pd.DataFrame(X, columns=["age", "dose"]), Y, pd.Series(numbers, index=range(5, 185))
    )
    assert model.random_effects_["cluster"].dtype == np.int64
    assert model.clusters_.tolist() == [9, 10, 100] == model.random_effects_["cluster"].unique().tolist()
    assert model.feature_names_in_.tolist() == ["age", "dose"] and set(model.random_effects_["feature"]) == {
        "age",
        "dose",
        "",
    }
    frame = pd.DataFrame(X, columns=["age", "dose"])
    np.testing.assert_array_equal(model.predict(frame, numbers), model.predict(frame, numbers.astype(float)))
    categories = ArmedClassifier(**FAST).fit(X, Y, pd.Categorical(SITES))
    np.testing.assert_array_equal(categories.predict_proba(X, SITES), as_text.predict_proba(X, list(SITES)))


def test_random_state_fixes_the_model():
    def fitted(state):
        settings = FAST | {"random_state": state, "patience": 3, "infer_clusters": False}
        return ArmedClassifier(**settings).fit(X, Y, SITES).predict_proba(X, SITES)

    np.testing.assert_array_equal(fitted(1), fitted(1))
    assert np.abs(fitted(1) - fitted(2)).max() > 1e-3
    first = fitted(None)
    assert np.abs(first - fitted(None)).max() > 1e-3
    np.testing.assert_array_equal(fitted(np.random.RandomState(3)), fitted(np.random.RandomState(3)))


def test_early_stopping_holds_out_and_keeps_the_best_weights():
    model = ArmedClassifier(
        **LEARNS | {"epochs": 200, "patience": 3, "learning_rate": 0.1, "infer_clusters": False}
    ).fit(X, Y, SITES)
    history = model.history_
    assert len(history) < 200 and history["validation"].notna().all()
    best = history["validation"].idxmin()
    assert history["kept"][best] and len(history) - 1 - best == 3
    assert ArmedClassifier(**FAST).fit(X, Y, SITES).history_["validation"].isna().all()


def test_samples_held_out_are_stratified_and_leave_no_cluster_out():
    clusters = np.where(np.arange(180) == 7, "single", SITES)
    fold = hold_out(ClusteredData(X, Y, clusters), 0.2, seed=4)
    assert set(fold.train) | set(fold.validation) == set(range(180)) and len(fold.test) == 0
    assert abs(len(fold.validation) - 36) <= 2 and 7 in fold.train
    for site in "abc":
        for label in (0, 1):
            stratum = (clusters == site) & np.equal(Y, label)
            assert abs(stratum[fold.validation].sum() - 0.2 * stratum.sum()) < 1 + 1e-9
    for seed in range(20):  # two samples of each cluster: never both
        fold = hold_out(ClusteredData(X[:8], X[:8, 0], np.repeat(list("abcd"), 2)), 0.5, seed)
        assert set(np.repeat(list("abcd"), 2)[fold.train]) == set("abcd")
    assert len(hold_out(ClusteredData(X, Y, SITES), 0.0, seed=0).validation) == 0


def test_regression_does_not_depend_on_the_unit_of_y():
    y = SLOPES * X[:, 0] + X[:, 1]
    model = ArmedRegressor(**LEARNS, infer_clusters=False).fit(X, y, SITES)
    other = ArmedRegressor(**LEARNS, infer_clusters=False).fit(X, 1000 + 64 * y, SITES)
    np.testing.assert_allclose(other.predict(X, SITES), 1000 + 64 * model.predict(X, SITES), rtol=1e-3)
    np.testing.assert_allclose(other.random_effects_["mean"], 64 * model.random_effects_["mean"], rtol=1e-2, atol=1e-2)
    residuals = y - model.predict(X, SITES)
    assert model.residual_sd_ == pytest.approx(np.sqrt(np.mean(residuals**2)), rel=1e-5)
    assert model.score(X, y, clusters=SITES) > 0.8 > model.score(X, y)


def test_clusters_reach_searches_and_pipelines_by_routing():
    with sklearn.config_context(enable_metadata_routing=True):
        model = ArmedClassifier(**FAST | {"infer_clusters": False})
        model.set_fit_request(clusters=True).set_predict_request(clusters=True, new_clusters=True)
        model.set_score_request(clusters=True, new_clusters=True)
        folds = KFold(3, shuffle=True, random_state=0)
        pipeline = make_pipeline(StandardScaler(), model)
        grid = {"armedclassifier__lambda_g": [0.0, 0.5]}
        search = GridSearchCV(pipeline, grid, cv=folds).fit(X, Y, clusters=SITES)
        assert search.best_estimator_[-1].clusters_.tolist() == ["a", "b", "c"]
        expected = []
        for train, test in folds.split(X):
            part = clone(pipeline).fit(X[train], Y[train], clusters=SITES[train])
            expected.append(part[-1].score(part[0].transform(X[test]), Y[test], clusters=SITES[test]))
        np.testing.assert_allclose(search.cv_results_["mean_test_score"][1], np.mean(expected))
        assert search.best_estimator_.predict(X, clusters=np.repeat("new", 180), new_clusters="population").shape == (
            180,
        )
        groups = ArmedClassifier(**FAST | {"infer_clusters": False}).set_fit_request(clusters=True)
        groups.set_score_request(clusters=True, new_clusters=True)
        routed = {"clusters": SITES, "groups": SITES, "new_clusters": "population"}
        scores = cross_val_score(groups, X, Y, cv=GroupKFold(3), params=routed)
        assert np.isfinite(scores).all() and len(scores) == 3


def test_search_over_cluster_settings_refuses_unrouted_clusters():
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(ArmedClassifier(**FAST), {"lambda_g": [0.0]}, cv=2)
        with pytest.raises(ValueError, match="clusters"):
            search.fit(X, Y, clusters=SITES)


def test_copies_and_files_predict_the_same(model, tmp_path):
    joblib.dump(model, tmp_path / "model.joblib")
    for copy in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        for clusters, choice in ((SITES, "error"), (None, "infer")):
            np.testing.assert_array_equal(
                copy.predict_proba(X, clusters, choice), model.predict_proba(X, clusters, choice)
            )
        pd.testing.assert_frame_equal(copy.random_effects_, model.random_effects_)
    stack = pickle.loads(pickle.dumps(model.method_.stack_))
    stack.main.flat.zero_()  # what an optimiser does: the parameters must follow
    assert all((view == 0).all() for view in stack.main.views.values())
    fresh = clone(model)
    assert not hasattr(fresh, "method_") and fresh.get_params() == model.get_params()


class Own(torch.nn.Module):
    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.first = torch.nn.Linear(n_features, 5)
        self.act = torch.nn.Tanh()
        self.last = torch.nn.Linear(5, n_outputs)

    def forward(self, X):
        return self.last(self.act(self.first(X)))


def test_a_network_of_the_users(caplog):
    settings = FAST | {"slopes": "act", "infer_clusters": False}
    built = ArmedClassifier(net=Own, adversary_on="act", **settings).fit(X, Y, SITES)
    assert set(built.random_effects_["feature"]) == {f"act[{j}]" for j in range(5)} | {""}
    assert built.method_.stack_.adversary is not None and not caplog.text
    net = Own(2, 1)
    before = net.last.weight.detach().clone()
    given = clone(ArmedClassifier(net=net, **settings)).fit(X, Y, SITES)
    assert given.method_.stack_.adversary is None and "adversary_on" in caplog.text
    assert given.predict(X, SITES).shape == (180,)
    torch.testing.assert_close(net.last.weight.detach(), before, rtol=0, atol=0)
    trained = given.method_.stack_.replica(0).net.last.weight.detach()
    assert 0 < (trained - before).abs().max() < 2  # training starts at the weights given
    for wrong, message in ((Own(2, 3), "3 outputs"), (Own(7, 1), "X with 2 features"), (len, "X with 2 features")):
        with pytest.raises(ConfigError, match=message):
            ArmedClassifier(net=wrong, **settings).fit(X, Y, SITES)


def test_parts_of_the_model_can_be_left_out():
    settings = FAST | {"infer_clusters": False}
    plain = ArmedClassifier(**settings, slopes=None, intercept=False).fit(X, Y, SITES)
    assert plain.random_effects_.empty and plain.method_.stack_.adversary is not None
    np.testing.assert_array_equal(plain.predict_proba(X, SITES), plain.predict_proba(X))
    linear = ArmedRegressor(**settings | {"hidden": ()}, slopes=None).fit(X, X[:, 0], SITES)
    assert set(linear.random_effects_["effect"]) == {"intercept"} and linear.method_.stack_.adversary is None
    assert ArmedClassifier(**settings, lambda_g=0).fit(X, Y, SITES).method_.stack_.adversary is None


def test_all_wrong_parameters_in_one_error():
    wrong = {
        "lambda_g": -1,
        "hidden": 4,
        "epochs": 0,
        "learning_rate": "fast",
        "validation_fraction": 1.5,
        "device": "gpu",
        "engine": "complied",
    }
    wrong |= {"infer_clusters": {"epoch": 3, "patience": 0}, "slopes": 2, "net": 3, "adversary_units": (0,)}
    with pytest.raises(ConfigError) as error:
        ArmedClassifier(**wrong).fit(X, Y)
    message = str(error.value)
    assert message.startswith("12 problems with the estimator's parameters")
    assert "engine is 'complied'; expected one of auto, eager, compiled. Did you mean 'compiled'?" in message
    for part in ("lambda_g is -1; expected a number of at least 0", "hidden is 4", "learning_rate is 'fast'"):
        assert part in message
    assert "no setting 'epoch'. Did you mean 'epochs'?" in message and "infer_clusters: patience is 0" in message


def test_all_problems_of_the_data_in_one_error():
    bad = X.copy()
    bad[0, 0], bad[1:3, 1] = np.nan, np.inf
    with pytest.raises(DataError) as error:
        ArmedClassifier(**FAST).fit(
            pd.DataFrame(bad, columns=["age", "dose"]), np.repeat("ill", 180), [None, *SITES[:90]]
        )
    message = str(error.value)
    assert message.startswith("5 problems with the training data")
    assert "X 180, y 180, clusters 91" in message and "clusters is missing for 1 samples" in message
    assert "NaN values in: age (1)" in message and "infinite values in: dose (2)" in message
    assert "one class only (ill in all 180 samples)" in message


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"clusters": SITES[:-1]}, DataError, "X 180, y 180, clusters 179"),
        ({"clusters": SITES.reshape(-1, 1)}, DataError, r"clusters has shape \(180, 1\)"),
        ({"clusters": np.array([1, "a"] * 90, dtype=object)}, DataError, "one type"),
        ({"y": np.where(Y == 1, np.inf, 0.0)}, DataError, "y is NaN or infinite in"),
        ({"y": np.linspace(0, 1, 180)}, ValueError, "continuous"),
        ({"slopes": "hidden.3"}, LayerNotFoundError, "no layer 'hidden.3'. Did you mean 'hidden.0'"),
        ({"slopes": "hidden.3", "clusters": None}, LayerNotFoundError, "hidden.3"),
        ({"learning_rate": 1e30}, ArmedError, "diverged"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    data = {"X": X, "y": Y, "clusters": SITES} | {k: v for k, v in change.items() if k in ("y", "clusters")}
    settings = {k: v for k, v in change.items() if k not in data}
    with pytest.raises(error, match=message):
        ArmedClassifier(**FAST | settings).fit(**data)


def test_bad_samples_to_predict_are_refused(model):
    with pytest.raises(DataError) as error:
        model.predict(np.full((3, 2), np.nan), clusters=SITES[:2], new_clusters="guess")
    message = str(error.value)
    assert message.startswith("3 problems with the samples to predict") and "X 3, clusters 2" in message
    assert "new_clusters is 'guess'; expected one of infer, population, error" in message
    with pytest.raises(DataError, match="outcome that varies"):
        ArmedRegressor(**FAST).fit(X, np.ones(180))
