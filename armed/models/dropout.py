"""Dropout by draws that are given, so that a replica's draws do not depend on what it trains with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class Dropout:
    """The dropout layers of a network, done by hooks. Deep copies with the module that holds it.

    The layers themselves stay in evaluation mode, where they do nothing.

    Attributes
    ----------
    sizes : dict of str to int
        By layer that is called: uniform draws for one sample, in order.
    keep : dict of str to Tensor
        (n, size): draws for the pass under way; layers draw themselves where none are given.
    training : bool
        Of the module that holds it.
    """

    def __init__(self, net: nn.Module) -> None:
        self.names = [name for name, m in net.named_modules() if isinstance(m, nn.Dropout)]
        self.sizes = dict.fromkeys(self.names, 0)
        self.seen: dict[str, int] | None = None  # by layer, while `measure` looks
        self.keep: dict[str, Tensor] = {}
        self.training = False
        for name in self.names:
            net.get_submodule(name).register_forward_hook(_Hook(self, name))

    def __repr__(self) -> str:
        return f"Dropout({self.sizes})"

    def start_measuring(self) -> None:
        """The next pass, of any batch, shows how many draws each layer takes."""
        self.training, self.seen = False, {}

    def end_measuring(self) -> None:
        self.sizes = {name: self.seen[name] for name in self.names if name in self.seen}
        self.seen = None

    def give(self, keep: Tensor | None) -> None:
        """Draws (n, n_dropout) for the next pass; none after it."""
        parts = () if keep is None else keep.split(list(self.sizes.values()), 1)
        self.keep = dict(zip(self.sizes, parts, strict=True)) if parts else {}

    def hold(self, net: nn.Module, training: bool) -> None:
        """Keep the layers out of it after the network has changed its mode."""
        self.training = training
        for name in self.sizes:
            net.get_submodule(name).eval()


class _Hook:
    def __init__(self, dropout: Dropout, name: str) -> None:
        self.dropout = dropout
        self.name = name

    def __call__(self, module: nn.Dropout, inputs: tuple, output: Tensor) -> Tensor | None:
        dropout = self.dropout
        if dropout.seen is not None:
            dropout.seen[self.name] = output.flatten(1).shape[1]
        if not dropout.training:
            return None
        if module.p == 1:
            return torch.zeros_like(output)
        if self.name not in dropout.keep:
            return _dropped(output, module.p)
        return torch.where(dropout.keep[self.name].view_as(output) >= module.p, output, 0.0) / (1 - module.p)


def _dropped(x: Tensor, p: float) -> Tensor:
    """Dropout by torch's global generator.

    Drawing takes a processor longer than all else that is done to an element. So four elements share a draw of 64 bits, which
    meets `p` to within 2^-17.
    """
    if x.device.type != "cpu":
        return F.dropout(x, p)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[: x.numel()]
    kept = (draws >= round(p * 2**16) - 2**15).to(x.dtype).mul_(1 / (1 - p))
    if x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        n, channels, height, width = x.shape
        return x * kept.view(n, height, width, channels).permute(0, 3, 1, 2)
    return x * kept.view(x.shape)


class Wrapper(nn.Module):
    """A module around a network `net`, called as `armed.stack.Stack` calls modules; base of all that methods train.

    Its subclass takes `keep` in `forward` and passes it to ``self.dropout_draws.give`` before it calls the network, and None
    after.

    Parameters
    ----------
    net : torch.nn.Module
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.dropout_draws = Dropout(net)

    def train(self, mode: bool = True) -> Wrapper:
        """As of any module; dropout layers are done by hooks, so that their draws can be given.

        Parameters
        ----------
        mode : bool
            Training, or evaluation.

        Returns
        -------
        Wrapper
            The module itself.
        """
        super().train(mode)
        self.dropout_draws.hold(self.net, mode)
        return self

    @property
    def n_dropout(self) -> int:
        """Uniform draws that the dropout layers take for one sample."""
        return sum(self.dropout_draws.sizes.values())

    def _measure_dropout(self, sample_shape: Sequence[int] | None) -> None:
        """Learn from a pass of zeros how many draws the dropout layers take; a subclass calls this once it can be called."""
        if self.dropout_draws.names:
            self.eval()
            self.dropout_draws.start_measuring()
            with torch.no_grad():
                self(torch.zeros(2, *sample_shape), torch.zeros(2, dtype=torch.long))
            self.dropout_draws.end_measuring()
        self.train()
