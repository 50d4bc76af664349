"""`MixedEffects` around networks that it does not know."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import armed
from armed.data.clustered import ClusteredData
from armed.errors import DataError, LayerNotFoundError
from armed.models import MLP, MixedEffects

Q = 3


class Residual(nn.Module):
    """A block with a skip connection around a normalised, dropped-out layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.GELU(), nn.Dropout(0.1))

    def forward(self, x):
        return x + self.inner(x)


class Attention(nn.Module):
    """A transformer encoder over 4 tokens of 6 numbers; returns (n,)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
        self.pool = nn.Flatten()
        self.head = nn.Linear(24, 1)

    def forward(self, x):
        return self.head(self.pool(self.encoder(x))).squeeze(-1)


def tanh_net():
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 1))


def residual_net():
    return nn.Sequential(nn.Linear(5, 6), Residual(6), Residual(6), nn.Linear(6, 2))


def conv_net():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 7), nn.ReLU(),
        nn.Linear(7, 1),
    )  # fmt: skip


# factory, shape of a sample, layers that slopes and adversary read, outputs
NETWORKS = {
    "tanh with batch norm": (tanh_net, (5,), ["2", "4"], 1),
    "residual blocks": (residual_net, (5,), ["1.inner", "2"], 2),
    "transformer": (Attention, (4, 6), ["encoder.linear1", "pool"], 1),
    "convolutions": (conv_net, (1, 6, 6), ["1", "5"], 1),
}


def wrapped(name: str, seed: int = 0, adversary: bool = True) -> MixedEffects:
    factory, shape, layers, _ = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        effects = [armed.RandomSlopes("input"), armed.RandomSlopes(layers[-1], 0.3, 0.3), armed.RandomIntercept()]
        reads = armed.Adversary(layers, (4,)) if adversary else None
        return MixedEffects(factory(), Q, effects, reads, input_shape=shape)


def inputs(name: str, n: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.arange(n) % (Q + 1) - 1  # -1, 0, 1, 2, -1, ...
    return torch.randn(n, *NETWORKS[name][1], generator=generator), ids


@pytest.fixture(params=NETWORKS)
def name(request):
    return request.param


def test_outputs_have_their_shapes_and_mixed_is_the_sum(name):
    model, (X, ids), n_outputs = wrapped(name).eval(), inputs(name), NETWORKS[name][3]
    out = model(X, ids)
    assert out.fixed.shape == out.random.shape == out.mixed.shape == (12, n_outputs)
    assert out.cluster_logits.shape == (12, Q) and out.kl.shape == ()
    torch.testing.assert_close(out.mixed, out.fixed + out.random)
    assert (out.random[ids >= 0] != 0).all()
    assert torch.isfinite(out.kl) and out.kl > 0


def test_fixed_is_the_network_as_it_was(name):
    factory, _, layers, n_outputs = NETWORKS[name]
    net, (X, ids) = factory().eval(), inputs(name)
    forward, before = type(net).forward, net(X).detach()
    model = MixedEffects(net, Q, [armed.RandomSlopes(layers[-1])], input_shape=X.shape[1:]).eval()
    torch.testing.assert_close(model(X, ids).fixed, before.view(12, n_outputs))
    torch.testing.assert_close(net(X), before)
    assert type(net).forward is forward


def test_population_is_the_fixed_effects_prediction(name):
    model, (X, ids) = wrapped(name).eval(), inputs(name)
    fixed = model(X, ids).fixed
    for none in (None, torch.full((12,), -1), torch.zeros(12, Q)):
        out = model(X, none)
        assert torch.equal(out.mixed, out.fixed) and (out.random == 0).all()
        assert torch.equal(out.fixed, fixed)
    assert torch.equal(model(X, ids).mixed[ids == -1], fixed[ids == -1])


def test_random_effects_read_the_layers_output(name):
    """Against the formula, with the layer's output taken by a hook of the test's own."""
    model, (X, ids), layer = wrapped(name).eval(), inputs(name), NETWORKS[name][2][-1]
    seen = {}
    handle = model.net.get_submodule(layer).register_forward_hook(lambda m, i, o: seen.update(h=o.detach()))
    out = model(X, ids)
    handle.remove()
    Z = torch.zeros(12, Q)
    Z[ids >= 0, ids[ids >= 0]] = 1
    on_input, on_layer, intercept = (e.loc for e in model.effects)
    expected = torch.einsum("nq,qfk,nf->nk", Z, on_input, X.flatten(1))
    expected = expected + torch.einsum("nq,qfk,nf->nk", Z, on_layer, seen["h"].flatten(1))
    torch.testing.assert_close(out.random, expected + Z @ intercept[:, 0], rtol=1e-4, atol=1e-5)


def test_soft_membership_blends_clusters(name):
    model, (X, _) = wrapped(name).eval(), inputs(name)
    pure = [model(X, torch.full((12,), c)).random for c in range(Q)]
    soft = model(X, torch.tensor([[0.2, 0.5, 0.1]]).expand(12, -1)).random
    torch.testing.assert_close(soft, 0.2 * pure[0] + 0.5 * pure[1] + 0.1 * pure[2], rtol=1e-4, atol=1e-5)


def test_evaluation_is_deterministic_and_training_draws(name):
    model, (X, ids) = wrapped(name), inputs(name)
    model.eval()
    assert torch.equal(model(X, ids).mixed, model(X, ids).mixed)
    model.train()
    assert not torch.equal(model(X, ids).random, model(X, ids).random)
    noise = torch.randn(model.n_noise)
    model.eval()
    assert torch.equal(model(X, ids, noise).random, model(X, ids, noise).random)
    assert not torch.equal(model(X, ids, noise).random, model(X, ids).random)


def test_noise_has_one_number_per_random_weight(name):
    model = wrapped(name)
    assert model.n_noise == sum(p.numel() for n, p in model.named_parameters() if n.endswith(".loc"))


def test_copies_read_their_own_layers(name):
    model, (X, ids) = wrapped(name).eval(), inputs(name)
    expected = model(X, ids)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    out = twin(X, ids)
    assert torch.equal(out.mixed, expected.mixed)
    assert torch.equal(out.activations, expected.activations)
    assert (model(X, ids).mixed == 0).all()


def test_state_dict_round_trip(name, tmp_path):
    model, other, (X, ids) = wrapped(name).eval(), wrapped(name, seed=1).eval(), inputs(name)
    assert not torch.equal(model(X, ids).mixed, other(X, ids).mixed)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    *ours, made = model(X, ids)
    *theirs, _ = other(X, ids)
    assert made is None, "only autoencoders make images again"
    for one, another in zip(ours, theirs, strict=True):
        assert torch.equal(one, another)


def test_training_any_network_lowers_its_loss(name):
    _, shape, _, n_outputs = NETWORKS[name]
    rng = np.random.default_rng(0)
    X = rng.normal(size=(48, *shape))
    y = (X.reshape(48, -1)[:, 0] > 0).astype(int)
    data = ClusteredData(X, y, [f"c{i % Q}" for i in range(48)])
    model = wrapped(name)
    before = copy.deepcopy(model.state_dict())
    objective = armed.Objective(label="binary" if n_outputs == 1 else "multiclass", lambda_g=0.1)
    training = armed.Training(epochs=6, batch_size=16, learning_rate=0.01)
    fit = armed.fit(model, data, objective=objective, training=training)
    losses = fit.history["loss"].to_numpy()
    assert losses[-1] < losses[0]
    # The model given stays as it was, and the one returned predicts in evaluation mode.
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not fit.model.training
    out = fit.model(torch.as_tensor(X, dtype=torch.float32), torch.zeros(48, dtype=torch.long))
    assert torch.isfinite(out.mixed).all()
    with torch.random.fork_rng():
        torch.manual_seed(99)  # dropout and posterior draws are those of the seed of the fit
        again = armed.fit(model, data, objective=objective, training=training)
    assert all(torch.equal(v, again.model.state_dict()[k]) for k, v in fit.model.state_dict().items())


def test_training_leaves_the_callers_generator_alone():
    data = ClusteredData(
        np.random.default_rng(0).normal(size=(12, 5)), np.arange(12) % 2, [str(i % Q) for i in range(12)]
    )
    model, state = wrapped("residual blocks"), torch.get_rng_state()
    armed.fit(model, data, objective=armed.Objective("multiclass"), training=armed.Training(epochs=1))
    assert torch.equal(torch.get_rng_state(), state)


def test_frozen_layers_stay_as_they_are():
    model = wrapped("tanh with batch norm")
    for p in model.net[0].parameters():
        p.requires_grad_(False)
    rng = np.random.default_rng(0)
    data = ClusteredData(rng.normal(size=(24, 5)), np.arange(24) % 2, [str(i % Q) for i in range(24)])
    fit = armed.fit(model, data, training=armed.Training(epochs=2))
    assert torch.equal(fit.model.net[0].weight, model.net[0].weight)
    assert not torch.equal(fit.model.net[3].weight, model.net[3].weight)


def test_tied_weights_and_passing_buffers_survive_training():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Linear(5, 5)
            self.down = nn.Linear(5, 5)
            self.down.weight = self.up.weight
            self.register_buffer("scale", torch.tensor(2.0), persistent=False)
            self.out = nn.Linear(5, 1)

        def forward(self, x):
            return self.out(torch.tanh(self.down(torch.tanh(self.up(x))) * self.scale))

    rng = np.random.default_rng(0)
    data = ClusteredData(rng.normal(size=(24, 5)), np.arange(24) % 2, [str(i % Q) for i in range(24)])
    fit = armed.fit(MixedEffects(Tied(), Q), data, training=armed.Training(epochs=2))
    assert fit.model.net.up.weight is fit.model.net.down.weight
    assert fit.model.net.scale == 2


@pytest.mark.parametrize("on", ["effects", "adversary"])
def test_an_unknown_layer_names_the_nearest(on):
    arguments = ([armed.RandomSlopes("hiden.2")], None) if on == "effects" else ([], armed.Adversary(["hiden.2"]))
    with pytest.raises(LayerNotFoundError) as caught:
        MixedEffects(MLP(2), Q, *arguments)
    message = str(caught.value)
    assert "no layer 'hiden.2'" in message and "Did you mean 'hidden.2'?" in message
    assert "hidden.0, hidden.0.0" in message and "output" in message


def test_the_network_itself_is_no_layer_name():
    with pytest.raises(LayerNotFoundError):
        MixedEffects(MLP(2), Q, [armed.RandomSlopes("")])


def test_a_layer_that_gives_no_tensor_or_is_never_called_is_refused():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = nn.GRU(3, 4, batch_first=True)
            self.idle = nn.Linear(2, 2)
            self.head = nn.Linear(4, 1)

        def forward(self, x):
            return self.head(self.cells(x)[0][:, -1])

    with pytest.raises(LayerNotFoundError, match="'cells' cannot be read: it returns a tuple"):
        MixedEffects(Odd(), Q, [armed.RandomSlopes("cells")], input_shape=(5, 3))
    with pytest.raises(LayerNotFoundError, match="'idle' cannot be read: it is never called"):
        MixedEffects(Odd(), Q, adversary=armed.Adversary("idle"), input_shape=(5, 3))


def test_the_shape_of_a_sample_is_asked_for_where_it_cannot_be_told():
    with pytest.raises(DataError, match=r"first parametrised layer is Conv2d.*input_shape"):
        MixedEffects(conv_net(), Q)
    assert MixedEffects(tanh_net(), Q)(torch.zeros(2, 5)).mixed.shape == (2, 1)


def test_membership_is_checked():
    model = MixedEffects(MLP(2), Q, [armed.RandomIntercept()])
    with pytest.raises(DataError, match="ids go from 0 to 3"):
        model(torch.zeros(2, 2), torch.tensor([0, 3]))
    with pytest.raises(DataError, match="at least 1 seen cluster"):
        MixedEffects(MLP(2), 0)


def test_parts_are_usable_alone():
    X, ids = torch.randn(4, 2), torch.tensor([0, 1, 2, -1])
    alone = MixedEffects(MLP(2), Q)(X, ids)
    assert alone.mixed is alone.fixed and alone.cluster_logits is None and alone.kl == 0
    adversary = MixedEffects(MLP(2), Q, adversary=armed.Adversary(["hidden.0", "hidden.1"]))
    assert adversary(X, ids).cluster_logits.shape == (4, Q)
    assert adversary(X, ids).activations.shape == (4, 8)
    skipped = adversary(X, ids, adversary=False)
    assert skipped.cluster_logits is None and skipped.activations.shape == (4, 8)


def test_probing_leaves_training_mode_and_statistics():
    net = tanh_net().train()
    MixedEffects(net, Q, [armed.RandomSlopes("4")])
    assert net.training and net[1].num_batches_tracked == 0
    net.eval()
    assert not MixedEffects(net, Q).net.training
