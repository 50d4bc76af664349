"""`MixedEffects`: any network as the fixed effects part of a mixed effects model.

Model (paper, Methods; symbols as in the code):

    fixed  = net(X)                                           (n, K)  logits, or means of continuous labels
    random = sum over effects of  h(X) . U(Z)                 (n, K)  h: 1 (intercept), X, or a layer's output
    mixed  = fixed + random
    cluster_logits = adversary(activations of named layers)   (n, q)

An all-zero row of Z makes `random` exactly zero, so `mixed` is the fixed effects (population) prediction.

Random scales and biases act inside the network: with them it is run a second time, with the effects of Z, and what it then
puts out takes the place of `fixed` in `mixed`. Of an autoencoder (`armed.models.Coded`) only the decoder is run again, where
they are in the decoder alone:

    fixed image = decode(latent),  mixed image = decode(latent; scales and biases of Z)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from armed.errors import ConfigError, DataError, LayerNotFoundError, did_you_mean
from armed.layers.adversary import Adversary, ConvAdversary, DenseAdversary
from armed.layers.random_effects import (
    RandomEffect,
    RandomEffects,
    RandomIntercept,
    RandomScaleBias,
    RandomSlopes,
    check_membership,
)
from armed.models.autoencoder import Coded
from armed.models.dropout import Wrapper
from armed.models.effects_inside import EffectsInside


class Reconstruction(NamedTuple):
    """Images that an autoencoder makes again.

    Attributes
    ----------
    latent : Tensor
        (n, L) codes; random effects in the decoder do not change them.
    fixed, mixed : Tensor or None
        (n, channels, height, width), 0 to 1; None where images were not asked for.
    cluster_logits : Tensor or None
        (n, q) of the recogniser for the mixed images; None without one, and in evaluation mode.
    """

    latent: Tensor
    fixed: Tensor | None
    mixed: Tensor | None
    cluster_logits: Tensor | None


class MixedOutput(NamedTuple):
    """What a model returns; tensors of n rows.

    Parameters
    ----------
    fixed, random, mixed : Tensor
        (n, K) logits, or means of continuous labels.
    cluster_logits : Tensor or None
        (n, q) of the adversary, None without one.
    kl : Tensor
        Scalar: KL divergence of all random effects from their priors.
    activations : Tensor, tuple of Tensor or None
        What the adversary reads: (n, A) for a dense one; each layer's own output for a convolutional one.
    reconstruction : Reconstruction or None
        Of an autoencoder, else None.
    """

    fixed: Tensor
    random: Tensor
    mixed: Tensor
    cluster_logits: Tensor | None
    kl: Tensor
    activations: Tensor | tuple[Tensor, ...] | None
    reconstruction: Reconstruction | None = None


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
        The fixed effects network: X (n, ...) to (n,) or (n, K), or to `armed.models.Coded`.
    n_clusters : int
        Seen clusters q.
    random_effects : sequence of RandomIntercept, RandomSlopes or RandomScaleBias
        May be empty. With scales and biases, slopes read what layers put out under these.
    adversary : Adversary, optional
        Which layers it reads. Whether it acts, and how strongly, is the objective's ``lambda_g``.
    recogniser : Adversary, optional
        Size of a classifier of the cluster from the mixed images of an autoencoder, which keeps them recognisably of their
        cluster (paper, live-cell study): the network is trained with it, not against it. Its `on` is not used.
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
        random_effects: Sequence[RandomEffect] = (),
        adversary: Adversary | None = None,
        *,
        recogniser: Adversary | None = None,
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
        shapes, self.n_outputs, image_shape = self._probe(input_shape)
        self.effects = nn.ModuleList(_effects(e, shapes, n_clusters, self.n_outputs) for e in self.random_effects)
        inside = {e.on: e.keep_statistics for e in self.random_effects if isinstance(e, RandomScaleBias)}
        self.inside = EffectsInside(net, inside) if inside else None
        self.adversary = _adversary(adversary, shapes, n_clusters) if adversary else None
        self.recogniser = _recogniser(recogniser, image_shape, n_clusters) if recogniser else None
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
        images: bool = True,
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
        images : bool
            Whether an autoencoder makes its images again, or codes and labels alone.

        Returns
        -------
        MixedOutput
        """
        clusters = self._membership(X, clusters)
        if noise is None and self.training and self.n_noise:
            noise = torch.randn(self.n_noise, device=X.device)
        weights, kl = self._drawn(clusters, noise, X)
        self.dropout_draws.give(keep)
        fixed, coded = _parts(self.net(X) if images or not hasattr(self.net, "code") else self.net.code(X))
        activations = self._activations()
        base, image = fixed, coded.image if coded else None
        if self.inside is not None and not (image is None and self._inside_the_decoder(coded)):
            with self.inside.given(self._scales_and_biases(weights), _share(clusters, fixed)):
                base, image = self._under_effects(X, base, coded)
        self.dropout_draws.give(None)
        random = torch.zeros_like(fixed)
        for spec, own in zip(self.random_effects, weights, strict=True):
            if isinstance(spec, RandomIntercept):
                random = random + own[:, 0]
            elif isinstance(spec, RandomSlopes):
                h = X if spec.on == "input" else self._outputs[spec.on]
                random = random + (h.flatten(1).unsqueeze(-1) * own).sum(1)
        logits = self.adversary(activations) if self.adversary is not None and adversary else None
        self._outputs.clear()
        mixed = base + random if self.random_effects else fixed
        random = random if base is fixed else mixed - fixed
        return MixedOutput(fixed, random, mixed, logits, kl, activations, self._reconstruction(coded, image))

    def _drawn(self, clusters: Tensor, noise: Tensor | None, X: Tensor) -> tuple[list[Tensor], Tensor]:
        """Weights (n, F, K) of each random effect, and the KL divergence of all."""
        weights, kl, start = [], torch.zeros((), device=X.device), 0
        for effect in self.effects:
            draws = None if noise is None else noise[start : start + effect.loc.numel()]
            start += effect.loc.numel()
            weights.append(effect(clusters, draws))
            kl = kl + effect.kl()
        return weights, kl

    def _scales_and_biases(self, weights: list[Tensor]) -> dict[str, Tensor]:
        """(n, filters, 2) of each convolution that has such effects."""
        pairs = zip(self.random_effects, weights, strict=True)
        return {spec.on: own for spec, own in pairs if isinstance(spec, RandomScaleBias)}

    def _under_effects(self, X: Tensor, label: Tensor, coded: Coded | None) -> tuple[Tensor, Tensor | None]:
        """Label and image as the network puts them out while its inside is under random effects."""
        if self._inside_the_decoder(coded):
            return label, self.net.decode(coded.latent)
        label, coded = _parts(self.net(X))
        return label, coded.image if coded else None

    def _inside_the_decoder(self, coded: Coded | None) -> bool:
        """Whether random effects act in an autoencoder's decoder alone, and so on its image alone."""
        return coded is not None and all(name.startswith("decoder.") for name in self.inside.names)

    def _reconstruction(self, coded: Coded | None, mixed: Tensor | None) -> Reconstruction | None:
        if coded is None:
            return None
        recognises = self.recogniser is not None and self.training and mixed is not None
        recognised = self.recogniser((mixed,)) if recognises else None
        return Reconstruction(coded.latent, coded.image, mixed, recognised)

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

    def _probe(
        self, input_shape: tuple[int, ...] | None
    ) -> tuple[dict[str | None, tuple[int, ...]], int, tuple[int, ...] | None]:
        """Shape of a sample's output of every layer read, outputs K, and shape of an autoencoder's images.

        From one pass of zeros.
        """
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
            out, coded = _parts(self.net.eval()(torch.zeros(2, *input_shape, device=like.device, dtype=like.dtype)))
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
        return shapes, out.shape[1], None if coded is None else tuple(coded.image.shape[1:])


def _parts(out: Tensor | Coded) -> tuple[Tensor, Coded | None]:
    """Labels (n, K), and all that an autoencoder puts out."""
    coded = out if isinstance(out, Coded) else None
    label = out.label if coded else out
    return label.unsqueeze(-1) if label.ndim == 1 else label, coded


def _share(clusters: Tensor, like: Tensor) -> Tensor:
    """Sum of each sample's row of Z (n,)."""
    return clusters.sum(1).to(like.dtype) if clusters.is_floating_point() else (clusters >= 0).to(like.dtype)


def _effects(spec: RandomEffect, shapes: dict, n_clusters: int, n_outputs: int) -> RandomEffects:
    if not isinstance(spec, RandomScaleBias):
        return RandomEffects(n_clusters, math.prod(shapes[spec.on]), n_outputs, spec.init_scale, spec.prior_sd)
    if len(shapes[spec.on]) < 2:
        raise LayerNotFoundError(
            f"Layer '{spec.on}' puts out {shapes[spec.on][0]} numbers a sample; random scales and biases expect maps (filters, "
            "height, width), as a convolution puts out."
        )
    return RandomEffects(n_clusters, shapes[spec.on][0], 2, spec.init_scale, spec.prior_sd)


def _recogniser(asked: Adversary, image_shape: tuple[int, ...] | None, n_clusters: int) -> ConvAdversary:
    if image_shape is None or asked.filters is None:
        wrong = "the network puts out no images" if image_shape is None else "it has no filters"
        raise ConfigError(
            f"A recogniser is a convolutional classifier of an autoencoder's images, but {wrong}. Leave it out, or give "
            "Adversary(..., filters=...) and a network that returns armed.models.Coded."
        )
    return ConvAdversary({"image": image_shape}, asked.filters, asked.units, n_clusters, strided=True)


def _adversary(
    asked: Adversary, shapes: dict[str | None, tuple[int, ...]], n_clusters: int
) -> DenseAdversary | ConvAdversary:
    read = {name: shapes[name] for name in asked.on}
    if asked.filters is not None:
        return ConvAdversary(read, asked.filters, asked.units, n_clusters, strided=asked.strided)
    return DenseAdversary(sum(map(math.prod, read.values())), asked.units, n_clusters)


def _described(output: object) -> str:
    return f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
