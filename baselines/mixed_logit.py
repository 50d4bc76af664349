"""Logistic mixed model by variational Bayes (statsmodels BinomialBayesMixedGLM)."""

from __future__ import annotations

import logging
import warnings

import numpy as np
from numpy.linalg import LinAlgError
from scipy import sparse
from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM, glw
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from baselines.linear_mixed import Design, Estimates, LinearMixed

log = logging.getLogger(__name__)

COEFFICIENT_PRIOR_SD = 2.0  # of each fixed effect, per s.d. of its feature (statsmodels' default)
LOG_SD_PRIOR_SD = 1.0  # of the logarithm of each random effect's s.d. (statsmodels' default)
LOWEST_LOGIT = -700.0  # exp(700) is finite; below it a probability is 0 in double precision
START_SD = 0.4  # of every parameter's variational posterior


class MixedLogit(LinearMixed):
    """Logistic mixed model with independent random intercepts and slopes.

    One variance component for the intercepts and one for the slopes of each feature, independent at the features' means
    (features are standardised inside the fit). Priors are statsmodels' defaults: N(0, 2^2) for coefficients, N(0, 1) for the
    logarithms of the s.d. of random effects. Not stated in the paper.

    Fitted by mean-field variational Bayes. The alternative, the joint posterior mode, puts the s.d. of weak random effects at 0
    and all their modes with it; its optimiser seldom meets its tolerance. Variational s.d. of random effects leave out what
    the fixed effects do not know.

    The fixed effects prediction is the logit of a cluster with random effects 0, not averaged over clusters. Where the fit
    fails, intercepts alone are fitted; this, and no convergence, are told in `notes_`. The random start of statsmodels is
    replaced by a fixed one.

    Parameters as for `baselines.linear_mixed.LinearMixed`.
    """

    labels = ("binary",)

    def _estimate(self, design):
        try:
            return _fit(design, design.slopes)
        except LinAlgError as error:
            if not len(design.slopes):
                raise
            note = f"random slopes could not be fitted ({error}); fitted with random intercepts alone"
            log.warning("MixedLogit: %s.", note)
        return _fit(design, design.slopes[:0], note)


class _Logit(BinomialBayesMixedGLM):
    """statsmodels' evidence lower bound and its gradient from one pass over the quadrature points in place of 20."""

    def __init__(self, *data: object, **priors: float) -> None:
        super().__init__(*data, **priors)
        self._design = sparse.csr_array(sparse.hstack([self.exog, self.exog_vc]))
        self._squares = self._design.power(2)
        weights, points = np.array(glw).T
        self._points = self.rng * points
        self._weights = self.rng * weights * np.exp(-(self._points**2) / 2) / np.sqrt(2 * np.pi)
        self._bound = np.array([]), ()
        # What the linear predictor is made of.
        self._linear = np.r_[: self.k_fep, self.k_fep + self.k_vcp : self.k_fep + self.k_vcp + self.k_vc]

    def curvatures(self) -> np.ndarray:
        """About the curvature of the negative bound by each parameter, means first, then logarithms of s.d.

        BFGS starts from it: it then takes half the steps that it takes from the identity.
        """
        p = self.endog.mean()
        data = p * (1 - p) * np.asarray(self._squares.sum(0)).ravel()
        by_mean = np.full(self.k_fep + self.k_vcp + self.k_vc, 1.0)
        by_mean[self.k_fep : self.k_fep + self.k_vcp] += self.k_vc / self.k_vcp
        by_mean[self._linear] += data
        return np.concatenate([by_mean, np.full(len(by_mean), 2.0)])  # n s.d.^2 / 2 - log s.d. at its minimum

    def vb_elbo(self, vb_mean, vb_sd):
        return self._elbo(vb_mean, vb_sd)[0]

    def vb_elbo_grad(self, vb_mean, vb_sd):
        return self._elbo(vb_mean, vb_sd)[1:]

    def _elbo(self, mean: np.ndarray, sd: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Bound, and its derivatives by all means and s.d.; kept, since optimisers ask for the one and then for the others."""
        at = np.concatenate([mean, sd])
        if not np.array_equal(at, self._bound[0]):
            self._bound = at, self._elbo_at(mean, sd)
        return self._bound[1]

    def _elbo_at(self, mean: np.ndarray, sd: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        linear = self._linear
        centre, spread = self._design @ mean[linear], np.sqrt(self._squares @ sd[linear] ** 2)
        softplus, probability, slope = np.zeros((3, len(centre)))
        for weight, point in zip(self._weights, self._points, strict=True):  # one at a time: they stay in the cache
            logit = np.maximum(centre + point * spread, LOWEST_LOGIT)
            odds = np.exp(-logit)  # in place from here on: most of a fit's time is spent in this loop
            odds += 1
            p = weight / odds
            probability += p
            p *= point
            slope += p
            np.log(odds, out=odds)
            odds += logit
            odds *= weight
            softplus += odds
        terms = [part for pair in zip(self._unpack(mean), self._unpack(sd), strict=True) for part in pair]
        bound = (self.endog * centre - softplus).sum() + self._elbo_common(*terms) + np.log(sd).sum()
        prior = self._elbo_grad_common(*terms)
        by_mean, by_sd = np.concatenate(prior[::2]), np.concatenate(prior[1::2]) + 1 / sd
        by_mean[linear] += self._design.T @ (self.endog - probability)
        by_sd[linear] -= self._squares.T @ (slope / spread) * sd[linear]
        return bound, by_mean, by_sd


def _fit(design: Design, slopes: np.ndarray, *notes: str) -> Estimates:
    """Fit random intercepts and the random slopes given; raises LinAlgError where the estimates are not finite."""
    columns = np.r_[0, slopes]
    n_effects, n_clusters = len(columns), design.n_clusters
    n_fixed = design.X.shape[1]
    ident = np.repeat(np.arange(n_effects), n_clusters)
    size = n_fixed + n_effects + len(ident)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = _Logit(
            design.y,
            design.X,
            _membership(design, columns),
            ident,
            vcp_p=LOG_SD_PRIOR_SD,
            fe_p=COEFFICIENT_PRIOR_SD,
        )
        start = {"mean": np.zeros(size), "sd": np.full(size, START_SD)}
        result = model.fit_vb(**start, minim_opts={"hess_inv0": np.diag(1 / model.curvatures())})
    if not (np.isfinite(result.params).all() and np.isfinite(result.vc_sd).all()):
        raise LinAlgError("the estimates are not finite")
    notes = [*notes]
    if not result.optim_retvals.success:
        notes.append("the variational fit did not converge")
    # numpy warns of overflow in steps that are then not taken.
    known = (ConvergenceWarning, RuntimeWarning)
    notes += dict.fromkeys(str(w.message) for w in caught if not issubclass(w.category, known))
    n_all = 1 + len(design.slopes)
    effects, variances, covariance = np.zeros((n_clusters, n_all)), np.zeros((n_clusters, n_all)), np.zeros(n_all)
    effects[:, :n_effects] = result.vc_mean.reshape(n_effects, n_clusters).T
    variances[:, :n_effects] = result.vc_sd.reshape(n_effects, n_clusters).T ** 2
    covariance[:n_effects] = np.exp(2 * result.vcp_mean)  # median s.d. of its log-normal posterior
    spread = variances[:, :, None] * np.eye(n_all)
    return Estimates(result.fe_mean, effects, spread, np.diag(covariance), np.nan, tuple(notes), result.fe_sd)


def _membership(design: Design, columns: np.ndarray) -> sparse.csr_array:
    """Random effects design (n, effects x clusters), one entry per row and effect."""
    n = len(design.y)
    rows = np.tile(np.arange(n), len(columns))
    places = (np.arange(len(columns))[:, None] * design.n_clusters + design.codes).ravel()
    values = design.X[:, columns].T.ravel()
    return sparse.csr_array((values, (rows, places)), shape=(n, len(columns) * design.n_clusters))
