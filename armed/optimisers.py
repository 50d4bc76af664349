"""Adam over the parameters of a stack, with a learning rate for each replica."""

from __future__ import annotations

import torch
from torch import Tensor

from armed.stack import Parameters

BETA1, BETA2 = 0.9, 0.999


def step_size(learning_rate: Tensor, steps: Tensor) -> Tensor:
    """Learning rate with the bias corrections of Adam's step number `steps` (float64, from 1; NaN at 0)."""
    return learning_rate * (torch.sqrt(1 - BETA2**steps) / (1 - BETA1**steps)).to(learning_rate.dtype)


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

    Attributes
    ----------
    m, v : Tensor
        Moments, flat as the parameters.
    steps : Tensor
        (R,) float64, steps taken.
    """

    def __init__(self, parameters: Parameters, learning_rate: Tensor, epsilon: float = 1e-7) -> None:
        self.parameters = parameters
        self.epsilon = epsilon
        self.learning_rate = learning_rate
        self.m = torch.zeros_like(parameters.flat)
        self.v = torch.zeros_like(parameters.flat)
        self.steps = torch.zeros_like(learning_rate, dtype=torch.float64)

    @torch.no_grad()
    def step(self, gradient: Tensor, active: Tensor | None = None) -> Tensor:
        """One step.

        Parameters
        ----------
        gradient : Tensor
            Flat, of `Parameters.gradient`.
        active : Tensor, optional
            (R,) bool; the others keep parameters and moments as they are. So do replicas whose gradient is not finite.

        Returns
        -------
        Tensor
            (R,) bool, whose gradient was finite.
        """
        parameters = self.parameters
        finite = torch.isfinite(parameters.by_replica(gradient)).all(-1)
        moves = finite if active is None else finite & active
        self.steps = self.steps + moves
        size = self.size()
        m = torch.lerp(self.m, gradient, 1 - BETA1)
        v = BETA2 * self.v + (1 - BETA2) * gradient * gradient
        flat = parameters.flat - parameters.spread(size) * m / (v.sqrt() + self.epsilon)
        moved = parameters.spread(moves)
        parameters.assign(torch.where(moved, flat, parameters.flat))
        self.m, self.v = torch.where(moved, m, self.m), torch.where(moved, v, self.v)
        return finite

    def size(self) -> Tensor:
        """(R,) learning rate with the bias corrections of the step that is being taken."""
        return step_size(self.learning_rate, self.steps)

    def state(self) -> dict[str, Tensor]:
        return {"m": self.m.clone(), "v": self.v.clone(), "steps": self.steps.clone()}

    def load(self, state: dict[str, Tensor]) -> None:
        self.m, self.v, self.steps = (state[name].clone() for name in ("m", "v", "steps"))
