"""Linear mixed model by restricted maximum likelihood (statsmodels MixedLM)."""

from __future__ import annotations

import logging
import warnings

import numpy as np
from numpy.linalg import LinAlgError
from statsmodels.regression import mixed_linear_model as sm
from statsmodels.tools.sm_exceptions import ConvergenceWarning, SingularMatrixWarning

from baselines.linear_mixed import Design, Estimates, LinearMixed

log = logging.getLogger(__name__)

PROBABILITY_RANGE = (1e-6, 1 - 1e-6)
# Tried in this order until one can be fitted.
STRUCTURES = {
    "correlated": "correlated random intercepts and slopes",
    "uncorrelated": "uncorrelated random intercepts and slopes",
    "intercept": "random intercepts alone",
    "none": "no random effects",
}
OPTIMISERS = {"correlated": ["lbfgs", "powell"], "uncorrelated": ["lbfgs", "bfgs"], "intercept": ["lbfgs", "powell"]}
BOUNDARY = 0.01  # s.d. of random effects, in residual s.d., below which the covariance counts as singular


class MixedLM(LinearMixed):
    """Linear mixed model with random intercepts and slopes of unstructured covariance (REML).

    Binary labels are taken as the numbers 0 and 1: a linear probability model, which is what statsmodels MixedLM makes of them.
    Its predicted probabilities, clipped to [1e-6, 1 - 1e-6], are returned as logits, so that outputs mean the same for all
    methods. Settings are not stated in the paper; we take slopes on all features, as any effect may differ by cluster.

    Where a fit fails, or there are no more clusters than random effects in each, a simpler structure is fitted: uncorrelated
    intercepts and slopes (at the features' means), then intercepts alone, then least squares without random effects. Such a
    step, no convergence, and a covariance on the boundary of the parameter space are told in `notes_`.

    Parameters as for `baselines.linear_mixed.LinearMixed`.
    """

    labels = ("binary", "continuous")

    def _link(self, linear):
        if self.label != "binary":
            return linear
        p = np.clip(linear, *PROBABILITY_RANGE)
        return np.log(p) - np.log1p(-p)

    def _estimate(self, design):
        notes = []
        intended = "correlated" if len(design.slopes) else "intercept"
        if design.n_clusters <= len(design.slopes) + 1:
            notes.append(f"{design.n_clusters} clusters are too few for {STRUCTURES[intended]}")
        for structure in _candidates(design):
            try:
                estimates = _fit(design, structure)
            except LinAlgError as error:
                notes.append(f"{STRUCTURES[structure]} could not be fitted ({error})")
                continue
            break
        if structure != intended:
            notes.append(f"fitted with {STRUCTURES[structure]}")
            log.warning("MixedLM: %s.", "; ".join(notes))
        return Estimates(**{**vars(estimates), "notes": (*notes, *estimates.notes)})


class _REML(sm.MixedLM):
    """statsmodels' profiled likelihood from the clusters' cross-products, taken once, in place of passes over all rows.

    Without the Hessian, which only standard errors need and which cannot be inverted on the boundary.
    """

    def __init__(self, y: np.ndarray, X: np.ndarray, codes: np.ndarray, Z: np.ndarray) -> None:
        super().__init__(y, X, groups=codes, exog_re=Z)
        W = np.column_stack([Z, X, y])
        self._products = np.array([W[codes == c].T @ W[codes == c] for c in range(codes.max() + 1)])
        self._profiled = np.array([]), (np.nan, np.array([]))

    def loglike(self, params):
        return self._profile(params)[0]

    def score(self, params):
        score = self._profile(params)[1]
        return score if self._freepat is None else score * self._freepat.cov_re[self._freepat._ix]

    def hessian(self, params):
        return -np.eye(self.k_fe + self.k_re2 + self.k_vc), False

    def get_fe_params(self, cov_re, vcomp, tol=1e-10):
        """Coefficients at a covariance that may be singular, which statsmodels' own are wrong at."""
        return self._least_squares(_root(cov_re))[3], False

    def get_scale(self, fe_params, cov_re, vcomp):
        return self._least_squares(_root(cov_re))[4] / (self.n_totobs - self.k_fe)

    def _profile(self, params: np.ndarray) -> tuple[float, np.ndarray]:
        """REML log likelihood and its gradient at psi = L L', for the lower triangle of L.

        With V = I + Z psi Z' in each cluster, V^-1 = I - Z S Z' for S = L (I + L'Z'ZL)^-1 L'; coefficients and residual
        variance are at their best for psi.
        """
        if not np.array_equal(params, self._profiled[0]):
            self._profiled = params.copy(), self._profile_at(params)
        return self._profiled[1]

    def _profile_at(self, params: np.ndarray) -> tuple[float, np.ndarray]:
        e, freedom = self.k_re, self.n_totobs - self.k_fe
        L = np.zeros((e, e))
        L[np.tril_indices(e)] = params
        S, inner, XVX, beta, squares = self._least_squares(L)
        determinants = np.linalg.slogdet(inner)[1].sum() + np.linalg.slogdet(XVX)[1]
        loglike = -(freedom * (np.log(2 * np.pi * squares / freedom) + 1) + determinants) / 2
        ZZ, ZW = self._products[:, :e, :e], self._products[:, :e, e:]
        ZVW = ZW - ZZ @ S @ ZW
        ZVX = ZVW[..., :-1]
        ZVr = ZVW[..., -1] - ZVX @ beta
        # Twice the derivative by psi.
        D = ZVX @ np.linalg.solve(XVX, ZVX.mT) - ZZ + ZZ @ S @ ZZ + freedom / squares * ZVr[:, :, None] * ZVr[:, None]
        return loglike, (D.sum(0) @ L)[np.tril_indices(e)]

    def _least_squares(self, L: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
        """S (q, e, e), I + L'Z'ZL (q, e, e), X'V^-1X, coefficients, and the sum of squares r'V^-1r of their residuals r."""
        e = self.k_re
        ZZ, ZW, WW = self._products[:, :e, :e], self._products[:, :e, e:], self._products[:, e:, e:]
        inner = np.eye(e) + L.T @ ZZ @ L
        S = L @ np.linalg.solve(inner, np.broadcast_to(L.T, inner.shape))
        WVW = (WW - ZW.mT @ S @ ZW).sum(0)
        XVX, XVy = WVW[:-1, :-1], WVW[:-1, -1]
        beta = np.linalg.solve(XVX, XVy)
        # Where the fit is perfect rounding may leave less than nothing.
        return S, inner, XVX, beta, max(WVW[-1, -1] - XVy @ beta, np.finfo(float).eps * WW[:, -1, -1].sum())


def _candidates(design: Design) -> list[str]:
    if design.n_clusters < 2:
        return ["none"]
    if not len(design.slopes):
        return ["intercept", "none"]
    # With as few clusters as random effects the estimate of an unstructured covariance is singular.
    return list(STRUCTURES)[design.n_clusters <= len(design.slopes) + 1 :]


def _fit(design: Design, structure: str) -> Estimates:
    """Fit one structure to the standardised outcome; raises LinAlgError where that is not possible."""
    columns = np.r_[0, design.slopes]
    n_effects = len(columns)
    mean, scale = design.y.mean(), design.y.std()
    y = (design.y - mean) / scale
    if structure == "none":
        beta, psi, residual, notes = _least_squares(design.X, y)
    else:
        n_effects = 1 if structure == "intercept" else n_effects
        beta, psi, residual, notes = _reml(design.X, y, design.codes, columns[:n_effects], structure)
    effects = np.zeros((design.n_clusters, len(columns)))
    spread = np.zeros((design.n_clusters, len(columns), len(columns)))
    covariance = np.zeros((len(columns), len(columns)))
    used = slice(0, len(psi))
    covariance[used, used] = (scale * residual) ** 2 * psi
    if len(psi):
        Z = design.X[:, columns[:n_effects]]
        means, conditional = _blups(Z, y - design.X @ beta, design.codes, psi)
        effects[:, used] = scale * means
        spread[:, used, used] = (scale * residual) ** 2 * conditional
    beta = scale * beta
    beta[0] += mean
    return Estimates(beta, effects, spread, covariance, scale * residual, notes)


def _least_squares(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, tuple[str, ...]]:
    beta = np.linalg.lstsq(X, y)[0]
    residual = np.sqrt(((y - X @ beta) ** 2).sum() / max(len(y) - X.shape[1], 1))
    return beta, np.zeros((0, 0)), residual, ()


def _reml(
    X: np.ndarray, y: np.ndarray, codes: np.ndarray, columns: np.ndarray, structure: str
) -> tuple[np.ndarray, np.ndarray, float, tuple[str, ...]]:
    """Coefficients, random effects covariance in units of the residual variance, residual s.d., notes."""
    Z = X[:, columns]
    start = _moments(X, Z, y, codes)
    free = None
    if structure == "uncorrelated":
        start = np.diag(np.diag(start))
        free = sm.MixedLMParams.from_components(fe_params=np.ones(X.shape[1]), cov_re=np.eye(len(columns)))
    start = sm.MixedLMParams.from_components(fe_params=np.zeros(X.shape[1]), cov_re=start)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = _REML(y, X, codes, Z)
        result = model.fit(start_params=start, reml=True, free=free, method=OPTIMISERS[structure])
    psi, beta, variance = result.cov_re_unscaled, np.asarray(result.fe_params), float(result.scale)
    if not (np.isfinite(psi).all() and np.isfinite(beta).all() and np.isfinite(variance)):
        raise LinAlgError("the estimates are not finite")
    notes = [] if result.converged else ["the optimisation did not converge"]
    if np.sqrt(max(np.linalg.eigvalsh(psi)[0], 0)) < BOUNDARY:
        notes.append("the random effects covariance is singular (on the boundary)")
    # statsmodels tells of convergence and boundary in absolute units, and of each retry; numpy of steps not taken.
    known = (ConvergenceWarning, SingularMatrixWarning, RuntimeWarning)
    notes += dict.fromkeys(str(w.message) for w in caught if not issubclass(w.category, known))
    return beta, (psi + psi.T) / 2, np.sqrt(variance), tuple(notes)


def _moments(X: np.ndarray, Z: np.ndarray, y: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Start for the random effects covariance, in units of the residual variance: spread of per-cluster regressions.

    From statsmodels' own start, the identity, optimisers stop several units of log likelihood short of the maximum where
    random effects are small.
    """
    residuals = y - X @ np.linalg.lstsq(X, y)[0]
    slopes, noise, squares, freedom = [], [], 0.0, 0
    for c in range(codes.max() + 1):
        Zc, rc = Z[codes == c], residuals[codes == c]
        if len(rc) <= Z.shape[1] or np.linalg.matrix_rank(Zc) < Z.shape[1]:
            continue
        slopes.append(np.linalg.lstsq(Zc, rc)[0])
        noise.append(np.linalg.inv(Zc.T @ Zc))
        squares += ((rc - Zc @ slopes[-1]) ** 2).sum()
        freedom += len(rc) - Z.shape[1]
    if len(slopes) < 2:
        return 0.1 * np.eye(Z.shape[1])
    variance = max(squares / freedom, 1e-8)
    raw = np.atleast_2d(np.cov(np.array(slopes).T)) / variance - np.mean(noise, axis=0)
    values, vectors = np.linalg.eigh(raw)
    # Inside the boundary, where gradients still tell the way.
    values = np.maximum(values, 1e-3 * max(values[-1], 1e-3))
    return vectors @ np.diag(values) @ vectors.T


def _blups(Z: np.ndarray, residuals: np.ndarray, codes: np.ndarray, psi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Conditional means (q, e) and covariances (q, e, e; in units of the residual variance) of the random effects.

    Equal to statsmodels' `random_effects` and `random_effects_cov`, which refuse a singular `psi`: with psi = L L', the
    covariance is L (I + L'Z'ZL)^-1 L', whose inverse always exists.
    """
    L = _root(psi)
    means, covariances = [], []
    for c in range(codes.max() + 1):
        ZL = Z[codes == c] @ L
        covariance = L @ np.linalg.solve(np.eye(len(psi)) + ZL.T @ ZL, L.T)
        covariances.append(covariance)
        means.append(covariance @ (Z[codes == c].T @ residuals[codes == c]))
    return np.array(means), np.array(covariances)


def _root(psi: np.ndarray) -> np.ndarray:
    """L with L L' = psi, which may be singular."""
    values, vectors = np.linalg.eigh(psi)
    return vectors * np.sqrt(np.maximum(values, 0))
