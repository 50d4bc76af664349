"""Random effects layers: KL divergence, membership by ids and by Z, posterior draws, and the check of membership."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from armed.errors import DataError
from armed.layers.random_effects import (
    INITIAL_SD,
    ONE_HOT_LIMIT,
    RandomEffects,
    check_membership,
    one_hot,
    scale_and_bias,
)

FEW = settings(max_examples=25, deadline=None)
shapes = st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 3))
seeds = st.integers(0, 2**31)


def effects(shape=(5, 3, 2), seed: int = 0, prior_sd: float = 0.3) -> RandomEffects:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return RandomEffects(*shape, init_scale=0.5, prior_sd=prior_sd)


@FEW
@given(shapes, seeds, st.floats(0.05, 5.0))
def test_kl_is_that_of_torch_distributions(shape, seed, prior_sd):
    layer = effects(shape, seed, prior_sd)
    expected = kl_divergence(Normal(layer.loc, layer.scale), Normal(0.0, torch.tensor(prior_sd))).sum()
    torch.testing.assert_close(layer.kl(), expected, rtol=1e-5, atol=1e-4)


@FEW
@given(shapes, seeds, st.floats(0.05, 5.0))
def test_gradient_of_kl_is_the_closed_form(shape, seed, prior_sd):
    layer = effects(shape, seed, prior_sd).double()
    layer.kl().backward()
    sd, variance = layer.scale.detach(), layer.prior_sd**2
    torch.testing.assert_close(layer.loc.grad, layer.loc.detach() / variance)
    slope_of_softplus = torch.sigmoid(layer.raw_scale.detach())
    torch.testing.assert_close(layer.raw_scale.grad, (sd / variance - 1 / sd) * slope_of_softplus)


def test_kl_is_zero_at_the_prior_only():
    layer = effects(prior_sd=0.7)
    with torch.no_grad():
        layer.loc.zero_()
        layer.raw_scale.fill_(math.log(math.expm1(0.7)))
    assert layer.kl().item() == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        layer.loc[0, 0, 0] = 0.7
    assert layer.kl().item() == pytest.approx(0.5, abs=1e-5)


def test_start_of_the_posterior():
    layer = effects((200, 50, 1))
    assert layer.loc.std().item() == pytest.approx(0.5, rel=0.05)
    assert layer.loc.mean().item() == pytest.approx(0.0, abs=0.02)
    low, high = INITIAL_SD
    sd = layer.scale.detach()
    assert sd.min() >= low * 0.999 and sd.max() <= high * 1.001
    # Log-uniform: half of them below the geometric mean.
    assert (sd < math.sqrt(low * high)).float().mean().item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("draw", [False, True])
def test_all_zero_rows_and_population_ids_give_exactly_zero(draw):
    layer = effects()
    noise = torch.randn(layer.loc.numel()) if draw else None
    assert (layer(torch.zeros(4, 5), noise) == 0).all()
    assert (layer(torch.full((4,), -1), noise) == 0).all()


@pytest.mark.parametrize("n_clusters", [1, 7, ONE_HOT_LIMIT, ONE_HOT_LIMIT + 1, 2 * ONE_HOT_LIMIT])
@pytest.mark.parametrize("draw", [False, True])
def test_ids_and_one_hot_rows_give_the_same(n_clusters, draw):
    layer = effects((n_clusters, 3, 2))
    ids = torch.randint(-1, n_clusters, (50,), generator=torch.Generator().manual_seed(0))
    noise = torch.randn(layer.loc.numel(), generator=torch.Generator().manual_seed(1)) if draw else None
    by_id, by_row = layer(ids, noise), layer(one_hot(ids, n_clusters, torch.float32), noise)
    assert torch.equal(by_id, by_row)
    expected = layer.loc if noise is None else layer.loc + layer.scale * noise.view_as(layer.loc)
    torch.testing.assert_close(by_id[ids >= 0], expected[ids[ids >= 0]], rtol=0, atol=0)


@pytest.mark.parametrize("n_clusters", [6, ONE_HOT_LIMIT + 1])
def test_gradients_by_ids_and_by_rows_agree(n_clusters):
    layer = effects((n_clusters, 3, 1))
    ids = torch.tensor([0, 5, 5, -1, 2])
    weights = torch.arange(15.0).view(5, 3, 1)
    grads = []
    for membership in (ids, one_hot(ids, n_clusters, torch.float32)):
        (layer(membership) * weights).sum().backward()
        grads.append(layer.loc.grad.clone())
        layer.loc.grad = None
    torch.testing.assert_close(*grads)
    assert (grads[0][1] == 0).all()
    torch.testing.assert_close(grads[0][5], weights[1] + weights[2])


@FEW
@given(seeds)
def test_soft_rows_blend_linearly(seed):
    layer = effects(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.distributions.Dirichlet(torch.ones(5)).sample((6,)) for _ in range(2))
    share = torch.rand(6, 1, generator=generator)
    blend = layer(share * a + (1 - share) * b)
    torch.testing.assert_close(blend, share[..., None] * layer(a) + (1 - share[..., None]) * layer(b))
    torch.testing.assert_close(layer(a), torch.einsum("nq,qfk->nfk", a, layer.loc))


def test_z_of_another_precision_is_taken():
    layer, Z = effects(), torch.eye(5, dtype=torch.float64)
    assert torch.equal(layer(Z), layer(Z.float()))


def test_draws_have_the_posteriors_mean_and_sd():
    layer = effects((3, 2, 1))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(20_000, layer.loc.numel(), generator=generator)
    with torch.no_grad():
        draws = torch.vmap(lambda z: layer(torch.arange(3), z))(noise)
    torch.testing.assert_close(draws.mean(0), layer.loc.detach(), rtol=0, atol=0.05 * 5 / math.sqrt(20_000))
    torch.testing.assert_close(draws.std(0), layer.scale.detach(), rtol=0.03, atol=0)


def test_one_draw_serves_the_whole_batch():
    layer = effects()
    weights = layer(torch.tensor([2, 2, 2]), torch.randn(layer.loc.numel()))
    assert torch.equal(weights[0], weights[1]) and torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], layer.loc[2])


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        (torch.tensor([0, 3, -1]), "ids go from -1 to 3; expected 0 to 2, or -1 for the population"),
        (torch.tensor([0, -2, 1]), "ids go from -2 to 1"),
        (torch.tensor([0.0, 1.0, 2.0]), "ids must be integers, not torch.float32; for soft membership give Z"),
        (torch.tensor([0, 1]), "it has 2 rows, but X has 3"),
        (torch.eye(3)[:2], "it has 2 rows, but X has 3"),
        (torch.zeros(3, 4), "Z has 4 columns; expected one for each of the 3 clusters"),
        (torch.zeros(3, 3, 1), "it has 3 axes"),
        (torch.tensor([[1.0, 0, 0], [0, -0.1, 0], [0, 0, 0]]), "Z has negative or non-finite entries"),
        (torch.tensor([[1.0, 0, 0], [0, math.nan, 0], [0, 0, 0]]), "Z has negative or non-finite entries"),
        (torch.tensor([[1.0, 0, 0], [0.6, 0.6, 0.3], [0, 0, 0]]), "row 1 of Z sums to 1.5; a row sums to at most 1"),
    ],
)
def test_bad_membership_is_refused(clusters, message):
    with pytest.raises(DataError, match="1 problem with the cluster membership") as caught:
        check_membership(clusters, 3, 3)
    assert message in str(caught.value)


def test_several_problems_are_told_at_once():
    with pytest.raises(DataError, match="2 problems") as caught:
        check_membership(torch.tensor([[2.0, 0, 0], [0, -1.0, 0]]), 3, 2)
    assert "negative" in str(caught.value) and "row 0 of Z sums to 2" in str(caught.value)


@FEW
@given(st.integers(1, 8), st.integers(0, 20), seeds)
def test_valid_membership_passes(q, n, seed):
    generator = torch.Generator().manual_seed(seed)
    check_membership(torch.randint(-1, q, (n,), generator=generator), q, n)
    check_membership(torch.softmax(torch.randn(n, q, generator=generator), 1), q, n)
    check_membership(torch.zeros(n, q), q, n)


class TestScaleAndBias:
    """Random scales and biases of normalised maps (paper, live-cell study)."""

    maps = torch.randn(3, 4, 6, 5, generator=torch.Generator().manual_seed(0)) * 2 + 1
    scale = torch.tensor([[0.5], [-0.2], [0.0]]).expand(3, 4)
    bias = torch.tensor([[0.1], [0.3], [0.0]]).expand(3, 4)
    known = torch.ones(3)

    def normalised(self) -> torch.Tensor:
        return torch.nn.functional.instance_norm(self.maps)

    def test_the_papers_formula(self):
        out = scale_and_bias(self.maps, self.scale, self.bias, self.known, keep_statistics=False)
        expected = (1 + self.scale[..., None, None]) * self.normalised() + self.bias[..., None, None]
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)

    def test_without_effects_the_papers_is_plain_instance_normalisation(self):
        none = torch.zeros(3, 4)
        out = scale_and_bias(self.maps, none, none, self.known, keep_statistics=False)
        torch.testing.assert_close(out, self.normalised(), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("keep_statistics", [True, False])
    def test_the_population_passes_bit_for_bit(self, keep_statistics):
        none = torch.zeros(3, 4)
        out = scale_and_bias(self.maps, none, none, torch.zeros(3), keep_statistics=keep_statistics)
        assert torch.equal(out, self.maps)

    def test_zero_effects_are_the_identity_where_statistics_are_kept(self):
        none = torch.zeros(3, 4)
        assert torch.equal(scale_and_bias(self.maps, none, none, self.known), self.maps)

    def test_kept_statistics_are_the_papers_map_with_mean_and_sd_put_back(self):
        out = scale_and_bias(self.maps, self.scale, self.bias, self.known)
        mean, sd = self.maps.mean((2, 3), keepdim=True), self.maps.std((2, 3), correction=0, keepdim=True)
        plain = scale_and_bias(self.maps, self.scale, self.bias, self.known, keep_statistics=False)
        torch.testing.assert_close(out, mean + sd * plain, rtol=1e-4, atol=1e-4)

    def test_an_even_map_stays_finite(self):
        even = torch.full((1, 2, 4, 4), 3.0, requires_grad=True)
        out = scale_and_bias(even, torch.ones(1, 2), torch.ones(1, 2), torch.ones(1))
        out.sum().backward()
        assert torch.isfinite(out).all() and torch.isfinite(even.grad).all()
