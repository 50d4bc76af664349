"""Posteriors of cluster-specific weights given the samples of each cluster, for all clusters of all replicas at once.

For a cluster with design matrix G (n, F), fixed effects predictions o (n,) and prior u ~ N(0, Sigma): continuous labels
y = o + G u + e have an exact Gaussian posterior, binary labels with logit o + G u Laplace's approximation of theirs.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

log = logging.getLogger(__name__)

# Rows of one block; fixed, so that a sum over a cluster does not depend on what else is in the stack.
BLOCK = 64
_MAX_STEPS = 50
# Newton's method ends where the step is shorter than this, in units of the posterior s.d., or gains less than rounding hides.
_STEP_SD = 1e-5


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
    weight : Tensor
        (N, B) of the samples in the likelihood of binary labels; 0 where unfilled.
    cell : Tensor
        (N,) which cell a block belongs to.
    size : int
        C.
    """

    design: Tensor
    y: Tensor
    offset: Tensor
    weight: Tensor
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
        # Squared length of the Newton step in posterior s.d., and twice the gain it promises.
        length_sd = -(gradient * newton).sum(1)
        done = accept & (length_sd < (rounding * (1 + value.abs())).clamp(min=_STEP_SD**2))
        mode = torch.where(done[:, None], mode + newton, mode)
        active = active & ~done
        if not active.any():
            break
    else:
        log.debug("Newton's method did not converge for %d of %d clusters.", int(active.sum()), cells.size)
    return mode, torch.linalg.inv_ex(hessian).inverse


def _log_posterior(cells: Cells, precision: Tensor, effects: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Negative log posterior (C,) up to a constant, its gradient (C, F) and its Hessian (C, F, F)."""
    logit = cells.offset + cells.random(effects)
    p = torch.sigmoid(logit)
    loss = ((F.softplus(logit) - cells.y * logit) * cells.weight).sum(1)
    weighted = cells.design * (p * (1 - p) * cells.weight).unsqueeze(-1)
    gradient = (((p - cells.y) * cells.weight).unsqueeze(1) @ cells.design).squeeze(1)
    loss, gradient, hessian = cells.sum(loss, gradient, weighted.mT @ cells.design)
    pull = (precision @ effects.unsqueeze(-1)).squeeze(-1)
    return loss + (effects * pull).sum(1) / 2, gradient + pull, hessian + precision


def updated_prior(mean: Tensor, covariance: Tensor, present: Tensor, center: bool) -> tuple[Tensor, Tensor]:
    """Mean (R, F) and covariance (R, F, F) of the prior that maximise the expected likelihood.

    Parameters
    ----------
    mean, covariance : Tensor
        (R, q, F) and (R, q, F, F) of the posteriors.
    present : Tensor
        (R, q) bool, which clusters have training rows; the others' posterior is their prior.
    center : bool
        Whether the prior's mean is estimated; else it is 0.
    """
    weight = present.to(mean.dtype) / present.sum(1, keepdim=True).clamp(min=1)
    center_of = (mean * weight.unsqueeze(-1)).sum(1) * center
    off = mean - center_of.unsqueeze(1)
    second = off.unsqueeze(-1) * off.unsqueeze(-2) + covariance
    return center_of, (second * weight[:, :, None, None]).sum(1)
