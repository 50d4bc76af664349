"""`MixedEffects` around a linear network is a linear mixed model: agreement with statsmodels MixedLM.

With full batches, `lambda_K` = 1 / n and `lambda_F` = 0 the loss is minus the evidence lower bound divided by n. With balanced
data and a centred predictor the posterior of a cluster's intercept and slope has no correlation where their prior has none,
so that the bound is tight and its maximum is that of the likelihood. The reference has independent components, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams
from torch import nn

import armed
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.models import MixedEffects

FILES = {
    "sleepstudy": ("multilevel/sleepstudy.csv", "Days", "Reaction"),
    "Orthodont": ("multilevel/Orthodont.csv", "age", "distance"),
}
CASES = [("sleepstudy", True), ("Orthodont", False), ("Orthodont", True)]
# A fast stage, and a slow one in which the noise of the posterior draws averages out.
STAGES = ((400, 0.03), (300, 0.003))


@dataclass
class Reference:
    """What statsmodels estimates, effects in the order intercept, slope and clusters sorted."""

    coefficients: np.ndarray
    errors: np.ndarray
    effect_sds: np.ndarray
    residual_sd: float
    blups: np.ndarray
    blup_sds: np.ndarray


def standardised(mirror, name: str) -> ClusteredData:
    file, x, y = FILES[name]
    table = pd.read_csv(mirror(file))
    x, y = ((table[c] - table[c].mean()) / table[c].std() for c in (x, y))
    return ClusteredData(x.to_numpy()[:, None], y.to_numpy(), table["Subject"].astype(str).to_numpy())


def reference(data: ClusteredData, slopes: bool) -> Reference:
    X = np.column_stack([np.ones(len(data)), data.X])
    Z = X[:, : 1 + slopes]
    independent = MixedLMParams.from_components(fe_params=np.ones(2), cov_re=np.eye(1 + slopes))
    fit = MixedLM(data.y, X, groups=data.clusters, exog_re=Z).fit(reml=True, free=independent, method="bfgs")
    assert fit.converged
    return Reference(
        coefficients=np.asarray(fit.fe_params),
        errors=np.asarray(fit.bse_fe),
        effect_sds=np.sqrt(np.diag(fit.cov_re)),
        residual_sd=float(np.sqrt(fit.scale)),
        blups=np.array([fit.random_effects[c] for c in data.levels]),
        blup_sds=np.array([np.sqrt(np.diag(fit.random_effects_cov[c])) for c in data.levels]),
    )


def model(n_clusters: int, expected: Reference) -> MixedEffects:
    effects = [armed.RandomIntercept(0.01, expected.effect_sds[0])]
    if len(expected.effect_sds) > 1:
        effects.append(armed.RandomSlopes("input", 0.01, expected.effect_sds[1]))
    return MixedEffects(nn.Linear(1, 1), n_clusters, effects)


def objective(n: int, expected: Reference) -> armed.Objective:
    return armed.Objective("continuous", lambda_F=0.0, lambda_K=1 / n, residual_sd=expected.residual_sd)


def assert_agree(fitted: MixedEffects, expected: Reference) -> None:
    got = np.array([fitted.net.bias.item(), fitted.net.weight.item()])
    assert (np.abs(got - expected.coefficients) < expected.errors).all(), (got, expected.coefficients, expected.errors)
    for effect, blups, sds in zip(fitted.effects, expected.blups.T, expected.blup_sds.T, strict=True):
        means = effect.loc.detach().numpy().ravel()
        assert np.corrcoef(means, blups)[0, 1] > 0.95
        assert means.std() == pytest.approx(blups.std(), rel=0.15)
        assert effect.scale.mean().item() == pytest.approx(sds.mean(), rel=0.15)


@pytest.mark.parametrize(("name", "slopes"), CASES)
def test_one_model_agrees(mirror, name, slopes):
    data = standardised(mirror, name)
    expected = reference(data, slopes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fitted = model(len(data.levels), expected)
    for epochs, rate in STAGES:
        training = armed.Training(epochs=epochs, batch_size=len(data), learning_rate=rate)
        found = armed.fit(fitted, data, objective=objective(len(data), expected), training=training)
        fitted = found.model
    assert found.levels.tolist() == data.levels.tolist()
    assert_agree(fitted, expected)


def test_replicas_of_a_stack_agree(mirror):
    """Three seeds; then a weight of the KL divergence that is not the bound's, which must not agree."""
    data = standardised(mirror, "sleepstudy")
    expected = reference(data, slopes=True)
    rows = np.arange(len(data))
    splits = Splits(tuple(Fold(seed, 0, rows, rows[:0], rows[:0]) for seed in range(3)))
    found = armed.fit_stack(
        lambda: model(len(data.levels), expected),
        data,
        splits,
        objective=objective(len(data), expected),
        training=armed.Training(epochs=500, batch_size=len(data), learning_rate=0.03),
        hyper={"lambda_K": [1 / len(data), 1.0]},
    )
    for r in range(3):
        assert_agree(found.stack.replica(r), expected)
    shrunken = found.stack.replica(3).effects[0].loc.detach().numpy().std()
    assert shrunken < 0.5 * expected.blups[:, 0].std()
