"""The adversary: a classifier of the cluster from hidden activations of the fixed effects network (paper, Methods)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from armed.layers.dense import dense, relu_blocks


@dataclass(frozen=True)
class Adversary:
    """Which layers an adversary reads, and its size.

    Parameters
    ----------
    on : sequence of str
        Names of modules of the wrapped network, as `named_modules` gives them. Their outputs are flattened and
        concatenated.
    units : sequence of int
        ReLU units of its hidden layers.
    """

    on: Sequence[str]
    units: Sequence[int] = (8, 8, 4)

    def __post_init__(self) -> None:
        object.__setattr__(self, "on", (self.on,) if isinstance(self.on, str) else tuple(self.on))
        object.__setattr__(self, "units", tuple(self.units))


class DenseAdversary(nn.Module):
    """Dense classifier of clusters from concatenated activations (n, A); logits (n, q)."""

    def __init__(self, n_activations: int, units: Sequence[int], n_clusters: int) -> None:
        super().__init__()
        self.hidden = relu_blocks(n_activations, units)
        self.output = dense([n_activations, *units][-1], n_clusters)

    def forward(self, activations: Tensor) -> Tensor:
        return self.output(self.hidden(activations))
