"""One epoch of a stack: what each replica draws for it, and its steps one after another."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from armed.convolutional import as_inputs, compile_once, keep_memory, seeded
from armed.programs import Batch, Program, State

# Normal draws of one replica's epoch that are held at once; more are drawn as they are needed.
_NOISE_AT_ONCE = 2**24


@dataclass(frozen=True)
class Draws:
    """What the replicas drew for an epoch, each from a generator of its own; S steps, the most that any replica takes.

    Attributes
    ----------
    ids : list of array
        For each replica rows of the pool (steps, B).
    noise : list of array or Noise
        For each replica standard normal draws (steps, n_noise).
    keep : list of array
        For each replica uniform draws (steps, B, n_dropout).
    seeds : list of int
        For each replica the seed of what its layers draw themselves.
    n_steps : array
        (R,) steps of each replica.
    """

    ids: list[np.ndarray]
    noise: list[np.ndarray]
    keep: list[np.ndarray]
    seeds: list[int]
    n_steps: np.ndarray

    @property
    def longest(self) -> int:
        return int(self.n_steps.max())

    def noise_of_steps(self, device: torch.device) -> Iterator[torch.Tensor]:
        """Normal draws of all replicas (R, n_noise), step by step."""
        if all(isinstance(a, np.ndarray) for a in self.noise):
            yield from self.table("noise").to(device)
            return
        again = [itertools.chain.from_iterable(itertools.repeat(a)) for a in self.noise]
        for _ in range(self.longest):
            yield torch.from_numpy(np.stack([next(a) for a in again])).to(device)

    def table(self, name: str, *, last: bool = False) -> torch.Tensor:
        """Draws of all replicas, (S, R, ...), or with the replicas last (S, ..., R); short ones start over."""
        n_steps = self.longest
        parts = [_longer(np.asarray(a), n_steps) for a in getattr(self, name)]
        return torch.from_numpy(np.stack(parts, -1 if last else 1))

    def active(self) -> np.ndarray:
        """(S, R) bool: who has such a step."""
        return np.arange(self.longest)[:, None] < self.n_steps


@dataclass(frozen=True)
class Noise:
    """Normal draws (steps, n_noise) that are too many to hold: drawn anew, the same ones, each time that they are gone through.

    Attributes
    ----------
    generator : numpy.random.Generator
        As it is before the first draw; left as it is.
    n_steps, n_noise : int
    """

    generator: np.random.Generator
    n_steps: int
    n_noise: int

    def __iter__(self) -> Iterator[np.ndarray]:
        generator = copy.deepcopy(self.generator)
        for _ in range(self.n_steps):
            yield generator.standard_normal(self.n_noise, dtype=np.float32)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return np.stack(list(self))


def _normal(rng: np.random.Generator, n_steps: int, n_noise: int, followed: bool) -> np.ndarray | Noise:
    """Draws (n_steps, n_noise); where others follow them, the generator is left behind them."""
    if n_steps * n_noise <= _NOISE_AT_ONCE:
        return rng.standard_normal((n_steps, n_noise), dtype=np.float32)
    noise = Noise(copy.deepcopy(rng), n_steps, n_noise)
    if followed:
        for _ in range(n_steps):
            rng.standard_normal(n_noise, dtype=np.float32)
    return noise


def draw_epoch(state: State, program: Program, batch_size: int, codes: np.ndarray, epoch: int) -> Draws:
    """Shuffle every replica's rows and draw its noise."""
    n_noise, n_dropout = (getattr(state.stack.module, name, 0) for name in ("n_noise", "n_dropout"))
    if state.stack.convolutional:
        n_dropout = 0  # drawn as they are needed: maps are large
    ids, noise, keep, seeds = [], [], [], []
    for seed, rows in zip(state.seeds, state.rows, strict=True):
        rng = np.random.default_rng([seed, epoch])
        batches = program.batches(rng, rows, codes, batch_size)
        ids.append(batches)
        noise.append(_normal(rng, len(batches), n_noise, n_dropout or state.stack.convolutional))
        keep.append(rng.random((*batches.shape, n_dropout), dtype=np.float32))
        seeds.append(int(rng.integers(2**63)))
    return Draws(ids, noise, keep, seeds, np.array([len(b) for b in ids]))


def eager_epoch(state: State, program: Program, draws: Draws) -> np.ndarray:
    """Take the steps one operation after another; mean loss of each replica (R,)."""
    stack, pool = state.stack, state.pool
    if stack.alone:
        keep_memory()
    ids, keep = (draws.table(name).to(stack.device) for name in ("ids", "keep"))
    table = draws.active()
    active = torch.from_numpy(table).to(stack.device)
    total = torch.zeros(stack.size, device=stack.device)
    for step, noise in enumerate(draws.noise_of_steps(stack.device)):
        rows = ids[step]
        batch = Batch(as_inputs(pool.X[rows]), pool.y[rows], pool.codes[rows], noise, keep[step], active[step])
        # Running statistics change as the network is called: those of replicas that wait are put back.
        before = None if table[step].all() else {name: b.clone() for name, b in stack.buffers.items()}
        loss = program.step(state, batch)
        for name, b in stack.buffers.items() if before else ():
            b.copy_(torch.where(batch.active.view(-1, *[1] * (b.ndim - 1)), b, before[name]))
        total += torch.where(batch.active, loss, 0.0)
    return mean_loss(total, draws)


def convolutional_epoch(state: State, program: Program, draws: Draws, *, compiled: bool = False) -> np.ndarray:
    """As `eager_epoch`, for one replica of a network of convolutions, whose layers draw from torch's global generator."""
    if compiled:
        module = state.stack.module
        compile_once(module.net, getattr(module, "adversary", None))
    (seed,) = draws.seeds
    with seeded(seed, state.stack.device):
        return eager_epoch(state, program, draws)


def mean_loss(total: Tensor, draws: Draws) -> np.ndarray:
    """Mean over the batches of each replica (R,)."""
    return (total.cpu().double() / torch.from_numpy(draws.n_steps)).numpy()


def _longer(array: np.ndarray, length: int) -> np.ndarray:
    return array if len(array) == length else np.resize(array, (length, *array.shape[1:]))
