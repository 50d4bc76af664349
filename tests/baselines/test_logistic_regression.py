"""LogisticRegression against statsmodels, the equations of its optimum, and scikit-learn called by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn import linear_model

from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from baselines import logistic_regression
from baselines.logistic_regression import LogisticRegression


def whole(data: ClusteredData) -> Splits:
    rows = np.arange(len(data))
    return Splits((Fold(0, 0, rows, rows[:0], rows[:0]),))


def simulated(label: str = "binary", n: int = 2000, seed: int = 0) -> ClusteredData:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 5, n)
    X = rng.normal(size=(n, 2))
    linear = 0.4 + X @ [1.0, -0.7] + np.array([-1.0, -0.5, 0.0, 0.5, 1.0])[codes]
    noisy = linear + rng.logistic(size=n)
    y = {"binary": (noisy > 0).astype(int), "multiclass": np.digitize(noisy, [-1, 1]), "continuous": noisy}[label]
    return ClusteredData(X, y, np.array(list("abcde"))[codes])


def design(data: ClusteredData) -> np.ndarray:
    return np.hstack([data.X, pd.get_dummies(data.clusters).to_numpy(float)])


def test_without_a_penalty_it_is_maximum_likelihood():
    """Features as statsmodels has them, clusters up to a constant that they share."""
    data = simulated()
    method = LogisticRegression(C=1e8).fit(data, whole(data))
    theirs = sm.Logit(data.y, design(data)).fit(disp=False)
    np.testing.assert_allclose(method.coefficients_[0, :, 0], theirs.params[:2], atol=2e-3)
    ours = method.clusters_[0, :, 0] + method.intercepts_[0, 0]
    np.testing.assert_allclose(ours, theirs.params[2:], atol=2e-3)


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_the_penalty_balances_the_likelihood(C):
    """At the optimum the gradient of the log likelihood by each coefficient is that coefficient / C, by the intercept 0."""
    data = simulated(n=400)
    method = LogisticRegression(C=C).fit(data, whole(data))
    residual = data.y - 1 / (1 + np.exp(-method.predict(data).mixed.astype(float)))
    weights = np.r_[method.coefficients_[0, :, 0], method.clusters_[0, :, 0]]
    np.testing.assert_allclose(design(data).T @ residual, weights / C, atol=0.1)
    assert abs(residual.sum()) < 0.1
    assert abs(method.clusters_[0].sum()) < 0.1 * C**0.5  # and so cluster terms sum to 0


def test_continuous_labels_have_the_closed_form():
    data = simulated("continuous", n=300)
    method = LogisticRegression(label="continuous", C=0.1).fit(data, whole(data))
    A = np.hstack([np.ones((300, 1)), design(data)])
    penalty = np.diag(np.r_[0, np.full(A.shape[1] - 1, 10.0)])
    expected = np.linalg.solve(A.T @ A + penalty, A.T @ data.y)
    found = np.r_[method.intercepts_[0], method.coefficients_[0, :, 0], method.clusters_[0, :, 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    np.testing.assert_allclose(method.predict(data).mixed, A @ expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(method.clusters_[0].sum(), 0, atol=1e-10)


@pytest.mark.parametrize("label", ["binary", "multiclass"])
def test_predictions_are_those_of_scikit_learn(label):
    data, new = simulated(label, 500), simulated(label, 100, seed=1)
    p = LogisticRegression(label=label).fit(data, whole(data)).predict(new)
    theirs = linear_model.LogisticRegression(max_iter=1000).fit(design(data), data.y)
    np.testing.assert_allclose(p.mixed, theirs.decision_function(design(new)), rtol=1e-5, atol=1e-5)
    without = np.hstack([new.X, np.zeros((100, 5))])
    np.testing.assert_allclose(p.fixed, theirs.decision_function(without), rtol=1e-5, atol=1e-5)


def test_true_effects_are_recovered():
    data = simulated(n=20000)
    method = LogisticRegression().fit(data, whole(data))
    np.testing.assert_allclose(method.coefficients_[0, :, 0], [1.0, -0.7], atol=0.08)
    np.testing.assert_allclose(method.clusters_[0, :, 0], [-1, -0.5, 0, 0.5, 1], atol=0.15)


def test_an_unseen_cluster_has_no_term_of_its_own():
    data = simulated()
    method = LogisticRegression().fit(data, whole(data))
    p = method.predict(ClusteredData(data.X, data.y, np.full(len(data), "z")), new_clusters="population")
    np.testing.assert_array_equal(p.mixed, p.fixed)
    known = method.predict(data)
    np.testing.assert_array_equal(p.fixed, known.fixed)
    term = method.clusters_[0, data.codes(method.levels_), 0]
    np.testing.assert_allclose(known.mixed - known.fixed, term, atol=1e-5)
    Z = np.eye(5)[data.codes(method.levels_)] * 0.5
    ((fixed, mixed),) = method._outputs(data, [(0, 0)], [np.arange(len(data))], [Z])
    np.testing.assert_allclose(mixed - fixed, 0.5 * term[:, None])


def test_a_cluster_without_training_rows_has_no_term():
    data = simulated()
    rows = [np.flatnonzero(data.clusters != "c"), np.arange(len(data))]
    method = LogisticRegression().fit(data, Splits(tuple(Fold(0, k, r, r[:0], r[:0]) for k, r in enumerate(rows))))
    assert method.clusters_[0, 2, 0] == 0 and method.clusters_[1, 2, 0] != 0


@pytest.mark.parametrize("present", [[0, 1], [0, 2], [0, 1, 2]])
def test_classes_without_training_rows_in_a_fold(present):
    data = simulated("multiclass", 500)
    rows = np.flatnonzero(np.isin(data.y, present))
    method = LogisticRegression(label="multiclass").fit(data, Splits((Fold(0, 0, rows, rows[:0], rows[:0]),)))
    p = method.predict(data, {(0, 0): rows})
    assert p.mixed.shape == (len(rows), 3) and set(p.mixed.argmax(1)) == set(present)
    theirs = linear_model.LogisticRegression(max_iter=1000).fit(design(data)[rows], data.y[rows])
    shares = np.exp(p.mixed - np.logaddexp.reduce(p.mixed, axis=1, keepdims=True))
    np.testing.assert_allclose(shares[:, present], theirs.predict_proba(design(data)[rows]), atol=1e-5)


def test_no_convergence_is_a_note(monkeypatch):
    monkeypatch.setattr(logistic_regression, "MOST_STEPS", 1)
    method = LogisticRegression().fit(simulated(), whole(simulated()))
    assert method.notes_ == {(0, 0): "the fit did not converge"}


def test_separated_classes_stay_finite_and_warn_of_nothing():
    data = simulated(n=200)
    data = ClusteredData(data.X, (data.X[:, 0] > 0).astype(int), data.clusters)
    method = LogisticRegression().fit(data, whole(data))
    assert np.isfinite(method.predict(data).mixed).all() and method.coefficients_[0, 0, 0] > 2 and not method.notes_


def test_settings_of_a_fold():
    data, rows = simulated(n=300), np.arange(300)
    two = Splits(tuple(Fold(0, fold, rows, rows[:0], rows[:0]) for fold in (0, 1)))
    method = LogisticRegression().fit(data, two, assign={(0, 1): {"C": 0.01}})
    for fold, C in enumerate((1.0, 0.01)):
        alone = LogisticRegression(C=C).fit(data, whole(data))
        np.testing.assert_array_equal(method.coefficients_[fold], alone.coefficients_[0])
