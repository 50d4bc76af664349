"""One contract over every registered model: fit, predict, seeds, unseen clusters, saving."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from config_edits import DEFAULT
from contract import (
    ALL,
    CONFIG,
    INFERRING,
    MODELS,
    SEEN,
    UNSEEN,
    assert_same_predictions,
    create,
    fitted,
    relabelled,
    rows_of,
    splits,
    z_predictor,
)

from armed import registry
from armed.data.splits import Fold, Splits
from armed.errors import ConfigError, DataError, NotFittedError, UnseenClusterError


@pytest.fixture(params=MODELS)
def name(request) -> str:
    return request.param


def test_the_registry_covers_the_config():
    assert set(CONFIG["settings"]) == set(MODELS)
    for study, block in yaml.safe_load(DEFAULT.read_text())["studies"].items():
        assert set(block["settings"]) >= set(registry.models_for(study)), study


def test_the_constructor_stores_parameters_only(name):
    method = create(name)
    assert not [a for a in vars(method) if a.endswith("_")]
    settings = method.settings
    again = type(method)(**json.loads(json.dumps(settings)))
    assert json.loads(json.dumps(again.settings)) == json.loads(json.dumps(settings))
    for key, value in CONFIG["settings"][registry.model(name).weights_from or name].items():
        assert settings[key] == value
    with pytest.raises(TypeError):
        type(method)(no_such_setting=1)


def test_nothing_works_before_fit(name, tmp_path):
    method = create(name)
    with pytest.raises(NotFittedError, match=f"This {type(method).__name__} is not fitted yet"):
        method.predict(ALL)
    with pytest.raises(NotFittedError):
        method.importance(ALL, rows_of(SEEN))
    with pytest.raises(NotFittedError):
        method.save(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_fit_returns_self_and_says_what_it_fitted(name):
    method = create(name)
    assert method.fit(ALL, splits(), [1]) is method
    assert method.replicas_ == [(1, 0), (1, 1)]
    assert method.levels_.tolist() == ["c0", "c1", "c2", "c3"]
    assert set(method.notes_) <= set(method.replicas_)
    assert fitted(name).replicas_ == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_predictions(name):
    method = fitted(name)
    data = ALL.take(SEEN)
    p = method.predict(data)
    n = 4 * len(data)
    assert p.fixed.shape == p.mixed.shape == (n,) == p.seed.shape == p.fold.shape == p.row.shape
    assert p.fixed.dtype == p.mixed.dtype == np.float32
    assert all(getattr(p, c).dtype.kind == "i" for c in ("seed", "fold", "row"))
    assert np.isfinite(p.fixed).all() and np.isfinite(p.mixed).all()
    assert p.row.tolist() == list(range(len(data))) * 4
    keys = pd.Series(list(zip(p.seed, p.fold, strict=True)))
    assert keys.drop_duplicates().tolist() == method.replicas_
    by_model = p.fixed.reshape(4, -1)
    assert all(not np.array_equal(by_model[0], by_model[r]) for r in range(1, 4))
    assert (by_model.std(1) > 0).all()


def test_mixed_and_fixed_differ_where_the_registry_says(name):
    entry, p = registry.model(name), fitted(name).predict(ALL.take(SEEN))
    assert fitted(name).uses_clusters is entry.uses_clusters_at_prediction
    assert np.array_equal(p.fixed, p.mixed) is not entry.uses_clusters_at_prediction


def test_models_predict_the_rows_asked_for(name):
    method = fitted(name)
    whole = method.predict(ALL.take(SEEN))
    some = method.predict(ALL, {(1, 1): np.array([7, 3, 100]), (0, 0): np.array([5])})
    assert list(zip(some.seed, some.fold, some.row, strict=True)) == [(1, 1, 7), (1, 1, 3), (1, 1, 100), (0, 0, 5)]
    where = [3 * len(SEEN) + 7, 3 * len(SEEN) + 3, 3 * len(SEEN) + 100, 5]
    np.testing.assert_allclose(some.fixed, whole.fixed[where], rtol=1e-5, atol=1e-6)
    if not registry.model(name).weights_from:  # randomised Z is drawn anew
        np.testing.assert_allclose(some.mixed, whole.mixed[where], rtol=1e-5, atol=1e-6)
    none = method.predict(ALL, {(0, 0): np.array([], dtype=int)})
    assert none.mixed.shape == (0,)
    with pytest.raises(DataError, match="No model was fitted for seed 9, fold 0"):
        method.predict(ALL, {(9, 0): SEEN})


def test_a_seed_decides_everything(name):
    first, second = fitted(name).predict(ALL.take(SEEN)), create(name).fit(ALL, splits()).predict(ALL.take(SEEN))
    assert_same_predictions(first, second)


def test_models_do_not_depend_on_the_other_models_fitted(name):
    """Fitted alone, a fold of a seed is the same; so are its predictions."""
    alone = create(name).fit(ALL, Splits(tuple(f for f in splits() if (f.seed, f.fold) == (1, 0))))
    rows = {(1, 0): SEEN}
    assert_same_predictions(alone.predict(ALL, rows), fitted(name).predict(ALL, rows))


def test_another_seed_is_another_model(name):
    """On the same rows: methods trained in stacks start and shuffle anew, the others have no randomness."""
    fold = splits().folds[0]
    twins = Splits(tuple(Fold(seed, 0, fold.train, fold.validation, fold.test) for seed in (0, 7)))
    p = create(name).fit(ALL, twins).predict(ALL.take(SEEN))
    fixed, mixed = p.fixed.reshape(2, -1), p.mixed.reshape(2, -1)
    assert np.array_equal(fixed[0], fixed[1]) is (registry.model(name).engine != "stack")
    assert np.array_equal(mixed[0], mixed[1]) is (registry.model(name).engine != "stack")


def test_unseen_clusters_are_the_callers_choice(name):
    method = fitted(name)
    if not registry.model(name).uses_clusters_at_prediction:
        p = method.predict(ALL, rows_of(UNSEEN))
        assert np.isfinite(p.mixed).all()
        return
    with pytest.raises(UnseenClusterError) as caught:
        method.predict(ALL)
    assert "2 clusters were never seen in training (e0, e1" in str(caught.value)
    assert "new_clusters='infer'" in str(caught.value) and "'population'" in str(caught.value)
    method.predict(ALL, rows_of(SEEN))  # the data may hold others than the rows


def test_population_is_the_fixed_effects_prediction(name):
    method = fitted(name)
    p = method.predict(ALL, new_clusters="population")
    unseen = np.isin(p.row, UNSEEN)
    if registry.model(name).weights_from:  # Z is random whatever the cluster
        assert not np.array_equal(p.mixed[unseen], p.fixed[unseen])
        return
    np.testing.assert_array_equal(p.mixed[unseen], p.fixed[unseen])
    known = method.predict(ALL, rows_of(SEEN))
    np.testing.assert_allclose(p.mixed[~unseen], known.mixed, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [m for m in MODELS if not registry.model(m).weights_from])
def test_a_choice_that_does_not_exist_is_refused(name):
    with pytest.raises(ConfigError, match=r"new_clusters is 'popluation'.*Did you mean 'population'"):
        fitted(name).predict(ALL, new_clusters="popluation")


@pytest.mark.parametrize("name", INFERRING)
def test_inference_needs_a_z_predictor(name):
    with pytest.raises(ConfigError, match="needs cluster_inference"):
        fitted(name).predict(ALL, new_clusters="infer")


@pytest.mark.parametrize("name", INFERRING)
def test_inferred_clusters(name):
    method, rows = fitted(name), rows_of(np.r_[UNSEEN, SEEN[:5]])
    p = method.predict(ALL, rows, new_clusters="infer", cluster_inference=z_predictor())
    unseen = np.isin(p.row, UNSEEN)
    population = method.predict(ALL, rows, new_clusters="population")
    np.testing.assert_allclose(p.fixed, population.fixed, rtol=1e-5, atol=1e-6)
    assert (p.mixed[unseen] != p.fixed[unseen]).mean() > 0.5  # some units may be 0 for some rows
    np.testing.assert_allclose(p.mixed[~unseen], population.mixed[~unseen], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [m for m in INFERRING if registry.model(m).random_effects])
def test_inferred_clusters_blend_the_random_effects(name):
    method, rows = fitted(name), rows_of(UNSEEN)
    p = method.predict(ALL, rows, new_clusters="infer", cluster_inference=z_predictor())
    Z = z_predictor().infer(ALL, rows, method.levels_)
    effects = np.zeros_like(p.mixed)
    for c, level in enumerate(method.levels_):
        pure = method.predict(relabelled(ALL, level), rows)
        effects += np.concatenate([Z[key][:, c] for key in rows]) * (pure.mixed - pure.fixed)
    np.testing.assert_allclose(p.mixed - p.fixed, effects, rtol=1e-3, atol=1e-4)


def test_saved_models_predict_the_same(name, tmp_path):
    method = fitted(name)
    method.save(tmp_path / "run")
    method.save(tmp_path / "run")  # again, over what is there
    assert [f.name for f in tmp_path.iterdir()] == ["run"]
    loaded = type(method).load(tmp_path / "run")
    assert_same_predictions(loaded.predict(ALL.take(SEEN)), method.predict(ALL.take(SEEN)))
    population = {"rows": rows_of(UNSEEN), "new_clusters": "population"}
    assert_same_predictions(loaded.predict(ALL, **population), method.predict(ALL, **population))
    assert loaded.replicas_ == method.replicas_ and loaded.notes_ == method.notes_
    assert json.dumps(loaded.settings) == json.dumps(method.settings)
    rows = rows_of(SEEN)
    for ours, theirs in [
        (loaded.random_effects_, method.random_effects_),
        (loaded.importance(ALL, rows), method.importance(ALL, rows)),
    ]:
        assert (ours is None and theirs is None) or ours.equals(theirs)


@pytest.mark.parametrize("name", [m for m in MODELS if registry.model(m).weights_from])
def test_models_that_take_the_weights_of_another(name, tmp_path):
    source = fitted(registry.model(name).weights_from)
    source.save(tmp_path / "run")
    method = registry.load(registry.model(name).method).load(tmp_path / "run")
    ours, theirs = method.predict(ALL.take(SEEN)), source.predict(ALL.take(SEEN))
    assert_same_predictions(ours, theirs, but_mixed=True)
    same = np.isclose(ours.mixed, theirs.mixed, rtol=1e-5, atol=1e-6).mean()
    assert 0.1 < same < 0.45  # one row in four keeps its cluster by chance
    assert_same_predictions(ours, method.predict(ALL.take(SEEN)))
