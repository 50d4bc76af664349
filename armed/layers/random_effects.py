"""Variational random effects: cluster-specific weights with Gaussian posteriors.

For q clusters and a layer of F features feeding K outputs, each cluster c has weights ``U_c`` (F, K) with a mean-field
posterior ``N(loc, scale^2)`` and a prior ``N(0, prior_sd^2)`` (paper, Methods). For a row ``z`` of the design matrix Z
the weights are ``z @ U``: one cluster's for a one-hot row, a blend for a soft row, exactly zero for an all-zero row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from armed.errors import DataError, Problems

# Above this many clusters ids are looked up instead of multiplied by a one-hot Z, whose memory grows with the clusters.
ONE_HOT_LIMIT = 256
# Posterior s.d. at the start, log-uniform: the range that the authors' code gives in effect (0.003 to 0.049).
INITIAL_SD = (0.003, 0.05)


@dataclass(frozen=True)
class RandomIntercept:
    """A scalar per cluster, added to the logit.

    Parameters
    ----------
    init_scale : float
        S.d. of the initial posterior means.
    prior_sd : float
        S.d. of the Gaussian prior.
    """

    init_scale: float = 0.1
    prior_sd: float = 0.1

    on = None


@dataclass(frozen=True)
class RandomSlopes:
    """A weight per cluster and feature of the input (linear) or of a named layer's output (nonlinear).

    Parameters
    ----------
    on : str
        ``"input"``, or the name of a module of the wrapped network as `named_modules` gives it.
    init_scale : float
        S.d. of the initial posterior means.
    prior_sd : float
        S.d. of the Gaussian prior.
    """

    on: str = "input"
    init_scale: float = 0.1
    prior_sd: float = 0.15


def check_membership(clusters: Tensor, n_clusters: int, n_samples: int) -> None:
    """Raise `DataError` unless `clusters` is valid membership: ids (n,) in -1..q-1, or Z (n, q) with non-negative rows
    that sum to at most 1."""
    problems = Problems(DataError, "the cluster membership given")
    if clusters.ndim not in (1, 2):
        problems.add(f"it has {clusters.ndim} axes; give integer ids (n,) or a design matrix Z (n, {n_clusters})")
    elif len(clusters) != n_samples:
        problems.add(f"it has {len(clusters)} rows, but X has {n_samples}")
    elif clusters.ndim == 1 and clusters.is_floating_point():
        problems.add(f"ids must be integers, not {clusters.dtype}; for soft membership give Z (n, {n_clusters})")
    elif clusters.ndim == 1:
        if len(clusters) and (clusters.min() < -1 or clusters.max() >= n_clusters):
            problems.add(
                f"ids go from {int(clusters.min())} to {int(clusters.max())}; expected 0 to {n_clusters - 1}, "
                "or -1 for the population prediction"
            )
    elif clusters.shape[1] != n_clusters:
        problems.add(f"Z has {clusters.shape[1]} columns; expected one for each of the {n_clusters} clusters")
    else:
        if (clusters < 0).any() or not torch.isfinite(clusters).all():
            problems.add("Z has negative or non-finite entries; rows are weights of clusters, 0 or more")
        if (clusters.sum(1) > 1 + 1e-4).any():
            worst = int(clusters.sum(1).argmax())
            problems.add(
                f"row {worst} of Z sums to {float(clusters[worst].sum()):.3g}; a row sums to at most 1 "
                "(all zero = population prediction)"
            )
    problems.raise_if_any()


def one_hot(ids: Tensor, n_clusters: int, dtype: torch.dtype) -> Tensor:
    """Design matrix Z (n, q) of integer ids (n,); -1 gives an all-zero row."""
    return (ids.unsqueeze(-1) == torch.arange(n_clusters, device=ids.device)).to(dtype)


def of_samples(weights: Tensor, clusters: Tensor) -> Tensor:
    """Weights (n, W) of samples from those of clusters (q, W), by ids (n,) or Z (n, q)."""
    if clusters.is_floating_point():
        return clusters.to(weights.dtype) @ weights
    if len(weights) <= ONE_HOT_LIMIT:
        return one_hot(clusters, len(weights), weights.dtype) @ weights
    return weights[clusters.clamp(min=0)] * (clusters >= 0).to(weights.dtype).unsqueeze(-1)


class RandomEffects(nn.Module):
    """Posterior over cluster-specific weights (q, F, K).

    Parameters
    ----------
    n_clusters, n_features, n_outputs : int
        q, F and K.
    init_scale : float
        S.d. of the initial posterior means.
    prior_sd : float
        S.d. of the prior, kept as a buffer so that a stack of replicas can hold one for each.
    """

    def __init__(self, n_clusters: int, n_features: int, n_outputs: int, init_scale: float, prior_sd: float) -> None:
        super().__init__()
        shape = (n_clusters, n_features, n_outputs)
        self.n_clusters = n_clusters
        self.loc = nn.Parameter(init_scale * torch.randn(shape))
        low, high = (math.log(sd) for sd in INITIAL_SD)
        sd = torch.exp(low + (high - low) * torch.rand(shape))
        self.raw_scale = nn.Parameter(torch.log(torch.expm1(sd)))  # softplus(raw_scale) = sd
        self.register_buffer("prior_sd", torch.tensor(float(prior_sd)))

    @property
    def scale(self) -> Tensor:
        """Posterior s.d. (q, F, K)."""
        return F.softplus(self.raw_scale)

    def forward(self, clusters: Tensor, noise: Tensor | None = None) -> Tensor:
        """Weights (n, F, K) of each sample: posterior means, or one posterior draw where `noise` is given.

        Parameters
        ----------
        clusters : Tensor
            Ids (n,), -1 = population, or Z (n, q).
        noise : Tensor, optional
            Standard normal draws (q * F * K,): one draw of all weights for the whole batch, as the authors do.
        """
        weights = self.loc if noise is None else self.loc + self.scale * noise.view_as(self.loc)
        return of_samples(weights.flatten(1), clusters).unflatten(1, weights.shape[1:])

    def kl(self) -> Tensor:
        """KL divergence of the posterior from the prior, summed over all weights (closed form)."""
        variance = self.prior_sd**2
        return (torch.log(self.prior_sd / self.scale) + (self.scale**2 + self.loc**2) / (2 * variance) - 0.5).sum()
