"""The convolutional network of the paper's diagnosis of Alzheimer's dementia (PROTOCOL, "AD diagnosis from MRI")."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from numbers import Integral, Real

from torch import Tensor, nn

from armed.errors import ConfigError, Problems
from armed.layers.convolution import NORM_MOMENTUM, conv_block
from armed.layers.dense import dense as dense_layer

SMALLEST = 3
"""Height and width of the smallest map that the last, unpadded convolution takes."""


class CNN(nn.Module):
    """Convolutional network for images; its blocks are ``hidden.0``, ``hidden.1`` and so on.

    A block is a convolution 3x3, batch normalisation and PReLU, then max pooling by 2 (not after the last block) and, after
    every second block, dropout: what the next block reads is the block's output. Maps are halved as long as that leaves 3
    pixels (not stated; so that 192 pixels come to the last convolution, which is not padded, as 3x3 and leave it as 1x1, and
    smaller images do too). Behind the convolutions, flattened, one dense ReLU layer is the last entry of `hidden`
    (``hidden.7`` for 7 convolutions).

    Parameters
    ----------
    input_shape : sequence of int
        Channels, height and width of an image.
    filters : sequence of int
        Of each convolution.
    dense : int
        Units of the dense layer.
    dropout : float
        Share that is dropped after the 2nd, 4th, ... convolution; 0 for none.
    dense_l1 : float
        L1 penalty on the dense layer's weights: its attribute `l1`, which training adds to the loss times ``sum |weight|``.
    norm_momentum : float
        Share of the running statistics of batch normalisation that one batch leaves, which evaluation uses: they are known
        after some 3 / (1 - norm_momentum) batches. 0.99 as in Keras (not stated in the paper); short trainings need less.
    n_outputs : int
        Outputs K: 1 for a binary logit or a continuous mean.

    Raises
    ------
    ConfigError
        With all settings that cannot be.

    Examples
    --------
    >>> import torch
    >>> CNN((1, 24, 24), filters=(4, 8, 8, 8), dense=16)(torch.zeros(5, 1, 24, 24)).shape
    torch.Size([5, 1])
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 192, 192),
        filters: Sequence[int] = (64, 128, 128, 256, 256, 512, 512),
        dense: int = 512,
        dropout: float = 0.5,
        dense_l1: float = 0.01,
        norm_momentum: float = NORM_MOMENTUM,
        n_outputs: int = 1,
    ) -> None:
        super().__init__()
        self.input_shape = tuple(input_shape)
        _check(self.input_shape, filters, dense, dropout, dense_l1, norm_momentum)
        channels, *size = self.input_shape
        blocks = []
        for i, n_filters in enumerate(filters):
            last = i == len(filters) - 1
            pool = not last and min(size) // 2 >= SMALLEST
            dropped = dropout if i % 2 and not last else 0.0
            blocks.append(
                conv_block(
                    channels, n_filters, padded=not last, pool=pool, dropout=dropped, norm_momentum=norm_momentum
                )
            )
            size = [s - 2 if last else s // 2 if pool else s for s in size]
            channels = n_filters
        self.hidden = nn.Sequential(*blocks, _dense_block(channels * math.prod(size), dense, dense_l1))
        self.output = dense_layer(dense, n_outputs)

    @property
    def hidden_names(self) -> list[str]:
        """Layers that an adversary reads."""
        return [f"hidden.{i}" for i in range(len(self.hidden))]

    def forward(self, X: Tensor) -> Tensor:
        """Logits, or means of continuous labels.

        Parameters
        ----------
        X : Tensor, (n, channels, height, width)
            Images, scaled to 0..1.

        Returns
        -------
        Tensor, (n, K)
        """
        return self.output(self.hidden(X))


def _dense_block(n_inputs: int, units: int, l1: float) -> nn.Sequential:
    layer = dense_layer(n_inputs, units)
    layer.l1 = float(l1)
    return nn.Sequential(OrderedDict([("flatten", nn.Flatten()), ("dense", layer), ("activation", nn.ReLU())]))


def _check(
    input_shape: tuple[int, ...],
    filters: Sequence[int],
    units: int,
    dropout: float,
    dense_l1: float,
    norm_momentum: float,
) -> None:
    problems = Problems(ConfigError, "the convolutional network")
    whole = [isinstance(n, Integral) and not isinstance(n, bool) and n > 0 for n in input_shape]
    if len(input_shape) != 3 or not all(whole):
        problems.add(f"a sample has shape {input_shape}; expected (channels, height, width)")
    elif min(input_shape[1:]) < SMALLEST:
        height, width = input_shape[1:]
        nearest = f"{max(height, SMALLEST)} x {max(width, SMALLEST)}"
        problems.add(
            f"images are {height} x {width} pixels, less than the {SMALLEST} x {SMALLEST} that the last convolution needs; "
            f"the nearest size that works is {nearest}"
        )
    sized = isinstance(filters, Sequence) and not isinstance(filters, str) and len(filters) > 0
    if not sized or not all(isinstance(f, Integral) and not isinstance(f, bool) and f > 0 for f in filters):
        problems.add(f"filters is {filters!r}; expected the number of filters of each convolution, at least one")
    if not isinstance(units, Integral) or isinstance(units, bool) or units < 1:
        problems.add(f"dense is {units!r}; expected a whole number of units of at least 1")
    for name, value in {"dropout": dropout, "norm_momentum": norm_momentum}.items():
        if not _is_number(value) or not 0 <= value < 1:
            problems.add(f"{name} is {value!r}; expected a number of at least 0, below 1")
    if not _is_number(dense_l1) or dense_l1 < 0:
        problems.add(f"dense_l1 is {dense_l1!r}; expected a finite number of at least 0")
    problems.raise_if_any()


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
