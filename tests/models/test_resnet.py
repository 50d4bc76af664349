"""`MixedEffects` around a residual network in plain torch, as a user has it: nothing of it is changed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import armed
from armed.convolutional import may_be_channels_last
from armed.data.clustered import ClusteredData
from armed.errors import ConfigError, LayerNotFoundError
from armed.models import MixedEffects

Q, SIZE = 3, 18
STAGES = ["layer1", "layer2", "layer3", "avgpool"]


class BasicBlock(nn.Module):
    """Two convolutions with a skip connection, in the manner of torchvision's."""

    def __init__(self, n_inputs: int, n_filters: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_inputs, n_filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_filters)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(n_filters, n_filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_filters)
        self.downsample = None
        if stride != 1 or n_inputs != n_filters:
            skip = nn.Conv2d(n_inputs, n_filters, 1, stride, bias=False)
            self.downsample = nn.Sequential(skip, nn.BatchNorm2d(n_filters))

    def forward(self, x):
        skip = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + skip)


class ResNet(nn.Module):
    def __init__(self, widths=(4, 6, 8), n_outputs: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(BasicBlock(widths[0], widths[0]), BasicBlock(widths[0], widths[0]))
        self.layer2 = nn.Sequential(BasicBlock(widths[0], widths[1], 2))
        self.layer3 = nn.Sequential(BasicBlock(widths[1], widths[2], 2))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[2], n_outputs)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def wrapped(seed: int = 0) -> MixedEffects:
    """With slopes on the pooled features; maps of 18, 9, 5 and 1 pixels, one halving and two that are none."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        effects = [armed.RandomSlopes("avgpool", 0.3, 0.3), armed.RandomIntercept()]
        adversary = armed.Adversary(STAGES, units=(8,), filters=(4, 4, 6, 8))
        return MixedEffects(ResNet(), Q, effects, adversary, input_shape=(1, SIZE, SIZE))


def inputs(n: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    X = torch.rand(n, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    return X, torch.arange(n) % (Q + 1) - 1


def test_shapes():
    model, (X, ids) = wrapped().eval(), inputs()
    out = model(X, ids)
    assert out.fixed.shape == out.random.shape == out.mixed.shape == (8, 1)
    assert out.cluster_logits.shape == (8, Q)
    assert [tuple(h.shape[1:]) for h in out.activations] == [(4, 18, 18), (6, 9, 9), (8, 5, 5), (8, 1, 1)]
    assert model.n_noise == Q * 8 + Q and model.n_dropout == 0
    skipped = model(X, ids, adversary=False)
    assert skipped.cluster_logits is None and len(skipped.activations) == 4


def test_fixed_is_the_network_as_it_was():
    net, (X, ids) = ResNet().eval(), inputs()
    before, forward = net(X).detach(), type(net).forward
    model = MixedEffects(net, Q, [armed.RandomSlopes("avgpool")], input_shape=(1, SIZE, SIZE)).eval()
    torch.testing.assert_close(model(X, ids).fixed, before)
    assert type(net).forward is forward


def test_random_effects_are_slopes_on_the_pooled_features():
    model, (X, ids) = wrapped().eval(), inputs()
    seen = {}
    handle = model.net.avgpool.register_forward_hook(lambda m, i, o: seen.update(h=o.detach()))
    out = model(X, ids)
    handle.remove()
    Z = torch.zeros(8, Q)
    Z[ids >= 0, ids[ids >= 0]] = 1
    slopes, intercept = (e.loc for e in model.effects)
    expected = torch.einsum("nq,qfk,nf->nk", Z, slopes, seen["h"].flatten(1)) + Z @ intercept[:, 0]
    torch.testing.assert_close(out.random, expected, rtol=1e-4, atol=1e-6)


def test_population_and_soft_membership():
    model, (X, _) = wrapped().eval(), inputs()
    fixed = model(X).fixed
    for none in (None, torch.full((8,), -1), torch.zeros(8, Q)):
        out = model(X, none)
        assert torch.equal(out.mixed, out.fixed) and torch.equal(out.fixed, fixed)
    pure = [model(X, torch.full((8,), c)).random for c in range(Q)]
    soft = model(X, torch.tensor([[0.2, 0.5, 0.1]]).expand(8, -1)).random
    torch.testing.assert_close(soft, 0.2 * pure[0] + 0.5 * pure[1] + 0.1 * pure[2], rtol=1e-4, atol=1e-6)


def test_copies_read_their_own_layers():
    model, (X, ids) = wrapped().eval(), inputs()
    expected = model(X, ids)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    out = twin(X, ids)
    assert torch.equal(out.mixed, expected.mixed) and torch.equal(out.cluster_logits, expected.cluster_logits)
    assert all(torch.equal(a, b) for a, b in zip(out.activations, expected.activations, strict=True))
    assert (model(X, ids).mixed == 0).all()


def test_state_dict_round_trip(tmp_path):
    model, other, (X, ids) = wrapped().eval(), wrapped(1).eval(), inputs()
    assert not torch.equal(model(X, ids).mixed, other(X, ids).mixed)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    ours, theirs = model(X, ids), other(X, ids)
    assert torch.equal(ours.mixed, theirs.mixed) and torch.equal(ours.cluster_logits, theirs.cluster_logits)


def test_training_lowers_its_loss_and_gives_the_same_again():
    rng = np.random.default_rng(0)
    X = rng.random((48, 1, SIZE, SIZE)).astype(np.float32)
    y = np.arange(48) % 2
    X[y == 1, :, :9] += 0.5
    data = ClusteredData(X, y, [f"c{i % Q}" for i in range(48)])
    model = wrapped()
    before = copy.deepcopy(model.state_dict())
    settings = {
        "objective": armed.Objective(lambda_g=0.1),
        "training": armed.Training(epochs=4, batch_size=16, learning_rate=0.01),
        "engine": "eager",
    }
    fit = armed.fit(model, data, **settings)
    assert fit.history["loss"].iloc[-1] < fit.history["loss"].iloc[0]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    trained = fit.model.state_dict()
    assert all(not torch.equal(trained[k], before[k]) for k in before if k.endswith("weight"))
    out = fit.model(torch.from_numpy(X[:4]), torch.tensor([0, 1, 2, -1]))
    assert torch.isfinite(out.mixed).all() and torch.equal(out.mixed[3], out.fixed[3])
    again = armed.fit(model, data, **settings).model.state_dict()
    assert all(torch.equal(v, again[k]) for k, v in trained.items())


def test_wrong_names_and_filters_are_told():
    shape = {"input_shape": (1, SIZE, SIZE)}
    with pytest.raises(LayerNotFoundError, match=r"no layer 'layer4'.*Did you mean 'layer3'\?.*layer2\.0\.downsample"):
        MixedEffects(ResNet(), Q, adversary=armed.Adversary(["layer1", "layer4"], (8,), (4, 4)), **shape)
    with pytest.raises(LayerNotFoundError, match=r"no layer 'avg_pool'.*Did you mean 'avgpool'\?"):
        MixedEffects(ResNet(), Q, [armed.RandomSlopes("avg_pool")], **shape)
    with pytest.raises(ConfigError, match="1 convolutions, but is on 2 layers"):
        MixedEffects(ResNet(), Q, adversary=armed.Adversary(["layer1", "layer2"], (8,), (4,)), **shape)
    with pytest.raises(ConfigError, match="no layer that it is on puts out any"):
        MixedEffects(ResNet(), Q, adversary=armed.Adversary(["fc"], (8,), (4,)), **shape)


def test_strided_convolutions_of_pixels_keep_the_usual_order_on_a_cpu():
    """In the other order the library writes beyond their gradients on some processors."""
    for kernel, stride, expected in ((1, 2, False), (1, 1, True), (3, 2, True)):
        network = nn.Sequential(nn.Conv2d(4, 6, kernel, stride))
        assert may_be_channels_last(network, torch.device("cpu")) is expected
    assert may_be_channels_last(nn.Conv2d(4, 6, 1, stride=2), torch.device("cuda"))
