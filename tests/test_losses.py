"""Label losses and the objective's weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from armed.errors import ConfigError, Problems
from armed.losses import Objective, check_hyper, class_weights, cross_entropy, label_loss, sample_weights

FEW = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31)


def draws(seed: int, n: int = 7, k: int = 1) -> torch.Tensor:
    return 3 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed))


@FEW
@given(seeds, st.integers(2, 6))
def test_cross_entropy_is_torchs(seed, k):
    logits = draws(seed, k=k)
    codes = torch.arange(7) % k
    torch.testing.assert_close(cross_entropy(logits, codes), F.cross_entropy(logits, codes, reduction="none"))
    torch.testing.assert_close(label_loss("multiclass", logits, codes.float()), cross_entropy(logits, codes))


@FEW
@given(seeds)
def test_binary_loss_is_the_bernoulli_likelihood(seed):
    logits, y = draws(seed), (torch.arange(7) % 2).float()
    expected = -torch.distributions.Bernoulli(logits=logits[:, 0]).log_prob(y)
    torch.testing.assert_close(label_loss("binary", logits, y), expected)


@FEW
@given(seeds, st.floats(0.1, 10))
def test_continuous_loss_is_the_normal_likelihood_without_its_constant(seed, sd):
    mean, y = draws(seed), draws(seed + 1)[:, 0]
    expected = -torch.distributions.Normal(mean[:, 0], sd).log_prob(y) - math.log(2 * math.pi) / 2
    torch.testing.assert_close(label_loss("continuous", mean, y, sd), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(label_loss("continuous", mean, y, torch.tensor(sd)), expected, rtol=1e-4, atol=1e-4)


def test_predictions_and_labels_are_paired_not_crossed():
    """The authors' MLDG meets every prediction with every label."""
    logits, y = torch.tensor([[30.0], [-30.0]]), torch.tensor([1.0, 0.0])
    assert label_loss("binary", logits, y).shape == (2,)
    assert label_loss("binary", logits, y).max() < 1e-6
    assert label_loss("continuous", logits, torch.tensor([30.0, -30.0])).max() == 0


def test_extreme_logits_have_finite_losses_and_gradients():
    logits = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    loss = label_loss("binary", logits, torch.tensor([0.0, 1.0])).sum()
    (grad,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(2e4) and torch.isfinite(grad).all()


def test_objective_averages_and_weights_classes():
    hyper = {"residual_sd": torch.tensor(1.0)}
    weights = {"class_weights": torch.tensor([0.7, 0.3])}
    logits, y = draws(0), torch.tensor([0.0, 1, 1, 0, 1, 1, 1])
    each = label_loss("binary", logits, y)
    torch.testing.assert_close(Objective().supervised(logits, y, hyper), each.mean())
    weighted = Objective().supervised(logits, y, hyper | weights)
    torch.testing.assert_close(weighted, (each * torch.where(y == 1, 0.3, 0.7)).mean())  # not divided by their sum


def test_balanced_weights_are_one_minus_the_frequency():
    y = np.repeat([0, 1, 2], [5, 3, 2])
    np.testing.assert_allclose(class_weights("balanced", y, 4), [0.5, 0.7, 0.8, 1.0])  # none of the fourth class
    np.testing.assert_allclose(class_weights((2, 1, 0), y, 3), [2, 1, 0])


def test_weights_of_samples():
    y = torch.tensor([0.0, 1.0, 0.25])
    assert sample_weights({}, y) is None
    hyper = {"class_weights": torch.tensor([0.73, 0.27])}
    torch.testing.assert_close(sample_weights(hyper, y), torch.tensor([0.73, 0.27, 0.615]))  # a smoothed label: between
    hyper = {"class_weights": torch.tensor([0.1, 0.2, 0.3])}
    assert torch.equal(sample_weights(hyper, torch.tensor([2.0, 0.0])), torch.tensor([0.3, 0.1]))


def test_class_weights_are_each_replicas_own():
    own = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [0.5, 0.0, 2.0], [3.0, 2.0, 1.0]])
    hyper = {"residual_sd": torch.ones(4), "class_weights": own}
    logits = draws(0, 20, 3).view(4, 5, 3)
    y = torch.arange(20).view(4, 5) % 3
    objective = Objective("multiclass")
    got = torch.vmap(lambda p, t, h: objective.supervised(p, t, h))(logits, y.float(), hyper)
    weight = own.gather(1, y)
    torch.testing.assert_close(got, (F.cross_entropy(logits.mT, y, reduction="none") * weight).mean(1))


def test_tunable_names():
    assert Objective.tunable() == ("lambda_F", "lambda_g", "lambda_K", "residual_sd")


def test_all_wrong_weights_are_told_at_once():
    with pytest.raises(ConfigError, match="4 problems") as caught:
        Objective("binry", lambda_F=-1, lambda_g=math.nan, residual_sd=0)
    message = str(caught.value)
    assert "label is 'binry'; expected one of binary, multiclass, continuous" in message
    assert "lambda_F is -1; expected a finite number of at least 0" in message
    assert "lambda_g is nan" in message
    assert "residual_sd is 0; expected a finite number above 0" in message


@pytest.mark.parametrize("value", ["0.1", None, True, math.inf, -1e-9])
def test_values_that_are_no_weights(value):
    problems = Problems(ConfigError, "the test")
    check_hyper({"lambda_K": value}, problems)
    assert len(problems.found) == 1 and repr(value) in problems.found[0]


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.5), np.int64(2)])
def test_values_that_are_weights(value):
    problems = Problems(ConfigError, "the test")
    check_hyper({"lambda_K": value}, problems)
    assert not problems.found
