"""The study's network with the adversary alone (the paper's "domain adversarial" model)."""

from __future__ import annotations

from collections.abc import Sequence

from armed.losses import Objective
from armed.methods import hidden_adversary
from armed.models import MixedEffects
from armed.stack_method import StackMethod


class DomainAdversarial(StackMethod):
    """Network whose hidden layers are trained to hide the cluster.

    Parameters
    ----------
    adversary_units : sequence of int
        Hidden units of the adversary, which reads all hidden layers.
    adversary_filters : sequence of int or None
        Filters of its convolutions, one for each convolution of the network; None for a dense adversary.
    lambda_g : float
        Weight of the adversary's cross-entropy.
    **common : object
        As for `armed.stack_method.StackMethod`.
    """

    def __init__(
        self,
        *,
        adversary_units: Sequence[int] = (4, 4),
        adversary_filters: Sequence[int] | None = None,
        lambda_g: float = 0.5,
        **common: object,
    ) -> None:
        super().__init__(**common)
        self.adversary_units = adversary_units
        self.adversary_filters = adversary_filters
        self.lambda_g = lambda_g

    def objective(self):
        return Objective(label=self.label, lambda_F=0.0, lambda_g=self.lambda_g, lambda_K=0.0)

    def build(self, sample_shape, n_clusters, n_outputs):
        net = self.build_net(sample_shape, n_outputs)
        adversary = hidden_adversary(net, self.adversary_units, self.adversary_filters)
        return MixedEffects(net, n_clusters, adversary=adversary, input_shape=sample_shape)
