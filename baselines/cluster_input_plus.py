"""A convolutional network with Z fed in at every layer (the paper's "cluster input+" model).

The paper says no more than that it is the stronger way of feeding Z in. We take the strongest that adds no layer: Z is an input
of every convolution, of the dense layer and of the output layer.

As input of a convolution Z would be q constant maps. Away from the borders of the image, a convolution of constant maps is a
shift that depends on the cluster and the channel alone; it is added to the convolution's output as such, which costs no maps
(and is constant at the borders too). The shifts start Glorot uniform, as a dense layer of Z would.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from armed.errors import ConfigError
from armed.layers.dense import dense
from armed.models import CNN
from armed.stack_method import StackMethod
from baselines.cluster_input import ClusterInputNetwork


class ClusterInputPlusNetwork(ClusterInputNetwork):
    """A `CNN` with Z fed in at every convolution, the dense layer and the output layer; population: Z = 0.

    Attributes
    ----------
    shifts : ModuleList of Linear
        Of each convolution: Z (n, q) to a shift of each channel (n, C).
    """

    def __init__(self, net: CNN, n_clusters: int) -> None:
        super().__init__(net, n_clusters)
        *convolutions, last = net.hidden
        self.shifts = nn.ModuleList(_shift(n_clusters, block.conv.out_channels) for block in convolutions)
        before, last.dense = last.dense, dense(last.dense.in_features + n_clusters, last.dense.out_features)
        last.dense.l1 = before.l1
        net.output = dense(net.output.in_features + n_clusters, net.output.out_features)
        self._measure_dropout(net.input_shape)

    def predicted(self, X, Z):
        *convolutions, last = self.net.hidden
        h = X
        for block, shift in zip(convolutions, self.shifts, strict=True):
            for name, layer in block.named_children():
                h = layer(h)
                if name == "conv":
                    h = h + shift(Z)[:, :, None, None]
        h = last.activation(last.dense(_joined(last.flatten(h), Z)))
        return self.net.output(_joined(h, Z))


def _joined(h: Tensor, Z: Tensor) -> Tensor:
    return torch.cat([h, Z], 1)


def _shift(n_clusters: int, n_channels: int) -> nn.Linear:
    layer = dense(n_clusters, n_channels)
    layer.bias = None  # the convolution has one
    return layer


class ClusterInputPlus(StackMethod):
    """The study's convolutional network with the design matrix Z fed in at every layer; for images only.

    Parameters as for `armed.stack_method.StackMethod`.
    """

    uses_clusters = True

    def build(self, sample_shape, n_clusters, n_outputs):
        if len(sample_shape) != 3:
            raise ConfigError(
                f"ClusterInputPlus is for images (channels, height, width), and a sample of the data has shape "
                f"{tuple(sample_shape)}. For tables take ClusterInput."
            )
        return ClusterInputPlusNetwork(self.build_net(sample_shape, n_outputs), n_clusters)
