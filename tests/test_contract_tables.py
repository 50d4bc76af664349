"""One contract over every registered model: tables, what a fit may see, and data that is refused."""

from __future__ import annotations

import numpy as np
import pytest
from contract import (
    ALL,
    EFFECTS,
    MODELS,
    SEEDS,
    SEEN,
    UNSEEN,
    assert_same_predictions,
    create,
    fitted,
    simulated,
    splits,
)

from armed import entries, registry
from armed.data.clustered import ClusteredData
from armed.data.splits import Splits, make_splits
from armed.errors import ConfigError, DataError

TREES = ("gradient_boosting", "gpboost")


@pytest.fixture(params=MODELS)
def name(request) -> str:
    return request.param


def test_random_effects_table(name):
    entry, table = registry.model(name), fitted(name).random_effects_
    if not entry.random_effects:
        assert table is None
        return
    assert list(table.columns) == EFFECTS
    assert not table.duplicated(["seed", "fold", "cluster", "effect", "feature"]).any()
    assert set(table["cluster"]) == set(fitted(name).levels_)
    assert set(zip(table["seed"], table["fold"], strict=True)) == set(fitted(name).replicas_)
    assert set(table["effect"]) <= {"intercept", "slope"} and "intercept" in set(table["effect"])
    assert (table.loc[table["effect"] == "intercept", "feature"] == "").all()
    assert (table.loc[table["effect"] == "slope", "feature"] != "").all()
    assert (table.groupby(["seed", "fold", "cluster"]).size() == len(table) / 16).all()
    assert np.isfinite(table[["mean", "sd"]]).all(axis=None) and (table["sd"] >= 0).all()
    assert table["mean"].abs().max() > 0


@pytest.mark.parametrize("name", ["lmmnn", "mixed_logit", "gpboost"])
def test_random_intercepts_are_what_the_prediction_adds(name):
    """Where the features are 0, so that slopes on them add nothing."""
    table = fitted(name).random_effects_
    table = table[(table["seed"] == 0) & (table["fold"] == 0)]
    for cluster in fitted(name).levels_:
        data = ClusteredData(np.zeros((2, 3)), [0, 1], [cluster] * 2)
        p = fitted(name).predict(data, {(0, 0): np.arange(2)})
        own = table[(table["cluster"] == cluster) & (table["effect"] == "intercept")]["mean"].item()
        np.testing.assert_allclose(p.mixed - p.fixed, own, rtol=1e-4, atol=1e-5)


def test_importance(name):
    method, rows = fitted(name), {(1, 0): SEEN[:40], (0, 1): SEEN[40:]}
    table = method.importance(ALL, rows)
    assert list(table.columns) == ["seed", "fold", "feature", "importance"]
    keys = table[["seed", "fold", "feature"]].apply(tuple, axis=1).tolist()
    assert keys == [(s, f, x) for s, f in rows for x in ALL.feature_names]
    assert np.isfinite(table["importance"]).all() and (table["importance"] >= 0).all() and table["importance"].max() > 0


@pytest.mark.parametrize("name", [m for m in MODELS if m not in ("mixedlm", *TREES)])
def test_importance_is_the_gradient_of_the_fixed_effects_prediction(name):
    """Against differences of predictions. mixedlm's is that of a probability (test_linear_mixed.py); trees have none."""
    method, rows, step = fitted(name), {(0, 0): SEEN}, 1e-2
    table = method.importance(ALL, rows)
    for j, feature in enumerate(ALL.feature_names):
        shifted = []
        for sign in (1, -1):
            X = ALL.X.copy()
            X[:, j] += sign * step
            shifted.append(method.predict(ClusteredData(X, ALL.y, ALL.clusters), rows).fixed.astype(float))
        slope = np.abs(shifted[0] - shifted[1]).mean() / (2 * step)
        expected = slope * ALL.X[SEEN, j].std()
        got = table.loc[table["feature"] == feature, "importance"].item()
        assert got == pytest.approx(expected, rel=0.05, abs=0.01)  # ReLUs have kinks


def test_nothing_but_training_rows_enters_a_fit(name):
    """Test rows, and rows of clusters that are unseen, become garbage: the fit stays the same to the last bit."""
    fold = splits().folds[0]
    rng = np.random.default_rng(1)
    outside = np.setdiff1d(np.arange(len(ALL)), fold.train)
    X, y = ALL.X.copy(), ALL.y.copy()
    X[outside], y[outside] = 1e3 * rng.normal(size=(len(outside), 3)), rng.integers(0, 2, len(outside))
    clusters = ALL.clusters.copy()
    clusters[UNSEEN] = "e9"
    garbage = ClusteredData(X, y, clusters)
    clean, other = (create(name).fit(d, Splits((fold,))) for d in (ALL, garbage))
    assert clean.levels_.tolist() == other.levels_.tolist()
    assert_same_predictions(clean.predict(ALL, {(0, 0): SEEN}), other.predict(ALL, {(0, 0): SEEN}))
    if clean.random_effects_ is not None:
        assert clean.random_effects_.equals(other.random_effects_)
    assert clean.notes_ == other.notes_


def test_seeds_use_their_own_dataset(name):
    """Where there are several simulated datasets, seed s is fitted to dataset s and predicts its rows."""
    two = [ALL.take(SEEN)] * 2
    data = ClusteredData(
        np.concatenate([d.X + 0.1 * i for i, d in enumerate(two)]),
        np.concatenate([d.y for d in two]),
        np.concatenate([d.clusters for d in two]),
        dataset=np.repeat([0, 1], len(SEEN)),
    )
    method = create(name).fit(data, make_splits(data, SEEDS, 2, "contract"))
    p = method.predict(data)
    assert len(p.row) == 4 * len(SEEN) and (data.dataset[p.row] == p.seed).all()


def test_other_features_are_refused(name):
    renamed = ClusteredData(ALL.X, ALL.y, ALL.clusters, feature_names=("x1", "x2", "z"))
    with pytest.raises(DataError, match="The data has features x1, x2, z, but the method was fitted on x1, x2, x3"):
        fitted(name).predict(renamed)


def test_bad_data_is_refused_before_training(name):
    X = ALL.X.copy()
    X[3, 1] = np.nan
    wrong = {
        "No fold of the splits has one of the seeds": (ALL, splits(), [5]),
        "one class only": (ClusteredData(ALL.X, np.ones(len(ALL), int), ALL.clusters), splits(), SEEDS),
        "impute": (ClusteredData(X, ALL.y, ALL.clusters, allow_missing=True), splits(), SEEDS),
        "expects binary labels": (simulated("multiclass"), splits(), SEEDS),
    }
    for message, arguments in wrong.items():
        method = create(name)
        with pytest.raises(DataError) as caught:
            method.fit(*arguments)
        assert message in str(caught.value)


LABELS = [
    (m, label)
    for m in MODELS
    for label in ("multiclass", "continuous")
    if not registry.model(m).weights_from and m != "armed_no_adversary"
]


def test_which_labels_a_method_takes():
    """Those that it has a likelihood for."""
    without = {"mixed_logit": {"multiclass", "continuous"}, "mixedlm": {"multiclass"}}
    without |= {m: {"multiclass"} for m in ("menet", "lmmnn", "gpboost")}
    for m in MODELS:
        known = registry.load(registry.model(m).method).labels
        assert {"binary", "multiclass", "continuous"} - set(known) == without.get(m, set())


def test_a_misspelt_kind_of_label(name):
    with pytest.raises(ConfigError, match=r"label is 'binry', but .* Did you mean 'binary'"):
        create(name, label="binry")


@pytest.mark.parametrize(("name", "label"), LABELS)
def test_other_kinds_of_labels(name, label):
    data, known = simulated(label), registry.load(registry.model(name).method).labels
    if label not in known:
        with pytest.raises(ConfigError, match=f"label is '{label}', but .* takes {' or '.join(known)} labels only"):
            create(name, label=label)
        return
    method = create(name, label=label)
    p = method.fit(data, splits(), [0]).predict(data, new_clusters="population")
    assert p.mixed.shape == p.fixed.shape == ((2 * len(data), 3) if label == "multiclass" else (2 * len(data),))
    assert np.isfinite(p.mixed).all()
    table = method.random_effects_
    if table is not None and label == "multiclass":
        assert {f.rsplit("->", 1)[1] for f in table["feature"]} == {"0", "1", "2"}


def test_the_registry_tells_the_kinds_of_labels(name):
    """And the class refuses the others."""
    entry = registry.model(name)
    cls = registry.load(entry.method)
    assert entry.kinds == cls.labels
    for label in set(entries.LABELS) - set(entry.kinds):
        with pytest.raises(ConfigError, match=label):
            cls(study="contract", label=label).fit(SEEN, splits())
