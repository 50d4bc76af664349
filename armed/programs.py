"""Training programs: what one step does to a stack of replicas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from armed.losses import Objective, cross_entropy
from armed.models.mixed_effects import MixedOutput
from armed.optimisers import Adam
from armed.stack import Pool, Stack


@dataclass(frozen=True)
class Batch:
    """One batch of every replica: X (R, B, ...), y (R, B), codes (R, B), noise (R, n_noise)."""

    X: Tensor
    y: Tensor
    codes: Tensor
    noise: Tensor


@dataclass
class State:
    """What a program works on: the stack, its optimisers, the hyperparameters (R,) each, and the samples."""

    stack: Stack
    main: Adam
    adversary: Adam | None
    hyper: dict[str, Tensor]
    pool: Pool
    rows: list[np.ndarray]
    seeds: list[int]


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

    def start(self, state: State) -> None:
        """Called once before training."""

    def start_epoch(self, state: State, epoch: int) -> None:
        """Called before each epoch."""

    def before_validation(self, state: State) -> None:
        """Called after each epoch whose weights early stopping scores."""

    def finish(self, state: State) -> None:
        """Called once after training, with the weights that are kept."""

    def loss(self, out: MixedOutput, y: Tensor, codes: Tensor, hyper: dict[str, Tensor]) -> Tensor:
        """Loss of one batch of one replica without the adversary's term; scalar."""
        loss = self.objective.supervised(out.mixed, y, hyper)
        if out.mixed is not out.fixed:
            loss = loss + hyper["lambda_F"] * self.objective.supervised(out.fixed, y, hyper)
            loss = loss + hyper["lambda_K"] * out.kl
        return loss

    def step(self, state: State, batch: Batch, active: Tensor | None) -> Tensor:
        """Update the replicas that are active; return the losses (R,)."""
        stack = state.stack

        def main(params, buffers, hyper, X, y, codes, noise):
            out = stack.call(params, buffers, X, codes, noise=noise if noise.numel() else None, adversary=False)
            result = {"loss": self.loss(out, y, codes, hyper)}
            return result if out.activations is None else {**result, "activations": out.activations}

        out = stack.vmap(main, stack.main.views, stack.buffers, state.hyper, batch.X, batch.y, batch.codes, batch.noise)
        loss = out["loss"]
        if stack.adversary is not None:
            activations = out["activations"]

            def cluster_loss(params, activations, codes):
                return cross_entropy(stack.call_adversary(params, activations), codes).mean()

            own = stack.vmap(cluster_loss, stack.adversary.views, activations.detach(), batch.codes)
            state.adversary.step(stack.adversary.gradient(own.sum()), active)
            fooled = stack.vmap(cluster_loss, stack.adversary.detached(), activations, batch.codes)
            loss = loss - state.hyper["lambda_g"] * fooled
        state.main.step(stack.main.gradient(loss.sum()), active)
        return loss.detach()

    def validation_outputs(self, stack: Stack, params: dict, buffers: dict, X: Tensor, clusters: Tensor) -> dict:
        """Mixed outputs with known clusters, which early stopping scores; for `Stack.evaluate`."""
        with torch.no_grad():
            return {"mixed": stack.call(params, buffers, X, clusters, adversary=False).mixed}
