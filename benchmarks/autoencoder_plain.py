"""Training steps of autoencoder-classifiers in plain PyTorch, as a user would write them from PROTOCOL ("Live-cell image
compression"): what the library's engine is compared with.

`torch.nn` modules with channels first, all in float32, one operation after another. The decoder's convolutions are
`torch.nn.functional.conv_transpose2d` with the encoder's weights, instance normalisation is its formula. Adversary, recogniser
and posteriors of random effects are the library's modules, which are plain torch. Updates are those of `docs/method.md`, so
that the same batches give the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from armed.stack_method import StackMethod

Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""One training step on images (n, 1, H, W), labels (n,) and cluster codes (n,); its loss."""
KERNEL, LEAK = 4, 0.3
NORM_EPSILON, INSTANCE_EPSILON = 1e-3, 1e-5


class Encoding(nn.Module):
    """Convolution 4x4 as large as its input, divided by the stride; batch normalisation; PReLU."""

    def __init__(self, n_inputs: int, n_filters: int, stride: int, momentum: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_inputs, n_filters, KERNEL, stride)
        self.norm = nn.BatchNorm2d(n_filters, eps=NORM_EPSILON, momentum=momentum)
        self.activation = nn.PReLU(n_filters)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1) if self.conv.stride[0] == 2 else (1, 2, 1, 2))
        return self.activation(self.norm(self.conv(x)))


class Decoding(nn.Module):
    """Transpose of an encoder's convolution, with its weight; effects of the cluster; then as `Encoding`, or a sigmoid."""

    def __init__(self, of: nn.Conv2d, momentum: float, *, last: bool) -> None:
        super().__init__()
        self.conv = nn.Module()
        self.conv.weight = of.weight
        self.conv.bias = nn.Parameter(torch.zeros(of.in_channels))
        self.stride = of.stride[0]
        self.norm = nn.Identity() if last else nn.BatchNorm2d(of.in_channels, eps=NORM_EPSILON, momentum=momentum)
        self.activation = nn.Sigmoid() if last else nn.PReLU(of.in_channels)

    def forward(self, x: Tensor, effects: Tensor | None = None) -> Tensor:
        height, width = self.stride * x.shape[2], self.stride * x.shape[3]
        x = F.conv_transpose2d(x, self.conv.weight, self.conv.bias, self.stride, 1)[:, :, :height, :width]
        if effects is not None:
            x = scaled_and_biased(x, *effects[..., None, None].unbind(2))
        return self.activation(self.norm(x))


def scaled_and_biased(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Maps whose filters are normalised in each sample, scaled, biased, and given their mean and s.d. back."""
    mean = x.mean((2, 3), keepdim=True)
    sd = torch.sqrt(x.var((2, 3), correction=0, keepdim=True) + INSTANCE_EPSILON)
    return mean + sd * ((1 + scale) * (x - mean) / sd + bias)


class PlainAutoencoder(nn.Module):
    """The network, its parameters named as the library names them.

    Parameters
    ----------
    pixels : int
        Height and width of an image.
    network : mapping
        Settings of the study's network.
    """

    def __init__(self, pixels: int, network: Mapping) -> None:
        super().__init__()
        filters, strided, latent = network["filters"], network["strided"], network["latent"]
        momentum, n = 1 - network["norm_momentum"], len(network["filters"])
        self.encoder = nn.ModuleList(
            Encoding(a, b, 1 if i < n - strided else 2, momentum)
            for i, (a, b) in enumerate(zip([1, *filters], filters, strict=False))
        )
        self.decoder = nn.ModuleList(Decoding(self.encoder[i].conv, momentum, last=i == 0) for i in reversed(range(n)))
        side = pixels // 2**strided
        self.first_map = (filters[-1], side, side)
        self.latent = nn.ModuleDict(
            {
                "dense": nn.Linear(filters[-1] * side**2, latent),
                "norm": nn.BatchNorm1d(latent, eps=NORM_EPSILON, momentum=momentum),
            }
        )
        self.expand = nn.Sequential(nn.Linear(latent, filters[-1] * side**2), nn.Unflatten(1, self.first_map))
        self.classifier = nn.ModuleDict(
            {
                "hidden": nn.Sequential(nn.Linear(latent, network["classifier"]), nn.LeakyReLU(LEAK)),
                "output": nn.Linear(network["classifier"], 1),
            }
        )

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Codes (n, L), and the outputs of all blocks."""
        outputs = []
        for block in self.encoder:
            x = block(x)
            outputs.append(x)
        return self.latent["norm"](self.latent["dense"](x.flatten(1))), outputs

    def decode(self, latent: Tensor, effects: list[Tensor] | None = None) -> Tensor:
        """Images of codes, under the effects (n, filters, 2) of each convolution where they are given."""
        x = self.expand(latent)
        for i, block in enumerate(self.decoder):
            x = block(x, None if effects is None else effects[i])
        return x


class Pass(NamedTuple):
    """Loss of a batch without the adversary's term, and what the adversary reads."""

    loss: Tensor
    outputs: list[Tensor]


class PlainModel(nn.Module):
    """The network with all that a method adds to it.

    Parameters
    ----------
    built : torch.nn.Module
        The library's model, whose weights this one starts from.
    network, main : mapping
        Settings of the network, and the method's own.
    """

    def __init__(self, built: nn.Module, network: Mapping, main: Mapping) -> None:
        super().__init__()
        self.net = PlainAutoencoder(built.net.input_shape[1], network)
        self.net.load_state_dict(built.net.state_dict())
        self.effects, self.adversary, self.recogniser = built.effects, built.adversary, built.recogniser
        self.main = main
        self.train()

    def forward(self, x: Tensor, y: Tensor, code: Tensor) -> Pass:
        net, main = self.net, self.main
        latent, outputs = net.encode(x)
        h = net.classifier["hidden"](latent)
        logit, image = net.classifier["output"](h), net.decode(latent)
        fixed = F.mse_loss(image, x), F.binary_cross_entropy_with_logits(logit.squeeze(-1), y)
        if not len(self.effects):
            return Pass(fixed[0] + main["label_weight"] * fixed[1], outputs)
        drawn = [effect(code, torch.randn(effect.loc.numel(), device=x.device)) for effect in self.effects]
        slopes, intercept, *inside = drawn
        mixed_logit = logit + (h.unsqueeze(-1) * slopes).sum(1) + intercept[:, 0]
        mixed_image = net.decode(latent, inside)
        mixed = F.mse_loss(mixed_image, x), F.binary_cross_entropy_with_logits(mixed_logit.squeeze(-1), y)
        images, labels = (m + main["lambda_F"] * f for m, f in zip(mixed, fixed, strict=True))
        loss = images + main["label_weight"] * labels + main["lambda_K"] * sum(e.kl() for e in self.effects)
        recognised = F.cross_entropy(self.recogniser((mixed_image,)), code)
        return Pass(loss + main["recognition_weight"] * recognised, outputs)


def training_step(method: StackMethod, model: PlainModel) -> Step:
    """The step of a method, of which the settings of the optimiser are taken; the model is trained in place."""

    def optimiser(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        training = method.training
        return torch.optim.Adam(parameters, lr=training["learning_rate"], eps=training.get("epsilon", 1e-7))

    own = [p for name, p in model.named_parameters() if not name.startswith("adversary.")]
    steps = optimiser(own)
    adversary = model.adversary
    adversary_steps = None if adversary is None else optimiser(list(adversary.parameters()))

    def step(x: Tensor, y: Tensor, code: Tensor) -> Tensor:
        loss, outputs = model(x, y, code)
        if adversary is not None:
            adversary_steps.zero_grad()
            F.cross_entropy(adversary(tuple(h.detach() for h in outputs)), code).backward()
            adversary_steps.step()
            loss = loss - model.main["lambda_g"] * F.cross_entropy(adversary(tuple(outputs)), code)
        steps.zero_grad()
        loss.backward(inputs=own)
        steps.step()
        return loss.detach()

    return step
