"""Thresholds of trained models: from validation rows alone, or from all rows that are not tested."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from armed.bootstrap import draws_of_model
from armed.data.clustered import ClusteredData
from armed.data.preparation import Preparation
from armed.data.splits import Fold, Splits, make_splits
from armed.data.study import StudyData
from armed.jobs.trained import Names, Trained
from armed.method import Predictions
from armed.metrics import youden_threshold
from armed.registry import STUDIES
from armed.scoring import score

N = 90


class Remembers:
    """Stands for a method whose model (seed, fold) has its own output for each row of the data."""

    def __init__(self, outputs):
        self.outputs, self.asked = outputs, {}

    def predict(self, data, rows, *, new_clusters, cluster_inference):
        assert new_clusters == "error" and cluster_inference is None
        self.asked = {key: np.asarray(own) for key, own in rows.items()}
        seed, fold = (np.concatenate([np.full(len(own), key[i]) for key, own in rows.items()]) for i in (0, 1))
        row = np.concatenate(list(self.asked.values()))
        mixed = np.concatenate([self.outputs[key][own] for key, own in rows.items()])
        return Predictions(seed, fold, row, mixed, mixed)


@pytest.fixture
def data():
    images = np.zeros((N, 1, 2, 2), dtype=np.uint8)
    return ClusteredData(images, np.arange(N) % 2, np.arange(N) // 2 % 3)


def trained(data, folds, outputs, first_fold=0):
    fitted = Preparation((), "s").fit(data, folds)
    return Trained(Remembers(outputs), {"seen": data}, folds, fitted, pd.DataFrame(), None, first_fold)


def outputs(folds, seed=0):
    rng = np.random.default_rng(seed)
    return {(f.seed, f.fold): rng.normal(size=N) for f in folds}


@pytest.mark.parametrize("kind", ["validation", "train"])
def test_the_threshold_of_each_fit_is_the_youden_point_of_its_own_rows(data, kind):
    folds = make_splits(data, [0, 3], 2, "s", validation_fraction=0.3, test_fraction=0.2)
    values = outputs(folds)
    fits = trained(data, folds, values, first_fold=10)
    table = fits.thresholds(kind)
    assert list(table) == ["seed", "fold", "threshold", "chosen_on"] and (table["chosen_on"] == kind).all()
    assert [*zip(table["seed"], table["fold"], strict=True)] == [(0, 10), (0, 11), (3, 10), (3, 11)]
    for fold, found in zip(folds, table["threshold"], strict=True):
        own = fold.validation if kind == "validation" else np.concatenate([fold.train, fold.validation])
        assert not np.intersect1d(fits.method.asked[fold.seed, fold.fold], fold.test).size
        assert found == youden_threshold(data.y[own], values[fold.seed, fold.fold][own])


def test_half_where_training_diverged_or_validation_has_one_class_or_no_rows(data):
    rows, none = np.arange(N), np.array([], dtype=int)
    positive, mixed = rows[rows % 2 == 1], rows[60:70]
    folds = Splits(
        (
            Fold(0, 0, np.setdiff1d(rows, positive[:5]), positive[:5], none),
            Fold(0, 1, rows, none, none),
            Fold(0, 2, rows[:60], mixed, rows[70:]),
            Fold(0, 3, rows[:60], mixed, rows[70:]),
        )
    )
    values = outputs(folds)
    values[0, 2][mixed[0]] = np.nan
    table = trained(data, folds, values).thresholds("validation").set_index("fold")
    assert table["chosen_on"].tolist() == ["constant"] * 3 + ["validation"]
    assert table.loc[[0, 1, 2], "threshold"].tolist() == [0.5] * 3
    assert table.loc[3, "threshold"] == youden_threshold(data.y[mixed], values[0, 3][mixed])


def test_images_are_predicted_scored_and_drawn_like_tables(data):
    """Seen part and unseen part of images; the thresholds of validation rows serve both."""
    rng = np.random.default_rng(1)
    X = rng.integers(0, 256, size=(40, 1, 2, 2), dtype=np.uint8)
    unseen = ClusteredData(X, np.arange(40) % 2, np.arange(40) // 2 % 12 + 50, sample_id=[f"u{i}" for i in range(40)])
    folds = make_splits(data, [0, 1], 2, "s", validation_fraction=0.3, test_fraction=0.2)
    fits = replace(trained(data, folds, outputs(folds)), parts={"seen": data, "unseen": unseen})
    fits.method.predict = lambda part, rows, **_: Remembers.predict(
        fits.method, part, rows, new_clusters="error", cluster_inference=None
    )
    study = replace(STUDIES["mci_conversion"], partitions=("seen", "unseen", "unseen_population"))
    names = Names.of(study, {"variants": {"main": {}}}, StudyData({"main": dict(fits.parts)}, pd.DataFrame()))
    predictions = fits.predictions(study.partitions, names, "main")
    assert set(predictions["partition"]) == {"seen", "unseen"}, "without a Z-predictor Z = 0 is the same as unseen"
    thresholds = fits.thresholds("validation").assign(variant="main")
    scores = score(predictions, study.metrics, thresholds, study=study.id, source="stand-in", model="conventional")
    assert set(scores.metrics["metric"]) == set(study.metrics) and scores.metrics["value"].notna().all()
    draws = draws_of_model(
        predictions, ["auroc", "sensitivity"], study=study.id, model="conventional", draws=20, thresholds=thresholds
    )
    assert set(draws["metric"]) == {"auroc", "sensitivity"} and set(draws["partition"]) == {"unseen"}


def test_a_constant_threshold_asks_for_no_prediction(data):
    folds = make_splits(data, [0], 3, "s", validation_fraction=0.2)
    fits = trained(data, folds, {})
    table = fits.thresholds("constant")
    assert not fits.method.asked and (table["threshold"] == 0.5).all() and (table["chosen_on"] == "constant").all()
    one = Splits((Fold(0, 0, np.arange(80), np.arange(81, 89, 2), np.array([80])),))
    fits = trained(data, one, {})
    assert fits.thresholds("validation")["chosen_on"].tolist() == ["constant"] and not fits.method.asked
