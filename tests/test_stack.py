"""Stacks of replicas: building, gradients, evaluation, single replicas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import armed
from armed.models import MLP, MixedEffects
from armed.parameters import Parameters
from armed.pool import Pool
from armed.stack import Stack, cluster_logits, predictions

Q = 4


def factory(n_outputs: int = 1) -> MixedEffects:
    effects = [armed.RandomSlopes("hidden.1", 0.3, 0.3), armed.RandomIntercept()]
    return MixedEffects(MLP(3, (4, 4), n_outputs), Q, effects, armed.Adversary(["hidden.0", "hidden.1"], (4,)))


def built(seed: int, n_outputs: int = 1) -> MixedEffects:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return factory(n_outputs)


@pytest.fixture(scope="module")
def stack() -> Stack:
    return Stack.build(factory, [5, 6, 7])


@pytest.fixture(scope="module")
def pool():
    rng = np.random.default_rng(0)
    return torch.as_tensor(rng.normal(size=(400, 3)), dtype=torch.float32), rng.integers(-1, Q, 400)


def test_replicas_are_what_the_factory_builds_at_their_seeds(stack):
    for r, seed in enumerate((5, 6, 7)):
        expected = built(seed).state_dict()
        got = stack.replica(r).state_dict()
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[k], got[k]) for k in expected)


def test_building_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    Stack.build(factory, [0, 1])
    assert torch.equal(before, torch.get_rng_state())


def test_parameters_are_split_into_network_and_adversary(stack):
    assert all(name.startswith("adversary.") for name in stack.adversary.views)
    assert not any(name.startswith("adversary.") for name in stack.main.views)
    assert set(stack.buffers) == {"effects.0.prior_sd", "effects.1.prior_sd"}
    names = {*stack.main.views, *stack.adversary.views, *stack.buffers}
    assert names == set(built(0).state_dict())


def test_copies_share_no_memory():
    model = built(0)
    stack = Stack.of(model, 3)
    with torch.no_grad():
        stack.main.flat.zero_()
    assert model.net.output.weight.abs().sum() > 0
    single = Stack.of(model, 1)  # an axis of size 1 may alias
    single.main.flat.fill_(1.0)
    single.buffers["effects.0.prior_sd"].fill_(1.0)
    assert model.net.output.weight.abs().max() != 1 and model.effects[0].prior_sd != 1


def test_state_is_a_copy_and_loads_in_place(stack):
    state = stack.state()
    views = dict(stack.main.views)
    other = Stack.build(factory, [1, 2, 3])
    other.load(state)
    assert all(torch.equal(v, state[k]) for k, v in other.state_views().items())
    stack.load(other.state())
    assert all(stack.main.views[k] is v for k, v in views.items())
    state["net.output.weight"].zero_()
    assert stack.state()["net.output.weight"].abs().sum() > 0


def test_gradient_of_each_replica_is_its_own(stack):
    X, y = torch.randn(3, 8, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(3, 8, 1)
    ids = torch.zeros(3, 8, dtype=torch.long)

    def loss(params, buffers, X, ids, y):
        return (stack.call(params, buffers, X, ids, adversary=False).mixed - y).square().mean()

    stack.module.eval()
    losses = stack.vmap(loss, stack.main.views, stack.buffers, X, ids, y)
    flat = stack.main.gradient(losses.sum())
    start = 0
    for name, view in stack.main.views.items():
        got = flat[start : start + view.numel()].view(view.shape)
        start += view.numel()
        for r in range(3):
            model = stack.replica(r)
            (model(X[r], ids[r]).mixed - y[r]).square().mean().backward()
            expected = dict(model.named_parameters())[name].grad
            expected = torch.zeros_like(got[r]) if expected is None else expected
            torch.testing.assert_close(got[r], expected, rtol=1e-4, atol=1e-6)


def test_gradient_of_unused_parameters_is_zero(stack):
    gradient = stack.main.gradient(stack.main.views["net.output.bias"].sum())
    assert gradient.sum() == 3 and (gradient != 0).sum() == 3


def test_spread_gives_each_entry_its_replicas_value():
    p = Parameters.of({"a": torch.zeros(2, 3), "b": torch.zeros(2)})
    assert p.spread(torch.tensor([1.0, 2.0])).tolist() == [1, 1, 1, 2, 2, 2, 1, 2]


def test_evaluation_is_the_replicas_own(stack, pool):
    X, codes = pool
    rows = [np.arange(10), np.array([399, 0, 200]), np.arange(50, 180)]
    outputs = stack.evaluate(predictions, X, rows, [codes[r] for r in rows])
    for r, (ids, out) in enumerate(zip(rows, outputs, strict=True)):
        with torch.no_grad():
            expected = stack.replica(r)(X[ids], torch.as_tensor(codes[ids]))
        np.testing.assert_allclose(out["mixed"], expected.mixed.numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(out["fixed"], expected.fixed.numpy(), rtol=1e-5, atol=1e-6)
        assert out["mixed"].shape == (len(ids), 1)


def test_evaluation_takes_soft_membership_and_chosen_replicas(stack, pool):
    X, _ = pool
    Z = np.random.default_rng(0).dirichlet(np.ones(Q), 6)
    (out,) = stack.evaluate(predictions, X, [np.arange(6)], [Z], [2])
    with torch.no_grad():
        expected = stack.replica(2)(X[:6], torch.as_tensor(Z, dtype=torch.float32)).mixed
    np.testing.assert_allclose(out["mixed"], expected.numpy(), rtol=1e-5, atol=1e-6)


def test_adversary_outputs(stack, pool):
    X, _ = pool
    (out,) = stack.evaluate(cluster_logits, X, [np.arange(6)], [np.full(6, -1)], [1])
    with torch.no_grad():
        expected = stack.replica(1)(X[:6]).cluster_logits
    np.testing.assert_allclose(out["cluster_logits"], expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_input_gradients_are_those_of_the_fixed_effects(pool, n_outputs):
    stack, (X, codes) = Stack.build(lambda: factory(n_outputs), [0, 1]), pool
    (gradient,) = stack.input_gradients(X, [np.arange(9)], [codes[:9]], [1])
    x = X[:9].clone().requires_grad_()
    fixed = stack.replica(1)(x, None).fixed
    grads = [torch.autograd.grad(fixed[:, k].sum(), x, retain_graph=True)[0].abs() for k in range(n_outputs)]
    np.testing.assert_allclose(gradient, torch.stack(grads).mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("n", [1, 33, 97, 130])
def test_evaluation_does_not_depend_on_what_else_is_evaluated(n, pool):
    """Bit for bit: a rounding difference could change when early stopping stops."""
    stack, (X, codes) = Stack.build(factory, list(range(40))), pool
    rng = np.random.default_rng(n)
    rows = rng.permutation(400)[:n]
    (alone,) = stack.evaluate(predictions, X, [rows], [codes[rows]], [3])
    for n_others, n_rows in [(1, n), (2, n + 1), (30, n), (39, 300), (7, 1)]:
        others = [rng.integers(0, 400, n_rows) for _ in range(n_others)]
        position = n_others // 2
        all_rows = [*others[:position], rows, *others[position:]]
        which = [*range(position), 3, *range(position, n_others)]
        got = stack.evaluate(predictions, X, all_rows, [codes[r] for r in all_rows], which)[position]
        assert np.array_equal(got["mixed"], alone["mixed"]), (n_others, n_rows)


def test_no_rows_give_no_predictions(stack, pool):
    X, codes = pool
    none = np.array([], dtype=int)
    outputs = stack.evaluate(predictions, X, [none, none, np.arange(2)], [none, none, codes[:2]])
    assert [o["mixed"].shape for o in outputs] == [(0, 1), (0, 1), (2, 1)]
    assert stack.evaluate(predictions, X, [], [], []) == []


def test_memory_for_evaluation_is_bounded(stack, pool, monkeypatch):
    X, codes = pool
    rows = [np.arange(400)] * 3
    whole = stack.evaluate(predictions, X, rows, [codes] * 3)
    monkeypatch.setattr("armed.stack._EVALUATION_FLOATS", 1.0)
    pieces = stack.evaluate(predictions, X, rows, [codes] * 3)
    assert all(np.array_equal(a["mixed"], b["mixed"]) for a, b in zip(whole, pieces, strict=True))


def test_replicas_are_independent_modules_that_check_their_inputs(stack):
    model = stack.replica(0)
    with torch.no_grad():
        model.net.output.bias.fill_(9.0)
    assert (stack.replica(0).net.output.bias != 9).all()
    assert not model.training
    with pytest.raises(armed.errors.DataError):
        model(torch.zeros(1, 3), torch.tensor([Q]))


def test_frozen_parameters_are_buffers():
    def frozen() -> nn.Module:
        model = factory()
        model.net.output.requires_grad_(False)
        return model

    stack = Stack.build(frozen, [0, 1])
    assert {"net.output.weight", "net.output.bias"} <= set(stack.buffers)
    assert "net.output.weight" not in stack.main.views
    assert torch.equal(stack.replica(1).net.output.weight, built(1).net.output.weight)


def test_read_only_arrays_are_taken_without_a_warning():
    """pandas gives such arrays; warnings are errors here."""
    arrays = np.zeros((2, 3)), np.zeros(2), np.zeros(2, dtype=int)
    for a in arrays:
        a.flags.writeable = False
    torch.set_warn_always(True)
    try:
        Pool.of(*arrays)
    finally:
        torch.set_warn_always(False)


def test_pool_types():
    pool = Pool.of(np.zeros((2, 3)), np.array([0, 1]), np.array([0, -1]))
    assert pool.X.dtype == pool.y.dtype == torch.float32 and pool.codes.dtype == torch.int64
