"""The parameters of a stack of replicas, as one vector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from armed.errors import DataError


class Parameters:
    """Named parameters as views of one vector, so that an optimiser step is a few operations.

    Each parameter of all replicas (R, ...) lies in one piece: where a product starts in memory can change how it rounds, and a
    replica's place in the stack must not.

    Parameters
    ----------
    flat : Tensor
        (R * P,), or (P,) for one replica alone.
    shapes : dict of str to torch.Size
        Of each parameter of one replica, in order.
    size : int, optional
        R; none for one replica without a replica axis.
    """

    def __init__(self, flat: Tensor, shapes: Mapping[str, torch.Size], size: int | None = None) -> None:
        self.shapes = dict(shapes)
        self.lead = () if size is None else (size,)
        self.flat = flat
        self._scattered = size is not None and size > 1  # of one replica the vector is the parameters, in order
        if self._scattered:
            parts = torch.arange(len(flat), device=flat.device).split([size * s.numel() for s in self.shapes.values()])
            self._entries = torch.cat([p.view(size, -1) for p in parts], 1)  # (R, P), where each replica's numbers are
            self._owner = torch.empty_like(self._entries).flatten()
            self._owner[self._entries] = torch.arange(size, device=flat.device).unsqueeze(1)
        self._bind()

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Parameters:
        """Copies of tensors (R, ...) each."""
        flat = torch.cat([t.detach().reshape(-1) for t in tensors.values()])
        return cls(flat, {name: t.shape[1:] for name, t in tensors.items()}, len(next(iter(tensors.values()))))

    def _bind(self) -> None:
        self.views: dict[str, Tensor] = {}
        start = 0
        for name, shape in self.shapes.items():
            full = torch.Size((*self.lead, *shape))
            self.views[name] = self.flat[start : start + full.numel()].view(full).detach().requires_grad_()
            start += full.numel()

    def assign(self, flat: Tensor) -> None:
        """Take new values."""
        self.flat.copy_(flat)

    def flattened(self, tensors: Iterable[Tensor]) -> Tensor:
        """Tensors of the shapes of all parameters, in their order, as one vector."""
        return torch.cat([t.reshape(-1) for t in tensors])

    def gradient(self, loss: Tensor) -> Tensor:
        """Flat gradient of a loss summed over replicas; zero for parameters it does not use."""
        return self.flattened(torch.autograd.grad(loss, list(self.views.values()), materialize_grads=True))

    def spread(self, per_replica: Tensor) -> Tensor:
        """Repeat a value of each replica (R,) over that replica's entries of a flat vector."""
        return per_replica[self._owner] if self._scattered else per_replica

    def by_replica(self, flat: Tensor) -> Tensor:
        """A flat vector as a matrix (R, P); (P,) for one replica alone."""
        if self._scattered:
            return flat[self._entries]
        return flat.unsqueeze(0) if self.lead else flat

    def from_matrix(self, matrix: Tensor) -> Tensor:
        """The flat vector of a matrix (R, P)."""
        if not self._scattered:
            return matrix.reshape(-1).clone()
        flat = torch.empty_like(self.flat)
        flat[self._entries] = matrix
        return flat

    def detached(self) -> dict[str, Tensor]:
        return {name: view.detach() for name, view in self.views.items()}


def check_fit(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Weights may come from a file of anyone's, and shapes that do not fit can broadcast to others that do."""
    expected = {name: tuple(t.shape) for name, t in named_tensors(module)}
    given = {name: tuple(t.shape[1:]) for name, t in state.items() if isinstance(t, Tensor) and t.ndim}
    if len({len(t) for t in state.values()}) != 1 or given != expected:
        wrong = next((name for name in {**expected, **state} if given.get(name) != expected.get(name)), "all")
        told = f"'{wrong}' is {given.get(wrong, 'missing')}, and {expected.get(wrong, 'no part')} of the network"
        raise DataError(f"The weights are not those of this network, for as many replicas each: {told}.")


def named_tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]
