"""Training steps of `ad_diagnosis` in plain PyTorch, as a user would write them: what the library's engine is compared with.

Networks are `torch.nn` modules with channels first, all in float32, one operation after another. They are the modules that
the library builds, with its hooks taken off: dropout is torch's own, and layers are called one after another where their
outputs are wanted. Updates are those of `docs/method.md`, so that the same batches give the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812

from armed.stack_method import StackMethod
from baselines.lmmnn import logistic_nll, standard_normal_nodes

Step = Callable[[Tensor, Tensor, Tensor], None]
"""One training step on images (n, 1, H, W), labels (n,) and cluster codes (n,)."""


def training_step(
    name: str, method: StackMethod, model: nn.Module, main: Mapping, class_weights: Tensor | None
) -> Step:
    """The step of a method.

    Parameters
    ----------
    name : str
        One of the study's `benchmarks.image_cases.METHODS`.
    method : StackMethod
        Which the settings of the optimiser are taken from.
    model : torch.nn.Module
        Built by the method; trained in place. Its hooks are taken off.
    main : mapping
        The method's own settings.
    class_weights : Tensor or None
        (2,); None for the Z-predictor.
    """
    without_hooks(model)

    def optimiser(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.NAdam(parameters, lr=method.training["learning_rate"], eps=1e-7)

    dense = model.net.hidden[-1].dense

    def penalty() -> Tensor:
        return dense.l1 * dense.weight.abs().sum()

    def label_loss(logits: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits.squeeze(-1), y, weight=class_weights[y.long()])

    if name == "mldg":
        n_test = main["samples_per_cluster"] * main["meta_test_clusters"]  # they come last in each batch
        return _meta_step(model.net, optimiser(list(model.net.parameters())), label_loss, penalty, main, n_test)
    if getattr(model, "adversary", None) is not None:
        return _adversarial_step(model, optimiser, label_loss, penalty, main)
    loss_of = _losses(name, model, label_loss, main, class_weights)
    steps = optimiser([p for p in model.parameters() if p.requires_grad])

    def step(x: Tensor, y: Tensor, code: Tensor) -> None:
        loss = loss_of(x, y, code) + penalty()
        steps.zero_grad()
        loss.backward()
        steps.step()

    return step


def without_hooks(model: nn.Module) -> None:
    """Leave to torch what the library does by hooks: dropout, and keeping the outputs of layers."""
    for module in model.modules():
        module._forward_hooks.clear()
    nn.Module.train(model)
    model.net.train()


def _losses(
    name: str, model: nn.Module, label_loss: Callable, main: Mapping, class_weights: Tensor | None
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Loss of a batch for methods without an adversary, but for the penalty."""
    net = model.net

    def armed(x: Tensor, y: Tensor, code: Tensor) -> Tensor:
        return _mixed_loss(model, _outputs(net, x), y, code, label_loss, main)

    def menet(x: Tensor, y: Tensor, code: Tensor) -> Tensor:
        h, weights = net.hidden(x), model.effects[code]
        return label_loss(net.output(h) + (h * weights[:, :-1]).sum(1, keepdim=True) + weights[:, -1:], y)

    def lmmnn(x: Tensor, y: Tensor, code: Tensor) -> Tensor:
        nodes, log_weights = (
            torch.tensor(a, dtype=x.dtype, device=x.device) for a in standard_normal_nodes(main["quadrature_points"])
        )
        Z = F.one_hot(code, len(model.blup)).to(x.dtype)
        weights, sd = class_weights[y.long()], model.log_sd_b.exp()
        return logistic_nll(net(x).squeeze(-1), y, Z, sd, nodes, log_weights, weights) / len(y)

    def cluster_input(x: Tensor, y: Tensor, code: Tensor) -> Tensor:
        return label_loss(model.predicted(x, F.one_hot(code, model.n_clusters).to(x.dtype)), y)

    return {
        "conventional": lambda x, y, code: label_loss(net(x), y),
        "cluster_inference": lambda x, y, code: F.cross_entropy(net(x), code),
        "cluster_input": cluster_input,
        "cluster_input_plus": cluster_input,
        "menet": menet,
        "lmmnn": lmmnn,
        "armed_no_adversary": armed,
    }[name]


def _outputs(net: nn.Module, x: Tensor) -> list[Tensor]:
    """Outputs of all hidden layers."""
    outputs = []
    for layer in net.hidden:
        x = layer(x)
        outputs.append(x)
    return outputs


def _mixed_loss(
    model: nn.Module, outputs: list[Tensor], y: Tensor, code: Tensor, label_loss: Callable, main: Mapping
) -> Tensor:
    """Loss of ARMED without its adversary's term; of the network alone where there are no random effects."""
    h = outputs[-1]
    fixed = model.net.output(h)
    if not len(model.effects):
        return label_loss(fixed, y)
    slopes, intercept = model.effects
    noise = [torch.randn(effect.loc.numel(), device=h.device) for effect in model.effects]
    random = (h.unsqueeze(-1) * slopes(code, noise[0])).sum(1) + intercept(code, noise[1])[:, 0]
    loss = label_loss(fixed + random, y) + main["lambda_K"] * (slopes.kl() + intercept.kl())
    return loss + main["lambda_F"] * label_loss(fixed, y) if main["lambda_F"] else loss


def _adversarial_step(
    model: nn.Module, optimiser: Callable, label_loss: Callable, penalty: Callable, main: Mapping
) -> Step:
    """The adversary learns, then the network with the adversary as it then is."""
    own = [p for name, p in model.named_parameters() if not name.startswith("adversary.")]
    steps, adversary_steps = optimiser(own), optimiser(list(model.adversary.parameters()))

    def step(x: Tensor, y: Tensor, code: Tensor) -> None:
        outputs = _outputs(model.net, x)
        adversary_steps.zero_grad()
        F.cross_entropy(model.adversary(tuple(h.detach() for h in outputs)), code).backward()
        adversary_steps.step()
        loss = _mixed_loss(model, outputs, y, code, label_loss, main) + penalty()
        loss = loss - main["lambda_g"] * F.cross_entropy(model.adversary(tuple(outputs)), code)
        steps.zero_grad()
        loss.backward(inputs=own)
        steps.step()

    return step


def _meta_step(
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    label_loss: Callable,
    penalty: Callable,
    main: Mapping,
    n_test: int,
) -> Step:
    """First-order MLDG (`baselines.mldg`)."""
    rate, weight = main["inner_learning_rate"], main["meta_weight"]
    l1 = net.hidden[-1].dense.l1
    (dense,) = (name for name, p in net.named_parameters() if p is net.hidden[-1].dense.weight)

    def step(x: Tensor, y: Tensor, code: Tensor) -> None:
        optimiser.zero_grad()
        (label_loss(net(x[:-n_test]), y[:-n_test]) + penalty()).backward()
        moved = {name: (p - rate * p.grad).detach().requires_grad_() for name, p in net.named_parameters()}
        meta_test = label_loss(functional_call(net, moved, (x[-n_test:],)), y[-n_test:])
        meta_test = weight * (meta_test + l1 * moved[dense].abs().sum())
        for p, g in zip(net.parameters(), torch.autograd.grad(meta_test, list(moved.values())), strict=True):
            p.grad += g
        optimiser.step()

    return step
