"""The convolutional network: sizes, order of its layers, starts, and settings that cannot be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from armed.errors import ConfigError
from armed.models import CNN

QUARTER = {"filters": (16, 32, 32, 64, 64, 128, 128), "dense": 128}


def maps(net: CNN, size: tuple[int, int]) -> list[tuple[int, ...]]:
    h, found = torch.zeros(1, 1, *size), []
    for block in net.eval().hidden:
        h = block(h)
        found.append(tuple(h.shape[1:]))
    return found


def test_the_papers_network():
    net = CNN()
    expected = [
        (64, 96, 96),
        (128, 48, 48),
        (128, 24, 24),
        (256, 12, 12),
        (256, 6, 6),
        (512, 3, 3),
        (512, 1, 1),
        (512,),
    ]
    assert maps(net, (192, 192)) == expected
    kinds = [[name for name, _ in block.named_children()] for block in net.hidden]
    assert [("dropout" in k) for k in kinds] == [False, True, False, True, False, True, False, False]
    assert all(k[:3] == ["conv", "norm", "activation"] for k in kinds[:7])
    assert [block.conv.padding for block in net.hidden[:7]] == [(1, 1)] * 6 + [(0, 0)]
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.5] * 3
    assert net.hidden[7].dense.l1 == 0.01 and isinstance(net.hidden[7].activation, nn.ReLU)
    assert net.output.in_features == 512 and net.output.out_features == 1


def test_half_as_many_pixels_end_at_one_too():
    assert maps(CNN((1, 96, 96), **QUARTER), (96, 96)) == [
        (16, 48, 48), (32, 24, 24), (32, 12, 12), (64, 6, 6), (64, 3, 3), (128, 3, 3), (128, 1, 1), (128,),
    ]  # fmt: skip


@pytest.mark.parametrize("size", [(3, 3), (5, 7), (24, 24), (40, 64), (63, 101)])
@pytest.mark.parametrize("n_filters", [1, 4, 7])
def test_sizes_from_3_on_work(size, n_filters):
    net = CNN((2, *size), filters=(4,) * n_filters, dense=6, n_outputs=3)
    assert net(torch.rand(2, 2, *size)).shape == (2, 3)


def test_starts():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = CNN((1, 24, 24), filters=(64, 64, 64), dense=32)
    for block in net.hidden[:3]:
        fans = 9 * (block.conv.in_channels + 64)
        assert 0.95 * (6 / fans) ** 0.5 < block.conv.weight.abs().max() <= (6 / fans) ** 0.5
        assert (block.activation.weight == 0).all()
    layer = net.hidden[3].dense
    assert layer.weight.abs().max() <= (6 / (layer.in_features + 32)) ** 0.5
    assert all((m.bias == 0).all() for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear))


def test_networks_that_differ_in_one_width_share_all_other_draws():
    nets = []
    for filters in ((4, 6, 6), (4, 9, 6)):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            nets.append(dict(CNN((1, 12, 12), filters, dense=5).named_parameters()))
    for name, weights in nets[0].items():
        if "hidden.1." not in name and name != "hidden.2.conv.weight":
            assert torch.equal(weights, nets[1][name]), name


def test_dropout_and_norm_momentum_are_settings():
    net = CNN((1, 12, 12), (4, 4, 4), 5, dropout=0, norm_momentum=0.8)
    assert not [m for m in net.modules() if isinstance(m, nn.Dropout)]
    assert [m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm2d)] == pytest.approx([0.2] * 3)


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        CNN((1, 2, 40), filters=(4, 0), dense=0, dropout=1, dense_l1=-1, norm_momentum=1.0)
    message = str(caught.value)
    assert "6 problems with the convolutional network" in message
    assert "images are 2 x 40 pixels" in message and "the nearest size that works is 3 x 40" in message
    for name in ("filters", "dense is 0", "dropout is 1", "norm_momentum is 1.0", "dense_l1 is -1"):
        assert name in message
    with pytest.raises(ConfigError, match=r"a sample has shape \(96, 96\); expected \(channels, height, width\)"):
        CNN((96, 96))
    with pytest.raises(ConfigError, match="filters is 64"):
        CNN((1, 24, 24), filters=64)
