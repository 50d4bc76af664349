"""MixedLogit against known truth, an independent likelihood, and the classic analysis of immunisation in Guatemala."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.polynomial.hermite_e import hermegauss
from scipy import sparse
from scipy.optimize import minimize
from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM

from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.errors import ConfigError
from baselines import mixed_logit
from baselines.mixed_logit import MixedLogit


def whole(data: ClusteredData) -> Splits:
    rows = np.arange(len(data))
    return Splits((Fold(0, 0, rows, rows[:0], rows[:0]),))


def simulated(n_clusters=30, size=100, seed=0, slope_sd=0.0):
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_clusters), size)
    X = rng.normal(size=(len(codes), 2))
    effects = rng.normal(size=(n_clusters, 2)) * [0.8, slope_sd]
    linear = -0.5 + effects[codes, 0] + (1 + effects[codes, 1]) * X[:, 0] - 0.7 * X[:, 1]
    y = (rng.random(len(codes)) < 1 / (1 + np.exp(-linear))).astype(int)
    names = np.array([f"c{c:02d}" for c in codes])
    return ClusteredData(X, y, names), effects, linear


def maximum_likelihood(data: ClusteredData, points: int = 20) -> np.ndarray:
    """Intercept, coefficients and log s.d. of a random intercept by Gauss-Hermite quadrature."""
    nodes, weights = hermegauss(points)
    weights = weights / weights.sum()
    codes = data.codes(data.levels)
    sign = 2 * data.y - 1

    def negative(theta):
        linear = theta[0] + data.X @ theta[1:-1]
        rows = -np.logaddexp(0, -sign[:, None] * (linear[:, None] + np.exp(theta[-1]) * nodes))
        clusters = np.zeros((codes.max() + 1, points))
        np.add.at(clusters, codes, rows)
        top = clusters.max(1, keepdims=True)
        return -(np.log(np.exp(clusters - top) @ weights) + top[:, 0]).sum()

    return minimize(negative, np.zeros(data.X.shape[1] + 2), method="BFGS").x


def test_recovers_fixed_effects_and_intercept_sd():
    data, effects, linear = simulated()
    method = MixedLogit(slopes=None).fit(data, whole(data))
    assert method.notes_ == {}
    # The mean of the 30 intercepts drawn goes into the fixed intercept.
    np.testing.assert_allclose(method.betas_[0], [-0.5 + effects[:, 0].mean(), 1.0, -0.7], atol=0.12)
    assert np.sqrt(method.covariances_[0, 0, 0]) == pytest.approx(effects[:, 0].std(), rel=0.15)
    assert np.corrcoef(method.effects_[0, :, 0], effects[:, 0])[0, 1] > 0.95
    assert np.corrcoef(method.predict(data).mixed, linear)[0, 1] > 0.98


def test_agrees_with_maximum_likelihood():
    data, _, _ = simulated(seed=3)
    method = MixedLogit(slopes=None).fit(data, whole(data))
    expected = maximum_likelihood(data)
    np.testing.assert_allclose(method.betas_[0], expected[:-1], atol=0.04)
    assert np.sqrt(method.covariances_[0, 0, 0]) == pytest.approx(np.exp(expected[-1]), rel=0.1)


def test_recovers_random_slopes():
    data, effects, _ = simulated(seed=1, slope_sd=0.6)
    method = MixedLogit().fit(data, whole(data))
    sds = np.sqrt(np.diag(method.covariances_[0]))
    assert sds[1] == pytest.approx(effects[:, 1].std(), rel=0.3)
    assert sds[2] < sds[1] / 2
    assert np.corrcoef(method.effects_[0, :, 1], effects[:, 1])[0, 1] > 0.85
    # Posterior s.d.: the errors are of their size.
    error = (method.betas_[0, 1] + method.effects_[0, :, 1] - 1 - effects[:, 1]) / method.effect_sds_[0, :, 1]
    assert 0.6 < np.sqrt(np.mean(error**2)) < 1.6


def test_guatemala_has_the_signs_of_the_classic_analysis(mirror):
    # Rodriguez & Goldman (2001): a child of two or more years is immunised more often; fewer are in rural communities and
    # where more of the people are indigenous; communities differ.
    table = pd.read_csv(mirror("multilevel/guImmun.csv"))
    X = np.column_stack([table["kid2p"] == "Y", table["rural"] == "Y", table["pcInd81"]]).astype(float)
    names = ("kid2p", "rural", "pcInd81")
    data = ClusteredData(X, (table["immun"] == "Y").to_numpy(int), table["comm"], feature_names=names)
    method = MixedLogit(slopes=None).fit(data, whole(data))
    coefficients = method.coefficients_.set_index("feature")["coefficient"]
    assert coefficients["kid2p"] > 0.5 and coefficients["rural"] < -0.2 and coefficients["pcInd81"] < -0.4
    expected = maximum_likelihood(data)
    np.testing.assert_allclose(method.betas_[0], expected[:-1], atol=0.1)
    assert np.sqrt(method.covariances_[0, 0, 0]) == pytest.approx(np.exp(expected[-1]), rel=0.15)


def test_bound_and_gradient_are_those_of_statsmodels():
    rng = np.random.default_rng(0)
    X, Z = rng.normal(size=(200, 2)), rng.normal(size=(200, 6)) * (rng.random((200, 6)) < 0.3)
    data = (rng.random(200) < 0.5).astype(float), X, sparse.csr_array(Z), np.repeat([0, 1], 3)
    ours, theirs = (cls(*data, vcp_p=1.0, fe_p=2.0) for cls in (mixed_logit._Logit, BinomialBayesMixedGLM))
    theirs.verbose = False
    for scale in (1, 30):
        mean, sd = scale * rng.normal(size=10), np.exp(rng.normal(size=10) - 1)
        mean[2:4] /= scale
        assert ours.vb_elbo(mean, sd) == pytest.approx(theirs.vb_elbo(mean, sd), rel=1e-12)
        for mine, other in zip(ours.vb_elbo_grad(mean, sd), theirs.vb_elbo_grad(mean, sd), strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-9)


def test_the_optimiser_starts_from_a_curvature_that_is_about_right():
    data, _, _ = simulated(30, 40, slope_sd=0.5)
    design = mixed_logit.Design.of(data.X, data.y.astype(float), data.codes(data.levels), [0, 1])
    Z = mixed_logit._membership(design, np.r_[0, design.slopes])
    model = mixed_logit._Logit(design.y, design.X, Z, np.repeat([0, 1, 2], 30), vcp_p=1.0, fe_p=2.0)
    result = model.fit_vb(mean=np.zeros(96), sd=np.full(96, 0.4))
    mean, log_sd = result.params, np.log(np.r_[result.fe_sd, result.vcp_sd, result.vc_sd])

    def gradient(at):
        sd = np.exp(at[96:])
        by_mean, by_sd = model.vb_elbo_grad(at[:96], sd)
        return -np.r_[by_mean, by_sd * sd]

    at = np.r_[mean, log_sd]
    steps = 1e-4 * np.eye(len(at))
    found = np.array([(gradient(at + s) - gradient(at - s))[i] / 2e-4 for i, s in enumerate(steps)])
    ratio = found / model.curvatures()
    assert ratio.min() > 0.2 and ratio.max() < 10


def test_separated_classes_stay_finite_and_warn_of_nothing():
    data, _, _ = simulated(10, 20)
    data = ClusteredData(data.X, (data.X[:, 0] > 0).astype(int), data.clusters)
    method = MixedLogit().fit(data, whole(data))
    assert np.isfinite(method.predict(data).mixed).all() and method.betas_[0, 1] > 2


def test_no_convergence_is_a_note(monkeypatch):
    data, _, _ = simulated(5, 20)
    fit_vb = mixed_logit.BinomialBayesMixedGLM.fit_vb
    monkeypatch.setattr(
        mixed_logit.BinomialBayesMixedGLM,
        "fit_vb",
        lambda self, minim_opts, **start: fit_vb(self, minim_opts=minim_opts | {"maxiter": 1}, **start),
    )
    method = MixedLogit().fit(data, whole(data))
    assert method.notes_[(0, 0)] == "the variational fit did not converge"


def test_slopes_that_cannot_be_fitted_leave_intercepts(monkeypatch):
    data, _, _ = simulated(5, 20)
    fit_vb = mixed_logit.BinomialBayesMixedGLM.fit_vb

    def breaks_with_slopes(self, **start):
        result = fit_vb(self, **start)
        if self.k_vcp > 1:
            result.params = result.params * np.nan
        return result

    monkeypatch.setattr(mixed_logit.BinomialBayesMixedGLM, "fit_vb", breaks_with_slopes)
    method = MixedLogit().fit(data, whole(data))
    assert "fitted with random intercepts alone" in method.notes_[(0, 0)]
    assert (method.effects_[0, :, 1:] == 0).all() and (method.effects_[0, :, 0] != 0).all()


def test_only_binary_labels():
    data, _, linear = simulated(5, 20)
    with pytest.raises(ConfigError, match="binary labels only"):
        MixedLogit(label="continuous").fit(ClusteredData(data.X, linear, data.clusters), whole(data))
