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

# Above this many clusters ids are looked up instead of multiplied by a one-hot Z, whose memory grows with the clusters, and
# draws are made of the weights looked up alone.
ONE_HOT_LIMIT = 256
# With more weights than this the KL divergence is computed in parts, which fit a processor's cache.
MANY_WEIGHTS = 2**17
_CACHED = 2**15
# Posterior s.d. at the start, log-uniform: the range that the authors' code gives in effect (0.003 to 0.049).
INITIAL_SD = (0.003, 0.05)
# Added to the variance of a map before the root is taken; as in instance normalisation of the usual libraries.
NORM_EPSILON = 1e-5


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


@dataclass(frozen=True)
class RandomScaleBias:
    """A scale and a bias per cluster and filter of a named convolution's output (paper, live-cell study).

    Parameters
    ----------
    on : str
        Name of a module of the wrapped network that puts out maps (n, filters, ...), as `named_modules` gives it.
    init_scale : float
        S.d. of the initial posterior means (not stated in the paper; that of its other random effects).
    prior_sd : float
        S.d. of the Gaussian prior.
    keep_statistics : bool
        See `scale_and_bias`. True where the fixed and the mixed effects share a network, as here; False is the paper's
        formula, for a network of the random effects' own.
    """

    on: str
    init_scale: float = 0.1
    prior_sd: float = 0.25
    keep_statistics: bool = True


RandomEffect = RandomIntercept | RandomSlopes | RandomScaleBias


def scale_and_bias(x: Tensor, scale: Tensor, bias: Tensor, share: Tensor, *, keep_statistics: bool = True) -> Tensor:
    """Scale and bias maps whose filters are normalised in each sample (instance normalisation).

    With m and s the mean and s.d. of a sample's map, the paper has ``(1 + scale) (x - m) / s + bias``. With
    `keep_statistics` the map's own m and s are put back: ``m + s ((1 + scale) (x - m) / s + bias)``, which without effects is
    x itself, so that the population's prediction is that of the network as it is.

    Parameters
    ----------
    x : Tensor
        (n, filters, ...) maps.
    scale, bias : Tensor
        (n, filters) effects of each sample.
    share : Tensor
        (n,) sum of the sample's row of Z. Where it is 0 (population) maps come out as they are, with the paper's formula too;
        a sample of known cluster has 1.
    keep_statistics : bool

    Returns
    -------
    Tensor
        As x.
    """
    # Moments by sums over x itself, and one product and sum for all: passes over large maps are what takes the time.
    pixels = x.float().movedim(1, -1).flatten(1, -2)
    mean = pixels.mean(1)
    sd = torch.sqrt((pixels.square().mean(1) - mean.square()).clamp(min=0) + NORM_EPSILON)
    if keep_statistics:
        factor, summand = 1 + scale, bias * sd - scale * mean
    else:
        share, own = share.unsqueeze(-1), (1 + scale) / sd
        factor, summand = 1 + share * (own - 1), share * (bias - own * mean)
    factor, summand = (t.to(x.dtype).view(*t.shape, *[1] * (x.ndim - 2)) for t in (factor, summand))
    return torch.addcmul(summand, factor, x)


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
    return looked_up(weights, clusters) * (clusters >= 0).to(weights.dtype).unsqueeze(-1)


def looked_up(weights: Tensor, clusters: Tensor) -> Tensor:
    """Rows (n, W) of weights (q, W) by ids (n,); those of -1 are of any cluster."""
    return F.embedding(clusters.clamp(min=0), weights)


class _GaussianKL(torch.autograd.Function):
    """The sum of `RandomEffects.kl`, and with it its gradient: some weights at a time, which a processor's cache holds."""

    generate_vmap_rule = True

    @staticmethod
    def forward(loc: Tensor, raw_scale: Tensor, prior_sd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        kl, of_loc, of_raw, variance = [], [], [], prior_sd**2
        for m, raw in zip(loc.flatten().split(_CACHED), raw_scale.flatten().split(_CACHED), strict=True):
            sd = F.softplus(raw)
            ratio = m / variance
            kl.append((torch.log(prior_sd / sd) + (sd * (sd / variance) + m * ratio) / 2 - 0.5).sum())
            of_loc.append(ratio)
            of_raw.append((sd / variance - 1 / sd) * torch.sigmoid(raw))
        return torch.stack(kl).sum(), torch.cat(of_loc).view_as(loc), torch.cat(of_raw).view_as(loc)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: tuple) -> None:
        ctx.save_for_backward(*output[1:])
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, gradient: Tensor, *_: object) -> tuple[Tensor, Tensor, None]:
        of_loc, of_raw = ctx.saved_tensors
        return gradient * of_loc, gradient * of_raw, None


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
        shape = self.loc.shape[1:]
        if (
            noise is not None
            and not clusters.is_floating_point()
            and self.n_clusters > max(ONE_HOT_LIMIT, len(clusters))
        ):
            return self._drawn(clusters, noise).unflatten(1, shape)
        weights = self.loc if noise is None else self.loc + self.scale * noise.view_as(self.loc)
        return of_samples(weights.flatten(1), clusters).unflatten(1, shape)

    def _drawn(self, clusters: Tensor, noise: Tensor) -> Tensor:
        """As `forward`, (n, F * K), from the weights of the samples' clusters alone, which are fewer than all."""
        of_all = self.loc, self.raw_scale, noise.view_as(self.loc)
        loc, raw_scale, own = (looked_up(t.flatten(1), clusters) for t in of_all)
        return (loc + F.softplus(raw_scale) * own) * (clusters >= 0).to(loc.dtype).unsqueeze(-1)

    def kl(self) -> Tensor:
        """KL divergence of the posterior from the prior, summed over all weights (closed form)."""
        if self.loc.numel() > MANY_WEIGHTS:
            return _GaussianKL.apply(self.loc, self.raw_scale, self.prior_sd)[0]
        variance = self.prior_sd**2
        return (torch.log(self.prior_sd / self.scale) + (self.scale**2 + self.loc**2) / (2 * variance) - 0.5).sum()
