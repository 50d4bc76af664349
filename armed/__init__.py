"""Adversarially-regularized mixed effects deep learning (ARMED).

Names are imported when first used, so that the registry and the config load without torch.
"""

from __future__ import annotations

import importlib
import os

# Else Intel's MKL lets a product of matrices round by where they lie in memory, and so a replica depend on its place in a
# stack. Read when MKL is first used; a value that is set already stays.
os.environ.setdefault("MKL_CBWR", "AUTO")

__version__ = "0.1.0"

_PUBLIC = {
    "Adversary": "armed.layers.adversary",
    "RandomIntercept": "armed.layers.random_effects",
    "RandomScaleBias": "armed.layers.random_effects",
    "RandomSlopes": "armed.layers.random_effects",
    "MixedEffects": "armed.models",
    "Objective": "armed.losses",
    "Training": "armed.training",
    "fit": "armed.training",
    "fit_stack": "armed.training",
    "ClusterInference": "armed.cluster_inference",
    "ClusteredData": "armed.data.clustered",
    "make_splits": "armed.data.splits",
}
_MODULES = ("models", "layers", "data", "sklearn", "registry", "config", "errors", "metrics", "statistics")

__all__ = [*_PUBLIC, *_MODULES, "__version__"]


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"armed.{name}")
    raise AttributeError(f"module 'armed' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
