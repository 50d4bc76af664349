"""How many replicas train together: whole vectors, a processor's cache, memory. Loads no torch before it must."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

# Stacks of the eager engine are filled up to a multiple of this. Vectorised exp, log and the like round differently from the
# scalar code that finishes a tensor whose size no vector length divides; filled up, a replica meets the same code wherever it
# stands.
LANES = 32
# Networks of more parameters train as they are: filling up would cost more than it is worth, and so would compiling.
SMALL_NETWORK = 100_000
# Networks of more clusters and of more parameters than SMALL_NETWORK train one at a time: each keeps a processor busy.
MANY_CLUSTERS = 256
# Replicas that a compiled step serves at once, at most: more of them no longer fit a processor's cache.
CACHED = 256
# Of a stack, not of the data or the predictions.
MEMORY_MB = 1000
# Rough counts of copies held at once: of the parameters (weights, two moments, gradient, candidates, best weights), and of
# each layer's output (itself, its gradient, and what lies between).
_PARAMETER_COPIES, _ACTIVATION_COPIES = 12, 8


def blocks(n_replicas: int, stack_size: int, module: nn.Module, compiled: bool) -> list[tuple[slice, int]]:
    """Cut a list of replicas into stacks.

    Compiled stacks all have the same size, so that one graph serves them; the last is filled up where they do not divide.

    Returns
    -------
    list of (slice, int)
        The replicas of each stack, and with how many copies to fill it up.
    """
    size = min(stack_size, CACHED) if compiled else stack_size
    if compiled:
        size = -(-n_replicas // -(-n_replicas // size))
    cuts = [slice(start, min(start + size, n_replicas)) for start in range(0, n_replicas, size)]
    if compiled:
        return [(c, size - (c.stop - c.start)) for c in cuts]
    return [(c, filling(c.stop - c.start, module)) for c in cuts]


def filling(n_replicas: int, module: nn.Module) -> int:
    """How many copies fill a stack of the eager engine up to whole vectors."""
    small = n_parameters(module) <= SMALL_NETWORK and not is_convolutional(module)
    return -n_replicas % LANES if small else 0


def is_convolutional(module: nn.Module) -> bool:
    """Whether a network has convolutions; it then trains alone (`armed.convolutional`)."""
    from torch import nn

    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    return any(isinstance(m, kinds) for m in module.modules())


def trains_alone(module: nn.Module) -> bool:
    """Whether a network is called for one replica after another: it has convolutions, or random effects of many clusters."""
    many = getattr(module, "n_clusters", 0) > MANY_CLUSTERS and n_parameters(module) > SMALL_NETWORK
    return many or is_convolutional(module)


def fitting(stack_size: int, memory_mb: float, bytes_each: int) -> int:
    """Stack size within a memory budget; at least 1."""
    most = max(1, int(memory_mb * 2**20 // bytes_each))
    if most < stack_size:
        log.info(
            "A stack of %d replicas would take about %.0f MB, more than the budget of %.0f MB: training %d at a time.",
            *(stack_size, stack_size * bytes_each / 2**20, memory_mb, most),
        )
    return min(stack_size, most)


def replica_bytes(module: nn.Module, sample_shape: Sequence[int], batch_size: int, n_steps: int) -> int:
    """Estimate of the memory that one replica of a stack takes in training, from its parameters and its layers' outputs."""
    # Ids are 8 bytes. Where one network trains at a time, noise is drawn as it is needed.
    draws = batch_size * (2 + getattr(module, "n_dropout", 0))
    draws += 0 if trains_alone(module) else getattr(module, "n_noise", 0)
    clusters = getattr(module, "n_clusters", 0)
    outputs = _activations(module, sample_shape) + clusters + int(_product(sample_shape))
    floats = _PARAMETER_COPIES * n_parameters(module) + _ACTIVATION_COPIES * batch_size * outputs + n_steps * draws
    return 4 * max(1, floats)


def n_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _product(shape: Sequence[int]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def _activations(module: nn.Module, sample_shape: Sequence[int]) -> int:
    """Numbers that the layers of a network put out for one sample."""
    import torch

    counted: list[int] = []

    def count(layer: nn.Module, inputs: tuple, output: object) -> None:
        if isinstance(output, torch.Tensor):
            counted.append(output.numel() // 2)

    leaves = [m for m in module.modules() if not list(m.children())]
    handles = [m.register_forward_hook(count) for m in leaves]
    training = module.training
    like = next(module.parameters())
    try:
        with torch.no_grad():
            X = torch.zeros(2, *sample_shape, device=like.device, dtype=like.dtype)
            module.eval()(X, torch.full((2,), -1, device=like.device))
    finally:
        module.train(training)
        for handle in handles:
            handle.remove()
    return sum(counted)
