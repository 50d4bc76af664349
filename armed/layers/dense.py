"""Dense layers that start as Keras's do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn


class _Bare(nn.Linear):
    """A linear layer that draws no weights first; `nn.utils.skip_init` is slower and loads parts of torch's compiler."""

    def reset_parameters(self) -> None:
        pass


def dense(n_inputs: int, n_outputs: int) -> nn.Linear:
    """Dense layer with Glorot uniform weights and zero biases.

    It draws from a generator of its own, seeded by one draw of the global one. Networks that differ in the width of one
    layer therefore share the draws of all others, which pairs comparisons between methods.
    """
    seed = int(torch.randint(2**62, ()))
    generator = torch.Generator().manual_seed(seed)
    layer = _Bare(n_inputs, n_outputs)
    limit = (6.0 / (n_inputs + n_outputs)) ** 0.5
    with torch.no_grad():
        layer.weight.copy_(limit * (2 * torch.rand(layer.weight.shape, generator=generator) - 1))
        layer.bias.zero_()
    return layer


def relu_blocks(n_inputs: int, units: Sequence[int]) -> nn.Sequential:
    """Blocks of a dense layer and ReLU, one for each entry of `units`."""
    sizes = [n_inputs, *units]
    return nn.Sequential(*(nn.Sequential(dense(a, b), nn.ReLU()) for a, b in pairwise(sizes)))
