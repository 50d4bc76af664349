"""Adam, and with Nesterov momentum, over the parameters of a stack, with a learning rate for each replica."""

from __future__ import annotations

import torch
from torch import Tensor

from armed.parameters import Parameters

BETA1, BETA2 = 0.9, 0.999
# The parameters of one large network are updated in place, so many at a time: what lies between stays in a processor's cache.
_CACHED = 2**15


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
        if parameters.lead == (1,) and len(gradient) > _CACHED:
            return self._step_in_parts(gradient, active)
        finite = torch.isfinite(parameters.by_replica(gradient)).all(-1)
        moves = finite if active is None else finite & active
        self.steps = self.steps + moves
        m = torch.lerp(self.m, gradient, 1 - BETA1)
        v = BETA2 * self.v + (1 - BETA2) * gradient * gradient
        flat = parameters.flat - self.change(gradient, m, v)
        moved = parameters.spread(moves)
        parameters.assign(torch.where(moved, flat, parameters.flat))
        self.m, self.v = torch.where(moved, m, self.m), torch.where(moved, v, self.v)
        return finite

    def _step_in_parts(self, gradient: Tensor, active: Tensor | None) -> Tensor:
        """As `step`, number by number the same, of one replica."""
        finite = torch.isfinite(torch.stack(gradient.aminmax())).all().unsqueeze(0)
        moves = finite if active is None else finite & active
        self.steps = self.steps + moves
        if moves.all():
            vectors = (gradient, self.m, self.v, self.parameters.flat)
            for g, m, v, flat in zip(*(t.split(_CACHED) for t in vectors), strict=True):
                m.lerp_(g, 1 - BETA1)
                v.mul_(BETA2).add_((1 - BETA2) * g * g)
                flat.sub_(self.change(g, m, v))
        return finite

    def change(self, gradient: Tensor, m: Tensor, v: Tensor) -> Tensor:
        """What a step takes off the parameters, given the moments after it; flat."""
        return self.parameters.spread(self.size()) * m / (v.sqrt() + self.epsilon)

    def size(self) -> Tensor:
        """(R,) learning rate with the bias corrections of the step that is being taken."""
        return step_size(self.learning_rate, self.steps)

    def state(self) -> dict[str, Tensor]:
        return {"m": self.m.clone(), "v": self.v.clone(), "steps": self.steps.clone()}

    def load(self, state: dict[str, Tensor]) -> None:
        self.m, self.v, self.steps = (state[name].clone() for name in ("m", "v", "steps"))


class Nadam(Adam):
    """Adam with Nesterov momentum (Dozat 2016), as Keras and `torch.optim.NAdam` have it.

    With ``mu_t = b1 (1 - 0.96^(t / 250) / 2)``, ``M_t`` the product of ``mu_1 ... mu_t``, ``m`` and ``v`` as in Adam, and g
    the gradient: ``p -= lr (mu_{t+1} m / (1 - M_{t+1}) + (1 - mu_t) g / (1 - M_t)) / (sqrt(v / (1 - b2^t)) + epsilon)``.
    """

    def __init__(self, parameters: Parameters, learning_rate: Tensor, epsilon: float = 1e-7) -> None:
        super().__init__(parameters, learning_rate, epsilon)
        self._products = torch.ones(1, dtype=torch.float64)  # of mu_1 ... mu_t, by t

    def change(self, gradient, m, v):
        spread, dtype = self.parameters.spread, self.learning_rate.dtype
        product, following = (self._product(t) for t in (self.steps, self.steps + 1))
        ahead = self.learning_rate * (_momentum(self.steps + 1) / (1 - following)).to(dtype)
        now = self.learning_rate * ((1 - _momentum(self.steps)) / (1 - product)).to(dtype)
        scale = (1 - BETA2**self.steps).to(dtype)
        return (spread(ahead) * m + spread(now) * gradient) / ((v / spread(scale)).sqrt() + self.epsilon)

    def _product(self, steps: Tensor) -> Tensor:
        """Product of mu_1 ... mu_t (R,) for t = `steps`."""
        longest = int(steps.max())
        if longest >= len(self._products):
            mu = _momentum(torch.arange(1, 2 * longest + 1, dtype=torch.float64))
            self._products = torch.cat([torch.ones(1, dtype=torch.float64), mu.cumprod(0)]).to(steps.device)
        return self._products[steps.long()]


def _momentum(steps: Tensor) -> Tensor:
    return BETA1 * (1 - 0.5 * 0.96 ** (steps * 0.004))


OPTIMISERS = {"adam": Adam, "nadam": Nadam}
