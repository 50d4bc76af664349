"""LMMNN: likelihoods and posteriors against exact ones, recovery of a known truth, and the contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import expit, log_expit
from scipy.stats import multivariate_normal

from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits, make_splits
from armed.errors import ConfigError, UnseenClusterError
from baselines.lmmnn import (
    LMMNN,
    LMMNNNetwork,
    gaussian_nll,
    gaussian_posterior,
    logistic_nll,
    logistic_posterior,
    standard_normal_nodes,
)

COEFFICIENTS = np.array([1.0, -0.7])
NOISE = 0.5


def one_hot(codes: np.ndarray, q: int) -> torch.Tensor:
    return torch.as_tensor(np.eye(q)[codes])


def nodes(k: int) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.as_tensor(a) for a in standard_normal_nodes(k))


def posterior_moments(logit: np.ndarray, y: np.ndarray, sd: float) -> tuple[float, float]:
    """Posterior mean and s.d. of one intercept, by a fine grid."""
    grid = np.linspace(-30 * sd, 30 * sd, 8001)
    log_density = log_expit((2 * y - 1)[:, None] * (logit[:, None] + grid)).sum(0) - 0.5 * (grid / sd) ** 2
    density = np.exp(log_density - log_density.max())
    mean = (density * grid).sum() / density.sum()
    return mean, np.sqrt((density * (grid - mean) ** 2).sum() / density.sum())


def simulate(label: str, n_clusters: int = 20, n: int = 200, sd_b: float = 1.0, seed: int = 0):
    """A linear truth with random intercepts; returns the data and the intercepts."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_clusters), n)
    X = rng.normal(size=(len(codes), 2))
    b = rng.normal(0, sd_b, n_clusters)
    b -= b.mean()
    eta = X @ COEFFICIENTS + 0.3 + b[codes]
    y = (
        eta + rng.normal(0, NOISE, len(eta))
        if label == "continuous"
        else (rng.random(len(eta)) < expit(eta)).astype(int)
    )
    return ClusteredData(X, y, np.array([f"c{c:02d}" for c in codes])), b


def fitted(label: str, data: ClusteredData, splits: Splits, seeds=(0,), hidden=None, patience=None, epochs=40) -> LMMNN:
    training = {"epochs": epochs, "batch_size": 200, "learning_rate": 0.01, "patience": patience}
    method = LMMNN(study="test", label=label, network={"hidden": hidden or []}, training=training, quadrature_points=15)
    return method.fit(data, splits, seeds)


@pytest.fixture(scope="module", params=["continuous", "binary"])
def fit(request):
    data, b = simulate(request.param)
    # Halves at random: those of `make_splits` have the class ratios of the whole, and so smaller errors than their size says.
    first, second = np.sort(np.random.default_rng(6).permutation(len(data)).reshape(2, -1), 1)
    none = first[:0]
    splits = Splits((Fold(0, 0, first, none, second), Fold(0, 1, second, none, first)))
    return fitted(request.param, data, splits), data, b


@pytest.mark.parametrize(("sd_b", "sd_e"), [(0.3, 1.0), (1.5, 0.4), (1e-3, 2.0)])
def test_gaussian_likelihood_is_the_multivariate_normal_one(sd_b, sd_e):
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 5, 32)
    codes[codes == 2] = 1  # a cluster without rows
    residual = rng.normal(size=32)
    Z = one_hot(codes, 6)
    expected = multivariate_normal.logpdf(
        residual, cov=sd_e**2 * np.eye(32) + sd_b**2 * (codes[:, None] == codes[None, :])
    )
    nll = gaussian_nll(torch.as_tensor(residual), Z, torch.tensor(sd_b).double(), torch.tensor(sd_e).double())
    assert nll.item() == pytest.approx(-expected, rel=1e-6)  # the s.d. are rounded to float32


@pytest.mark.parametrize("sd_b", [0.3, 1.0])
def test_logistic_likelihood_is_the_integral(sd_b):
    rng = np.random.default_rng(2)
    codes = np.array([0, 0, 0, 1, 3, 3, 3, 3])  # none of cluster 2
    logit, y = rng.normal(size=8), rng.integers(0, 2, 8).astype(float)

    def integrand(b: float, rows: np.ndarray) -> float:
        likelihood = expit((2 * y[rows] - 1) * (logit[rows] + b)).prod()
        return likelihood * np.exp(-0.5 * (b / sd_b) ** 2) / (sd_b * np.sqrt(2 * np.pi))

    expected = sum(
        np.log(quad(integrand, -12 * sd_b, 12 * sd_b, args=(codes == c,), epsabs=1e-12)[0]) for c in (0, 1, 3)
    )
    args = torch.as_tensor(logit), torch.as_tensor(y), one_hot(codes, 4), torch.tensor(sd_b, dtype=torch.float64)
    assert logistic_nll(*args, *nodes(41)).item() == pytest.approx(-expected, abs=1e-8)
    few = {0.3: 1e-5, 1.0: 0.05}[sd_b]  # what the default of 5 nodes is good for
    assert logistic_nll(*args, *nodes(5)).item() == pytest.approx(-expected, abs=few)


def test_weights_of_samples_stand_inside_the_integral():
    """A sample of weight 2 is two samples, one of weight 0 is none."""
    rng = np.random.default_rng(7)
    codes, weights = np.array([0, 0, 0, 1, 2, 2]), np.array([2.0, 0.0, 1.0, 2.0, 1.0, 2.0])
    logit, y = rng.normal(size=6), np.array([0.0, 1, 1, 0, 1, 0])
    repeated = np.repeat(np.arange(6), weights.astype(int))
    sd = torch.tensor(0.8, dtype=torch.float64)
    nll = [
        logistic_nll(torch.as_tensor(logit[r]), torch.as_tensor(y[r]), one_hot(codes[r], 3), sd, *nodes(25), w).item()
        for r, w in ((np.arange(6), torch.as_tensor(weights)), (repeated, None))
    ]
    assert nll[0] == pytest.approx(nll[1], rel=1e-12)
    weighted = logistic_posterior(logit, y, codes, 3, 0.8, weights)
    np.testing.assert_allclose(weighted, logistic_posterior(logit[repeated], y[repeated], codes[repeated], 3, 0.8))


def test_class_weights_reach_the_loss_and_the_intercepts():
    data, _ = simulate("binary", n_clusters=5, n=30)
    data = ClusteredData(data.X, (np.arange(150) % 4 == 0).astype(int), data.clusters)  # 25% positive everywhere
    rows = np.arange(150)
    splits = Splits((Fold(0, 0, rows, rows[:0], rows[:0]),))
    means = {}
    for kind in ("none", "balanced"):
        training = {"epochs": 60, "batch_size": 50, "learning_rate": 0.02, "class_weights": kind}
        method = LMMNN(network={"hidden": []}, training=training).fit(data, splits)
        means[kind] = method.predict(data).mixed.mean()
        assert abs(method.random_effects_["mean"].mean()) < 0.1  # the intercepts do not undo what the weights did
    assert means["none"] == pytest.approx(np.log(1 / 3), abs=0.25)
    assert means["balanced"] == pytest.approx(0, abs=0.25)


def test_gradients():
    rng = np.random.default_rng(3)
    values, y = torch.tensor(rng.normal(size=9), requires_grad=True), torch.tensor(rng.integers(0, 2, 9)).double()
    Z = one_hot(np.array([0, 0, 0, 1, 1, 2, 4, 4, 4]), 5)
    log_sds = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (-0.5, 0.2)]
    assert torch.autograd.gradcheck(lambda r, b, e: gaussian_nll(r, Z, torch.exp(b), torch.exp(e)), (values, *log_sds))
    assert torch.autograd.gradcheck(lambda f, b: logistic_nll(f, y, Z, torch.exp(b), *nodes(7)), (values, log_sds[0]))


def test_blups_are_the_conditional_means_of_the_normal_distribution():
    rng = np.random.default_rng(4)
    codes, residual, sd_b, sd_e = np.array([0, 0, 0, 1, 3]), rng.normal(size=5), 0.8, 0.6
    Z = np.eye(4)[codes]
    V = sd_e**2 * np.eye(5) + sd_b**2 * Z @ Z.T
    gain = sd_b**2 * Z.T @ np.linalg.inv(V)
    mean, sd = gaussian_posterior(residual, codes, 4, sd_b, sd_e)
    np.testing.assert_allclose(mean, gain @ residual)
    np.testing.assert_allclose(sd**2, np.diag(sd_b**2 * (np.eye(4) - gain @ Z)))
    assert mean[2] == 0 and sd[2] == pytest.approx(sd_b)  # no rows: the prior


@pytest.mark.parametrize(("n", "sd_b"), [(1, 1.0), (3, 0.3), (900, 0.3), (900, 3.0)])
def test_logistic_posterior_is_the_integral(n, sd_b):
    rng = np.random.default_rng(5)
    logit, y = rng.normal(0, 2, n), rng.integers(0, 2, n)
    # Beside it a cluster without rows, and one of extreme logits, all wrong, whose mode is far off.
    far, wrong = np.full(50, 8.0), np.zeros(50, int)
    codes = np.repeat([0, 2], [n, 50])
    mean, sd = logistic_posterior(np.append(logit, far), np.append(y, wrong), codes, 3, sd_b)
    np.testing.assert_allclose([mean[0], sd[0]], posterior_moments(logit, y, sd_b), atol=1e-6)
    np.testing.assert_allclose([mean[1], sd[1]], [0, sd_b], atol=1e-12)
    np.testing.assert_allclose([mean[2], sd[2]], posterior_moments(far, wrong, sd_b), rtol=1e-3)


def test_recovers_a_known_truth(fit):
    method, data, b = fit
    state = method.stack_.state()
    # Of the intercepts drawn. Over 20 such fits it was off by 5% on average, 17% at most (binary labels).
    np.testing.assert_allclose(state["log_sd_b"].exp(), b.std(), rtol=0.2)
    np.testing.assert_allclose(state["net.output.weight"][:, 0], np.tile(COEFFICIENTS, (2, 1)), atol=0.2)
    if "log_sd_e" in state:
        np.testing.assert_allclose(state["log_sd_e"].exp(), NOISE, rtol=0.1)
    table = method.random_effects_
    assert list(table.columns) == ["seed", "fold", "cluster", "effect", "feature", "mean", "sd"]
    assert len(table) == 2 * 20 and set(table["effect"]) == {"intercept"} and set(table["feature"]) == {""}
    for _, rows in table.groupby("fold"):
        assert list(rows["cluster"]) == list(data.levels)
        assert np.corrcoef(rows["mean"], b)[0, 1] > 0.95
        error = rows["mean"] - rows["mean"].mean() - b
        # Posterior s.d. are those of the errors: 20 squared ratios average 1 +- 0.32 (s.d.).
        assert 0.3 < np.mean((error / rows["sd"]) ** 2) < 2.2


def test_saved_and_read_back(fit, tmp_path):
    method, data, _ = fit
    method.save(tmp_path / "run")
    again = LMMNN.load(tmp_path / "run")
    assert again.settings == method.settings
    np.testing.assert_array_equal(again.predict(data).mixed, method.predict(data).mixed)
    assert again.random_effects_.equals(method.random_effects_)


def test_predictions_of_seen_and_unseen_clusters(fit):
    method, data, _ = fit
    blup = method.stack_.buffers["blup"].numpy()
    p = method.predict(data)
    np.testing.assert_allclose(p.mixed - p.fixed, blup[p.fold, data.codes(method.levels_)[p.row]], atol=1e-5)
    clusters = np.where(data.clusters == "c00", "new", data.clusters)
    changed = ClusteredData(data.X, data.y, clusters)
    with pytest.raises(UnseenClusterError, match="new_clusters"):
        method.predict(changed)
    p = method.predict(changed, new_clusters="population")
    new = clusters[p.row] == "new"
    np.testing.assert_array_equal(p.mixed[new], p.fixed[new])
    assert (p.mixed[~new] != p.fixed[~new]).all()


def test_module_takes_soft_membership():
    module = LMMNNNetwork(torch.nn.Linear(2, 1), 3, 0.3, residual=False)
    module.blup.copy_(torch.tensor([1.0, -2.0, 0.5]))
    X = torch.randn(4, 2)
    Z = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0, 0], [0, 0, 1]])
    codes = torch.tensor([0, 1, -1, 2])
    assert torch.equal(module(X, codes).random, torch.zeros(4, 1))  # in training the loss integrates over them
    module.eval()
    torch.testing.assert_close(module(X, Z).random[:, 0], torch.tensor([1.0, -0.5, 0.0, 0.5]))
    torch.testing.assert_close(module(X, codes).random[:, 0], torch.tensor([1.0, -2.0, 0.0, 0.5]))


@pytest.mark.parametrize("label", ["continuous", "binary"])
def test_a_replica_alone_is_the_replica_in_a_stack(label):
    data, _ = simulate(label, n_clusters=5, n=60)
    splits = make_splits(data, [0, 1], 2, "test")
    stacked = fitted(label, data, splits, [0, 1], hidden=(4, 4), epochs=3).stack_.state()
    for position, fold in enumerate(splits):
        alone = fitted(label, data, Splits((fold,)), [fold.seed], hidden=(4, 4), epochs=3).stack_.state()
        for name, values in alone.items():
            assert torch.equal(values[0], stacked[name][position]), name


def test_early_stopping_scores_the_prediction_with_intercepts():
    data, _ = simulate("binary", n_clusters=8, n=40)
    splits = make_splits(data, [0], 2, "test", validation_fraction=0.25)
    method = fitted("binary", data, splits, patience=2, epochs=6)
    p = method.predict(data, {(f.seed, f.fold): f.validation for f in splits})
    loss = -log_expit((2 * data.y[p.row] - 1) * p.mixed.astype(float))
    kept = method.history_[method.history_["kept"]].groupby("fold")["validation"].last()
    np.testing.assert_allclose([loss[p.fold == f.fold].mean() for f in splits], kept, rtol=1e-5)


@pytest.mark.parametrize("settings", [{"label": "multiclass"}, {"quadrature_points": 1}, {"initial_sd": 0.0}])
def test_settings_that_cannot_be_used(settings):
    data, _ = simulate("binary", n_clusters=3, n=10)
    (name,) = settings
    with pytest.raises(ConfigError, match=name):
        LMMNN(**settings).fit(data, make_splits(data, [0], 2, "test"))


def test_a_diverged_replica_is_told():
    data, _ = simulate("binary", n_clusters=3, n=20)
    training = {"epochs": 2, "learning_rate": 1e38}
    method = LMMNN(training=training).fit(data, make_splits(data, [0], 2, "test"))
    assert set(method.notes_) == {(0, 0), (0, 1)}
