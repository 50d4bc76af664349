"""Cluster input+: Z reaches every layer, as constant maps would; no Z, no trace of it."""

from __future__ import annotations

import pytest
import torch

from armed.models import CNN
from baselines.cluster_input_plus import ClusterInputPlusNetwork

Q = 3


@pytest.fixture
def network() -> ClusterInputPlusNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ClusterInputPlusNetwork(CNN((1, 12, 12), (4, 6, 6), dense=5), Q)


def images(n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(n, 1, 12, 12, generator=torch.Generator().manual_seed(0)), torch.arange(n) % Q


def test_shapes_and_starts(network):
    X, ids = images()
    out = network.eval()(X, ids)
    assert out.mixed.shape == out.fixed.shape == (6, 1) and (out.mixed != out.fixed).all()
    assert [tuple(s.weight.shape) for s in network.shifts] == [(4, Q), (6, Q), (6, Q)]
    for shift in network.shifts:
        assert shift.bias is None
        assert shift.weight.abs().max() <= (6 / sum(shift.weight.shape)) ** 0.5
    assert network.net.hidden[3].dense.in_features == 6 + Q and network.net.hidden[3].dense.l1 == 0.01
    assert network.net.output.in_features == 5 + Q
    assert network.n_dropout == 6 * 3 * 3


def test_layers_without_z_start_as_the_conventional_networks(network):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        alone = CNN((1, 12, 12), (4, 6, 6), dense=5)
    for i in range(3):
        assert torch.equal(network.net.hidden[i].conv.weight, alone.hidden[i].conv.weight)


def test_a_shift_is_a_convolution_of_constant_maps(network):
    """Inside of the borders: the kernel of Z's maps sums to the shift's weights."""
    X, ids = images()
    block, shift, Z = network.net.hidden[0], network.shifts[0], torch.eye(Q)[ids]
    maps = torch.cat([X, Z[:, :, None, None].expand(-1, -1, 12, 12)], 1)
    of_z = torch.rand(4, Q, 3, 3)
    of_z = of_z / of_z.sum((2, 3), keepdim=True) * shift.weight[:, :, None, None]
    joined = torch.nn.functional.conv2d(maps, torch.cat([block.conv.weight, of_z], 1), block.conv.bias, padding=1)
    shifted = block.conv(X) + shift(Z)[:, :, None, None]
    torch.testing.assert_close(joined[..., 1:-1, 1:-1], shifted[..., 1:-1, 1:-1])


def test_every_layer_reads_z(network):
    """Taking Z from any one layer changes the prediction of a cluster, and never that of the population."""
    X, ids = images()
    network.eval()
    with torch.no_grad():
        before, population = network(X, ids).mixed, network(X, torch.full((6,), -1)).mixed
        readers = [(s.weight, slice(None)) for s in network.shifts]
        readers += [(m.weight, slice(-Q, None)) for m in (network.net.hidden[3].dense, network.net.output)]
        for weight, columns in readers:
            kept = weight.clone()
            weight[:, columns] = 0
            assert not torch.equal(network(X, ids).mixed, before)
            assert torch.equal(network(X, torch.full((6,), -1)).mixed, population)
            weight.copy_(kept)


def test_ids_and_z_agree(network):
    X, ids = images()
    network.eval()
    out, same = network(X, ids), network(X, torch.eye(Q)[ids])
    assert torch.equal(out.mixed, same.mixed)
    none = network(X, torch.zeros(6, Q))
    assert torch.equal(none.mixed, none.fixed) and torch.equal(none.fixed, out.fixed)
