"""Training programs: what one step does to a stack of replicas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from armed.convolutional import as_inputs
from armed.layers.random_effects import RandomEffect, RandomIntercept, RandomScaleBias
from armed.losses import Objective, cross_entropy
from armed.models.mixed_effects import MixedOutput
from armed.optimisers import Adam
from armed.pool import Pool
from armed.stack import Stack

# Images by which the statistics of batch normalisation are settled at once; the paper's batch, for all sizes alike.
_SETTLED_AT_ONCE = 16


@dataclass(frozen=True)
class Batch:
    """One batch of every replica.

    Attributes
    ----------
    X, y, codes : Tensor
        (R, B, ...), (R, B), (R, B).
    noise : Tensor
        (R, n_noise) standard normal draws for the random effects.
    keep : Tensor
        (R, B, n_dropout) uniform draws for dropout.
    active : Tensor
        (R,) bool, which replicas have this batch.
    """

    X: Tensor
    y: Tensor
    codes: Tensor
    noise: Tensor
    keep: Tensor
    active: Tensor


@dataclass
class State:
    """What a program works on.

    Attributes
    ----------
    stack : Stack
    main, adversary : Adam
        None without an adversary.
    hyper : dict of str to Tensor
        (R,) each; "class_weights" (R, K) where classes are weighted.
    alive : Tensor
        (R,) bool: whose gradients have always been finite. The others have diverged; they stay as they last were.
    pool, rows, seeds
        The samples, and each replica's training rows and seed; absent while one replica's step is traced.
    """

    stack: Stack
    main: Adam
    adversary: Adam | None
    hyper: dict[str, Tensor]
    alive: Tensor
    pool: Pool | None = None
    rows: list[np.ndarray] | None = None
    seeds: list[int] | None = None

    def descend(self, optimiser: Adam, gradient: Tensor, batch: Batch) -> None:
        """One step of an optimiser, by replicas that have this batch and have not diverged."""
        finite = optimiser.step(gradient, batch.active & self.alive)
        self.alive = self.alive & (finite | ~batch.active)


def prior_name(effect: RandomEffect) -> str:
    """Name of the hyperparameter that is the s.d. of the prior of random effects."""
    names = {RandomIntercept: "intercept_prior_sd", RandomScaleBias: "scale_bias_prior_sd"}
    return names.get(type(effect), "slope_prior_sd")


def _effects(module: nn.Module) -> tuple:
    return getattr(module, "random_effects", ())


def shuffled_batches(rng: np.random.Generator, rows: np.ndarray, batch_size: int) -> np.ndarray:
    """Shuffle `rows` into batches (steps, B).

    The last batch is filled up from the start of the same permutation, so that every batch is full (replicas of a stack
    have batches of one size, and batch normalisation sees no padding). The authors' last batch is a partial one.
    """
    steps = -(-len(rows) // batch_size)
    return np.resize(rng.permutation(rows), (steps, batch_size))


class Program:
    """Supervised training of the objective, with an adversary where the module has one (paper, Methods).

    Per batch the adversary takes one Adam step on its cross-entropy, then the network one on
    ``L(mixed) + lambda_F L(fixed) - lambda_g CE + lambda_K KL``, with the adversary as it then is.

    Parameters
    ----------
    objective : Objective
        Loss and default weights.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def batches(self, rng: np.random.Generator, rows: np.ndarray, codes: np.ndarray, batch_size: int) -> np.ndarray:
        """Row ids (steps, B) of one epoch of one replica; `codes` are those of the whole pool."""
        return shuffled_batches(rng, rows, batch_size)

    def tunable(self, module: nn.Module) -> dict[str, float]:
        """Numbers that may differ between the replicas of a stack, with their defaults; the learning rate goes without saying.

        The s.d. of priors are among them where the module has such random effects.
        """
        defaults = {name: getattr(self.objective, name) for name in self.objective.tunable()}
        return defaults | {prior_name(effect): effect.prior_sd for effect in _effects(module)}

    def start(self, state: State) -> None:
        """Called once before training: puts what differs between replicas where it belongs."""
        for i, effect in enumerate(_effects(state.stack.module)):
            state.stack.buffers[f"effects.{i}.prior_sd"].copy_(state.hyper[prior_name(effect)])

    def start_epoch(self, state: State, epoch: int) -> None:
        """Called before each epoch."""

    def before_validation(self, state: State) -> None:
        """Called after each epoch whose weights early stopping scores."""

    def finish(self, state: State) -> None:
        """Called once after training, with the weights that are kept."""

    def loss(self, out: MixedOutput, X: Tensor, y: Tensor, codes: Tensor, hyper: dict[str, Tensor]) -> Tensor:
        """Loss of one batch of one replica without the adversary's term; scalar."""
        loss = self.objective.supervised(out.mixed, y, hyper)
        if out.mixed is not out.fixed:
            loss = loss + hyper["lambda_F"] * self.objective.supervised(out.fixed, y, hyper)
            loss = loss + hyper["lambda_K"] * out.kl
        return loss

    def step(self, state: State, batch: Batch) -> Tensor:
        """Update the replicas that have this batch; return the losses (R,).

        The same code serves all replicas, and one alone without a replica axis, whose step is traced and compiled
        (`armed.compiled`): whatever indexes a sample or a parameter is done inside `stack.vmap`.
        """
        stack = state.stack

        def main(params, buffers, hyper, X, y, codes, noise, keep):
            out = stack.call_training(params, buffers, X, codes, noise, keep)
            result = {"loss": self.loss(out, X, y, codes, hyper) + stack.penalty(params)}
            return result if out.activations is None else {**result, "activations": out.activations}

        samples = (batch.X, batch.y, batch.codes, batch.noise, batch.keep)
        out = stack.vmap(main, stack.main.views, stack.buffers, state.hyper, *samples)
        loss = out["loss"]
        if stack.adversary is not None:
            activations = out["activations"]

            def cluster_loss(params, activations, codes):
                return cross_entropy(stack.call_adversary(params, activations), codes).mean()

            detached = tree_map(torch.Tensor.detach, activations)
            own = stack.vmap(cluster_loss, stack.adversary.views, detached, batch.codes)
            state.descend(state.adversary, stack.adversary.gradient(own.sum()), batch)
            fooled = stack.vmap(cluster_loss, stack.adversary.detached(), activations, batch.codes)
            loss = loss - state.hyper["lambda_g"] * fooled
        state.descend(state.main, stack.main.gradient(loss.sum()), batch)
        return loss.detach()

    def validation_outputs(self, stack: Stack, params: dict, buffers: dict, X: Tensor, clusters: Tensor) -> dict:
        """Mixed outputs with known clusters, which early stopping scores; for `Stack.evaluate`."""
        with torch.no_grad():
            return {"mixed": stack.call(params, buffers, X, clusters, adversary=False).mixed}


class ReconstructionProgram(Program):
    """Training of an autoencoder-classifier (PROTOCOL, "Live-cell image compression"):

    ``MSE(mixed) + lambda_F MSE(fixed) + label_weight (L(mixed) + lambda_F L(fixed)) - lambda_g CE + recognition_weight CE_r
    + lambda_K KL``

    MSE: over pixels from 0 to 1, of images made again; L: label loss; CE_r: of the recogniser, where there is one, for the
    mixed images. The paper weighs the fixed image 1 and does not state a weight of the fixed label; we take lambda_F for both,
    so that both outputs of the fixed effects are trained.

    Parameters
    ----------
    objective : Objective
    label_weight, recognition_weight : float
        Of the label losses and of the recogniser's, beside the reconstruction's 1.
    """

    def __init__(self, objective: Objective, label_weight: float = 0.1, recognition_weight: float = 0.0) -> None:
        super().__init__(objective)
        self.label_weight = label_weight
        self.recognition_weight = recognition_weight

    def tunable(self, module):
        own = {"label_weight": self.label_weight, "recognition_weight": self.recognition_weight}
        return super().tunable(module) | own

    def finish(self, state):
        """Batch normalisation gets the statistics of the training images under the weights that are kept.

        Those that ran along are of weights a few batches old. An adversary moves the activations so fast that images made with
        them can be ten times as far off as in training.
        """
        settle_norms(state, self)

    def loss(self, out, X, y, codes, hyper):
        made = out.reconstruction
        loss = squared_error(made.mixed, X) + hyper["label_weight"] * self.objective.supervised(out.mixed, y, hyper)
        if out.mixed is not out.fixed:
            loss = loss + hyper["lambda_F"] * squared_error(made.fixed, X)
            loss = loss + hyper["lambda_F"] * hyper["label_weight"] * self.objective.supervised(out.fixed, y, hyper)
            loss = loss + hyper["lambda_K"] * out.kl
        if made.cluster_logits is not None:
            recognised = cross_entropy(made.cluster_logits, codes).mean()
            loss = loss + hyper["recognition_weight"] * recognised
        return loss


def squared_error(images: Tensor, X: Tensor) -> Tensor:
    """Mean squared error of images over all pixels; scalar."""
    return (images - X).square().mean()


def settle_norms(state: State, program: Program) -> None:
    """Replace running statistics of batch normalisation by their mean over all training batches, weights as they are.

    As "precise" batch normalisation (Wu and Johnson, arXiv 2105.07576). Random effects are at their posterior means, as in
    evaluation.
    """
    stack, pool, codes = state.stack, state.pool, state.pool.codes.cpu().numpy()
    norms = [m for m in stack.module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for name, buffer in stack.buffers.items():
        if name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            buffer.zero_()
    stack.module.train()
    for norm in norms:
        norm.momentum = None  # of all batches alike
    try:
        for r, (seed, rows) in enumerate(zip(state.seeds, state.rows, strict=True)):
            params, buffers = ({k: t[r] for k, t in part.items()} for part in (stack.main.detached(), stack.buffers))
            means = torch.zeros(getattr(stack.module, "n_noise", 0), device=stack.device)
            for ids in program.batches(np.random.default_rng([seed, 0]), rows, codes, _SETTLED_AT_ONCE):
                ids = torch.from_numpy(ids).to(stack.device)
                with torch.no_grad():
                    stack.call_training(params, buffers, as_inputs(pool.X[ids]), pool.codes[ids], means, means[:0])
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
