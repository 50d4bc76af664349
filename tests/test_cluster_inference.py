"""The Z-predictor: finds clusters that are apart, learns from training rows only, holds out by subject."""

from __future__ import annotations

import numpy as np
import pytest

from armed.cluster_inference import ClusterInference
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits, make_splits
from armed.errors import ConfigError, DataError, NotFittedError

LEVELS = np.array(["a", "b", "c"])
CENTRES = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
SETTINGS = {
    "network": {"hidden": (8,)},
    "training": {"epochs": 40, "batch_size": 16, "learning_rate": 0.02, "patience": 5},
}


def simulated(n: int = 150, per_subject: int = 1, seed: int = 0) -> ClusteredData:
    """Three clusters that are well apart; labels that say nothing of them."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n // per_subject) % 3, per_subject)
    X = CENTRES[codes] + 0.7 * rng.normal(size=(len(codes), 2))
    subject = np.repeat(np.arange(len(codes) // per_subject), per_subject)
    return ClusteredData(X, np.arange(len(codes)) % 2, LEVELS[codes], subject=subject)


DATA = simulated()
SPLITS = make_splits(DATA, [0, 1], 3, "test")
TEST = {(f.seed, f.fold): f.test for f in SPLITS}


@pytest.fixture(scope="module")
def fitted() -> ClusterInference:
    return ClusterInference(**SETTINGS).fit(DATA, SPLITS)


def test_it_finds_clusters_that_are_apart(fitted):
    codes = DATA.codes(LEVELS)
    for key, Z in fitted.infer(DATA, TEST, LEVELS).items():
        assert (Z.argmax(1) == codes[TEST[key]]).mean() > 0.9


def test_rows_are_weights_of_the_clusters(fitted):
    Z = fitted.infer(DATA, TEST, LEVELS)
    assert list(Z) == list(TEST)
    for key, z in Z.items():
        assert z.shape == (len(TEST[key]), 3) and (z >= 0).all()
        np.testing.assert_allclose(z.sum(1), 1, rtol=1e-5)


def test_a_sample_between_clusters_is_shared(fitted):
    between = ClusteredData(np.array([[2.0, 0.0], [0.0, 0.0]]), [0, 1], ["new", "new"])
    Z = np.mean([z for z in fitted.infer(between, {key: np.arange(2) for key in TEST}, LEVELS).values()], axis=0)
    assert Z[0, :2].min() > 0.02 and Z[0, 2] < 0.1
    assert Z[1, 0] > 0.9


def test_columns_are_in_the_order_asked_for(fitted):
    key = (0, 0)
    one = fitted.infer(DATA, {key: TEST[key]}, LEVELS)[key]
    other = fitted.infer(DATA, {key: TEST[key]}, LEVELS[[2, 0]])[key]
    np.testing.assert_array_equal(other, one[:, [2, 0]])
    with pytest.raises(DataError, match="not trained on these clusters of the method: d"):
        fitted.infer(DATA, TEST, np.array(["a", "b", "c", "d"]))


def test_labels_are_not_looked_at(fitted):
    flipped = ClusteredData(DATA.X, 1 - DATA.y, DATA.clusters)
    other = ClusterInference(**SETTINGS).fit(flipped, SPLITS)
    for a, b in zip(fitted.infer(DATA, TEST, LEVELS).values(), other.infer(DATA, TEST, LEVELS).values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_only_training_and_validation_rows_are_looked_at():
    """Test rows and rows of unseen clusters become garbage: the same Z-predictor."""
    fold = make_splits(DATA, [0], 3, "test", validation_fraction=0.2).folds[0]
    X, clusters = DATA.X.copy(), DATA.clusters.copy()
    X[fold.test] = 1e6
    clusters[fold.test[::2]] = "d"  # a cluster that no training row has
    garbage = ClusteredData(X, DATA.y, clusters)
    clean, other = (ClusterInference(**SETTINGS).fit(d, Splits((fold,))) for d in (DATA, garbage))
    assert clean.levels_.tolist() == other.levels_.tolist() == ["a", "b", "c"]
    rows = {(0, 0): fold.test}
    np.testing.assert_array_equal(clean.infer(DATA, rows, LEVELS)[0, 0], other.infer(DATA, rows, LEVELS)[0, 0])


def caught_folds(
    monkeypatch, data: ClusteredData, splits: Splits, **settings: object
) -> tuple[ClusteredData, list[Fold]]:
    """The task and folds that are handed to the training loop."""
    import armed.stack_method

    class CaughtError(Exception):
        pass

    def catch(factory, task, inner, *args, **kwargs):
        raise CaughtError(task, list(inner))

    monkeypatch.setattr(armed.stack_method, "fit_stack", catch)
    with pytest.raises(CaughtError) as caught:
        ClusterInference(**SETTINGS, **settings).fit(data, splits)
    return caught.value.args


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_subjects_are_held_out_whole(monkeypatch, fraction):
    data = simulated(240, per_subject=4)
    splits = make_splits(data, [0], 2, "test", validation_fraction=0.2)
    task, inner = caught_folds(monkeypatch, data, splits, validation_fraction=fraction)
    assert len(task) == len(data)
    for outer, f in zip(splits, inner, strict=True):
        assert not set(data.subject[f.train]) & set(data.subject[f.validation])
        n = len(np.unique(data.subject[outer.train])) + len(np.unique(data.subject[outer.validation]))
        assert len(np.unique(data.subject[f.validation])) == round(fraction * n)
        used = np.sort(np.r_[f.train, f.validation])
        assert used.tolist() == np.sort(np.r_[outer.train, outer.validation]).tolist()
        assert len(f.test) == 0


def test_the_task_is_the_cluster(monkeypatch):
    """Rows of clusters that no training row has are left out, also where validation rows have them."""
    clusters = DATA.clusters.copy()
    clusters[:6] = "d"
    data = ClusteredData(DATA.X, DATA.y, clusters)
    fold = Fold(0, 0, np.arange(10, 100), np.arange(3, 10), np.arange(100, 150))
    task, (inner,) = caught_folds(monkeypatch, data, Splits((fold,)))
    assert len(task) == 144
    np.testing.assert_array_equal(task.y, data.codes(LEVELS)[6:])
    np.testing.assert_array_equal(task.X, data.X[6:])
    assert np.sort(np.r_[inner.train, inner.validation]).tolist() == list(range(94))  # rows 6 to 99 of the data


def test_saved_and_loaded(fitted, tmp_path):
    fitted.save(tmp_path / "z")
    loaded = ClusterInference.load(tmp_path / "z")
    assert loaded.levels_.tolist() == LEVELS.tolist() and loaded.settings == {
        **fitted.settings,
        "network": {"hidden": [8]},
    }
    for a, b in zip(fitted.infer(DATA, TEST, LEVELS).values(), loaded.infer(DATA, TEST, LEVELS).values(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 2])
def test_bad_fractions_are_refused(fraction):
    with pytest.raises(ConfigError, match=r"validation_fraction is .*; expected a number between 0 and 1"):
        ClusterInference(validation_fraction=fraction)


def test_bad_use_is_refused(fitted):
    with pytest.raises(NotFittedError):
        ClusterInference().infer(DATA, TEST, LEVELS)
    with pytest.raises(DataError, match="No model was fitted for seed 5, fold 0"):
        fitted.infer(DATA, {(5, 0): TEST[0, 0]}, LEVELS)
    one = ClusteredData(DATA.X, DATA.y, np.full(len(DATA), "a"))
    with pytest.raises(DataError, match="one class only"):
        ClusterInference(**SETTINGS).fit(one, SPLITS)
