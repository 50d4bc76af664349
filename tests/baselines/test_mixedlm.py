"""MixedLM against lme4's published numbers and statsmodels itself, and what it does where a fit is degenerate."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.errors import ConfigError
from baselines import mixedlm
from baselines.mixedlm import MixedLM


def whole(data: ClusteredData) -> Splits:
    rows = np.arange(len(data))
    return Splits((Fold(0, 0, rows, rows[:0], rows[:0]),))


def grouped(n_clusters=10, size=50, seed=0, sds=(0.0, 0.0), noise=1.0) -> ClusteredData:
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_clusters), size)
    x = rng.normal(size=len(codes))
    effects = (rng.normal(size=(n_clusters, 2)) * sds)[codes]
    y = 1 + 2 * x + effects[:, 0] + effects[:, 1] * x + noise * rng.normal(size=len(codes))
    return ClusteredData(x[:, None], y, codes)


@pytest.fixture(scope="module")
def sleepstudy(mirror):
    table = pd.read_csv(mirror("multilevel/sleepstudy.csv"))
    return ClusteredData(
        table[["Days"]].to_numpy(float), table["Reaction"].to_numpy(float), table["Subject"], feature_names=("Days",)
    )


@pytest.fixture(scope="module")
def fitted(sleepstudy):
    return MixedLM(label="continuous").fit(sleepstudy, whole(sleepstudy))


def test_sleepstudy_gives_the_numbers_of_lme4(fitted):
    # lme4: Reaction ~ Days + (Days | Subject), REML.
    np.testing.assert_allclose(fitted.coefficients_["coefficient"], [251.405, 10.467], atol=1e-3)
    components = fitted.components_.set_index(["kind", "first", "second"])["sdcor"]
    assert components["random", "", ""] == pytest.approx(24.741, abs=5e-3)
    assert components["random", "Days", "Days"] == pytest.approx(5.922, abs=5e-3)
    assert components["random", "", "Days"] == pytest.approx(0.066, abs=1e-3)
    assert components["residual", "", ""] == pytest.approx(25.592, abs=1e-3)
    assert fitted.notes_ == {}


def test_sleepstudy_blups_are_those_of_statsmodels(fitted, sleepstudy):
    exog = sm.add_constant(sleepstudy.X)
    direct = sm.MixedLM(sleepstudy.y, exog, groups=sleepstudy.clusters, exog_re=exog).fit(
        reml=True, method="bfgs", gtol=1e-8
    )
    p = fitted.predict(sleepstudy)
    np.testing.assert_allclose(p.mixed, direct.fittedvalues, atol=0.02)
    np.testing.assert_allclose(p.fixed, exog @ direct.fe_params, atol=0.02)
    table = fitted.random_effects_
    means = np.array([direct.random_effects[c] for c in fitted.levels_])
    sds = np.array([np.sqrt(np.diag(direct.random_effects_cov[c])) for c in fitted.levels_])
    np.testing.assert_allclose(table["mean"].to_numpy().reshape(-1, 2), means, atol=0.02)
    np.testing.assert_allclose(table["sd"].to_numpy().reshape(-1, 2), sds, rtol=1e-3)


def test_blups_shrink_towards_zero(fitted, sleepstudy):
    intercept, slope = fitted.coefficients_["coefficient"]
    alone = []
    for cluster in fitted.levels_:
        rows = sleepstudy.clusters == cluster
        alone.append(np.polyfit(sleepstudy.X[rows, 0], sleepstudy.y[rows], 1)[::-1] - [intercept, slope])
    share = (fitted.effects_[0] ** 2).sum(0) / (np.array(alone) ** 2).sum(0)
    assert (share > 0.3).all() and (share < 1).all()


def test_binary_labels_are_a_linear_probability_model_in_logits():
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = (x + rng.normal(size=400) > 0).astype(int)
    clusters = np.arange(400) % 8
    data = ClusteredData(x[:, None], y, clusters)
    method = MixedLM().fit(data, whole(data))
    probability = method.betas_[0, 0] + method.betas_[0, 1] * x
    inside = (probability > 0.01) & (probability < 0.99)
    p = method.predict(data)
    np.testing.assert_allclose(1 / (1 + np.exp(-p.fixed[inside])), probability[inside], rtol=1e-5)
    far = ClusteredData(np.array([[50.0], [-50.0]]), np.array([0, 1]), clusters[:2])
    np.testing.assert_allclose(method.predict(far).mixed, [13.8155, -13.8155], rtol=1e-4)


def test_recovers_simulated_components():
    data = grouped(n_clusters=200, size=20, sds=(1.0, 0.5))
    method = MixedLM(label="continuous").fit(data, whole(data))
    np.testing.assert_allclose(method.betas_[0], [1, 2], atol=0.2)
    np.testing.assert_allclose(np.sqrt(np.diag(method.covariances_[0])), [1, 0.5], rtol=0.15)
    assert method.residual_sds_[0] == pytest.approx(1, rel=0.05)


def test_start_reaches_the_maximum_where_random_effects_are_small():
    data = grouped(n_clusters=10, size=300, sds=(0.02, 0.15))
    method = MixedLM(label="continuous").fit(data, whole(data))
    exog = sm.add_constant(data.X)
    model = sm.MixedLM(data.y, exog, groups=data.clusters, exog_re=exog)
    model.reml, model.fe_pen, model.cov_pen, model._cov_sing, model._freepat = True, None, None, 0, None

    def loglike(covariance):
        return model.loglike(sm.regression.mixed_linear_model.MixedLMParams.from_components(exog[0], covariance))

    found = method.covariances_[0] / method.residual_sds_[0] ** 2
    grid = [
        np.array([[a**2, r * a * b], [r * a * b, b**2]])
        for a in (1e-3, 0.01, 0.02, 0.05)
        for b in (0.08, 0.1, 0.12, 0.15, 0.2)
        for r in (-0.5, 0, 0.5)
    ]
    found += 1e-7 * np.eye(2)  # statsmodels' likelihood needs a covariance that can be inverted
    assert loglike(found) > max(map(loglike, grid)) - 0.05


def problem(n_effects: int = 2):
    """y, X, codes, Z of 8 clusters."""
    rng = np.random.default_rng(3)
    codes = np.repeat(np.arange(8), 40)
    X = np.column_stack([np.ones(320), rng.normal(size=(320, 2))])
    y = X @ [1, 2, 0] + (rng.normal(size=(8, 2))[codes] * X[:, :2]).sum(1) + rng.normal(size=320)
    return y, X, codes, X[:, :n_effects]


@pytest.mark.parametrize("n_effects", [1, 2, 3])
def test_likelihood_and_gradient_are_those_of_statsmodels(n_effects):
    y, X, codes, Z = problem(n_effects)
    models = mixedlm._REML(y, X, codes, Z), sm.MixedLM(y, X, groups=codes, exog_re=Z)
    for model in models:
        model.reml, model.fe_pen, model.cov_pen, model._cov_sing, model._freepat = True, None, None, 0, None
    L = np.tril(0.3 * np.random.default_rng(0).normal(size=(n_effects, n_effects))) + np.eye(n_effects)
    packed = L[np.tril_indices(n_effects)]
    assert models[0].loglike(packed) == pytest.approx(models[1].loglike(packed), rel=1e-12)
    np.testing.assert_allclose(models[0].score(packed), models[1].score(packed), rtol=1e-8)


def test_coefficients_at_a_singular_covariance_are_generalised_least_squares():
    y, X, codes, Z = problem()
    psi = np.outer([1.0, 0.5], [1.0, 0.5])
    model = mixedlm._REML(y, X, codes, Z)
    V = np.eye(len(y)) + (codes[:, None] == codes) * (Z @ psi @ Z.T)
    beta = np.linalg.solve(X.T @ np.linalg.solve(V, X), X.T @ np.linalg.solve(V, y))
    residuals = y - X @ beta
    variance = residuals @ np.linalg.solve(V, residuals) / (len(y) - 3)
    np.testing.assert_allclose(model.get_fe_params(psi, None)[0], beta)
    assert model.get_scale(beta, psi, None) == pytest.approx(variance)


def test_no_differences_between_clusters_is_a_note_not_a_warning():
    data = grouped(size=500)
    method = MixedLM(label="continuous").fit(data, whole(data))
    assert "on the boundary" in method.notes_[(0, 0)]
    p = method.predict(data)
    assert np.abs(p.mixed - p.fixed).max() < 0.3


def test_as_few_clusters_as_random_effects_gives_uncorrelated_ones():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(3), 50)
    X = rng.normal(size=(150, 2))
    y = X @ [1.0, 2.0] + rng.normal(size=3)[clusters] * (1 + X[:, 0]) + 0.5 * rng.normal(size=150)
    data = ClusteredData(X, y, clusters)
    method = MixedLM(label="continuous").fit(data, whole(data))
    assert "3 clusters are too few" in method.notes_[(0, 0)]
    assert "fitted with uncorrelated" in method.notes_[(0, 0)]
    assert np.abs(method.effects_[0, :, 1]).min() > 0.1


def test_uncorrelated_effects_have_no_covariance():
    data = grouped(n_clusters=40, sds=(1.0, 1.0))
    X = np.column_stack([np.ones(len(data)), data.X])
    psi = mixedlm._reml(X, data.y, data.codes(data.levels), np.array([0, 1]), "uncorrelated")[1]
    assert psi[0, 1] == 0 and (np.sqrt(np.diag(psi)) > 0.5).all()


def test_one_cluster_is_least_squares():
    data = grouped(n_clusters=1)
    method = MixedLM(label="continuous").fit(data, whole(data))
    assert "fitted with no random effects" in method.notes_[(0, 0)]
    np.testing.assert_allclose(method.betas_[0], np.polyfit(data.X[:, 0], data.y, 1)[::-1])
    assert (method.random_effects_["mean"] == 0).all()


@pytest.mark.parametrize("failing, used", [(1, "uncorrelated"), (2, "intercept"), (3, "none")])
def test_a_failed_fit_falls_back_in_the_stated_order(failing, used, monkeypatch):
    data = grouped(sds=(1.0, 1.0))
    tried, reml = [], mixedlm._reml

    def fails_at_first(*args):
        tried.append(args[-1])
        if len(tried) <= failing:
            raise np.linalg.LinAlgError("Singular matrix")
        return reml(*args)

    monkeypatch.setattr(mixedlm, "_reml", fails_at_first)
    method = MixedLM(label="continuous").fit(data, whole(data))
    assert [*tried, "none"][failing] == used
    note = method.notes_[(0, 0)]
    assert note.count("Singular matrix") == failing and f"fitted with {mixedlm.STRUCTURES[used]}" in note
    has_effects = (np.abs(method.effects_[0]) > 0).any(0).tolist()
    assert has_effects == {"uncorrelated": [True, True], "intercept": [True, False], "none": [False, False]}[used]


def test_a_perfect_fit_within_clusters_keeps_the_clusters():
    data = grouped(sds=(1.0, 1.0), noise=0.0)
    method = MixedLM(label="continuous").fit(data, whole(data))
    np.testing.assert_allclose(method.predict(data).mixed, data.y, atol=1e-2)


def test_classes_are_refused():
    data = ClusteredData(np.arange(9.0)[:, None], np.arange(9) % 3, np.arange(9) // 3)
    with pytest.raises(ConfigError, match="binary or continuous labels only"):
        MixedLM(label="multiclass").fit(data, whole(data))
