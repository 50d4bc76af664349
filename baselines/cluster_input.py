"""The study's network with Z as further inputs (the paper's "cluster input" model)."""

from __future__ import annotations

import torch
from torch import nn

from armed.layers.random_effects import one_hot
from armed.models.mixed_effects import MixedOutput
from armed.stack_method import StackMethod


class ClusterInputNetwork(nn.Module):
    """A network on the concatenation of X (n, p) and Z (n, q).

    Its fixed effects prediction is that of an all-zero Z. It has no random effects to subtract: the network may use Z in any
    way it likes, so that this prediction is no more than a convention.
    """

    def __init__(self, net: nn.Module, n_clusters: int) -> None:
        super().__init__()
        self.net = net
        self.n_clusters = n_clusters
        self.n_noise = 0

    def forward(self, X, clusters, noise=None, adversary=True):
        Z = clusters if clusters.is_floating_point() else one_hot(clusters, self.n_clusters, X.dtype)
        mixed = self.net(torch.cat([X, Z], 1))
        fixed = mixed if self.training else self.net(torch.cat([X, torch.zeros_like(Z)], 1))
        return MixedOutput(fixed, mixed - fixed, mixed, None, torch.zeros((), device=X.device), None)


class ClusterInput(StackMethod):
    """The study's network with the design matrix Z concatenated to its input."""

    uses_clusters = True

    def build(self, n_features, n_clusters, n_outputs):
        return ClusterInputNetwork(self.mlp(n_features + n_clusters, n_outputs), n_clusters)
