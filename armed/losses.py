"""Label losses and the objective of the paper (Methods).

    L(y, mixed) + lambda_F L(y, fixed) - lambda_g CE(Z, Z_hat) + lambda_K KL

Each loss is a mean over the batch; the KL is summed over all weights, and one term is added per batch, as the authors'
weights assume. Class weights w multiply the label losses of samples, L = mean of w_y * loss: divided by the number of
samples, not by the sum of weights (as Keras's ``class_weight``). CE and KL have none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Real

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from armed.errors import ConfigError, Problems

LABELS = ("binary", "multiclass", "continuous")
CLASS_WEIGHTS = "class_weights"
"""Name under which the hyperparameters of a step hold class weights (K,), of each replica; absent without such weights."""
MANY_CLASSES = 256
"""With more classes (clusters, mostly) the cross-entropy and its gradient are made in few passes over the logits."""


def cross_entropy(logits: Tensor, codes: Tensor) -> Tensor:
    """Cross-entropy (n,) of class codes (n,) under logits (n, K)."""
    if logits.shape[-1] > MANY_CLASSES:
        return _CrossEntropy.apply(logits, codes)[0]
    # A sum over a mask, not a gather, whose gradient scatters: compiled, it is part of the loop around it.
    own = codes.unsqueeze(-1) == torch.arange(logits.shape[-1], device=logits.device)
    return torch.logsumexp(logits, -1) - torch.where(own, logits, 0.0).sum(-1)


class _CrossEntropy(torch.autograd.Function):
    """Cross-entropy that keeps one array as large as the logits: their exponentials, of which the gradient is made."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        highest = logits.amax(-1, keepdim=True)
        share = (logits - highest).exp_()
        total = share.sum(-1, keepdim=True)
        own = torch.gather(logits, -1, codes.clamp(min=0).unsqueeze(-1))
        loss = torch.log(total) + highest - torch.where(codes.unsqueeze(-1) >= 0, own, 0.0)
        return loss.squeeze(-1), share, total

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: tuple) -> None:
        ctx.save_for_backward(inputs[1], *output[1:])
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, gradient: Tensor, *_: object) -> tuple[Tensor, None]:
        codes, share, total = ctx.saved_tensors
        codes, gradient = codes.unsqueeze(-1), gradient.unsqueeze(-1)
        known = torch.where(codes >= 0, gradient, 0.0)
        return (share * (gradient / total)).scatter_add_(-1, codes.clamp(min=0), -known), None


def label_loss(label: str, prediction: Tensor, y: Tensor, residual_sd: Tensor | float = 1.0) -> Tensor:
    """Loss (n,) of predictions (n, K) for labels (n,).

    Binary: cross-entropy of the logit. Multiclass: softmax cross-entropy. Continuous: Gaussian negative log likelihood
    with the given residual s.d., without the constant ``log(2 pi) / 2``.
    """
    if label == "binary":
        return F.binary_cross_entropy_with_logits(prediction.squeeze(-1), y, reduction="none")
    if label == "multiclass":
        return cross_entropy(prediction, y.long())
    residual = y - prediction.squeeze(-1)
    log_sd = torch.log(residual_sd) if isinstance(residual_sd, Tensor) else math.log(residual_sd)
    return residual**2 / (2 * residual_sd**2) + log_sd


def class_weights(kind: str | Sequence[float], y: np.ndarray, n_classes: int) -> np.ndarray:
    """Weight (K,) of each class in the label loss.

    Parameters
    ----------
    kind : {"balanced"} or sequence of float
        "balanced": 1 minus the frequency of the class, as in the paper's study of dementia. A sequence: these weights.
    y : array of int, (n,)
        Labels of the training rows.
    n_classes : int
        K; a class may have no training rows.
    """
    if kind == "balanced":
        return 1 - np.bincount(y, minlength=n_classes) / len(y)
    return np.asarray(kind, np.float64)


def sample_weights(hyper: Mapping[str, Tensor], y: Tensor) -> Tensor | None:
    """Class weights (n,) of one replica's samples; None where there are none.

    A binary label between 0 and 1 (a smoothed one) has a weight between those of the classes.
    """
    if CLASS_WEIGHTS not in hyper:
        return None
    weights = hyper[CLASS_WEIGHTS]
    if weights.shape[-1] == 2:
        return (1 - y) * weights[..., 0] + y * weights[..., 1]
    # A sum over a mask, as for `cross_entropy`.
    own = y.unsqueeze(-1) == torch.arange(weights.shape[-1], device=y.device)
    return torch.where(own, weights, 0.0).sum(-1)


@dataclass(frozen=True)
class Objective:
    """Weights of the training loss.

    Parameters
    ----------
    label : {"binary", "multiclass", "continuous"}
        What the labels are.
    lambda_F : float
        Weight of the fixed effects prediction's own loss.
    lambda_g : float
        Weight of the adversary's cross-entropy, which the network is trained to raise.
    lambda_K : float
        Weight of the KL divergence.
    residual_sd : float
        S.d. of the residuals of continuous labels.

    Raises
    ------
    ConfigError
        If a weight is negative, the residual s.d. not positive, or the kind of label unknown.
    """

    label: str = "binary"
    lambda_F: float = 1.0
    lambda_g: float = 0.0
    lambda_K: float = 1e-3
    residual_sd: float = 1.0

    def __post_init__(self) -> None:
        problems = Problems(ConfigError, "the objective")
        if self.label not in LABELS:
            problems.add(f"label is '{self.label}'; expected one of {', '.join(LABELS)}")
        check_hyper({name: getattr(self, name) for name in self.tunable()}, problems)
        problems.raise_if_any()

    @classmethod
    def tunable(cls) -> tuple[str, ...]:
        """Names that may differ between the replicas of a stack."""
        return tuple(f.name for f in fields(cls) if f.name != "label")

    def supervised(self, prediction: Tensor, y: Tensor, hyper: dict[str, Tensor]) -> Tensor:
        """Mean label loss of one batch, with class weights where `hyper` holds them.

        Parameters
        ----------
        prediction : Tensor, (n, K)
            Logits, or means of continuous labels.
        y : Tensor, (n,)
        hyper : dict of str to Tensor
            `residual_sd`, and the weights of the classes.

        Returns
        -------
        Tensor
            Scalar.
        """
        losses = label_loss(self.label, prediction, y, hyper["residual_sd"])
        weights = sample_weights(hyper, y)
        return (losses if weights is None else weights * losses).mean()


def check_hyper(values: dict[str, float], problems: Problems) -> None:
    """Add a problem for every hyperparameter outside its domain."""
    for name, value in values.items():
        positive = name.endswith(("learning_rate", "_sd"))
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0 or (positive and value == 0):
            problems.add(f"{name} is {value!r}; expected a finite number {'above 0' if positive else 'of at least 0'}")
