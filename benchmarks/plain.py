"""Training loops in plain PyTorch, one model at a time, as a careful user would write them: what stacks are compared with.

Data lie in tensors, an epoch is gathered once and cut into batches, Adam works on all tensors at once (``foreach``), nothing
is checked or logged. Updates are those of `docs/method.md`, so that the same batches give the same model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from armed.models import MixedEffects


def adam(parameters: Iterable[nn.Parameter], training: Mapping[str, float]) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=training["learning_rate"], eps=training.get("epsilon", 1e-7), foreach=True)


def shuffled(rows: Tensor, batch_size: int, epochs: int) -> Iterator[Tensor]:
    """Row ids (steps, B) of each epoch: a permutation, its last batch filled up from the start."""
    steps = -(-len(rows) // batch_size)
    for _ in range(epochs):
        order = rows[torch.randperm(len(rows))]
        yield torch.cat([order, order[: steps * batch_size - len(rows)]]).view(steps, batch_size)


def by_cluster(rows: Tensor, codes: Tensor, samples_per_cluster: int, epochs: int) -> Iterator[Tensor]:
    """Row ids (steps, B) of each epoch of MLDG: samples of each cluster, clusters in random order, meta-test last."""
    members = [rows[codes[rows] == c] for c in range(int(codes.max()) + 1)]
    steps = -(-max(map(len, members)) // samples_per_cluster)
    needed = steps * samples_per_cluster
    for _ in range(epochs):
        orders = [m[torch.randperm(len(m))].repeat(-(-needed // len(m)))[:needed] for m in members]
        ids = torch.stack(orders).view(len(members), steps, samples_per_cluster).transpose(0, 1)
        order = torch.rand(steps, len(members)).argsort(1)
        yield ids[torch.arange(steps).unsqueeze(1), order].flatten(1)


def conventional(net: nn.Module, X: Tensor, y: Tensor, epochs: Iterable[Tensor], training: Mapping) -> None:
    """Train a network on the label loss.

    Parameters
    ----------
    net : torch.nn.Module
        X (n, p) to logits (n, 1); trained in place.
    X, y : Tensor
        (N, p) and (N,) float32.
    epochs : iterable of Tensor
        Row ids (steps, B) of each epoch.
    training : mapping
        ``learning_rate`` and ``epsilon`` of Adam.
    """
    optimiser = adam(net.parameters(), training)
    for ids in epochs:
        for x, label in zip(X[ids], y[ids], strict=True):
            loss = binary_cross_entropy_with_logits(net(x).squeeze(-1), label)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def armed(
    model: MixedEffects,
    X: Tensor,
    y: Tensor,
    codes: Tensor,
    epochs: Iterable[Tensor],
    training: Mapping,
    weights: Mapping[str, float],
    noises: Iterable[Tensor] | None = None,
) -> None:
    """Train ARMED, the adversary with an optimiser of its own; arguments as for `conventional`.

    Parameters
    ----------
    model : MixedEffects
        With an adversary.
    codes : Tensor
        (N,) cluster codes.
    weights : mapping
        ``lambda_F``, ``lambda_g`` and ``lambda_K``.
    noises : iterable of Tensor, optional
        Posterior noise (steps, n_noise) of each epoch; drawn where not given.
    """
    model.check_inputs = False
    fooling = list(model.adversary.parameters())
    own = [p for name, p in model.named_parameters() if not name.startswith("adversary.")]
    optimiser, adversary = adam(own, training), adam(fooling, training)
    noises = iter(noises) if noises is not None else None
    for ids in epochs:
        noise = next(noises) if noises else torch.randn(len(ids), model.n_noise)
        for x, label, code, z in zip(X[ids], y[ids], codes[ids], noise, strict=True):
            out = model(x, code, noise=z, adversary=False)
            adversary.zero_grad()
            cross_entropy(model.adversary(out.activations.detach()), code).backward()
            adversary.step()
            loss = binary_cross_entropy_with_logits(out.mixed.squeeze(-1), label)
            loss = loss + weights["lambda_F"] * binary_cross_entropy_with_logits(out.fixed.squeeze(-1), label)
            loss = loss - weights["lambda_g"] * cross_entropy(model.adversary(out.activations), code)
            loss = loss + weights["lambda_K"] * out.kl
            optimiser.zero_grad()
            loss.backward(inputs=own)
            optimiser.step()


def mldg(
    net: nn.Module,
    X: Tensor,
    y: Tensor,
    epochs: Iterable[Tensor],
    training: Mapping,
    n_test: int,
    inner_learning_rate: float,
    meta_weight: float,
) -> None:
    """Train by second-order MLDG (`baselines.mldg`); arguments as for `conventional`.

    Parameters
    ----------
    n_test : int
        Meta-test samples, which come last in each batch.
    inner_learning_rate, meta_weight : float
    """
    optimiser = adam(net.parameters(), training)
    params = dict(net.named_parameters())
    for ids in epochs:
        for x, label in zip(X[ids], y[ids], strict=True):
            meta_train = binary_cross_entropy_with_logits(net(x[:-n_test]).squeeze(-1), label[:-n_test])
            grads = torch.autograd.grad(meta_train, list(params.values()), create_graph=True)
            moved = {name: p - inner_learning_rate * g for (name, p), g in zip(params.items(), grads, strict=True)}
            outputs = functional_call(net, moved, (x[-n_test:],)).squeeze(-1)
            loss = meta_train + meta_weight * binary_cross_entropy_with_logits(outputs, label[-n_test:])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
