"""MeNet: a network whose last hidden layer carries random slopes, fitted by EM.

Xiong, Kim & Singh, "Mixed effects neural networks (MeNets) with applications to gaze estimation", CVPR 2019. With ``h`` the
output of the last hidden layer and ``g = [h, 1]`` (slopes and an intercept), for a sample of cluster c

    mixed = fixed(X) + g(X) . u_c,    u_c ~ N(0, Sigma),

and, for continuous labels, y = mixed + e with e ~ N(0, residual variance). Training alternates
- M-step: epochs of gradient training of the network, the u_c held at their posterior means;
- E-step: the posterior of each u_c given the training rows of its cluster, the network held fixed, and from all of them
  Sigma and the residual variance.

What the paper leaves open
- Labels are continuous there. For binary labels the posterior is Laplace's approximation, the usual one of generalised linear
  mixed models and exact in the limit of large clusters.
- Sigma is a full matrix, as in the paper. Its average over clusters includes the posterior covariances, so that it stays
  positive definite with fewer clusters than slopes and with units that are always 0; a ridge covers rounding. A cluster whose
  labels the slopes separate has finite effects, since its prior is proper; they grow like the logarithm of its size.
- Whether the gradient of the M-step passes through ``h`` in ``g(X) . u_c``: not stated. We take the whole gradient, that of
  the loss of the mixed prediction, because then the M-step lowers the loss that it is scored on.
- Sigma at the start, the number of rounds and the passes of each: not stated. We take the prior s.d. that ARMED has, and one
  round an epoch in the simulations, which gives all methods the same number of passes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812

from armed.errors import ConfigError, Problems, did_you_mean
from armed.layers.random_effects import one_hot
from armed.losses import Objective, check_hyper
from armed.models import MLP
from armed.models.mixed_effects import MixedOutput
from armed.programs import Program, State
from armed.stack import Stack
from armed.stack_method import StackMethod
from armed.training import Training

log = logging.getLogger(__name__)

# Rows of one block; fixed, so that a sum over a cluster does not depend on what else is in the stack.
BLOCK = 64
# Rows whose E-step is done at once: few enough for a processor's cache, enough to hide the cost of dispatching.
_ROWS_AT_ONCE = 150_000
_MAX_STEPS = 50
# Newton's method ends where the step is shorter than this in units of the posterior s.d.
_STEP_SD = 1e-4
_RIDGE = 1e-6


class SlopesNetwork(nn.Module):
    """An MLP with random slopes on its last hidden layer and a random intercept, held as buffers.

    Attributes
    ----------
    effects, effects_sd : Tensor
        (q, H + 1) posterior means and s.d.; the intercept is the last column.
    covariance : Tensor
        (H + 1, H + 1), Sigma.
    residual_variance : Tensor
        Scalar, of continuous labels; 0 until the first E-step.
    """

    def __init__(self, net: MLP, n_clusters: int, prior_sd: float) -> None:
        super().__init__()
        self.net = net
        self.n_clusters = n_clusters
        self.n_noise = 0
        size = net.output.in_features + 1
        self.register_buffer("effects", torch.zeros(n_clusters, size))
        self.register_buffer("effects_sd", torch.full((n_clusters, size), float(prior_sd)))
        self.register_buffer("covariance", prior_sd**2 * torch.eye(size, dtype=torch.float64))
        self.register_buffer("residual_variance", torch.zeros((), dtype=torch.float64))

    def forward(self, X, clusters, noise=None, adversary=True):
        h = self.net.hidden(X)
        fixed = self.net.output(h)
        Z = clusters if clusters.is_floating_point() else one_hot(clusters, self.n_clusters, X.dtype)
        weights = Z @ self.effects
        random = (h * weights[:, :-1]).sum(1, keepdim=True) + weights[:, -1:]
        return MixedOutput(fixed, random, fixed + random, None, torch.zeros((), device=X.device), None)


@dataclass(frozen=True)
class Blocks:
    """Training rows of R replicas in blocks of `BLOCK` rows of one cluster.

    Attributes
    ----------
    rows : Tensor
        (R, T, BLOCK) row ids into the pool.
    filled : Tensor
        (R, T, BLOCK) bool; False where a block is filled up (with row 0).
    cluster : Tensor
        (R, T) code of each block's cluster.
    counts : Tensor
        (R, q) training rows of each cluster.
    """

    rows: Tensor
    filled: Tensor
    cluster: Tensor
    counts: Tensor

    @classmethod
    def of(cls, rows: list[np.ndarray], codes: np.ndarray, n_clusters: int, device: torch.device) -> Blocks:
        """Arrange each replica's rows; `codes` are those of the whole pool, rows of unseen clusters (-1) are left out."""
        counts = np.stack([np.bincount(codes[r][codes[r] >= 0], minlength=n_clusters) for r in rows])
        per_cluster = -(-counts // BLOCK)
        n_blocks = max(1, per_cluster.sum(1).max())
        ids = np.full((len(rows), n_blocks * BLOCK), -1)
        cluster = np.zeros((len(rows), n_blocks), int)
        for i, r in enumerate(rows):
            r = r[codes[r] >= 0]
            r = r[np.argsort(codes[r], kind="stable")]
            first_row, first_block = (np.cumsum(c[i]) - c[i] for c in (counts, per_cluster))
            position = np.arange(len(r)) - first_row[codes[r]] + BLOCK * first_block[codes[r]]
            ids[i, position] = r
            cluster[i, : per_cluster[i].sum()] = np.repeat(np.arange(n_clusters), per_cluster[i])
        ids = torch.from_numpy(ids.reshape(len(rows), n_blocks, BLOCK)).to(device)
        tables = (torch.from_numpy(a).to(device) for a in (cluster, counts))
        return cls(ids.clamp(min=0), ids >= 0, *tables)


@dataclass(frozen=True)
class Cells:
    """Samples of C cells (one cluster of one replica each) in N blocks of B rows; unfilled rows are all 0.

    Attributes
    ----------
    design : Tensor
        (N, B, F), g(X).
    y, offset : Tensor
        (N, B) labels and fixed effects predictions.
    filled : Tensor
        (N, B) 1.0 or 0.0.
    cell : Tensor
        (N,) which cell a block belongs to.
    size : int
        C.
    """

    design: Tensor
    y: Tensor
    offset: Tensor
    filled: Tensor
    cell: Tensor
    size: int

    def sum(self, *parts: Tensor) -> list[Tensor]:
        """Sum values of the blocks (N, ...) over each cell: (C, ...) in double precision."""
        flat = torch.cat([p.reshape(len(self.cell), -1) for p in parts], 1).double()
        total = flat.new_zeros(self.size, flat.shape[1]).index_add_(0, self.cell, flat)
        split = total.split([p[0].numel() for p in parts], 1)
        return [t.reshape(self.size, *p.shape[1:]) for t, p in zip(split, parts, strict=True)]

    def random(self, effects: Tensor) -> Tensor:
        """g(X) . u (N, B) for effects (C, F)."""
        return (self.design @ effects.to(self.design.dtype)[self.cell].unsqueeze(-1)).squeeze(-1)


def gaussian_posterior(cells: Cells, precision: Tensor, residual_variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Exact posterior of the effects for continuous labels.

    Parameters
    ----------
    cells : Cells
    precision : Tensor
        (C, F, F), the inverse of Sigma.
    residual_variance : Tensor
        (C,).

    Returns
    -------
    tuple of Tensor
        Means (C, F), covariances (C, F, F), and the expected sum of squared residuals (C,).
    """
    residual = cells.y - cells.offset
    gram, cross = cells.sum(cells.design.mT @ cells.design, (residual.unsqueeze(1) @ cells.design).squeeze(1))
    covariance = torch.linalg.inv_ex(precision + gram / residual_variance[:, None, None]).inverse
    mean = (covariance @ cross.unsqueeze(-1)).squeeze(-1) / residual_variance[:, None]
    (squares,) = cells.sum((residual - cells.random(mean)).square().sum(1))
    return mean, covariance, squares + (gram * covariance).sum((1, 2))


def laplace_posterior(cells: Cells, precision: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Laplace's approximation for binary labels: the mode of the posterior and the inverse Hessian there.

    Newton's method on all cells at once, with the step halved where it does not lower the negative log posterior. A cell that
    has converged is left as it is, so that it does not depend on the others.

    Parameters
    ----------
    cells : Cells
    precision : Tensor
        (C, F, F), the inverse of Sigma.
    start : Tensor
        (C, F).

    Returns
    -------
    tuple of Tensor
        Modes (C, F) and covariances (C, F, F).
    """
    # Sums over a cluster in the precision of the network are known to about this, relative to their size.
    rounding = 10 * torch.finfo(cells.design.dtype).eps
    mode, hessian, step = start.double(), precision, torch.zeros_like(start, dtype=torch.float64)
    value = torch.full_like(mode[:, 0], torch.inf)
    length = torch.ones_like(value)
    active = torch.ones_like(value, dtype=torch.bool)
    for _ in range(_MAX_STEPS):
        candidate = mode + length[:, None] * step
        new_value, gradient, new_hessian = _log_posterior(cells, precision, candidate)
        accept = active & (new_value <= value + rounding * (1 + value.abs().nan_to_num(posinf=0.0)))
        mode = torch.where(accept[:, None], candidate, mode)
        value = torch.where(accept, new_value, value)
        hessian = torch.where(accept[:, None, None], new_hessian, hessian)
        newton = -torch.linalg.solve_ex(new_hessian, gradient.unsqueeze(-1)).result.squeeze(-1)
        step = torch.where(accept[:, None], newton, step)
        length = torch.where(accept, 1.0, length / 2)
        active = active & ~(accept & (-(gradient * newton).sum(1) < _STEP_SD**2))
        if not active.any():
            break
    else:
        log.debug("Newton's method did not converge for %d of %d clusters.", int(active.sum()), cells.size)
    return mode, torch.linalg.inv_ex(hessian).inverse


def _log_posterior(cells: Cells, precision: Tensor, effects: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Negative log posterior (C,) up to a constant, its gradient (C, F) and its Hessian (C, F, F)."""
    logit = cells.offset + cells.random(effects)
    p = torch.sigmoid(logit)
    loss = ((F.softplus(logit) - cells.y * logit) * cells.filled).sum(1)
    weighted = cells.design * (p * (1 - p)).unsqueeze(-1)
    gradient = ((p - cells.y).unsqueeze(1) @ cells.design).squeeze(1)
    loss, gradient, hessian = cells.sum(loss, gradient, weighted.mT @ cells.design)
    pull = (precision @ effects.unsqueeze(-1)).squeeze(-1)
    return loss + (effects * pull).sum(1) / 2, gradient + pull, hessian + precision


def updated_covariance(mean: Tensor, covariance: Tensor, counts: Tensor, ridge: float) -> Tensor:
    """Sigma (R, F, F) that maximises the expected likelihood: E[u u'] averaged over the clusters with training rows.

    Parameters
    ----------
    mean, covariance : Tensor
        (R, q, F) and (R, q, F, F) of the posteriors.
    counts : Tensor
        (R, q) training rows.
    ridge : float
        Added to the diagonal.
    """
    present = (counts > 0).to(mean.dtype)[:, :, None, None]
    second = (mean.unsqueeze(-1) * mean.unsqueeze(-2) + covariance) * present
    average = second.sum(1) / present.sum(1).clamp(min=1)
    return average + ridge * torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)


class EM(Program):
    """M-steps by gradient training with the effects held, and an E-step after each.

    Parameters
    ----------
    objective : Objective
    epochs : int
        Of the whole training.
    rounds : int
        M-steps, each followed by an E-step; at most one an epoch. The last E-step is after training, with the weights that
        are kept.
    prior_sd : float
        Sets the scale of Sigma's ridge.
    """

    def __init__(self, objective: Objective, epochs: int, rounds: int, prior_sd: float) -> None:
        super().__init__(objective)
        self.epochs = epochs
        self.rounds = rounds
        self.ridge = _RIDGE * prior_sd**2

    def start(self, state: State) -> None:
        codes = state.pool.codes.cpu().numpy()
        self._blocks = Blocks.of(state.rows, codes, state.stack.module.n_clusters, state.stack.device)

    def start_epoch(self, state: State, epoch: int) -> None:
        if epoch and epoch * self.rounds // self.epochs > (epoch - 1) * self.rounds // self.epochs:
            self.e_step(state)

    def finish(self, state: State) -> None:
        self.e_step(state)

    def loss(self, out, y, codes, hyper):
        return self.objective.supervised(out.mixed, y, hyper)

    @torch.no_grad()
    def e_step(self, state: State) -> None:
        """Posterior of the effects, Sigma and residual variance of all replicas, in place."""
        n_replicas, n_blocks = self._blocks.cluster.shape
        at_once = max(1, _ROWS_AT_ONCE // (n_blocks * BLOCK))
        for start in range(0, n_replicas, at_once):
            self._e_step(state, slice(start, start + at_once))

    def _e_step(self, state: State, part: slice) -> None:
        buffers = {name: b[part] for name, b in state.stack.buffers.items()}  # views: written to in place
        n_replicas, q, size = buffers["effects"].shape
        counts = self._blocks.counts[part]
        cells = self._cells(state, part)
        # A replica that diverged is NaN from here on and is reported by the training loop.
        precision = torch.linalg.inv_ex(buffers["covariance"]).inverse.repeat_interleave(q, 0)
        if self.objective.label == "continuous":
            total = counts.sum(1).clamp(min=1)
            (squares,) = cells.sum((cells.y - cells.offset).square().sum(1))
            at_start = squares.view(n_replicas, q).sum(1) / total
            variance = buffers["residual_variance"]
            variance = torch.where(variance == 0, at_start, variance)
            mean, covariance, squares = gaussian_posterior(cells, precision, variance.repeat_interleave(q))
            variance = squares.view(n_replicas, q).sum(1) / total
            buffers["residual_variance"].copy_(torch.maximum(variance, _RIDGE * at_start))
        else:
            mean, covariance = laplace_posterior(cells, precision, buffers["effects"].flatten(0, 1))
        mean, covariance = mean.view(n_replicas, q, size), covariance.view(n_replicas, q, size, size)
        buffers["effects"].copy_(mean)
        buffers["effects_sd"].copy_(covariance.diagonal(dim1=-2, dim2=-1).sqrt())
        buffers["covariance"].copy_(updated_covariance(mean, covariance, counts, self.ridge))

    def _cells(self, state: State, part: slice) -> Cells:
        """The training rows of some replicas, with their networks' hidden outputs and fixed effects predictions."""
        stack, pool = state.stack, state.pool
        rows, filled = self._blocks.rows[part], self._blocks.filled[part].flatten(0, 1).to(pool.X.dtype)
        params = {name: p[part] for name, p in stack.main.detached().items()}
        h, fixed = stack.vmap(lambda p, x: _hidden(stack, p, x), params, pool.X[rows.flatten(1)])
        design = torch.cat([h, torch.ones_like(fixed)], -1).view(-1, BLOCK, h.shape[-1] + 1)
        q = stack.module.n_clusters
        cell = self._blocks.cluster[part] + q * torch.arange(len(rows), device=rows.device)[:, None]
        y, offset = pool.y[rows].flatten(0, 1), fixed.reshape(-1, BLOCK)
        return Cells(design * filled.unsqueeze(-1), y * filled, offset * filled, filled, cell.flatten(), len(rows) * q)


def _hidden(stack: Stack, params: dict[str, Tensor], X: Tensor) -> tuple[Tensor, Tensor]:
    """Output (n, H) of the last hidden layer and fixed effects prediction (n, 1) of one replica (inside `vmap`)."""
    net = stack.module.net

    def call(module: nn.Module, prefix: str, x: Tensor) -> Tensor:
        own = {name.removeprefix(prefix): p for name, p in params.items() if name.startswith(prefix)}
        return functional_call(module, own, (x,))

    h = call(net.hidden, "net.hidden.", X)
    return h, call(net.output, "net.output.", h)


class MeNet(StackMethod):
    """The study's network with random slopes on its last hidden layer and a random intercept, fitted by EM.

    Parameters
    ----------
    em_rounds : int
        Rounds of M- and E-step, spread evenly over the training epochs; at most one an epoch. The effects are 0 in the first.
    prior_sd : float
        S.d. of the random effects at the start: Sigma = prior_sd^2 I.

    Raises
    ------
    ConfigError
        On `fit`, if a setting is outside its domain or the labels are multiclass.
    """

    uses_clusters = True

    def __init__(self, *, em_rounds: int = 10, prior_sd: float = 0.3, **common: object) -> None:
        super().__init__(**common)
        self.em_rounds = em_rounds
        self.prior_sd = prior_sd

    def build(self, n_features, n_clusters, n_outputs):
        return SlopesNetwork(self.mlp(n_features, n_outputs), n_clusters, self.prior_sd)

    def program(self):
        return EM(self.objective(), Training(**self.training).epochs, self.em_rounds, self.prior_sd)

    def fit(self, data, splits, seeds=None, *, checkpoint=None):
        problems = Problems(ConfigError, "the settings of MeNet")
        if self.label not in ("binary", "continuous"):
            known = ("binary", "continuous")
            hint = "; for more classes take armed or cluster_input" if self.label == "multiclass" else ""
            problems.add(
                f"label is '{self.label}'; expected binary or continuous{hint}.{did_you_mean(self.label, known)}"
            )
        if not isinstance(self.em_rounds, int) or self.em_rounds < 1:
            problems.add(f"em_rounds is {self.em_rounds!r}; expected a whole number of at least 1")
        check_hyper({"prior_sd": self.prior_sd}, problems)
        problems.raise_if_any()
        return super().fit(data, splits, seeds, checkpoint=checkpoint)

    @property
    def random_effects_(self):
        self._check_fitted()
        state = self.stack_.state_views()
        mean, sd = (state[name].unsqueeze(-1).cpu().numpy() for name in ("effects", "effects_sd"))
        last = len(self.stack_.module.net.hidden) - 1
        layer = [f"hidden.{last}[{j}]" for j in range(mean.shape[2] - 1)]
        slopes = layer if last >= 0 else list(self.feature_names_)
        return pd.concat(
            [
                self._effect_table("slope", slopes, mean[:, :, :-1], sd[:, :, :-1]),
                self._effect_table("intercept", [""], mean[:, :, -1:], sd[:, :, -1:]),
            ],
            ignore_index=True,
        )
