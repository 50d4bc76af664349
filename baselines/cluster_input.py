"""The study's network with Z as further inputs (the paper's "cluster input" model)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from armed.layers.dense import dense
from armed.layers.random_effects import one_hot
from armed.models import CNN
from armed.models.dropout import Wrapper
from armed.models.mixed_effects import MixedOutput
from armed.stack_method import StackMethod


class ClusterInputNetwork(Wrapper):
    """A network on the concatenation of X (n, p) and Z (n, q).

    Its fixed effects prediction is that of an all-zero Z. It has no random effects to subtract: the network may use Z in any
    way it likes, so that this prediction is no more than a convention.
    """

    def __init__(self, net: nn.Module, n_clusters: int) -> None:
        super().__init__(net)
        self.n_clusters = n_clusters
        self.n_noise = 0

    def forward(self, X, clusters, noise=None, adversary=True, keep=None):
        Z = clusters.to(X.dtype) if clusters.is_floating_point() else one_hot(clusters, self.n_clusters, X.dtype)
        self.dropout_draws.give(keep)
        mixed = self.predicted(X, Z)
        self.dropout_draws.give(None)
        fixed = mixed if self.training else self.predicted(X, torch.zeros_like(Z))
        return MixedOutput(fixed, mixed - fixed, mixed, None, torch.zeros((), device=X.device), None)

    def predicted(self, X: Tensor, Z: Tensor) -> Tensor:
        """Prediction (n, K) under membership Z."""
        return self.net(torch.cat([X, Z], 1))


class ClusterInputImages(ClusterInputNetwork):
    """A convolutional network whose output layer reads the dense layer's activations and Z.

    The paper concatenates Z "before the last dense layer"; we take that for the input of the output layer.
    """

    def __init__(self, net: CNN, n_clusters: int) -> None:
        super().__init__(net, n_clusters)
        net.output = dense(net.output.in_features + n_clusters, net.output.out_features)
        self._measure_dropout(net.input_shape)

    def predicted(self, X, Z):
        return self.net.output(torch.cat([self.net.hidden(X), Z], 1))


class ClusterInput(StackMethod):
    """The study's network with the design matrix Z concatenated to its input; for images, to that of the output layer.

    Parameters as for `armed.stack_method.StackMethod`.
    """

    uses_clusters = True

    def build(self, sample_shape, n_clusters, n_outputs):
        if len(sample_shape) > 1:
            return ClusterInputImages(self.build_net(sample_shape, n_outputs), n_clusters)
        return ClusterInputNetwork(self.build_net((sample_shape[0] + n_clusters,), n_outputs), n_clusters)
