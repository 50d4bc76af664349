"""The samples that a stack trains on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from armed.convolutional import as_pool


@dataclass(frozen=True)
class Pool:
    """The samples that all replicas draw from, on the device.

    Attributes
    ----------
    X : Tensor
        (N, ...) float32, or images of bytes.
    y : Tensor
        (N,) float32.
    codes : Tensor
        (N,) int64 cluster codes, -1 = not a seen cluster.
    """

    X: Tensor
    y: Tensor
    codes: Tensor

    @classmethod
    def of(cls, X: np.ndarray, y: np.ndarray, codes: np.ndarray, device: str = "cpu") -> Pool:
        return cls(
            as_pool(X, device),
            torch.tensor(np.asarray(y), dtype=torch.float32, device=device),
            torch.tensor(np.asarray(codes), dtype=torch.long, device=device),
        )
