"""Networks, and the wrapper that makes any network a mixed effects model."""

from armed.models.autoencoder import AutoencoderClassifier, Coded
from armed.models.cnn import CNN
from armed.models.mixed_effects import MixedEffects, MixedOutput
from armed.models.mlp import MLP

__all__ = ["CNN", "MLP", "AutoencoderClassifier", "Coded", "MixedEffects", "MixedOutput"]
