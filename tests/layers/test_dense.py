"""Dense layers: Keras's starts, and draws shared by networks that differ in one layer."""

from __future__ import annotations

import pytest
import torch

from armed.layers.dense import dense, relu_blocks
from armed.models import MLP


def built(factory, seed: int = 0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return factory()


@pytest.mark.parametrize(("n_inputs", "n_outputs"), [(2, 4), (4, 4), (300, 100), (1, 1)])
def test_glorot_uniform_weights_and_zero_biases(n_inputs, n_outputs):
    layer = built(lambda: dense(n_inputs, n_outputs))
    limit = (6 / (n_inputs + n_outputs)) ** 0.5
    assert layer.weight.shape == (n_outputs, n_inputs)
    assert layer.weight.abs().max() <= limit
    assert (layer.bias == 0).all()
    if layer.weight.numel() > 1000:
        assert layer.weight.abs().max() > 0.99 * limit
        assert layer.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.02)
        assert layer.weight.mean().item() == pytest.approx(0, abs=0.02 * limit)


def test_the_global_generator_decides():
    first, again, other = (built(lambda: dense(3, 3), seed).weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_layers_of_one_network_differ():
    blocks = built(lambda: relu_blocks(4, (4, 4)))
    assert not torch.equal(blocks[0][0].weight, blocks[1][0].weight)


@pytest.mark.parametrize(
    ("small", "large", "changed"),
    [((2, (4, 4, 4)), (12, (4, 4, 4)), "hidden.0"), ((2, (4, 4, 4)), (2, (4, 4, 9)), "hidden.2 output")],
)
def test_networks_that_differ_in_one_width_share_all_other_draws(small, large, changed):
    a, b = (dict(built(lambda s=s: MLP(*s)).named_parameters()) for s in (small, large))
    for name in a:
        layer = name.rsplit(".", 1)[0].removesuffix(".0")
        if not any(layer == c or name.startswith(c) for c in changed.split()):
            assert torch.equal(a[name], b[name]), name


def test_blocks_end_with_relu_and_are_named_by_position():
    net = built(lambda: MLP(2, (4, 3)))
    assert [n for n, _ in net.named_children()] == ["hidden", "output"]
    out = net.hidden(torch.randn(50, 2))
    assert out.shape == (50, 3) and (out >= 0).all() and (out > 0).any()
    assert net(torch.zeros(5, 2)).shape == (5, 1)


def test_no_hidden_layers_is_a_linear_model():
    net = built(lambda: MLP(3, (), 2))
    X = torch.randn(5, 3)
    torch.testing.assert_close(net(X), X @ net.output.weight.T)
