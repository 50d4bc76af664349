"""Adam and SGD over the flat parameters of a stack, with a learning rate for each replica."""

from __future__ import annotations

import torch
from torch import Tensor

from armed.stack import Parameters

BETA1, BETA2 = 0.9, 0.999


class Adam:
    """Adam as Keras has it (Kingma & Ba's "epsilon hat" form).

    ``p -= lr sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon)``

    Parameters
    ----------
    parameters : Parameters
        What it updates, in place.
    learning_rate : Tensor
        (R,).
    epsilon : float
        1e-7 in Keras.
    """

    def __init__(self, parameters: Parameters, learning_rate: Tensor, epsilon: float = 1e-7) -> None:
        self.parameters = parameters
        self.epsilon = epsilon
        self.learning_rate = parameters.spread(learning_rate)
        self.m = torch.zeros_like(parameters.flat)
        self.v = torch.zeros_like(parameters.flat)
        self.steps = torch.zeros(len(learning_rate), dtype=torch.float64, device=learning_rate.device)
        self._uneven = False  # whether replicas have taken different numbers of steps

    @torch.no_grad()
    def step(self, gradient: Tensor, active: Tensor | None = None) -> None:
        """One step; replicas whose `active` (R,) is False keep parameters and moments as they are."""
        self.steps += 1 if active is None else active.to(self.steps.dtype)
        correction = torch.sqrt(1 - BETA2**self.steps) / (1 - BETA1**self.steps)
        if active is None:
            uniform = not self._uneven
            size = self.learning_rate * (correction[0].float() if uniform else self._spread(correction))
            self.m.lerp_(gradient, 1 - BETA1)
            self.v.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
            self.parameters.flat.sub_(size * self.m / (self.v.sqrt() + self.epsilon))
            return
        self._uneven = True
        mask = self.parameters.spread(active)
        size = self.learning_rate * self._spread(correction)
        m = torch.lerp(self.m, gradient, 1 - BETA1)
        v = (self.v * BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        flat = self.parameters.flat - size * m / (v.sqrt() + self.epsilon)
        self.m.copy_(torch.where(mask, m, self.m))
        self.v.copy_(torch.where(mask, v, self.v))
        self.parameters.flat.copy_(torch.where(mask, flat, self.parameters.flat))

    def _spread(self, correction: Tensor) -> Tensor:
        return self.parameters.spread(torch.nan_to_num(correction).float())  # 0 / 0 before a replica's first step

    def state(self) -> dict[str, Tensor]:
        return {"m": self.m.clone(), "v": self.v.clone(), "steps": self.steps.clone()}

    def load(self, state: dict[str, Tensor]) -> None:
        self.m.copy_(state["m"])
        self.v.copy_(state["v"])
        self.steps.copy_(state["steps"])
        self._uneven = bool((self.steps != self.steps[0]).any())
