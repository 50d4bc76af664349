"""The adversary: a classifier of the cluster from hidden activations of the fixed effects network (paper, Methods)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from armed.errors import ConfigError, Problems
from armed.layers.convolution import convolution
from armed.layers.dense import dense, relu_blocks


@dataclass(frozen=True)
class Adversary:
    """Which layers an adversary reads, and its size.

    Parameters
    ----------
    on : sequence of str
        Names of modules of the wrapped network, as `named_modules` gives them.
    units : sequence of int
        ReLU units of its dense layers.
    filters : sequence of int, optional
        None: a dense adversary, which reads the flattened and concatenated outputs. Else a convolutional one
        (`ConvAdversary`): filters of its convolutions, one for each layer of `on` that puts out maps (channels, height,
        width), in the order of `on`.
    """

    on: Sequence[str]
    units: Sequence[int] = (8, 8, 4)
    filters: Sequence[int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "on", (self.on,) if isinstance(self.on, str) else tuple(self.on))
        object.__setattr__(self, "units", tuple(self.units))
        object.__setattr__(self, "filters", None if self.filters is None else tuple(self.filters))


class DenseAdversary(nn.Module):
    """Dense classifier of clusters from concatenated activations (n, A); logits (n, q)."""

    def __init__(self, n_activations: int, units: Sequence[int], n_clusters: int) -> None:
        super().__init__()
        self.hidden = relu_blocks(n_activations, units)
        self.output = dense([n_activations, *units][-1], n_clusters)

    def forward(self, activations: Tensor) -> Tensor:
        return self.output(self.hidden(activations))


class ConvAdversary(nn.Module):
    """Convolutional classifier of clusters from the outputs of several layers; logits (n, q).

    The mirror of a convolutional network (paper: "mirrored CNN"; PROTOCOL, "AD diagnosis from MRI"). Its stage i reads the
    i-th map joined, channel by channel, with what stage i - 1 made of those before, brought to the same height and width;
    it is a convolution 3x3 (1x1 on maps of one pixel, where it sees no more) and ReLU. The last stage's output, flattened, is
    joined with the outputs that are no maps, for the dense ReLU layers and the logits.

    Between stages, max pooling by 2 where the next map is half as large, as behind a pooling layer; adaptive average pooling
    where sizes are not halvings. There is no batch normalisation (not stated): the adversary runs twice on a batch, once to
    learn and once to be fooled, so that running statistics would be updated twice; and its activations come normalised
    already.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Of the output of each layer read, without the samples, in the order in which they are given to `forward`.
    filters : sequence of int
        Of each stage: one for each map.
    units : sequence of int
        Of the dense layers.
    n_clusters : int
        q.

    Raises
    ------
    ConfigError
        If no layer puts out maps, or `filters` are not as many.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], filters: Sequence[int], units: Sequence[int], n_clusters: int
    ) -> None:
        super().__init__()
        self.is_map = tuple(len(shape) == 3 for shape in shapes.values())
        maps = {name: shape for name, shape in shapes.items() if len(shape) == 3}
        _check(shapes, maps, filters)
        self.sizes = tuple(shape[1:] for shape in maps.values())
        inputs = [shape[0] + before for shape, before in zip(maps.values(), (0, *filters), strict=False)]
        kernels = [1 if max(size) == 1 else 3 for size in self.sizes]
        self.stages = nn.ModuleList(
            nn.Sequential(convolution(*stage), nn.ReLU()) for stage in zip(inputs, filters, kernels, strict=True)
        )
        n_vectors = sum(prod(shape) for shape in shapes.values() if len(shape) != 3)
        n_joined = filters[-1] * prod(self.sizes[-1]) + n_vectors
        self.hidden = relu_blocks(n_joined, units)
        self.output = dense([n_joined, *units][-1], n_clusters)

    def forward(self, activations: tuple[Tensor, ...]) -> Tensor:
        """Logits (n, q) of what the layers put out, in the order of `shapes`."""
        maps = [h for h, is_map in zip(activations, self.is_map, strict=True) if is_map]
        vectors = [h.flatten(1) for h, is_map in zip(activations, self.is_map, strict=True) if not is_map]
        x = self.stages[0](maps[0])
        sizes = pairwise(self.sizes)
        for stage, h, (size, following) in zip(self.stages[1:], maps[1:], sizes, strict=True):
            x = stage(torch.cat([_brought_to(x, size, following), h], 1))
        return self.output(self.hidden(torch.cat([x.flatten(1), *vectors], 1)))


def _brought_to(x: Tensor, size: tuple[int, ...], following: tuple[int, ...]) -> Tensor:
    """Maps (n, C, *size) as (n, C, *following)."""
    if size == following:
        return x
    if following == tuple(s // 2 for s in size):
        return F.max_pool2d(x, 2)
    return F.adaptive_avg_pool2d(x, following)


def _check(shapes: Mapping[str, tuple], maps: Mapping[str, tuple], filters: Sequence[int]) -> None:
    problems = Problems(ConfigError, "the adversary")
    if not maps:
        found = ", ".join(f"'{name}' {shape}" for name, shape in shapes.items()) or "none"
        problems.add(
            "a convolutional adversary (filters given) reads maps (channels, height, width), and no layer that it is on "
            f"puts out any; layers and their outputs: {found}. For a dense one leave out filters"
        )
    elif len(filters) != len(maps):
        problems.add(
            f"it has filters for {len(filters)} convolutions, but is on {len(maps)} layers that put out maps "
            f"({', '.join(maps)}); give one number for each"
        )
    for n in filters:
        if not isinstance(n, Integral) or isinstance(n, bool) or n < 1:
            problems.add(f"filters holds {n!r}; expected whole numbers of at least 1")
    problems.raise_if_any()
