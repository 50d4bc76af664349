"""The adversary: a classifier of the cluster from hidden activations of the fixed effects network (paper, Methods)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
        width), in the order of `on`, and of those behind the last map.
    strided : bool
        Whether its convolutions make maps smaller by strides of 2, in place of pooling.
    """

    on: Sequence[str]
    units: Sequence[int] = (8, 8, 4)
    filters: Sequence[int] | None = None
    strided: bool = False

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

    Between stages, max pooling by 2 where the next map is half as large, as behind a pooling layer, or convolutions with stride
    2 in its place; adaptive average pooling where sizes are not halvings. Stages behind the last map halve what they get.

    There is no batch normalisation (not stated): the adversary runs twice on a batch, once to learn and once to be fooled, so
    that running statistics would be updated twice; and its activations come normalised already.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Of the output of each layer read, without the samples, in the order in which they are given to `forward`.
    filters : sequence of int
        Of each stage: one for each map, and for each stage behind the last map.
    units : sequence of int
        Of the dense layers.
    n_clusters : int
        q.
    strided : bool
        Strides of 2 in place of pooling; the last stage has one too, as the dense layer behind it would be large.

    Raises
    ------
    ConfigError
        If no layer puts out maps, or `filters` are fewer.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        filters: Sequence[int],
        units: Sequence[int],
        n_clusters: int,
        *,
        strided: bool = False,
    ) -> None:
        super().__init__()
        self.is_map = tuple(len(shape) == 3 for shape in shapes.values())
        maps = {name: shape for name, shape in shapes.items() if len(shape) == 3}
        _check(shapes, maps, filters)
        self.sizes = _sizes([shape[1:] for shape in maps.values()], len(filters))
        channels = [shape[0] for shape in maps.values()] + [0] * (len(filters) - len(maps))
        inputs = [own + before for own, before in zip(channels, (0, *filters), strict=False)]
        kernels = [1 if max(size) == 1 else 3 for size in self.sizes]
        following = (*self.sizes[1:], _half(self.sizes[-1]))
        strides = [
            2 if strided and after == _half(s) != s else 1 for s, after in zip(self.sizes, following, strict=True)
        ]
        self.stages = nn.ModuleList(
            nn.Sequential(convolution(*stage, stride=stride), nn.ReLU())
            for *stage, stride in zip(inputs, filters, kernels, strides, strict=True)
        )
        n_vectors = sum(prod(shape) for shape in shapes.values() if len(shape) != 3)
        last = [-(-s // strides[-1]) for s in self.sizes[-1]]
        n_joined = filters[-1] * prod(last) + n_vectors
        self.hidden = relu_blocks(n_joined, units)
        self.output = dense([n_joined, *units][-1], n_clusters)

    def forward(self, activations: tuple[Tensor, ...]) -> Tensor:
        """Logits (n, q) of what the layers put out, in the order of `shapes`."""
        maps = [h for h, is_map in zip(activations, self.is_map, strict=True) if is_map]
        vectors = [h.flatten(1) for h, is_map in zip(activations, self.is_map, strict=True) if not is_map]
        x = self.stages[0](maps[0])
        for i, size in enumerate(self.sizes[1:], 1):
            x = _brought_to(x, size)
            x = self.stages[i](torch.cat([x, maps[i]], 1) if i < len(maps) else x)
        return self.output(self.hidden(torch.cat([x.flatten(1), *vectors], 1)))


def _sizes(maps: list[tuple[int, ...]], n_stages: int) -> tuple[tuple[int, ...], ...]:
    """Height and width of what each stage reads."""
    sizes = list(maps)
    while len(sizes) < n_stages:
        sizes.append(_half(sizes[-1]))
    return tuple(sizes)


def _half(size: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(1, s // 2) for s in size)


def _brought_to(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Maps (n, C, ...) as (n, C, *size)."""
    own = tuple(x.shape[2:])
    if own == size:
        return x
    if size == tuple(s // 2 for s in own):
        return F.max_pool2d(x, 2)
    return F.adaptive_avg_pool2d(x, size)


def _check(shapes: Mapping[str, tuple], maps: Mapping[str, tuple], filters: Sequence[int]) -> None:
    problems = Problems(ConfigError, "the adversary")
    if not maps:
        found = ", ".join(f"'{name}' {shape}" for name, shape in shapes.items()) or "none"
        problems.add(
            "a convolutional adversary (filters given) reads maps (channels, height, width), and no layer that it is on "
            f"puts out any; layers and their outputs: {found}. For a dense one leave out filters"
        )
    elif len(filters) < len(maps):
        problems.add(
            f"it has filters for {len(filters)} convolutions, but is on {len(maps)} layers that put out maps "
            f"({', '.join(maps)}); give one number for each, and more for convolutions behind the last map"
        )
    for n in filters:
        if not isinstance(n, Integral) or isinstance(n, bool) or n < 1:
            problems.add(f"filters holds {n!r}; expected whole numbers of at least 1")
    problems.raise_if_any()
