"""Adversaries: what they read, how maps come to fit, and the direction in which they push the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import armed
from armed.data.clustered import ClusteredData
from armed.errors import ConfigError
from armed.layers.adversary import Adversary, ConvAdversary
from armed.losses import Objective
from armed.models import CNN, MLP, MixedEffects
from armed.programs import Batch, Program, State
from armed.stack import Stack

Q = 3
SHAPES = {"a": (2, 12, 12), "b": (3, 6, 6), "v": (5,), "c": (4, 1, 1), "tokens": (2, 3)}


def outputs(shapes=SHAPES, n=4) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(n, *shape, generator=generator) for shape in shapes.values())


class TestConvAdversary:
    def test_it_is_the_stages_joined(self):
        """Against the formula: halving by max pooling, else adaptive average pooling; vectors before the dense layer."""
        adversary, (a, b, v, c, tokens) = ConvAdversary(SHAPES, (6, 7, 8), (9,), Q), outputs()
        first, second, third = adversary.stages
        x = nn.functional.max_pool2d(first(a), 2)
        x = nn.functional.adaptive_avg_pool2d(second(torch.cat([x, b], 1)), 1)
        x = third(torch.cat([x, c], 1))
        joined = torch.cat([x.flatten(1), v, tokens.flatten(1)], 1)
        expected = adversary.output(adversary.hidden(joined))
        torch.testing.assert_close(adversary((a, b, v, c, tokens)), expected)
        assert expected.shape == (4, Q)
        kernels = [(s[0].in_channels, s[0].out_channels, s[0].kernel_size) for s in adversary.stages]
        assert kernels == [(2, 6, (3, 3)), (6 + 3, 7, (3, 3)), (7 + 4, 8, (1, 1))]

    def test_every_output_matters(self):
        adversary, read = ConvAdversary(SHAPES, (6, 7, 8), (9,), Q), outputs()
        read = tuple(t.requires_grad_() for t in read)
        adversary(read).square().sum().backward()
        assert all((t.grad != 0).any() for t in read)

    @pytest.mark.parametrize(
        "sizes", [((9, 9), (5, 5)), ((4, 4), (8, 8)), ((7, 10), (3, 5)), ((6, 6), (6, 6)), ((8, 8), (3, 2))]
    )
    def test_maps_of_any_sizes_fit(self, sizes):
        shapes = {str(i): (2, *size) for i, size in enumerate(sizes)}
        assert ConvAdversary(shapes, (3, 3), (), Q)(outputs(shapes)).shape == (4, Q)

    def test_starts_draw_as_layers_do(self):
        a, b = [], []
        for filters, found in (((6, 7, 8), a), ((6, 9, 8), b)):
            with torch.random.fork_rng():
                torch.manual_seed(0)
                found.append(dict(ConvAdversary(SHAPES, filters, (9,), Q).named_parameters()))
        for name, weights in a[0].items():
            if not name.startswith(("stages.1", "stages.2")):
                assert torch.equal(weights, b[0][name]), name

    def test_what_does_not_fit_is_told(self):
        with pytest.raises(ConfigError, match=r"no layer that it is on puts out any.*'v' \(5,\)"):
            ConvAdversary({"v": (5,)}, (4,), (), Q)
        with pytest.raises(ConfigError, match=r"2 convolutions, but is on 3 layers that put out maps \(a, b, c\)"):
            ConvAdversary(SHAPES, (4, 4), (), Q)
        with pytest.raises(ConfigError, match="filters holds 0"):
            ConvAdversary(SHAPES, (4, 0, 4), (), Q)
        with pytest.raises(ConfigError, match="For a dense one leave out filters"):
            MixedEffects(MLP(2), Q, adversary=Adversary(["hidden.0"], (4,), (4,)))


class Held:
    """An optimiser that keeps the gradient and takes no step."""

    def step(self, gradient, active):
        self.gradient = gradient
        return torch.ones_like(active)


class OnlyAdversary(Program):
    """Without the label loss."""

    def loss(self, out, X, y, codes, hyper):
        return 0.0 * out.mixed.sum()


@pytest.fixture(scope="module")
def pushed():
    """A stack of one network and its adversary, a batch, and the gradients of the main network from the program's step."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = CNN((1, 24, 24), (4, 6, 6, 8), dense=10, dropout=0, dense_l1=0)
        adversary = armed.Adversary([f"hidden.{i}" for i in range(5)], (12,), (4, 5, 6, 7))
        model = MixedEffects(net, Q, [armed.RandomSlopes("hidden.4")], adversary, input_shape=(1, 24, 24))
        X = torch.rand(1, 12, 1, 24, 24)
    for block in net.hidden[:4]:  # at a slope of 0 max pooling has a kink: windows of nothing but zeros
        nn.init.constant_(block.activation.weight, 0.2)
    codes = torch.arange(12)[None] % Q
    X = X + codes[..., None, None, None] * X.flip(-1)
    stack = Stack.of(model)
    objective = Objective(lambda_F=0.0, lambda_g=0.5, lambda_K=0.0)
    hyper = {name: torch.tensor([getattr(objective, name)]) for name in objective.tunable()}
    held = Held(), Held()
    state = State(stack, *held, hyper, torch.ones(1, dtype=torch.bool))
    noise, keep = torch.zeros(1, model.n_noise), torch.zeros(1, 12, 0)
    batch = Batch(X, (codes % 2).float(), codes, noise, keep, torch.ones(1, dtype=torch.bool))
    model.train()
    OnlyAdversary(objective).step(state, batch)
    gradients, start = {}, 0
    for name, shape in stack.main.shapes.items():
        gradients[name] = held[0].gradient[start : start + shape.numel()].view(shape)
        start += shape.numel()
    return stack, batch, gradients


def adversary_loss(stack: Stack, batch: Batch, moved: dict[str, torch.Tensor]) -> float:
    """The adversary's cross-entropy in double precision, with some parameters of the network moved."""
    stack.module.train()
    tensors = {name: t[0].double() if t.is_floating_point() else t[0] for name, t in stack.state().items()}
    for name, step in moved.items():
        tensors[name] = tensors[name] + step.double()
    with torch.no_grad():
        out = torch.func.functional_call(stack.module, tensors, (batch.X[0].double(), batch.codes[0]))
    return float(nn.functional.cross_entropy(out.cluster_logits, batch.codes[0]))


class TestDirection:
    """The main network's update must raise the adversary's cross-entropy (the authors' code lowered it)."""

    def test_a_step_along_the_programs_update_raises_its_loss(self, pushed):
        stack, batch, gradients = pushed
        size = 1e-3 / sum(float(g.double().square().sum()) for g in gradients.values())
        before, after = (adversary_loss(stack, batch, {n: -s * g for n, g in gradients.items()}) for s in (0.0, size))
        assert after > before

    def test_every_layer_is_pushed_that_way(self, pushed):
        """By each layer alone, and as steeply as lambda_g times the slope of the cross-entropy."""
        stack, batch, gradients = pushed
        layers = [n for n in gradients if n.startswith("net.hidden.")]
        layers = [n for n in layers if not n.endswith("conv.bias")]  # batch normalisation takes a shift away
        assert len(layers) == 4 * 4 + 2
        for name in layers:
            g = gradients[name].double()
            squared = float(g.square().sum())
            assert squared > 1e-14, name
            size = 1e-6 / squared**0.5
            up, down = (adversary_loss(stack, batch, {name: sign * size * g}) for sign in (-1, 1))
            slope = (up - down) / (2 * size)
            assert slope == pytest.approx(squared / 0.5, rel=0.02), name

    def test_what_it_does_not_read_is_left(self, pushed):
        _, _, gradients = pushed
        rest = [n for n in gradients if not n.startswith("net.hidden.")]
        assert rest and all((gradients[n] == 0).all() for n in rest)
        assert not [n for n in gradients if n.startswith("adversary.")]


def test_an_adversary_learns_clusters_and_the_network_hides_them():
    """The cross-entropy of the trained adversary, on a network that is not and one that is trained against it."""
    rng = np.random.default_rng(0)
    codes = np.arange(90) % Q
    X = (rng.random((90, 1, 8, 8)) * (0.4 + 0.3 * codes[:, None, None, None])).astype(np.float32)
    y = (X[:, 0, :, :4].mean((1, 2)) > X[:, 0, :, 4:].mean((1, 2))).astype(int)
    data = ClusteredData(X, y, [f"c{c}" for c in codes])
    training = armed.Training(epochs=12, batch_size=30, learning_rate=0.01)
    found = {}
    for lambda_g in (0.0, 1.0):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = CNN((1, 8, 8), (4, 4), dense=6, dropout=0, norm_momentum=0.5)
            reads = armed.Adversary(["hidden.0", "hidden.1", "hidden.2"], (8,), (6, 6))
            model = MixedEffects(net, Q, adversary=reads, input_shape=(1, 8, 8))
        objective = Objective(lambda_g=lambda_g, lambda_F=0.0)
        fit = armed.fit(model, data, objective=objective, training=training, engine="eager")
        with torch.no_grad():
            out = fit.model(torch.from_numpy(X), torch.from_numpy(codes))
        found[lambda_g] = float(nn.functional.cross_entropy(out.cluster_logits, torch.from_numpy(codes)))
    assert found[0.0] < 0.9 * np.log(Q), "it learns"
    assert found[1.0] > found[0.0] + 0.05, "it is fooled"
