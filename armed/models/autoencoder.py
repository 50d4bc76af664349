"""The autoencoder-classifier of the paper's live-cell images (PROTOCOL, "Live-cell image compression")."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from numbers import Integral, Real
from typing import NamedTuple

from torch import Tensor, nn

from armed.errors import ConfigError, Problems
from armed.layers.convolution import NORM_EPSILON, NORM_MOMENTUM, PReLU, Transposed, convolution
from armed.layers.dense import dense

KERNEL = 4
LEAK = 0.3  # of LeakyReLU below 0; not stated in the paper: Keras's default


class Coded(NamedTuple):
    """What an autoencoder-classifier returns.

    Parameters
    ----------
    label : Tensor
        (n, K) logits, or means of continuous labels.
    latent : Tensor
        (n, L) codes.
    image : Tensor or None
        (n, channels, height, width) reconstructions, 0 to 1; None where they were not asked for.
    """

    label: Tensor
    latent: Tensor
    image: Tensor | None


class AutoencoderClassifier(nn.Module):
    """Convolutional autoencoder with a classifier on its latent codes.

    ``encoder.0``, ``encoder.1``, ... name the outputs of the encoder's blocks (convolution 4x4, batch normalisation, PReLU; the
    last few convolutions have stride 2), ``latent`` the codes (dense, batch normalisation), ``decoder.0``, ... those of the
    decoder's blocks and ``decoder.0.conv``, ... its convolutions, the transposes of the encoder's from the last to the first,
    with their weights; behind the last one is a sigmoid in place of normalisation and activation. ``classifier.hidden`` is
    dense with LeakyReLU. The dense layer from the codes to the decoder's first map has weights of its own, as the paper ties
    those of convolutions.

    Parameters
    ----------
    input_shape : sequence of int
        Channels, height and width of an image; both sides divisible by 2 for each convolution of stride 2.
    filters : sequence of int
        Of each of the encoder's convolutions.
    strided : int
        How many convolutions, the last ones, have stride 2.
    latent : int
        Length L of a code.
    classifier : int
        Units of the classifier's hidden layer.
    norm_momentum : float
        See `armed.models.CNN`.
    n_outputs : int
        Outputs K: 1 for a binary logit or a continuous mean.

    Raises
    ------
    ConfigError
        With all settings that cannot be.

    Examples
    --------
    >>> import torch
    >>> net = AutoencoderClassifier((1, 16, 16), filters=(4, 8), strided=1, latent=3, classifier=5)
    >>> [tuple(t.shape) for t in net(torch.zeros(5, 1, 16, 16))]
    [(5, 1), (5, 3), (5, 1, 16, 16)]
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 256, 256),
        filters: Sequence[int] = (64, 64, 64, 128, 256, 512),
        strided: int = 3,
        latent: int = 56,
        classifier: int = 32,
        norm_momentum: float = NORM_MOMENTUM,
        n_outputs: int = 1,
    ) -> None:
        super().__init__()
        self.input_shape = tuple(input_shape)
        _check(self.input_shape, filters, strided, {"latent": latent, "classifier": classifier}, norm_momentum)
        self.norm = {"eps": NORM_EPSILON, "momentum": 1 - norm_momentum}
        channels, *size = self.input_shape
        strides = [2 if i >= len(filters) - strided else 1 for i in range(len(filters))]
        self.encoder = nn.Sequential(
            *(self._encoding(*each) for each in zip([channels, *filters], filters, strides, strict=False))
        )
        first_map = (filters[-1], *(s // 2**strided for s in size))
        coded = dense(math.prod(first_map), latent), nn.BatchNorm1d(latent, **self.norm)
        self.latent = nn.Sequential(OrderedDict(zip(("flatten", "dense", "norm"), (nn.Flatten(), *coded), strict=True)))
        self.expand = nn.Sequential(dense(latent, math.prod(first_map)), nn.Unflatten(1, first_map))
        self.decoder = nn.Sequential(*(self._decoding(i) for i in reversed(range(len(filters)))))
        hidden = nn.Sequential(dense(latent, classifier), nn.LeakyReLU(LEAK))
        self.classifier = nn.Sequential(OrderedDict(hidden=hidden, output=dense(classifier, n_outputs)))

    @property
    def hidden_names(self) -> list[str]:
        """Layers that an adversary reads: all blocks of the encoder."""
        return [f"encoder.{i}" for i in range(len(self.encoder))]

    @property
    def decoder_convolutions(self) -> list[str]:
        """Convolutions of the decoder, which random effects scale and bias."""
        return [f"decoder.{i}.conv" for i in range(len(self.decoder))]

    def forward(self, X: Tensor) -> Coded:
        """Codes, labels and reconstructions.

        Parameters
        ----------
        X : Tensor, (n, channels, height, width)
            Images, scaled to 0..1.

        Returns
        -------
        Coded
        """
        coded = self.code(X)
        return coded._replace(image=self.decode(coded.latent))

    def code(self, X: Tensor) -> Coded:
        """Codes and labels alone: the decoder, most of the work, is left out.

        Parameters
        ----------
        X : Tensor, (n, channels, height, width)
            Images, scaled to 0..1.

        Returns
        -------
        Coded
            Without images.
        """
        latent = self.latent(self.encoder(X))
        return Coded(self.classifier(latent), latent, None)

    def decode(self, latent: Tensor) -> Tensor:
        """Images of codes; uses modules of `expand` and `decoder` alone.

        Parameters
        ----------
        latent : Tensor, (n, L)

        Returns
        -------
        Tensor, (n, channels, height, width)
        """
        return self.decoder(self.expand(latent))

    def _encoding(self, n_inputs: int, n_filters: int, stride: int) -> nn.Sequential:
        conv = convolution(n_inputs, n_filters, KERNEL, stride=stride)
        return nn.Sequential(OrderedDict(conv=conv, **self._after(n_filters)))

    def _decoding(self, i: int) -> nn.Sequential:
        conv = self.encoder[i].conv
        after = self._after(conv.in_channels) if i else {"activation": nn.Sigmoid()}
        return nn.Sequential(OrderedDict(conv=Transposed(conv), **after))

    def _after(self, n_filters: int) -> dict[str, nn.Module]:
        """Behind a convolution; PReLU has one slope for each filter, from 0 (see `armed.layers.convolution.conv_block`)."""
        return {"norm": nn.BatchNorm2d(n_filters, **self.norm), "activation": PReLU(n_filters, init=0.0)}


def _check(
    input_shape: tuple[int, ...],
    filters: Sequence[int],
    strided: int,
    sizes: dict[str, int],
    norm_momentum: float,
) -> None:
    problems = Problems(ConfigError, "the autoencoder-classifier")
    sized = isinstance(filters, Sequence) and not isinstance(filters, str) and len(filters) > 0
    if not sized or not all(_is_whole(f) for f in filters):
        problems.add(f"filters is {filters!r}; expected the number of filters of each convolution, at least one")
    elif not (strided == 0 or _is_whole(strided)) or strided > len(filters):
        problems.add(f"strided is {strided!r}; expected how many of the {len(filters)} convolutions have stride 2")
    elif len(input_shape) == 3 and any(s % 2**strided for s in input_shape[1:]):
        step = 2**strided
        height, width = (max(step, round(s / step) * step) for s in input_shape[1:])
        problems.add(
            f"images are {input_shape[1]} x {input_shape[2]} pixels, which {strided} convolutions of stride 2 cannot halve; "
            f"the nearest size that works is {height} x {width}"
        )
    if len(input_shape) != 3 or not all(_is_whole(n) for n in input_shape):
        problems.add(f"a sample has shape {input_shape}; expected (channels, height, width)")
    for name, value in sizes.items():
        if not _is_whole(value):
            problems.add(f"{name} is {value!r}; expected a whole number of at least 1")
    number = isinstance(norm_momentum, Real) and not isinstance(norm_momentum, bool)
    if not number or not 0 <= norm_momentum < 1:
        problems.add(f"norm_momentum is {norm_momentum!r}; expected a number of at least 0, below 1")
    problems.raise_if_any()


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0
