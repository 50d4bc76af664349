"""Posteriors of random effects against closed forms, an independent optimiser and statsmodels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import expit
from statsmodels.regression.mixed_linear_model import MixedLM

from baselines.posteriors import BLOCK, Blocks, Cells, gaussian_posterior, laplace_posterior, updated_prior

SIGMA = np.array([[0.8, 0.3], [0.3, 0.5]])


def cells_of(codes, G, y, offset, n_clusters, dtype=torch.float64):
    """Cells of one replica from plain arrays."""
    blocks = Blocks.of([np.arange(len(codes))], codes, n_clusters, torch.device("cpu"))
    rows, filled = blocks.rows[0], blocks.filled[0].to(dtype)
    G, y, offset = (torch.as_tensor(a, dtype=dtype) for a in (G, y, offset))
    design = G[rows] * filled.unsqueeze(-1)
    return Cells(design, y[rows] * filled, offset[rows] * filled, filled, blocks.cluster[0], n_clusters)


def simulated(n_clusters=6, sizes=(1, 5, 64, 65, 200, 30), binary=False, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(n_clusters), sizes))
    G = np.column_stack([rng.normal(size=len(codes)), np.ones(len(codes))])
    u = rng.multivariate_normal(np.zeros(2), SIGMA, n_clusters)
    offset = 0.5 * rng.normal(size=len(codes))
    eta = offset + (G * u[codes]).sum(1)
    y = (rng.random(len(eta)) < expit(eta)).astype(float) if binary else eta + 0.4 * rng.normal(size=len(eta))
    return codes, G, y, offset, u


class TestBlocks:
    def test_every_training_row_once_and_by_cluster(self):
        rng = np.random.default_rng(0)
        codes = rng.integers(-1, 4, 500)
        rows = [rng.permutation(500)[:n] for n in (400, 37)]
        blocks = Blocks.of(rows, codes, 5, torch.device("cpu"))
        assert blocks.rows.shape == (2, blocks.cluster.shape[1], BLOCK)
        for i, r in enumerate(rows):
            kept = blocks.rows[i][blocks.filled[i]].numpy()
            assert sorted(kept) == sorted(r[codes[r] >= 0])
            cluster = blocks.cluster[i].repeat_interleave(BLOCK).view(-1, BLOCK)[blocks.filled[i]].numpy()
            assert (codes[kept] == cluster).all()
            assert blocks.counts[i].tolist() == [int((codes[r] == c).sum()) for c in range(5)]


class TestGaussian:
    def test_is_the_closed_form_blup(self):
        codes, G, y, offset, _ = simulated()
        cells = cells_of(codes, G, y, offset, 7)  # the seventh cluster has no rows
        precision = torch.as_tensor(np.linalg.inv(SIGMA)).repeat(7, 1, 1)
        mean, covariance, squares = gaussian_posterior(cells, precision, torch.full((7,), 0.16, dtype=torch.float64))
        for c in range(6):
            own = codes == c
            V = G[own] @ SIGMA @ G[own].T + 0.16 * np.eye(own.sum())
            gain = SIGMA @ G[own].T @ np.linalg.inv(V)
            blup = gain @ (y - offset)[own]
            covariance_c = SIGMA - gain @ G[own] @ SIGMA
            np.testing.assert_allclose(mean[c], blup, rtol=1e-9)
            np.testing.assert_allclose(covariance[c], covariance_c, rtol=1e-8, atol=1e-12)
            residual = (y - offset)[own] - G[own] @ blup
            expected = residual @ residual + np.trace(G[own] @ covariance_c @ G[own].T)
            np.testing.assert_allclose(squares[c], expected, rtol=1e-9)
        np.testing.assert_allclose(mean[6], 0)
        np.testing.assert_allclose(covariance[6], SIGMA, rtol=1e-9)

    @pytest.mark.parametrize("center", [True, False])
    def test_em_converges_to_the_maximum_likelihood_of_statsmodels(self, center):
        """With a linear network and exact M-steps the fixed point is the linear mixed model's ML fit (tolerance 0.1%)."""
        codes, G, _, _, u = simulated(40, [8] * 40, seed=3)
        y = G @ [1.0, -0.5] + (G * u[codes]).sum(1) + 0.6 * np.random.default_rng(1).normal(size=len(codes))
        fit = MixedLM(y, G, codes, exog_re=G).fit(reml=False)
        sigma, variance, beta = torch.eye(2).double(), torch.ones(40).double(), np.zeros(2)
        effects = np.zeros((40, 2))
        present = torch.ones(1, 40, dtype=torch.bool)
        for _ in range(400):
            beta = np.linalg.lstsq(G, y - (G * effects[codes]).sum(1))[0]
            cells = cells_of(codes, G, y, G @ beta, 40)
            mean, covariance, squares = gaussian_posterior(cells, torch.linalg.inv(sigma).repeat(40, 1, 1), variance)
            shift, prior = updated_prior(mean[None], covariance[None], present, center)
            effects, sigma = (mean - shift).numpy(), prior[0]
            variance = (squares.sum() / len(y)).repeat(40)
        np.testing.assert_allclose(beta, fit.fe_params, rtol=1e-3)
        np.testing.assert_allclose(sigma, fit.cov_re, rtol=1e-3)
        np.testing.assert_allclose(variance[0], fit.scale, rtol=1e-3)
        blup = np.array([fit.random_effects[c] for c in range(40)])
        np.testing.assert_allclose(effects, blup, atol=1e-3)


@pytest.fixture(scope="module")
def problem():
    codes, G, y, offset, _ = simulated(7, (1, 5, 64, 65, 200, 30, 40), binary=True)
    y[codes == 5] = 1.0  # one class only
    y[codes == 6] = G[codes == 6, 0] > 0  # separated by the slope
    return codes, G, y, offset


class TestLaplace:
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 2e-3)])
    def test_is_mode_and_inverse_hessian(self, problem, dtype, tolerance):
        codes, G, y, offset = problem
        P = np.linalg.inv(SIGMA)
        start = torch.full((8, 2), 3.0).double()  # far off; the eighth cluster has no rows
        cells = cells_of(codes, G, y, offset, 8, dtype)
        mode, covariance = laplace_posterior(cells, torch.as_tensor(P).repeat(8, 1, 1), start)
        for c in range(8):
            own = codes == c

            def loss(u, own=own):
                eta = offset[own] + G[own] @ u
                p = expit(eta)
                value = (np.logaddexp(0, eta) - y[own] * eta).sum() + u @ P @ u / 2
                return value, G[own].T @ (p - y[own]) + P @ u

            best = minimize(loss, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-9})
            p = expit(offset[own] + G[own] @ best.x)
            hessian = (G[own] * (p * (1 - p))[:, None]).T @ G[own] + P
            np.testing.assert_allclose(mode[c], best.x, atol=tolerance)
            np.testing.assert_allclose(covariance[c], np.linalg.inv(hessian), rtol=100 * tolerance)

    def test_a_row_of_weight_two_is_two_rows(self):
        codes, G, y, offset, _ = simulated(binary=True)
        precision = torch.as_tensor(np.linalg.inv(SIGMA)).repeat(6, 1, 1)
        times = np.arange(len(y)) % 3  # weights 0, 1 and 2
        r = np.repeat(np.arange(len(y)), times)
        repeated = cells_of(codes[r], G[r], y[r], offset[r], 6)
        plain = cells_of(codes, G, y, offset, 6)
        weight = cells_of(codes, G, times, offset, 6).y * plain.weight
        start = torch.zeros(6, 2).double()
        found, expected = (laplace_posterior(c, precision, start) for c in (replace(plain, weight=weight), repeated))
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)

    def test_wide_priors_and_large_offsets_do_not_blow_up(self, problem):
        """Newton's full step overshoots here; the halved one finds the mode all the same."""
        codes, G, y, offset = problem
        precision = torch.eye(2).double().repeat(7, 1, 1) * 1e-4
        cells = cells_of(codes, G, y, offset - 25, 7, torch.float32)
        mode, covariance = laplace_posterior(cells, precision, torch.full((7, 2), -40.0).double())
        logit = cells.offset + cells.random(mode)
        slope = ((torch.sigmoid(logit) - cells.y).unsqueeze(1) @ cells.design).squeeze(1)
        gradient = cells.sum(slope)[0] + (precision @ mode.unsqueeze(-1)).squeeze(-1)
        in_sd = (gradient.unsqueeze(1) @ covariance @ gradient.unsqueeze(-1)).flatten().sqrt()
        assert (in_sd < 0.02).all()  # distance from the mode in posterior s.d.
        assert (torch.linalg.eigvalsh(covariance) > 0).all()

    def test_a_cell_does_not_depend_on_the_others(self, problem):
        codes, G, y, offset = problem
        P = torch.as_tensor(np.linalg.inv(SIGMA))
        together = laplace_posterior(
            cells_of(codes, G, y, offset, 7, torch.float32), P.repeat(7, 1, 1), torch.zeros(7, 2)
        )
        for c in range(7):
            own = codes == c
            cells = cells_of(codes[own] * 0, G[own], y[own], offset[own], 1, torch.float32)
            alone = laplace_posterior(cells, P[None], torch.zeros(1, 2))
            assert all(torch.equal(a[0], t[c]) for a, t in zip(alone, together, strict=True))


class TestPrior:
    def test_mean_and_covariance_over_the_clusters_present(self):
        mean = torch.tensor([[[1.0, 0.0], [3.0, 2.0], [9.0, 9.0]]]).double()
        covariance = torch.eye(2).double().repeat(1, 3, 1, 1)
        present = torch.tensor([[True, True, False]])
        shift, sigma = updated_prior(mean, covariance, present, True)
        assert shift.tolist() == [[2.0, 1.0]]
        np.testing.assert_allclose(sigma[0], [[2.0, 1.0], [1.0, 2.0]])
        shift, sigma = updated_prior(mean, covariance, present, False)
        assert shift.tolist() == [[0.0, 0.0]]
        np.testing.assert_allclose(sigma[0], [[6.0, 3.0], [3.0, 3.0]])
