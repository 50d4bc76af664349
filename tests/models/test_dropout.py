"""Dropout that draws from torch's global generator, as networks of convolutions have it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from armed.models import MixedEffects


def dropped(p, shape, memory_format=torch.contiguous_format, dtype=torch.float32):
    """Ones behind the dropout of a wrapped network in training."""
    model = MixedEffects(nn.Sequential(nn.Dropout(p), nn.Flatten(), nn.LazyLinear(1)), 1, input_shape=shape[1:])
    outputs = []
    model.net[0].register_forward_hook(lambda module, inputs, output: outputs.append(output))
    X = torch.ones(shape).contiguous(memory_format=memory_format)
    with torch.autocast("cpu", enabled=False):
        model.net[0](X.to(dtype))
    return outputs[-1]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_share_and_scale(p, memory_format):
    torch.manual_seed(0)
    out = dropped(p, (8, 6, 51, 31), memory_format)
    kept = out != 0
    assert abs(float(kept.float().mean()) - (1 - p)) < 0.006  # 4 standard errors at most
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 1 / (1 - p) if p < 1 else 0.0))
    assert out.is_contiguous(memory_format=memory_format)


def test_draws_differ_between_all_axes_and_calls():
    first, second = (dropped(0.5, (6, 8, 12, 10), torch.channels_last) != 0 for _ in range(2))
    assert not torch.equal(first, second)
    for axis in range(4):
        neighbours = first.narrow(axis, 1, first.shape[axis] - 1) == first.narrow(axis, 0, first.shape[axis] - 1)
        assert abs(float(neighbours.float().mean()) - 0.5) < 0.04


def test_the_generator_decides():
    torch.manual_seed(3)
    first = dropped(0.5, (2, 3, 7, 5))
    torch.manual_seed(3)
    assert torch.equal(first, dropped(0.5, (2, 3, 7, 5)))


def test_vectors_and_half_precision():
    out = dropped(0.5, (40, 33), dtype=torch.bfloat16)
    assert out.dtype == torch.bfloat16 and set(out.unique().tolist()) == {0.0, 2.0}
