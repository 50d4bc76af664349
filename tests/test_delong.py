"""DeLong's variance and interval of an AUROC, against published examples and its definition."""

from __future__ import annotations

import numpy as np
import pytest

from armed.delong import delong
from armed.errors import DataError

# Hanley and McNeil (Radiology 143, 1982), Table I: ratings 1 to 5 of 58 normal and 51 abnormal CT images.
RATINGS = np.array([[33, 6, 6, 11, 2], [3, 2, 2, 11, 33]])

# Patients with ovarian cancer of DeLong et al. (1988), the 43 without missing values, as the SAS/STAT User's Guide prints
# them in "Comparing Receiver Operating Characteristic Curves" (PROC LOGISTIC): albumin, total protein, K-G score, and the
# outcome.
OVARIAN = np.fromstring(
    """
    3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1
    3.8 5.7 5 1   3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0
    2.3 4.4 6 1   4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1
    3.1 6.6 6 1   4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0
    3.7 6.1 5 1   3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1
    3.3 5.7 6 1   3.7 6.9 5 1  3.6 6.6 5 1
    """,
    sep=" ",
).reshape(-1, 4)


def by_pairs(y, scores):
    """The definition: psi of every pair, its means by positive and by negative, and their variances."""
    psi = np.array([[np.heaviside(x - z, 0.5) for z in scores[y == 0]] for x in scores[y == 1]])
    return psi.mean(), psi.mean(1).var(ddof=1) / len(psi) + psi.mean(0).var(ddof=1) / psi.shape[1]


class TestPublishedExamples:
    def test_ct_ratings(self):
        """As the Stata manual prints them ([R] roctab): area 0.8932, s.e. 0.0307, interval .83295 to .95339."""
        y = np.repeat([0, 1], RATINGS.sum(1))
        scores = np.concatenate([np.repeat(np.arange(1, 6), counts) for counts in RATINGS])
        found = delong(y, scores)
        assert (round(found.auroc, 4), round(found.variance**0.5, 4)) == (0.8932, 0.0307)
        assert np.round(found.interval(), 5).tolist() == [0.83295, 0.95339]

    @pytest.mark.parametrize(
        ("scores", "printed"),
        [
            (10 - OVARIAN[:, 2], (0.7258, 0.1028, 0.5243, 0.9273)),
            (OVARIAN[:, 1], (0.6478, 0.1000, 0.4518, 0.8439)),
        ],
        ids=["K-G score", "total protein"],
    )
    def test_ovarian_cancer(self, scores, printed):
        """As the SAS/STAT User's Guide prints them: area, standard error, 95% Wald limits."""
        found = delong(OVARIAN[:, 3].astype(int), scores)
        assert (found.auroc, found.variance**0.5, *found.interval()) == pytest.approx(printed, abs=5.1e-5)


class TestDefinition:
    @pytest.mark.parametrize("n_values", [3, 8, 10_000])
    def test_over_pairs_with_and_without_ties(self, n_values):
        rng = np.random.default_rng(n_values)
        for n in (9, 40):
            y = rng.permutation(np.arange(n) % 3 == 0).astype(int)
            scores = rng.integers(n_values, size=n) + 2.0 * (n_values > 3) * y
            found = delong(y, scores)
            assert tuple(found) == pytest.approx(by_pairs(y, scores))

    def test_order_of_samples_and_scale_of_scores_do_not_matter(self):
        rng = np.random.default_rng(0)
        y, scores = rng.integers(2, size=60), rng.normal(size=60)
        order = rng.permutation(60)
        assert delong(y[order], np.exp(3 * scores[order])) == pytest.approx(delong(y, scores))

    def test_reversed_scores_mirror_the_auroc(self):
        rng = np.random.default_rng(1)
        y, scores = rng.integers(2, size=60), rng.integers(6, size=60)
        found, mirrored = delong(y, scores), delong(y, -scores)
        assert mirrored.auroc == pytest.approx(1 - found.auroc) and mirrored.variance == pytest.approx(found.variance)

    def test_the_interval_covers_the_truth(self):
        """Of scores N(0, 1) and N(1, 1) the true AUROC is Phi(1 / sqrt 2)."""
        rng = np.random.default_rng(2)
        y = np.arange(200) % 2
        limits = [delong(y, rng.normal(size=200) + y).interval() for _ in range(1000)]
        assert 0.93 < np.mean([low <= 0.76025 <= high for low, high in limits]) < 0.97

    def test_confidence_widens_the_interval(self):
        found = delong(np.arange(40) % 2, np.random.default_rng(3).normal(size=40))
        (low, high), (lower, higher) = found.interval(0.9), found.interval(0.99)
        assert lower < low < found.auroc < high < higher


class TestDegenerate:
    @pytest.mark.parametrize("y", [[1, 1, 1], [0, 0, 0], []])
    def test_one_class_has_no_auroc(self, y):
        assert np.isnan(delong(np.array(y), np.arange(len(y)))).all()

    def test_nan_scores_have_no_auroc(self):
        assert np.isnan(delong([0, 1, 1, 0], [1, np.nan, 2, 3])).all()

    def test_one_sample_of_a_class_has_no_variance(self):
        found = delong([0, 0, 1], [1, 3, 2])
        assert found.auroc == 0.5 and np.isnan(found.variance) and np.isnan(found.interval()).all()

    def test_perfect_order_has_no_spread(self):
        assert delong([0, 0, 1, 1], [1, 2, 3, 4]) == (1, 0)
        assert delong([0, 0, 1, 1], [1, 2, 3, 4]).interval() == (1, 1)

    def test_equal_scores_are_no_order(self):
        assert delong([0, 0, 1, 1], [2, 2, 2, 2]) == (0.5, 0)

    def test_limits_stay_between_0_and_1(self):
        low, high = delong([0, 0, 0, 1, 1, 1], [1, 2, 4, 3, 5, 6]).interval()
        assert low > 0 and high == 1

    def test_all_problems_are_told_at_once(self):
        with pytest.raises(DataError) as told:
            delong([0, 1, 2], [0.5, 0.1])
        assert "shape (3,)" in str(told.value) and "e.g. 2" in str(told.value)
