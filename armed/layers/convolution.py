"""Convolutions that start as Keras's do."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

# Keras's batch normalisation: share of the old running statistics that a batch leaves, and what is added to the variance.
NORM_MOMENTUM = 0.99
NORM_EPSILON = 1e-3
# Numbers that fit a processor's cache some times over.
_CACHED = 2**18


class _Bare(nn.Conv2d):
    """A convolution that draws no weights first."""

    def reset_parameters(self) -> None:
        pass


class _Even(_Bare):
    """A padded convolution of even size and stride 1; torch's own way to this warns that it copies, as is done here."""

    def forward(self, input: Tensor) -> Tensor:
        before = (self.kernel_size[0] - 1) // 2
        return super().forward(F.pad(input, (before, before + 1) * 2))


def convolution(n_inputs: int, n_filters: int, size: int = 3, *, padded: bool = True, stride: int = 1) -> nn.Conv2d:
    """Convolution with Glorot uniform weights and zero biases.

    Padded, its maps are as large as its inputs, divided by the stride (Keras's "same"): of an even `size` with stride 1 the
    last row and column get one more zero than the first. Its fans are those of one kernel, inputs (or filters) x size^2. It
    draws from a generator of its own, as `armed.layers.dense.dense` does and for the same reason.
    """
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    even = padded and size % 2 == 0 and stride == 1
    padding = (size - 1) // 2 if padded and not even else 0
    layer = (_Even if even else _Bare)(n_inputs, n_filters, size, stride=stride, padding=padding)
    limit = (6.0 / ((n_inputs + n_filters) * size**2)) ** 0.5
    with torch.no_grad():
        layer.weight.copy_(limit * (2 * torch.rand(layer.weight.shape, generator=generator) - 1))
        layer.bias.zero_()
    return layer


class Transposed(nn.Module):
    """The transpose of a padded convolution, with its weights: what one weighs, the other does too.

    Parameters
    ----------
    of : torch.nn.Conv2d
        Of `convolution`, padded, with stride 1, or of even size with stride 2. Its parameter `weight` is shared, not copied;
        the biases are this layer's own.
    """

    def __init__(self, of: nn.Conv2d) -> None:
        super().__init__()
        self.weight = of.weight
        self.bias = nn.Parameter(torch.zeros(of.in_channels))
        self.stride = of.stride[0]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, inputs of the convolution, height x stride, width x stride) of maps (n, filters, height, width)."""
        size = self.weight.shape[-1]
        out = F.conv_transpose2d(x, self.weight, self.bias, self.stride, (size - 1) // 2)
        height, width = (s * self.stride for s in x.shape[2:])
        # Without the row and column that "same" adds at the end; copied, as what follows rounds by how a map lies in memory.
        return out if out.shape[2:] == (height, width) else _copied(out[..., :height, :width])


def _copied(x: Tensor) -> Tensor:
    form = torch.channels_last if x.shape[1] > 1 else torch.contiguous_format
    return x.contiguous(memory_format=form)


class PReLU(nn.PReLU):
    """As `torch.nn.PReLU`; on maps in a processor's memory its gradient takes a third of the time."""

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu" or input.ndim != 4 or self.num_parameters != input.shape[1]:
            return super().forward(input)
        return _PReLU.apply(input, self.weight)


class _PReLU(torch.autograd.Function):
    """PReLU whose gradient is made of torch's operations on whole vectors; its own goes element by element."""

    @staticmethod
    def forward(x: Tensor, slopes: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return F.prelu(x, slopes.to(x.dtype))

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, slopes = ctx.saved_tensors
        factors = slopes.to(x.dtype)[:, None, None]
        if torch.is_grad_enabled() or torch.compiler.is_compiling():  # to be differentiated, or cut by the compiler
            above = _where_positive(gradient, x)
            below = gradient - above
            return torch.addcmul(above, below, factors), (below * x).sum((0, 2, 3), dtype=slopes.dtype)
        of_x, of_slopes = torch.empty_like(gradient), torch.zeros_like(slopes)
        # Few samples at a time: what lies between stays in the processor's cache, and takes no memory.
        n = max(1, _CACHED // max(1, x[0].numel())) if len(x) else 1
        for g, x_own, out in zip(gradient.split(n), x.split(n), of_x.split(n), strict=True):
            above = _where_positive(g, x_own)
            below = g - above
            torch.addcmul(above, below, factors, out=out)
            of_slopes += below.mul_(x_own).sum((0, 2, 3), dtype=slopes.dtype)
        return of_x, of_slopes


def _where_positive(gradient: Tensor, x: Tensor) -> Tensor:
    """Entries of a gradient where x is above 0; 0 elsewhere."""
    return torch.ops.aten.threshold_backward(gradient, x, 0)


def conv_block(
    n_inputs: int,
    n_filters: int,
    *,
    padded: bool = True,
    pool: bool = True,
    dropout: float = 0.0,
    norm_momentum: float = NORM_MOMENTUM,
) -> nn.Sequential:
    """Convolution 3x3, batch normalisation, PReLU, then max pooling by 2 and dropout where wanted.

    The layers are named ``conv``, ``norm``, ``activation``, ``pool`` and ``dropout``. PReLU has one slope for each channel,
    from 0. Keras's default is one for each position of the map too, which ties a network to one image size and in the first
    block of the paper's would be 2.4 million slopes against 640 weights; which one the paper had is not stated.
    """
    layers: list[tuple[str, nn.Module]] = [
        ("conv", convolution(n_inputs, n_filters, padded=padded)),
        ("norm", nn.BatchNorm2d(n_filters, eps=NORM_EPSILON, momentum=1 - norm_momentum)),
        ("activation", PReLU(n_filters, init=0.0)),
    ]
    if pool:
        layers.append(("pool", nn.MaxPool2d(2)))
    if dropout:
        layers.append(("dropout", nn.Dropout(dropout)))
    return nn.Sequential(OrderedDict(layers))
