"""The study's network alone, blind to clusters (the paper's "conventional" model)."""

from __future__ import annotations

from armed.models import MixedEffects
from armed.stack_method import StackMethod


class Conventional(StackMethod):
    """The study's network on X, trained on the label loss; parameters as for `armed.stack_method.StackMethod`."""

    def build(self, sample_shape, n_clusters, n_outputs):
        return MixedEffects(self.build_net(sample_shape, n_outputs), n_clusters, input_shape=sample_shape)
