"""`MixedEffects`: any network as the fixed effects part of a mixed effects model.

Model (paper, Methods; symbols as in the code):

    fixed  = net(X)                                           (n, K)  logits, or means of continuous labels
    random = sum over effects of  h(X) . U(Z)                 (n, K)  h: 1 (intercept), X, or a layer's output
    mixed  = fixed + random
    cluster_logits = adversary(activations of named layers)   (n, q)

An all-zero row of Z makes `random` exactly zero, so `mixed` is the fixed effects (population) prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from armed.errors import DataError, LayerNotFoundError, did_you_mean
from armed.layers.adversary import Adversary, ConvAdversary, DenseAdversary
from armed.layers.random_effects import RandomEffects, RandomIntercept, RandomSlopes, check_membership
from armed.models.dropout import Wrapper


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
    activations : Tensor, tuple of Tensor or None
        What the adversary reads: (n, A) for a dense one; each layer's own output for a convolutional one.
    """

    fixed: Tensor
    random: Tensor
    mixed: Tensor
    cluster_logits: Tensor | None
    kl: Tensor
    activations: Tensor | tuple[Tensor, ...] | None


class _Hook:
    """Keeps the output of a layer during one forward pass. Deep copies with the module that holds it."""

    def __init__(self, outputs: dict[str, Tensor], name: str) -> None:
        self.outputs = outputs
        self.name = name

    def __call__(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        self.outputs[self.name] = output


class MixedEffects(Wrapper):
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
    ConfigError
        If a convolutional adversary does not fit the layers it reads.

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
        if n_clusters < 1:
            raise DataError(f"n_clusters is {n_clusters}; expected at least 1 seen cluster.")
        super().__init__(net)
        self.n_clusters = n_clusters
        self.check_inputs = True  # the stack engine checks once, before training, and turns this off
        self.random_effects = tuple(random_effects)
        self.adversary_on = adversary.on if adversary else ()
        self._outputs: dict[str, Tensor] = {}  # of hooked layers, during one forward pass
        self._hook_layers()
        shapes, self.n_outputs = self._probe(input_shape)
        self.effects = nn.ModuleList(
            RandomEffects(n_clusters, math.prod(shapes[e.on]), self.n_outputs, e.init_scale, e.prior_sd)
            for e in self.random_effects
        )
        self.adversary = _adversary(adversary, shapes, n_clusters) if adversary else None
        self.dropout_draws.hold(net, self.training)

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
        self.dropout_draws.give(keep)
        fixed = self.net(X)
        self.dropout_draws.give(None)
        fixed = fixed.unsqueeze(-1) if fixed.ndim == 1 else fixed
        outputs = self._outputs
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
        activations = self._activations()
        logits = self.adversary(activations) if self.adversary is not None and adversary else None
        outputs.clear()
        mixed = fixed + random if self.random_effects else fixed
        return MixedOutput(fixed, random, mixed, logits, kl, activations)

    def _activations(self) -> Tensor | tuple[Tensor, ...] | None:
        """What the adversary reads."""
        if not self.adversary_on:
            return None
        read = tuple(self._outputs[name] for name in self.adversary_on)
        return read if isinstance(self.adversary, ConvAdversary) else torch.cat([h.flatten(1) for h in read], 1)

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
        for name in sorted(self._wanted()):
            if name not in modules or not name:
                known = [n for n in modules if n]
                raise LayerNotFoundError(
                    f"The network has no layer '{name}'.{did_you_mean(name, known)} "
                    f"Layers, as named_modules gives them: {', '.join(known)}."
                )
            modules[name].register_forward_hook(_Hook(self._outputs, name))

    def _probe(self, input_shape: tuple[int, ...] | None) -> tuple[dict[str | None, tuple[int, ...]], int]:
        """Shape of a sample's output of every layer read, and outputs K, from one pass of zeros."""
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
        self.dropout_draws.start_measuring()
        with torch.no_grad():
            out = self.net.eval()(torch.zeros(2, *input_shape, device=like.device, dtype=like.dtype))
        self.net.train(training)
        self.dropout_draws.end_measuring()
        shapes: dict[str | None, tuple[int, ...]] = {None: (1,), "input": tuple(input_shape)}
        for name in sorted(self._wanted()):
            output = self._outputs.get(name)
            if not isinstance(output, Tensor) or output.ndim < 2:
                found = "is never called" if output is None else f"returns {_described(output)}"
                raise LayerNotFoundError(
                    f"Layer '{name}' cannot be read: it {found}; expected a module whose output is a tensor (samples, ...)."
                )
            shapes[name] = tuple(output.shape[1:])
        self._outputs.clear()
        return shapes, 1 if out.ndim == 1 else out.shape[1]


def _adversary(
    asked: Adversary, shapes: dict[str | None, tuple[int, ...]], n_clusters: int
) -> DenseAdversary | ConvAdversary:
    read = {name: shapes[name] for name in asked.on}
    if asked.filters is not None:
        return ConvAdversary(read, asked.filters, asked.units, n_clusters)
    return DenseAdversary(sum(map(math.prod, read.values())), asked.units, n_clusters)


def _described(output: object) -> str:
    return f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
