"""LMMNN: a network for the fixed effects, trained on the marginal likelihood of a mixed model (Simchoni & Rosset,
NeurIPS 2021; JMLR 2023).

Model: ``eta = f(X) + b_c`` with the network f and independent random intercepts ``b_c ~ N(0, sd_b^2)`` of clusters c; labels
are normal with mean eta and s.d. sd_e (continuous), or Bernoulli with logit eta (binary). The intercepts are integrated out
of the loss, so that f, sd_b and sd_e alone are trained; the intercepts are predicted once training is over.

Class weights (binary labels; not stated in the paper) multiply the samples' log likelihoods inside the integral, in training
and in the posterior of the intercepts, so that these belong to the f that was trained.

As in the original, each mini-batch counts as a data set of its own: the loss is the negative log marginal likelihood of its
rows, divided by their number, so that learning rates mean what they mean for other methods.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import expit, log_expit
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from armed.errors import ConfigError, Problems
from armed.layers.random_effects import one_hot
from armed.losses import CLASS_WEIGHTS, Objective, sample_weights
from armed.models.dropout import Wrapper
from armed.models.mixed_effects import MixedOutput
from armed.programs import Batch, Program, State
from armed.stack import predictions
from armed.stack_method import StackMethod

# Nodes around each cluster's own mode: exact to 6 digits at an s.d. of 1, whatever the cluster's size; at 3 the mean of a
# cluster of one row is off by 0.0005 of its posterior s.d.
POSTERIOR_POINTS = 15
# Newton steps are cut to 1 logit, within which the curvature of the logistic likelihood changes by a factor e at most, so
# that they cannot diverge; this many reach any mode that means anything.
MAX_NEWTON_STEPS = 100
NEWTON_TOLERANCE = 1e-10
MAX_QUADRATURE_POINTS = 100  # NumPy tests its nodes up to here


def gaussian_nll(residual: Tensor, Z: Tensor, sd_b: Tensor, sd_e: Tensor) -> Tensor:
    """Negative log density of ``N(0, sd_e^2 I + sd_b^2 Z Z')`` at the residuals.

    The covariance is block diagonal by cluster. With n_c rows in cluster c that sum to s_c, Woodbury's identity and the
    determinant lemma turn it into sums over clusters: no matrix is inverted.

    Parameters
    ----------
    residual : Tensor
        (n,) labels minus the fixed effects prediction.
    Z : Tensor
        (n, q) one-hot; clusters without rows add nothing.
    sd_b, sd_e : Tensor
        Scalars.

    Returns
    -------
    Tensor
        Scalar, summed over the rows.
    """
    ratio = (sd_b / sd_e) ** 2
    counts, sums = Z.sum(0), residual @ Z
    inflation = 1 + counts * ratio
    quadratic = (residual.square().sum() - (ratio * sums.square() / inflation).sum()) / sd_e**2
    log_determinant = 2 * len(residual) * torch.log(sd_e) + torch.log(inflation).sum()
    return 0.5 * (len(residual) * math.log(2 * math.pi) + log_determinant + quadratic)


def logistic_nll(
    logit: Tensor,
    y: Tensor,
    Z: Tensor,
    sd_b: Tensor,
    nodes: Tensor,
    log_weights: Tensor,
    sample_weights: Tensor | None = None,
) -> Tensor:
    """Negative log marginal likelihood of binary labels, by Gauss-Hermite quadrature around an intercept of 0.

    Fixed nodes suit a mini-batch, which has few rows of each cluster, so that the integrand is as wide as the prior.

    Parameters
    ----------
    logit, y : Tensor
        (n,) fixed effects prediction and labels 0 or 1.
    Z : Tensor
        (n, q) one-hot; clusters without rows add nothing.
    sd_b : Tensor
        Scalar.
    nodes, log_weights : Tensor
        (k,) of `standard_normal_nodes`.
    sample_weights : Tensor, optional
        (n,), multiply the samples' log likelihoods inside the integral; 1 where not given.

    Returns
    -------
    Tensor
        Scalar, summed over the rows.
    """
    eta = logit.unsqueeze(-1) + sd_b * nodes  # (n, k)
    log_likelihood = -F.softplus((1 - 2 * y).unsqueeze(-1) * eta)
    if sample_weights is not None:
        log_likelihood = sample_weights.unsqueeze(-1) * log_likelihood
    return -torch.logsumexp(Z.T @ log_likelihood + log_weights, -1).sum()


def standard_normal_nodes(k: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and log weights, (k,) each, such that ``sum(exp(log_weights) g(nodes))`` is about E[g(N(0, 1))]."""
    nodes, weights = np.polynomial.hermite.hermgauss(k)
    return math.sqrt(2) * nodes, np.log(weights) - 0.5 * math.log(math.pi)


def gaussian_posterior(
    residual: np.ndarray, codes: np.ndarray, n_clusters: int, sd_b: float, sd_e: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (the BLUP) and s.d. of every cluster's intercept, given all of its rows.

    Parameters
    ----------
    residual, codes : array
        (n,) labels minus the fixed effects prediction, and clusters.

    Returns
    -------
    mean, sd : array
        (q,); 0 and `sd_b` where a cluster has no rows.
    """
    counts, sums = (np.bincount(codes, weights, n_clusters) for weights in (None, residual))
    denominator = sd_e**2 + counts * sd_b**2
    return sd_b**2 * sums / denominator, sd_b * sd_e / np.sqrt(denominator)


def logistic_posterior(
    logit: np.ndarray,
    y: np.ndarray,
    codes: np.ndarray,
    n_clusters: int,
    sd_b: float,
    sample_weights: np.ndarray | float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and s.d. of every cluster's intercept given all of its rows, by adaptive Gauss-Hermite quadrature.

    Hundreds of rows make a posterior far narrower than the prior, so the nodes lie around its mode, scaled by its curvature.

    Parameters
    ----------
    logit, y, codes : array
        (n,) fixed effects prediction, labels 0 or 1, and clusters.
    sample_weights : array or float
        (n,), multiply the samples' log likelihoods.

    Returns
    -------
    mean, sd : array
        (q,); 0 and `sd_b` where a cluster has no rows.
    """
    mode, scale = _posterior_mode(logit, y, codes, n_clusters, sd_b, sample_weights)
    nodes, log_weights = standard_normal_nodes(POSTERIOR_POINTS)
    b = mode + scale * nodes[:, None]  # (k, q)
    sign = 2.0 * y - 1.0
    log_likelihood = [
        np.bincount(codes, sample_weights * log_expit(sign * (logit + b_k[codes])), n_clusters) for b_k in b
    ]
    log_density = np.stack(log_likelihood) - 0.5 * (b / sd_b) ** 2 + (log_weights + 0.5 * nodes**2)[:, None]
    weights = np.exp(log_density - log_density.max(0))
    weights /= weights.sum(0)
    mean = (weights * b).sum(0)
    return mean, np.sqrt((weights * (b - mean) ** 2).sum(0))


def _posterior_mode(
    logit: np.ndarray,
    y: np.ndarray,
    codes: np.ndarray,
    n_clusters: int,
    sd_b: float,
    sample_weights: np.ndarray | float,
) -> tuple[np.ndarray, np.ndarray]:
    """Mode of every intercept's posterior and the s.d. that its curvature there implies, (q,) each, by Newton's method."""
    mode = np.zeros(n_clusters)
    for _ in range(MAX_NEWTON_STEPS):
        p = expit(logit + mode[codes])
        gradient = np.bincount(codes, sample_weights * (y - p), n_clusters) - mode / sd_b**2
        precision = np.bincount(codes, sample_weights * (p * (1 - p)), n_clusters) + 1 / sd_b**2
        step = np.clip(gradient / precision, -1, 1)
        mode += step
        if not (np.abs(step) > NEWTON_TOLERANCE).any():
            break
    return mode, 1 / np.sqrt(precision)


class LMMNNNetwork(Wrapper):
    """A network with random intercepts.

    In training `random` is 0 (the loss integrates over the intercepts); in evaluation it is their posterior mean.

    Parameters
    ----------
    net : torch.nn.Module
        X to (n, 1): logits, or means of continuous labels.
    n_clusters : int
        Seen clusters q.
    initial_sd : float
        S.d. of the random intercepts at the start.
    residual : bool
        Whether there is a residual s.d. to train (continuous labels); it starts at 1.
    sample_shape : tuple of int, optional
        Of X; needed where the network has dropout layers.

    Attributes
    ----------
    log_sd_b, log_sd_e : Parameter
        Scalars; no `log_sd_e` where `residual` is False.
    blup, blup_sd : Tensor
        (q,) buffers: posterior mean and s.d. of each cluster's intercept, known once training is over.
    """

    def __init__(
        self,
        net: nn.Module,
        n_clusters: int,
        initial_sd: float,
        residual: bool,
        sample_shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(net)
        self.n_noise = 0
        self.log_sd_b = nn.Parameter(torch.tensor(math.log(initial_sd)))
        if residual:
            self.log_sd_e = nn.Parameter(torch.tensor(0.0))
        self.register_buffer("blup", torch.zeros(n_clusters))
        self.register_buffer("blup_sd", torch.full((n_clusters,), float(initial_sd)))
        self._measure_dropout(sample_shape)

    def forward(self, X, clusters, noise=None, adversary=True, keep=None):
        self.dropout_draws.give(keep)
        fixed = self.net(X)
        self.dropout_draws.give(None)
        kl = torch.zeros((), device=X.device)
        if self.training:
            return MixedOutput(fixed, torch.zeros_like(fixed), fixed, None, kl, None)
        soft = clusters.is_floating_point()
        random = clusters @ self.blup if soft else self.blup[clusters.clamp(min=0)] * (clusters >= 0)
        random = random.unsqueeze(-1)
        return MixedOutput(fixed, random, fixed + random, None, kl, None)


class MarginalLikelihood(Program):
    """Train the network and the s.d. on the marginal likelihood of each batch; predict the intercepts at the end.

    Parameters
    ----------
    objective : Objective
        Kind of label; its weights are not used.
    quadrature_points : int
        Nodes of the integral over an intercept, for binary labels.
    initial_sd : float
        S.d. of the intercepts at the start.
    """

    def __init__(self, objective: Objective, quadrature_points: int, initial_sd: float) -> None:
        super().__init__(objective)
        self.quadrature_points = quadrature_points
        self.initial_sd = initial_sd

    def tunable(self, module: nn.Module) -> dict[str, float]:
        return super().tunable(module) | {"initial_sd": self.initial_sd}

    def start(self, state: State) -> None:
        state.stack.main.detached()["log_sd_b"].copy_(torch.log(state.hyper["initial_sd"]))
        nodes = standard_normal_nodes(self.quadrature_points)
        self.nodes, self.log_weights = (
            torch.as_tensor(a, dtype=torch.float32, device=state.pool.X.device) for a in nodes
        )

    def step(self, state: State, batch: Batch) -> Tensor:
        stack = state.stack

        def loss(params, buffers, hyper, X, y, codes, noise, keep):
            fixed = stack.call_training(params, buffers, X, codes, noise, keep).fixed[:, 0]
            Z = one_hot(codes, len(buffers["blup"]), fixed.dtype)
            sd_b = torch.exp(params["log_sd_b"])
            if self.objective.label == "continuous":
                total = gaussian_nll(y - fixed, Z, sd_b, torch.exp(params["log_sd_e"]))
            else:
                total = logistic_nll(fixed, y, Z, sd_b, self.nodes, self.log_weights, sample_weights(hyper, y))
            return total / len(y) + stack.penalty(params)

        samples = (batch.X, batch.y, batch.codes, batch.noise, batch.keep)
        losses = stack.vmap(loss, stack.main.views, stack.buffers, state.hyper, *samples)
        state.descend(state.main, stack.main.gradient(losses.sum()), batch)
        return losses.detach()

    def before_validation(self, state: State) -> None:
        self._predict_intercepts(state)

    def finish(self, state: State) -> None:
        self._predict_intercepts(state)

    def _predict_intercepts(self, state: State) -> None:
        """Posteriors given all training rows. One replica after another: together, the last bits would depend on the others."""
        stack, buffers = state.stack, state.stack.buffers
        q = buffers["blup"].shape[1]
        codes, y = state.pool.codes.cpu().numpy(), state.pool.y.cpu().numpy().astype(np.float64)
        outputs = stack.evaluate(predictions, state.pool.X, state.rows, [codes[r] for r in state.rows])
        sd = {name: t.double().exp().tolist() for name, t in stack.main.detached().items() if name.startswith("log_sd")}
        of_classes = state.hyper[CLASS_WEIGHTS].cpu().double().numpy() if CLASS_WEIGHTS in state.hyper else None
        for i, (rows, out) in enumerate(zip(state.rows, outputs, strict=True)):
            fixed = out["fixed"][:, 0].astype(np.float64)
            posterior = np.full((2, q), np.nan)  # of a replica that diverged
            if np.isfinite(fixed).all() and all(0 < of_all[i] < math.inf for of_all in sd.values()):
                weights = 1.0 if of_classes is None else of_classes[i][y[rows].astype(int)]
                sds = [of_all[i] for of_all in sd.values()]
                posterior = self._posterior(fixed, y[rows], codes[rows], q, weights, *sds)
            for name, values in zip(("blup", "blup_sd"), posterior, strict=True):
                buffers[name][i] = torch.from_numpy(values)

    def _posterior(self, fixed, y, codes, q, weights, sd_b, sd_e=None) -> tuple[np.ndarray, np.ndarray]:
        if self.objective.label == "continuous":
            return gaussian_posterior(y - fixed, codes, q, sd_b, sd_e)
        return logistic_posterior(fixed, y, codes, q, sd_b, weights)


class LMMNN(StackMethod):
    """Network for the fixed effects with random intercepts, trained on the marginal likelihood.

    Predictions: `fixed` is f(X), the prediction at an intercept of 0 (not averaged over intercepts); `mixed` adds the posterior
    mean of the cluster's intercept to it (for binary labels a plug-in: the logit at E[b], not the logit of the expected
    probability), and equals `fixed` for clusters never seen. Continuous labels should be of a scale near 1, where the residual
    s.d. starts. More than two classes are refused.

    Parameters
    ----------
    quadrature_points : int
        Gauss-Hermite nodes of the integral over an intercept, for binary labels (2 to 100; not stated in the paper; we take 5
        because with a few rows of a cluster in a batch its log likelihood is then right to 1e-5 at an s.d. of 0.3 and 0.01 at
        1). Intercepts of a larger s.d., or batches with many rows of a cluster, need more.
    initial_sd : float
        S.d. of the random intercepts at the start (not stated in the paper; we take ARMED's 0.3).
    **common : object
        As for `armed.stack_method.StackMethod`.
    """

    uses_clusters = True
    labels = ("binary", "continuous")  # for which it has a likelihood

    def __init__(self, *, quadrature_points: int = 5, initial_sd: float = 0.3, **common: object) -> None:
        super().__init__(**common)
        self.quadrature_points = quadrature_points
        self.initial_sd = initial_sd

    def program(self):
        return MarginalLikelihood(self.objective(), self.quadrature_points, self.initial_sd)

    def build(self, sample_shape, n_clusters, n_outputs):
        net, residual = self.build_net(sample_shape, n_outputs), self.label == "continuous"
        return LMMNNNetwork(net, n_clusters, self.initial_sd, residual, sample_shape)

    @property
    def random_effects_(self):
        self._check_fitted()
        mean, sd = (self.stack_.buffers[name].cpu().numpy()[:, :, None, None] for name in ("blup", "blup_sd"))
        return self._effect_table("intercept", [""], mean, sd)

    def _check_settings(self) -> None:
        problems = Problems(ConfigError, "the settings of LMMNN")
        k = self.quadrature_points
        if not isinstance(k, int) or not 2 <= k <= MAX_QUADRATURE_POINTS:
            problems.add(f"quadrature_points is {k!r}; expected a whole number from 2 to {MAX_QUADRATURE_POINTS}")
        if not math.isfinite(self.initial_sd) or self.initial_sd <= 0:
            problems.add(f"initial_sd is {self.initial_sd}; expected a finite number above 0")
        problems.raise_if_any()
