"""`MixedEffects`: any network as the fixed effects part of a mixed effects model.

Model (paper, Methods; symbols as in the code):

    fixed  = net(X)                                           (n, K)  logits, or means of continuous labels
    random = sum over effects of  h(X) . U(Z)                 (n, K)  h: 1 (intercept), X, or a layer's output
    mixed  = fixed + random
    cluster_logits = adversary(activations of named layers)   (n, q)

An all-zero row of Z makes `random` exactly zero, so `mixed` is the fixed effects (population) prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from armed.errors import DataError, LayerNotFoundError, did_you_mean
from armed.layers.adversary import Adversary, DenseAdversary
from armed.layers.random_effects import RandomEffects, RandomIntercept, RandomSlopes, check_membership


class MixedOutput(NamedTuple):
    """What a model returns; tensors of n rows.

    Attributes
    ----------
    fixed, random, mixed : Tensor
        (n, K) logits, or means of continuous labels.
    cluster_logits : Tensor or None
        (n, q) of the adversary, None without one.
    kl : Tensor
        Scalar: KL divergence of all random effects from their priors.
    activations : Tensor or None
        (n, A): what the adversary reads.
    """

    fixed: Tensor
    random: Tensor
    mixed: Tensor
    cluster_logits: Tensor | None
    kl: Tensor
    activations: Tensor | None


class _Recorder:
    """Keeps the outputs of hooked layers during one forward pass. Deep copies with the module that holds it.

    Attributes
    ----------
    outputs : dict of str to Tensor
        By layer.
    keep : dict of str to Tensor
        (n, size): uniform draws of dropout layers for this pass; they draw themselves where none are given.
    training : bool
        Of the module that holds it.
    """

    def __init__(self) -> None:
        self.outputs: dict[str, Tensor] = {}
        self.keep: dict[str, Tensor] = {}
        self.training = True


class _Hook:
    def __init__(self, recorder: _Recorder, name: str) -> None:
        self.recorder = recorder
        self.name = name

    def __call__(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        self.recorder.outputs[self.name] = output


class _DropoutHook(_Hook):
    """Dropout by given draws. The layer itself stays in evaluation mode, where it does nothing."""

    def __call__(self, module: nn.Dropout, inputs: tuple, output: Tensor) -> Tensor | None:
        recorder = self.recorder
        if not recorder.training:
            recorder.outputs[self.name] = output
            return None
        draws = recorder.keep[self.name].view_as(output) if self.name in recorder.keep else torch.rand_like(output)
        return (
            torch.where(draws >= module.p, output, 0.0) / (1 - module.p) if module.p < 1 else torch.zeros_like(output)
        )


class MixedEffects(nn.Module):
    """Wrap a network with random effects and an adversary, without editing it.

    Parameters
    ----------
    net : torch.nn.Module
        The fixed effects network: X (n, ...) to (n,) or (n, K).
    n_clusters : int
        Seen clusters q.
    random_effects : sequence of RandomIntercept or RandomSlopes
        May be empty.
    adversary : Adversary, optional
        Which layers it reads. Whether it acts, and how strongly, is the objective's ``lambda_g``.
    input_shape : tuple of int, optional
        Shape of one sample. Needed where the network's first parametrised layer is not `nn.Linear`.

    Raises
    ------
    LayerNotFoundError
        If `on` names a layer that the network does not have.

    Examples
    --------
    >>> import armed
    >>> net = armed.models.MLP(2)
    >>> model = armed.MixedEffects(net, 3, [armed.RandomSlopes(on="hidden.2"), armed.RandomIntercept()])
    >>> out = model(torch.zeros(5, 2), torch.tensor([0, 1, 2, -1, 0]))
    >>> out.mixed.shape
    torch.Size([5, 1])
    """

    def __init__(
        self,
        net: nn.Module,
        n_clusters: int,
        random_effects: Sequence[RandomIntercept | RandomSlopes] = (),
        adversary: Adversary | None = None,
        *,
        input_shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        if n_clusters < 1:
            raise DataError(f"n_clusters is {n_clusters}; expected at least 1 seen cluster.")
        self.net = net
        self.n_clusters = n_clusters
        self.check_inputs = True  # the stack engine checks once, before training, and turns this off
        self.random_effects = tuple(random_effects)
        self.adversary_on = adversary.on if adversary else ()
        self._recorder = _Recorder()
        self._dropout = {name: 0 for name, m in net.named_modules() if isinstance(m, nn.Dropout)}  # to draws a sample
        self._hook_layers()
        sizes, self.n_outputs = self._probe(input_shape)
        self.effects = nn.ModuleList(
            RandomEffects(n_clusters, sizes[e.on], self.n_outputs, e.init_scale, e.prior_sd)
            for e in self.random_effects
        )
        self.adversary = (
            DenseAdversary(sum(sizes[name] for name in adversary.on), adversary.units, n_clusters)
            if adversary
            else None
        )
        self._hold_dropout()

    def train(self, mode: bool = True) -> MixedEffects:
        """As of any module; dropout layers are done by hooks, so that their draws can be given."""
        super().train(mode)
        self._hold_dropout()
        return self

    def _hold_dropout(self) -> None:
        self._recorder.training = self.training
        for name in self._dropout:
            self.net.get_submodule(name).eval()

    @property
    def n_dropout(self) -> int:
        """Uniform draws that the dropout layers take for one sample."""
        return sum(self._dropout.values())

    @property
    def n_noise(self) -> int:
        """Standard normal draws that one posterior draw of all random effects takes."""
        return sum(effect.loc.numel() for effect in self.effects)

    def forward(
        self,
        X: Tensor,
        clusters: Tensor | None = None,
        noise: Tensor | None = None,
        adversary: bool = True,
        keep: Tensor | None = None,
    ) -> MixedOutput:
        """Predict.

        Parameters
        ----------
        X : Tensor
            (n, ...) inputs.
        clusters : Tensor, optional
            Ids (n,), -1 = population, or Z (n, q); None = population for all.
        noise : Tensor, optional
            (n_noise,) standard normal draws for one posterior draw. In training mode they are drawn where not given; in
            evaluation the posterior means are used.
        adversary : bool
            Whether to run the adversary on the activations.
        keep : Tensor, optional
            (n, n_dropout) uniform draws of the network's `nn.Dropout` layers, which in training mode draw themselves where
            not given.
        """
        clusters = self._membership(X, clusters)
        if noise is None and self.training and self.n_noise:
            noise = torch.randn(self.n_noise, device=X.device)
        if keep is not None:
            sizes = list(self._dropout.values())
            self._recorder.keep = dict(zip(self._dropout, keep.split(sizes, 1), strict=True))
        fixed = self.net(X)
        self._recorder.keep = {}
        fixed = fixed.unsqueeze(-1) if fixed.ndim == 1 else fixed
        outputs = self._recorder.outputs
        random = torch.zeros_like(fixed)
        kl = torch.zeros((), device=X.device)
        start = 0
        for spec, effect in zip(self.random_effects, self.effects, strict=True):
            draws = None if noise is None else noise[start : start + effect.loc.numel()]
            start += effect.loc.numel()
            weights = effect(clusters, draws)
            if spec.on is None:
                random = random + weights[:, 0]
            else:
                h = X if spec.on == "input" else outputs[spec.on]
                random = random + (h.flatten(1).unsqueeze(-1) * weights).sum(1)
            kl = kl + effect.kl()
        activations = torch.cat([outputs[n].flatten(1) for n in self.adversary_on], 1) if self.adversary_on else None
        logits = self.adversary(activations) if self.adversary is not None and adversary else None
        outputs.clear()
        mixed = fixed + random if self.random_effects else fixed
        return MixedOutput(fixed, random, mixed, logits, kl, activations)

    def _membership(self, X: Tensor, clusters: Tensor | None) -> Tensor:
        if clusters is None:
            return torch.full((len(X),), -1, dtype=torch.long, device=X.device)
        if self.check_inputs:
            check_membership(clusters, self.n_clusters, len(X))
        return clusters

    def _wanted(self) -> set[str]:
        """Names of the layers to read."""
        return {e.on for e in self.random_effects if e.on not in (None, "input")} | set(self.adversary_on)

    def _hook_layers(self) -> None:
        modules = dict(self.net.named_modules())
        for name in self._dropout:  # before those that read a layer's output, who shall see what is dropped
            modules[name].register_forward_hook(_DropoutHook(self._recorder, name))
        for name in sorted(self._wanted()):
            if name not in modules or not name:
                known = [n for n in modules if n]
                raise LayerNotFoundError(
                    f"The network has no layer '{name}'.{did_you_mean(name, known)} "
                    f"Layers, as named_modules gives them: {', '.join(known)}."
                )
            modules[name].register_forward_hook(_Hook(self._recorder, name))

    def _probe(self, input_shape: tuple[int, ...] | None) -> tuple[dict[str | None, int], int]:
        """Flattened size of every layer read, and outputs K, from one pass of zeros."""
        if input_shape is None:
            first = next((m for m in self.net.modules() if next(m.parameters(recurse=False), None) is not None), None)
            if not isinstance(first, nn.Linear):
                raise DataError(
                    "The shape of one sample cannot be told from the network, whose first parametrised layer is "
                    f"{type(first).__name__}; give MixedEffects(..., input_shape=(...))."
                )
            input_shape = (first.in_features,)
        training = self.net.training
        like = next(self.net.parameters())
        self._recorder.training = False
        with torch.no_grad():
            out = self.net.eval()(torch.zeros(2, *input_shape, device=like.device, dtype=like.dtype))
        self.net.train(training)
        sizes: dict[str | None, int] = {None: 1, "input": int(torch.Size(input_shape).numel())}
        for name in sorted(self._wanted()):
            output = self._recorder.outputs.get(name)
            if not isinstance(output, Tensor) or output.ndim < 2:
                found = "is never called" if output is None else f"returns {_described(output)}"
                raise LayerNotFoundError(
                    f"Layer '{name}' cannot be read: it {found}; expected a module whose output is a tensor (samples, ...)."
                )
            sizes[name] = output.flatten(1).shape[1]
        called = [name for name in self._dropout if name in self._recorder.outputs]
        self._dropout = {name: self._recorder.outputs[name].flatten(1).shape[1] for name in called}
        self._recorder.outputs.clear()
        return sizes, 1 if out.ndim == 1 else out.shape[1]


def _described(output: object) -> str:
    return f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
