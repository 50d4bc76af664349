"""ARMED behind the contract of `armed.method`, and its ablation with randomised Z."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from armed.layers.adversary import Adversary
from armed.layers.random_effects import RandomIntercept, RandomSlopes
from armed.losses import Objective
from armed.models import CNN, MLP, MixedEffects
from armed.reproducibility import derive_seed
from armed.stack_method import StackMethod


class ARMED(StackMethod):
    """Adversarially-regularised mixed effects deep learning (paper, Methods).

    Parameters
    ----------
    slopes : str or None
        Random slopes on ``"input"`` (linear) or on a layer such as ``"hidden.2"`` (nonlinear); None for none. The dense
        layer of a `CNN` of 7 convolutions is ``"hidden.7"``.
    slope_init_scale, slope_prior_sd, intercept_init_scale, intercept_prior_sd : float
        S.d. of the initial posterior means, and of the priors.
    adversary_units : sequence of int or None
        Hidden units of the adversary, which reads all hidden layers; None for no adversary.
    adversary_filters : sequence of int or None
        Filters of its convolutions, one for each convolution of the network, with `adversary_units` for its dense layers;
        None for a dense adversary.
    lambda_F, lambda_g, lambda_K : float
        Weights of the fixed effects loss, the adversary and the KL divergence.
    """

    uses_clusters = True

    def __init__(
        self,
        *,
        slopes: str | None = "hidden.2",
        slope_init_scale: float = 0.3,
        slope_prior_sd: float = 0.3,
        intercept_init_scale: float = 0.1,
        intercept_prior_sd: float = 0.1,
        adversary_units: Sequence[int] | None = (4, 4),
        adversary_filters: Sequence[int] | None = None,
        lambda_F: float = 1.0,
        lambda_g: float = 0.5,
        lambda_K: float = 1e-5,
        **common: object,
    ) -> None:
        super().__init__(**common)
        self.slopes = slopes
        self.slope_init_scale = slope_init_scale
        self.slope_prior_sd = slope_prior_sd
        self.intercept_init_scale = intercept_init_scale
        self.intercept_prior_sd = intercept_prior_sd
        self.adversary_units = adversary_units
        self.adversary_filters = adversary_filters
        self.lambda_F = lambda_F
        self.lambda_g = lambda_g
        self.lambda_K = lambda_K

    def objective(self):
        return Objective(label=self.label, lambda_F=self.lambda_F, lambda_g=self.lambda_g, lambda_K=self.lambda_K)

    def build(self, sample_shape, n_clusters, n_outputs):
        net = self.build_net(sample_shape, n_outputs)
        effects = [RandomIntercept(self.intercept_init_scale, self.intercept_prior_sd)]
        if self.slopes is not None:
            effects.insert(0, RandomSlopes(self.slopes, self.slope_init_scale, self.slope_prior_sd))
        adversary = hidden_adversary(net, self.adversary_units, self.adversary_filters)
        return MixedEffects(net, n_clusters, effects, adversary, input_shape=sample_shape)


class RandomizedZ(ARMED):
    """ARMED's trained weights, evaluated with a random one-hot Z for each sample (an ablation of the paper).

    Each row's cluster is drawn uniformly from the seen clusters, so one row in q keeps its own by chance, as in the paper.
    """

    def _membership(self, data, rows, new_clusters, cluster_inference):
        if new_clusters != "infer":
            super()._membership(
                data, rows, new_clusters, cluster_inference
            )  # refuses unseen clusters unless they are expected
        return {
            key: np.random.default_rng(derive_seed("randomise_z", self.study, *key)).integers(
                len(self.levels_), size=len(r)
            )
            for key, r in rows.items()
        }


def hidden_adversary(
    net: MLP | CNN, units: Sequence[int] | None, filters: Sequence[int] | None = None
) -> Adversary | None:
    """An adversary on all hidden layers of a study's network: convolutional where `filters` are given; None without `units`."""
    return None if units is None else Adversary([f"hidden.{i}" for i in range(len(net.hidden))], units, filters)
