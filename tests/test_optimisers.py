"""Adam over stacks, against one written by hand from Keras's formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from armed.optimisers import Adam
from armed.parameters import Parameters

SHAPES = {"weight": (3, 2), "bias": (2,), "scalar": ()}


def parameters(n_replicas: int = 3, seed: int = 0) -> Parameters:
    generator = torch.Generator().manual_seed(seed)
    return Parameters.of({name: torch.randn(n_replicas, *s, generator=generator) for name, s in SHAPES.items()})


def gradients(p: Parameters, steps: int, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(p.flat.shape, generator=generator) for _ in range(steps)]


def keras_adam(
    start: np.ndarray, gradients: list[np.ndarray], learning_rate: float, epsilon: float = 1e-7
) -> np.ndarray:
    """Keras 2 and 3: the bias corrections are in the step size, epsilon is not corrected."""
    p, m, v = start.astype(np.float64), 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        alpha = learning_rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        m = m + (g - m) * (1 - 0.9)
        v = v + (g**2 - v) * (1 - 0.999)
        p = p - alpha * m / (np.sqrt(v) + epsilon)
    return p


@pytest.mark.parametrize("epsilon", [1e-7, 1e-2])
def test_twenty_steps_of_keras(epsilon):
    p = parameters()
    start, grads = p.flat.clone(), gradients(p, 20)
    adam = Adam(p, torch.full((3,), 0.01), epsilon)
    for g in grads:
        adam.step(g)
    expected = keras_adam(start.numpy(), [g.numpy() for g in grads], 0.01, epsilon)
    np.testing.assert_allclose(p.flat.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected - start.numpy()).max() > 0.05
    for name, view in p.views.items():  # the views see the steps
        assert view.shape == (3, *SHAPES[name])
    assert torch.equal(torch.cat([v.detach().reshape(-1) for v in p.views.values()]), p.flat)


def test_epsilon_is_kerass_and_not_torchs():
    """Where gradients are tiny, the two differ."""
    p = parameters()
    start, grads = p.flat.clone(), [1e-7 * g for g in gradients(p, 5)]
    reference = start.clone().requires_grad_()
    torchs = torch.optim.Adam([reference], lr=0.01, eps=1e-7)
    adam = Adam(p, torch.full((3,), 0.01))
    for g in grads:
        adam.step(g)
        reference.grad = g
        torchs.step()
    expected = keras_adam(start.numpy(), [g.numpy() for g in grads], 0.01)
    np.testing.assert_allclose(p.flat.numpy(), expected, rtol=1e-5, atol=1e-7)
    assert (p.flat - reference.detach()).abs().max() > 1e-3


def rows(p: Parameters) -> dict[str, torch.Tensor]:
    return {name: v.detach().clone() for name, v in p.views.items()}


def test_masked_replicas_do_not_move():
    p = parameters()
    adam = Adam(p, torch.full((3,), 0.01))
    grads = gradients(p, 3)
    adam.step(grads[0])
    before, state = rows(p), adam.state()
    adam.step(grads[1], active=torch.tensor([True, False, True]))
    for name, v in rows(p).items():
        assert torch.equal(v[1], before[name][1])
        assert not torch.equal(v[0], before[name][0]) and not torch.equal(v[2], before[name][2])
    owner = p.spread(torch.arange(3))
    for moment in ("m", "v"):
        assert torch.equal(adam.state()[moment][owner == 1], state[moment][owner == 1])
        assert (adam.state()[moment][owner != 1] != state[moment][owner != 1]).all()
    assert adam.steps.tolist() == [2, 1, 2]


def test_a_masked_replica_is_the_one_that_took_fewer_steps():
    together, alone = parameters(), parameters()
    a, b = (Adam(p, torch.full((3,), 0.01)) for p in (together, alone))
    masks = [None, [True, False, True], [True, False, False], None, [False, True, True], None]
    for g, mask in zip(gradients(together, len(masks)), masks, strict=True):
        a.step(g, None if mask is None else torch.tensor(mask))
        if mask is None or mask[1]:
            b.step(g)
    for name, v in rows(together).items():
        assert torch.equal(v[1], rows(alone)[name][1])


def test_a_replica_may_wait_before_its_first_step():
    p = parameters()
    adam, start = Adam(p, torch.full((3,), 0.01)), rows(p)
    grads = gradients(p, 2)
    adam.step(grads[0], torch.tensor([True, True, False]))
    assert torch.equal(rows(p)["weight"][2], start["weight"][2])
    adam.step(grads[1])
    assert torch.isfinite(p.flat).all()
    expected = keras_adam(start["weight"].numpy(), [grads[1][:18].view(3, 3, 2).numpy()], 0.01)
    np.testing.assert_allclose(rows(p)["weight"][2], expected[2], rtol=1e-5)


def test_each_replica_has_its_own_learning_rate():
    rates = [0.1, 0.01, 0.0001]
    mixed = parameters()
    adam = Adam(mixed, torch.tensor(rates))
    grads = gradients(mixed, 10)
    for g in grads:
        adam.step(g)
    for r, rate in enumerate(rates):
        single = parameters()
        one = Adam(single, torch.full((3,), rate))
        for g in grads:
            one.step(g)
        for name, v in rows(single).items():
            assert torch.equal(v[r], rows(mixed)[name][r])


@pytest.mark.parametrize("mask", [None, [True, False, True]])
def test_state_round_trip(mask):
    active = None if mask is None else torch.tensor(mask)
    p, grads = parameters(), gradients(parameters(), 4)
    adam = Adam(p, torch.full((3,), 0.01))
    for g in grads[:2]:
        adam.step(g, active)
    other = parameters()
    other.flat.copy_(p.flat)
    resumed = Adam(other, torch.full((3,), 0.01))
    resumed.load(adam.state())
    for g in grads[2:]:
        adam.step(g)
        resumed.step(g)
    assert torch.equal(p.flat, other.flat)


def test_one_diverged_replica_leaves_the_others():
    p, clean = parameters(), parameters()
    a, b = (Adam(x, torch.full((3,), 0.01)) for x in (p, clean))
    poison = p.spread(torch.tensor([False, True, False]))
    start = rows(p)
    for g in gradients(p, 3):
        assert a.step(torch.where(poison, torch.nan, g)).tolist() == [True, False, True]
        b.step(g)
    for name, v in rows(p).items():
        assert torch.equal(v[0], rows(clean)[name][0]) and torch.equal(v[2], rows(clean)[name][2])
        assert torch.equal(v[1], start[name][1])  # it stays where it was
