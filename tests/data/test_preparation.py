"""Preparation inside folds: by hand, without leaks, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armed.data.clustered import ClusteredData
from armed.data.preparation import PROBES, Preparation
from armed.data.splits import Fold, Splits, make_splits
from armed.errors import ConfigError, DataError

NAN = np.nan


def example(n: int = 60, seed: int = 0, continuous: bool = False) -> ClusteredData:
    rng = np.random.default_rng(seed)
    X = rng.normal(5, 3, size=(n, 3))
    X[rng.random(X.shape) < 0.1] = NAN
    y = rng.normal(10, 4, n) if continuous else np.arange(n) // 3 % 2
    return ClusteredData(X, y, np.array(["a", "b", "c"])[np.arange(n) % 3], allow_missing=True)


class TestByHand:
    data = ClusteredData(
        np.array([[1.0, NAN], [3.0, 4.0], [NAN, 8.0], [100.0, -50.0]]),
        np.array([0, 1, 1, 0]),
        np.array(["a", "a", "b", "c"]),
        sample_id=np.array([10, 11, 12, 13]),
        allow_missing=True,
    )
    splits = Splits((Fold(0, 0, np.array([0, 1, 2]), np.array([], int), np.array([3])),))

    def test_standardise_then_impute_by_the_training_mean(self):
        fitted = Preparation(("standardise",)).fit(self.data, self.splits)
        prepared = fitted.apply(self.data, {(0, 0): np.arange(4)})
        # x1: mean 2, s.d. 1; x2: mean 6, s.d. 2; missing ones are at the mean.
        expected = [[-1, 0], [1, -1], [0, 1], [98, -28]]
        np.testing.assert_allclose(prepared.data.X, expected)
        np.testing.assert_array_equal(prepared.source, np.arange(4))

    def test_probes_know_the_cluster_share_of_training_rows_alone(self):
        fitted = Preparation(("site_probes",), "study").fit(self.data, self.splits)
        prepared = fitted.apply(self.data, {(0, 0): np.array([0, 2, 3])})
        assert prepared.data.feature_names == ("x1", "x2", *PROBES)
        # a: 1 of 2; b: 1 of 1, clipped to 1 - 1 / 2; c has no training row.
        for row, share in ((0, 0.5), (1, 0.5)):
            probes = np.array([share, share**2, 1 / share, np.cos(share), np.sin(share)])
            assert np.abs(prepared.data.X[row, 2:] - probes).max() < 5 * 0.05
        assert np.isnan(prepared.data.X[2, 2:]).all()

    def test_unknown_clusters_have_the_mean_probe(self):
        fitted = Preparation(("site_probes", "standardise"), "study").fit(self.data, self.splits)
        assert (fitted.apply(self.data, {(0, 0): np.array([3])}).data.X[0, 2:] == 0).all()

    def test_a_feature_without_any_value_in_training_becomes_0(self):
        data = ClusteredData(
            np.array([[NAN, 2.0], [NAN, 2.0], [7.0, 3.0]]), np.array([0, 1, 0]), np.array(["a"] * 3), allow_missing=True
        )
        splits = Splits((Fold(0, 0, np.array([0, 1]), np.array([], int), np.array([2])),))
        X = Preparation(("standardise",)).fit(data, splits).apply(data, {(0, 0): np.arange(3)}).data.X
        np.testing.assert_array_equal(X, [[0, 0], [0, 0], [7, 1]])  # constant: shifted, not scaled


class TestFolds:
    def test_training_rows_of_each_fold_have_mean_0_and_sd_1(self):
        data = example()
        splits = make_splits(data, [0, 1], 3, "s", validation_fraction=0.2)
        prepared, folds = Preparation(("standardise",)).fit(data, splits).training(data, splits)
        assert not np.isnan(prepared.X).any() and not prepared.allow_missing
        for before, after in zip(splits, folds, strict=True):
            there = ~np.isnan(data.X[before.train])
            mean = np.array([prepared.X[after.train][there[:, j], j].mean() for j in range(3)])
            np.testing.assert_allclose(mean, 0, atol=1e-12)
            np.testing.assert_array_equal(prepared.y[after.train], data.y[before.train])
            np.testing.assert_array_equal(prepared.clusters[after.validation], data.clusters[before.validation])
            assert len(after.test) == 0

    @pytest.mark.parametrize("steps", [("standardise",), ("site_probes", "standardise")])
    def test_rows_outside_training_change_nothing(self, steps):
        """No leak: with other test and validation rows, features and labels, the training rows stay the same."""
        data, poisoned = example(), example()
        splits = make_splits(data, [0], 3, "s", validation_fraction=0.2)
        fold = splits.folds[0]
        outside = np.concatenate([fold.test, fold.validation])
        poisoned.X[outside], poisoned.y[outside] = 1e6, 1 - poisoned.y[outside]
        one = Splits((fold,))
        X = [Preparation(steps, "s").fit(d, one).apply(d, {(0, 0): fold.train}).data.X for d in (data, poisoned)]
        np.testing.assert_array_equal(*X)

    def test_nothing_to_do_leaves_data_and_rows_as_they_are(self):
        data = example()
        splits = make_splits(data, [0], 3, "s")
        fitted = Preparation().fit(data, splits)
        assert fitted.training(data, splits) == (data, splits)
        prepared = fitted.apply(data, {(0, 0): np.array([5, 2])})
        assert prepared.data is data and (prepared.rows[0, 0] == [5, 2]).all()
        assert prepared.source[prepared.rows[0, 0]].tolist() == [5, 2]

    @given(st.lists(st.integers(0, 59), min_size=1, max_size=20), st.integers(0, 2))
    def test_rows_in_any_order_and_repeated(self, rows, fold):
        data = example()
        splits = make_splits(data, [0], 3, "s")
        fitted = Preparation(("standardise",)).fit(data, splits)
        alone = fitted.apply(data, {(0, fold): np.arange(60)}).data.X
        some = fitted.apply(data, {(0, (fold + 1) % 3): np.arange(7), (0, fold): np.array(rows)})
        np.testing.assert_array_equal(some.data.X[some.rows[0, fold]], alone[rows])
        np.testing.assert_array_equal(some.source[some.rows[0, fold]], rows)


class TestLabels:
    def test_standardised_by_training_rows_and_restored(self):
        data = example(continuous=True)
        splits = make_splits(data, [0], 3, "s")
        fitted = Preparation(("standardise_label",)).fit(data, splits)
        rows = {(0, f.fold): np.arange(60) for f in splits}
        prepared = fitted.apply(data, rows)
        for f in splits:
            own = prepared.data.y[prepared.rows[0, f.fold]]
            assert own[f.train].mean() == pytest.approx(0, abs=1e-12) and own[f.train].std() == pytest.approx(1)
        seed, fold = np.zeros(180, int), np.repeat([0, 1, 2], 60)
        np.testing.assert_allclose(fitted.restore(prepared.data.y, seed, fold), np.tile(data.y, 3))

    def test_probes_need_binary_labels(self):
        data = example(continuous=True)
        with pytest.raises(DataError, match="labels 0 and 1"):
            Preparation(("site_probes",)).fit(data, make_splits(data, [0], 3, "s"))


def test_unknown_steps_and_folds_are_refused():
    with pytest.raises(ConfigError, match="Unknown preparation 'standardize'. Did you mean 'standardise'"):
        Preparation(("standardize",))
    data = example()
    fitted = Preparation(("standardise",)).fit(data, make_splits(data, [0], 3, "s"))
    with pytest.raises(DataError, match="Seed 1, fold 0 was not among the folds"):
        fitted.apply(data, {(1, 0): np.arange(3)})
