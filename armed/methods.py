"""ARMED behind the contract of `armed.method`, and its ablation with randomised Z."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from armed.errors import ConfigError
from armed.layers.adversary import Adversary
from armed.layers.random_effects import RandomIntercept, RandomScaleBias, RandomSlopes
from armed.losses import Objective
from armed.models import CNN, MLP, AutoencoderClassifier, MixedEffects
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
    scale_bias : bool
        Random scales and biases on all convolutions of the decoder of an autoencoder.
    scale_bias_init_scale, scale_bias_prior_sd : float
        S.d. of their initial posterior means, and of their priors.
    keep_statistics : bool
        Whether they leave each image's own brightness and contrast (`armed.layers.random_effects.scale_and_bias`).
    adversary_units : sequence of int or None
        Hidden units of the adversary, which reads all hidden layers (of an autoencoder, all of the encoder); None for no
        adversary.
    adversary_filters : sequence of int or None
        Filters of its convolutions, one for each convolution of the network, with `adversary_units` for its dense layers;
        None for a dense adversary.
    recogniser_units, recogniser_filters : sequence of int or None
        Of the classifier that keeps an autoencoder's mixed images recognisably of their cluster; None for none.
    recognition_weight : float
        Weight of its cross-entropy.
    lambda_F, lambda_g, lambda_K : float
        Weights of the fixed effects loss, the adversary and the KL divergence.
    **common : object
        As for `armed.stack_method.StackMethod`.
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
        scale_bias: bool = False,
        scale_bias_init_scale: float = 0.1,
        scale_bias_prior_sd: float = 0.25,
        keep_statistics: bool = True,
        adversary_units: Sequence[int] | None = (4, 4),
        adversary_filters: Sequence[int] | None = None,
        recogniser_units: Sequence[int] | None = None,
        recogniser_filters: Sequence[int] | None = None,
        recognition_weight: float = 0.01,
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
        self.scale_bias = scale_bias
        self.scale_bias_init_scale = scale_bias_init_scale
        self.scale_bias_prior_sd = scale_bias_prior_sd
        self.keep_statistics = keep_statistics
        self.adversary_units = adversary_units
        self.adversary_filters = adversary_filters
        self.recogniser_units = recogniser_units
        self.recogniser_filters = recogniser_filters
        self.recognition_weight = recognition_weight
        self.lambda_F = lambda_F
        self.lambda_g = lambda_g
        self.lambda_K = lambda_K

    def objective(self):
        return Objective(label=self.label, lambda_F=self.lambda_F, lambda_g=self.lambda_g, lambda_K=self.lambda_K)

    def weights_of_losses(self):
        recognised = 0.0 if self.recogniser_filters is None else self.recognition_weight
        return super().weights_of_losses() | {"recognition_weight": recognised}

    def build(self, sample_shape, n_clusters, n_outputs):
        net = self.build_net(sample_shape, n_outputs)
        effects = [RandomIntercept(self.intercept_init_scale, self.intercept_prior_sd)]
        if self.slopes is not None:
            effects.insert(0, RandomSlopes(self.slopes, self.slope_init_scale, self.slope_prior_sd))
        effects += self._scales_and_biases(net)
        adversary = hidden_adversary(net, self.adversary_units, self.adversary_filters)
        recogniser = None
        if self.recogniser_filters is not None:
            recogniser = Adversary("image", self.recogniser_units or (), self.recogniser_filters)
        return MixedEffects(net, n_clusters, effects, adversary, recogniser=recogniser, input_shape=sample_shape)

    def _scales_and_biases(self, net: MLP | CNN | AutoencoderClassifier) -> list[RandomScaleBias]:
        if not self.scale_bias:
            return []
        if not isinstance(net, AutoencoderClassifier):
            raise ConfigError(
                f"scale_bias is true, but the network ({type(net).__name__}) has no decoder; expected false, or an "
                "autoencoder's settings (with 'latent') for the network."
            )
        spread = self.scale_bias_init_scale, self.scale_bias_prior_sd
        return [RandomScaleBias(on, *spread, self.keep_statistics) for on in net.decoder_convolutions]


class RandomizedZ(ARMED):
    """ARMED's trained weights, evaluated with a random one-hot Z for each sample (an ablation of the paper).

    Each row's cluster is drawn uniformly from the seen clusters, so one row in q keeps its own by chance, as in the paper.

    Parameters as for `armed.methods.ARMED`.
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
    net: MLP | CNN | AutoencoderClassifier, units: Sequence[int] | None, filters: Sequence[int] | None = None
) -> Adversary | None:
    """An adversary on all hidden layers of a study's network; None without `units`.

    Convolutional where `filters` are given; that of an autoencoder then has strides (paper: "strided CNN"), that of a CNN pools
    as the network does.
    """
    if units is None:
        return None
    return Adversary(net.hidden_names, units, filters, strided=isinstance(net, AutoencoderClassifier))
