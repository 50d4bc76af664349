"""MeNet: a network whose last hidden layer carries random slopes, fitted by EM.

Xiong, Kim & Singh, "Mixed effects neural networks (MeNets) with applications to gaze estimation", CVPR 2019. With ``h`` the
output of the last hidden layer and ``g = [h, 1]`` (slopes and an intercept), for a sample of cluster c

    mixed = fixed(X) + g(X) . u_c,    u_c ~ N(0, Sigma),

and, for continuous labels, y = mixed + e with e ~ N(0, residual variance). Training alternates
- M-step: epochs of gradient training of the network, the u_c held at their posterior means;
- E-step: the posterior of each u_c given the training rows of its cluster, the network held fixed, and from all of them
  Sigma and the residual variance.

What the paper leaves open, or we did not find in it
- Labels are continuous there. For binary labels the posterior is Laplace's approximation, the usual one of generalised linear
  mixed models and exact in the limit of large clusters.
- Sigma is a full matrix, as in the paper. Its average over clusters includes the posterior covariances, so that it stays
  positive definite with fewer clusters than slopes and with units that are always 0; a ridge covers rounding. A cluster whose
  labels the slopes separate has finite effects, since its prior is proper; they grow like the logarithm of its size.
- Class weights (binary labels): they multiply the samples' log likelihoods in both steps, so that both fit the same thing.
- Whether the gradient of the M-step passes through ``h`` in ``g(X) . u_c``: not stated. We take the whole gradient, that of
  the loss of the mixed prediction, because then the M-step lowers the loss that it is scored on.
- Length of the M-step. In the paper it trains the network until it fits y minus the random effects, so that the fixed effects
  come to hold what all clusters share. A few epochs of Adam do not get there: the u_c, which the E-step fits in full, take over
  the shared part, and the population prediction is left behind. The one part of that M-step that has a closed form, moving the
  mean of the u_c to the output layer, is therefore done after each E-step (parameter-expanded EM: Liu, Rubin & Wu, Biometrika
  1998). It leaves mixed predictions and the fixed point of EM as they are; ``center=False`` turns it off.
- Batch normalisation and dropout (images): in the E-step they act as in evaluation, as they will in prediction.
- Sigma at the start, the number of rounds and the passes of each (the paper iterates to convergence). We take the prior s.d.
  that ARMED has, and one round an epoch in the simulations, which gives all methods the same number of passes.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call

from armed.errors import ConfigError, Problems
from armed.layers.random_effects import of_samples
from armed.losses import CLASS_WEIGHTS, Objective, check_hyper, sample_weights
from armed.models import CNN, MLP
from armed.models.dropout import Wrapper
from armed.models.mixed_effects import MixedOutput
from armed.programs import Program, State
from armed.stack import Stack
from armed.stack_method import StackMethod
from armed.training import Training
from baselines.posteriors import BLOCK, Blocks, Cells, gaussian_posterior, laplace_posterior, updated_prior

# Rows whose E-step is done at once: few enough for a processor's cache, enough to hide the cost of dispatching.
_ROWS_AT_ONCE = 150_000
_RIDGE = 1e-6


class SlopesNetwork(Wrapper):
    """An MLP or CNN with random slopes on its last hidden layer and a random intercept, held as buffers.

    Attributes
    ----------
    effects, effects_sd : Tensor
        (q, H + 1) posterior means and s.d.; the intercept is the last column.
    covariance : Tensor
        (H + 1, H + 1), Sigma.
    residual_variance : Tensor
        Scalar, of continuous labels; 0 until the first E-step.
    """

    def __init__(
        self, net: MLP | CNN, n_clusters: int, prior_sd: float, sample_shape: tuple[int, ...] | None = None
    ) -> None:
        super().__init__(net)
        self.n_clusters = n_clusters
        self.n_noise = 0
        size = net.output.in_features + 1
        self.register_buffer("effects", torch.zeros(n_clusters, size))
        self.register_buffer("effects_sd", torch.full((n_clusters, size), float(prior_sd)))
        self.register_buffer("covariance", prior_sd**2 * torch.eye(size, dtype=torch.float64))
        self.register_buffer("residual_variance", torch.zeros((), dtype=torch.float64))
        self._measure_dropout(sample_shape)

    def forward(self, X, clusters, noise=None, adversary=True, keep=None):
        self.dropout_draws.give(keep)
        h = self.net.hidden(X)
        self.dropout_draws.give(None)
        fixed = self.net.output(h)
        weights = of_samples(self.effects, clusters)
        random = (h * weights[:, :-1]).sum(1, keepdim=True) + weights[:, -1:]
        return MixedOutput(fixed, random, fixed + random, None, torch.zeros((), device=X.device), None)


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
    center : bool
        See `MeNet`.
    """

    def __init__(self, objective: Objective, epochs: int, rounds: int, prior_sd: float, center: bool) -> None:
        super().__init__(objective)
        self.epochs = epochs
        self.rounds = rounds
        self.center = center
        self.prior_sd = prior_sd

    def tunable(self, module: nn.Module) -> dict[str, float]:
        return super().tunable(module) | {"prior_sd": self.prior_sd}

    def start(self, state: State) -> None:
        buffers, prior_sd = state.stack.buffers, state.hyper["prior_sd"].double()
        buffers["effects_sd"].copy_(prior_sd[:, None, None].expand_as(buffers["effects_sd"]))
        size = buffers["covariance"].shape[-1]
        buffers["covariance"].copy_(
            prior_sd[:, None, None] ** 2 * torch.eye(size, dtype=torch.float64, device=prior_sd.device)
        )
        codes = state.pool.codes.cpu().numpy()
        self._blocks = Blocks.of(state.rows, codes, state.stack.module.n_clusters, state.stack.device)

    def start_epoch(self, state: State, epoch: int) -> None:
        if epoch and epoch * self.rounds // self.epochs > (epoch - 1) * self.rounds // self.epochs:
            self.e_step(state)

    def finish(self, state: State) -> None:
        self.e_step(state)

    def loss(self, out, X, y, codes, hyper):
        return self.objective.supervised(out.mixed, y, hyper)

    @torch.no_grad()
    def e_step(self, state: State) -> None:
        """Posterior of the effects, Sigma and residual variance of all replicas, in place.

        Where centered, the mean of the effects over clusters moves to the output layer; mixed predictions of clusters with
        training rows stay as they are.
        """
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
            at_start = (squares.view(n_replicas, q).sum(1) / total).clamp(min=torch.finfo(torch.float32).tiny)
            variance = buffers["residual_variance"]
            variance = torch.where(variance == 0, at_start, variance)
            mean, covariance, squares = gaussian_posterior(cells, precision, variance.repeat_interleave(q))
            variance = squares.view(n_replicas, q).sum(1) / total
            buffers["residual_variance"].copy_(torch.maximum(variance, _RIDGE * at_start))
        else:
            mean, covariance = laplace_posterior(cells, precision, buffers["effects"].flatten(0, 1))
        mean, covariance = mean.view(n_replicas, q, size), covariance.view(n_replicas, q, size, size)
        present = counts > 0
        shift, prior = updated_prior(mean, covariance, present, self.center)
        buffers["effects"].copy_(mean - shift.unsqueeze(1) * present.unsqueeze(-1))
        buffers["effects_sd"].copy_(covariance.diagonal(dim1=-2, dim2=-1).sqrt())
        ridge = _RIDGE * state.hyper["prior_sd"][part].double()[:, None, None] ** 2
        buffers["covariance"].copy_(prior + ridge * torch.eye(size, dtype=prior.dtype, device=prior.device))
        weights = state.stack.main.detached()
        weights["net.output.weight"][part] += shift[:, None, :-1]
        weights["net.output.bias"][part] += shift[:, -1:]

    def _cells(self, state: State, part: slice) -> Cells:
        """The training rows of some replicas, with their networks' hidden outputs and fixed effects predictions."""
        stack, pool = state.stack, state.pool
        rows, filled = self._blocks.rows[part], self._blocks.filled[part].flatten(0, 1).to(pool.y.dtype)
        if pool.X.ndim == 2:
            params = {name: p[part] for name, p in stack.main.detached().items()}
            h, fixed = stack.vmap(lambda p, x: _hidden(stack, p, x), params, pool.X[rows.flatten(1)])
        else:
            h, fixed = _hidden_of_images(state, part, rows)
        design = torch.cat([h, torch.ones_like(fixed)], -1).view(-1, BLOCK, h.shape[-1] + 1)
        q = stack.module.n_clusters
        cell = self._blocks.cluster[part] + q * torch.arange(len(rows), device=rows.device)[:, None]
        y, offset, weight = pool.y[rows].flatten(0, 1), fixed.reshape(-1, BLOCK), filled
        if CLASS_WEIGHTS in state.hyper:
            hyper = {CLASS_WEIGHTS: state.hyper[CLASS_WEIGHTS][part]}
            weight = filled * stack.vmap(sample_weights, hyper, pool.y[rows].flatten(1)).view(-1, BLOCK)
        return Cells(design * filled.unsqueeze(-1), y * filled, offset * filled, weight, cell.flatten(), len(rows) * q)


def _hidden_of_images(state: State, part: slice, rows: Tensor) -> tuple[Tensor, Tensor]:
    """As `_hidden`, of some replicas for their rows (R, T, B): (R, T * B, ...). Each row once, in evaluation mode."""

    def outputs(stack: Stack, params: dict, buffers: dict, X: Tensor, clusters: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            h, fixed = _hidden(stack, {**params, **buffers}, X)
        return {"h": h, "fixed": fixed}

    X, found = state.pool.X, {"h": [], "fixed": []}
    for r, wanted in zip(range(state.stack.size)[part], rows.flatten(1), strict=True):
        own, place = wanted.unique(return_inverse=True)
        own = own.cpu().numpy()
        (out,) = state.stack.evaluate(outputs, X, [own], [np.full(len(own), -1)], [r])
        for name, values in found.items():
            values.append(torch.from_numpy(out[name]).to(place.device)[place])
    return torch.stack(found["h"]), torch.stack(found["fixed"])


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
    center : bool
        After each E-step, move the mean of the effects over clusters to the output layer. False: the gradient steps of the
        M-step alone have to (see the module's text).
    **common : object
        As for `armed.stack_method.StackMethod`.

    Raises
    ------
    ConfigError
        On `fit`, if a setting is outside its domain.
    """

    uses_clusters = True
    labels = ("binary", "continuous")  # for which it has an E-step

    def __init__(self, *, em_rounds: int = 10, prior_sd: float = 0.3, center: bool = True, **common: object) -> None:
        super().__init__(**common)
        self.em_rounds = em_rounds
        self.prior_sd = prior_sd
        self.center = center

    def build(self, sample_shape, n_clusters, n_outputs):
        return SlopesNetwork(self.build_net(sample_shape, n_outputs), n_clusters, self.prior_sd, sample_shape)

    def program(self):
        return EM(self.objective(), Training(**self.training).epochs, self.em_rounds, self.prior_sd, self.center)

    def _check_settings(self):
        problems = Problems(ConfigError, "the settings of MeNet")
        if not isinstance(self.em_rounds, int) or self.em_rounds < 1:
            problems.add(f"em_rounds is {self.em_rounds!r}; expected a whole number of at least 1")
        check_hyper({"prior_sd": self.prior_sd}, problems)
        problems.raise_if_any()

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
