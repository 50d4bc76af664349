"""Random scales and biases inside a network: by hooks, on convolutions known by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from armed.layers.random_effects import scale_and_bias


class EffectsInside:
    """Scales and biases the outputs of layers while effects are given; else leaves them as they are.

    Deep copies with the module that holds it.

    Parameters
    ----------
    net : torch.nn.Module
    names : mapping of str to bool
        Layers as `named_modules` gives them, with their `keep_statistics` (`armed.layers.random_effects.scale_and_bias`).
    """

    def __init__(self, net: nn.Module, names: Mapping[str, bool]) -> None:
        self.names = dict(names)
        self.effects: dict[str, Tensor] = {}  # (n, filters, 2) by layer
        self.share: Tensor | None = None
        for name in self.names:
            net.get_submodule(name).register_forward_hook(_Hook(self, name), prepend=True)  # before hooks that read

    def __repr__(self) -> str:
        return f"EffectsInside({self.names})"

    @contextmanager
    def given(self, effects: Mapping[str, Tensor], share: Tensor) -> Iterator[None]:
        """The network under effects: (n, filters, 2) of each layer, and the sum of each sample's row of Z (n,)."""
        self.effects, self.share = dict(effects), share
        try:
            yield
        finally:
            self.effects, self.share = {}, None


class _Hook:
    def __init__(self, inside: EffectsInside, name: str) -> None:
        self.inside = inside
        self.name = name

    def __call__(self, module: nn.Module, inputs: tuple, output: Tensor) -> Tensor | None:
        effects = self.inside.effects.get(self.name)
        if effects is None:
            return None
        keep = self.inside.names[self.name]
        return scale_and_bias(output, effects[..., 0], effects[..., 1], self.inside.share, keep_statistics=keep)
