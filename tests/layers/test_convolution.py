"""Convolutions: Keras's starts, and draws shared by networks that differ in one layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from armed.layers.convolution import PReLU, Transposed, conv_block, convolution


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


@pytest.mark.parametrize(("size", "stride", "height"), [(4, 1, 7), (4, 1, 8), (4, 2, 8), (3, 1, 5)])
class TestTransposed:
    """The decoder's layers: the encoder's, turned round."""

    def test_it_is_the_transpose(self, size, stride, height):
        """<conv(x), y> = <x, transposed(y)> for all x and y."""
        conv = built(lambda: convolution(3, 5, size, stride=stride))
        x, y = torch.randn(2, 3, height, height), torch.randn(2, 5, height // stride, height // stride)
        assert conv(x).shape == y.shape
        with torch.no_grad():
            left, right = (conv(x) * y).sum(), (x * Transposed(conv)(y)).sum()
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)

    def test_the_weight_is_shared_and_the_bias_its_own(self, size, stride, height):
        conv = convolution(3, 5, size, stride=stride)
        back = Transposed(conv)
        assert back.weight is conv.weight and back.bias.shape == (3,)
        back(torch.randn(1, 5, height // stride, height // stride)).sum().backward()
        assert conv.weight.grad.abs().sum() > 0


def test_even_sizes_pad_one_more_at_the_end():
    """As Keras's "same": a single pixel lights a patch from 2 before to 1 after it."""
    conv = convolution(1, 1, 4)
    pixel = torch.zeros(1, 1, 9, 9)
    pixel[0, 0, 4, 4] = 1.0
    with torch.no_grad():
        conv.weight.fill_(1.0)
        lit = conv(pixel)
    assert lit[0, 0].nonzero().amin(0).tolist() == [2, 2] and lit[0, 0].nonzero().amax(0).tolist() == [5, 5]


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


class TestPReLU:
    """Against torch's own, in values, gradients and second derivatives."""

    def layers(self, channels=3):
        own, torchs = PReLU(channels), nn.PReLU(channels)
        with torch.no_grad():
            for layer in (own, torchs):
                layer.weight.copy_(torch.linspace(-0.5, 1.5, channels))
        return own, torchs

    def gradients(self, layer, X, **options):
        X = X.detach().requires_grad_()
        out = layer(X)
        return out.detach(), *torch.autograd.grad((out**2).sum(), (X, layer.weight), **options)

    @pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_gradients_are_those_of_torch(self, memory_format, dtype):
        X = torch.randn(4, 3, 6, 5).contiguous(memory_format=memory_format)
        X[0, :, 0, 0] = 0.0
        own, torchs = self.layers()
        found = self.gradients(own, X.to(dtype))
        expected = self.gradients(torchs, X)
        tolerance = 1e-5 if dtype == torch.float32 else 0.05
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a.float(), b, rtol=tolerance, atol=tolerance * float(b.abs().max()))
        assert found[0].dtype == found[1].dtype == dtype and found[2].dtype == torch.float32
        assert found[1].is_contiguous(memory_format=memory_format)

    def test_it_can_be_differentiated_twice(self):
        X = torch.randn(2, 3, 4, 4)
        second = []
        for layer in self.layers():
            _, of_x, of_slopes = self.gradients(layer, X, create_graph=True)
            second.append(torch.autograd.grad((of_x**2).sum() + (of_slopes**2).sum(), layer.weight)[0])
        torch.testing.assert_close(*second)
