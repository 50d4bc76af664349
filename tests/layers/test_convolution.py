"""Convolutions: Keras's starts, and draws shared by networks that differ in one layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from armed.layers.convolution import conv_block, convolution


def built(factory, seed: int = 0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return factory()


@pytest.mark.parametrize(("n_inputs", "n_filters", "size"), [(1, 64, 3), (32, 16, 3), (64, 48, 1), (1, 1, 5)])
def test_glorot_uniform_kernels_and_zero_biases(n_inputs, n_filters, size):
    layer = built(lambda: convolution(n_inputs, n_filters, size))
    limit = (6 / (size**2 * (n_inputs + n_filters))) ** 0.5
    assert layer.weight.shape == (n_filters, n_inputs, size, size)
    assert layer.weight.abs().max() <= limit and (layer.bias == 0).all()
    if layer.weight.numel() > 1000:
        assert layer.weight.abs().max() > 0.99 * limit
        assert layer.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.03)
        assert layer.weight.mean().item() == pytest.approx(0, abs=0.03 * limit)


def test_padding_keeps_the_size():
    X = torch.zeros(2, 3, 7, 9)
    assert convolution(3, 4)(X).shape == (2, 4, 7, 9)
    assert convolution(3, 4, padded=False)(X).shape == (2, 4, 5, 7)


def test_one_global_draw_decides():
    def two():
        return convolution(2, 3), torch.rand(())

    (first, after), (again, _), (other, _) = built(two), built(two), built(two, 1)
    assert torch.equal(first.weight, again.weight) and not torch.equal(first.weight, other.weight)
    _, then = built(lambda: (convolution(20, 30), torch.rand(())))
    assert torch.equal(after, then), "a wider layer leaves the draws of the others"


def test_a_block_starts_as_in_keras():
    block = conv_block(1, 4, dropout=0.5)
    assert [name for name, _ in block.named_children()] == ["conv", "norm", "activation", "pool", "dropout"]
    assert (block.activation.weight == 0).all() and block.activation.weight.shape == (4,)
    assert block.norm.eps == 1e-3 and block.norm.momentum == pytest.approx(0.01)
    assert (block.norm.running_mean == 0).all() and (block.norm.running_var == 1).all()
    assert (block.norm.weight == 1).all() and (block.norm.bias == 0).all()
    X = torch.rand(64, 1, 6, 6)
    block(X)
    conv = block.conv(X)
    torch.testing.assert_close(block.norm.running_mean, 0.01 * conv.mean((0, 2, 3)))


def test_a_block_is_its_layers_in_order():
    block, X = conv_block(2, 4).eval(), torch.rand(3, 2, 6, 6)
    expected = nn.functional.max_pool2d(torch.relu(block.norm(block.conv(X))), 2)
    torch.testing.assert_close(block(X), expected)
    assert conv_block(2, 4, pool=False)(X).shape == (3, 4, 6, 6)
