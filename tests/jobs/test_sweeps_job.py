"""The job that changes one thing at a time, at tiny size: what is fitted, and that a level is the plain fit with it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from config_edits import DEFAULT, put

from armed import config as configuration
from armed import registry, results
from armed.data.splits import Splits, make_splits
from armed.data.study import is_probe
from armed.jobs.sweeps import _Drawn, points, sweep
from armed.sweep_config import FACTORS, IMPORTANCE, swept_models

STUDY = "spirals_confounded"
LEVELS = {"lambda_g": [0.0], "lambda_K": [0.1], "lambda_F": [], "prior_scale": [3.0]}
LEVELS |= {"n_clusters": [3], "n_per_cluster": [30], "ratio_sd": [0.0]}
METRICS = {
    ("seen", "accuracy"),
    ("unseen", "accuracy"),
    ("deconfounded", "accuracy"),
    ("deconfounded_fixed", "accuracy"),
    ("seen", "probe_rank"),
}
HOW = {"device": "cpu", "stack_size": 64, "engine": "eager"}


@pytest.fixture(scope="module")
def config() -> dict:
    config = configuration.load([DEFAULT])
    block = config["studies"][STUDY]
    block |= {"folds": 3}
    block["data"] |= {"n_clusters": 4, "n_per_cluster": 60, "n_unseen_clusters": 3, "n_per_unseen_cluster": 20}
    block["training"] |= {"epochs": 3}
    block["cluster_inference"] |= {"epochs": 2}
    config["sweeps"] = {"datasets": 3, "folds": 2, **LEVELS}
    configuration.check(config)
    return config


def run(config: dict, model: str, folder) -> pd.DataFrame:
    sweep(configuration.sweep_settings(config, model), folder / f"{model}.tsv", **HOW)
    return results.read("sensitivity", folder / f"{model}.tsv")


@pytest.fixture(scope="module")
def swept(config, tmp_path_factory) -> dict[str, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("sweeps")
    return {model: run(config, model, folder) for model in swept_models(config)}


def value_of(table: pd.DataFrame, factor: str, level: str) -> pd.Series:
    rows = table[(table["factor"] == factor) & (table["level"] == level)]
    return rows.set_index(["partition", "metric", "seed"])["value"].sort_index()


def test_every_level_is_scored_once_for_each_dataset(swept):
    own = {"lambda_g": "0.5", "lambda_K": "1e-05", "prior_scale": "1"}
    own |= {"n_clusters": "4", "n_per_cluster": "60", "ratio_sd": "0.35"}
    for model, table in swept.items():
        of_data = {(f, f"{LEVELS[f][0]:g}") for f in ("n_clusters", "n_per_cluster", "ratio_sd")}
        wanted = {*own.items(), *of_data}
        wanted |= {("lambda_g", "0")} if model != "conventional" else set()
        wanted |= {("lambda_K", "0.1"), ("prior_scale", "3")} if model == "armed" else set()
        assert set(zip(table["factor"], table["level"], strict=True)) - wanted == {
            (IMPORTANCE, "average"),
            (IMPORTANCE, "mean_point"),
        }
        for factor, level in wanted:
            assert set(value_of(table, factor, level).index) == {(*m, seed) for m in METRICS for seed in range(3)}
        assert table["value"].notna().all() and set(table["fold"]) == {-1}


def test_the_study_as_it_is_stands_in_every_factor(swept):
    table = swept["armed"]
    first = value_of(table, "lambda_g", "0.5")
    for factor, level in (("lambda_K", "1e-05"), ("prior_scale", "1"), ("n_clusters", "4"), ("ratio_sd", "0.35")):
        pd.testing.assert_series_equal(value_of(table, factor, level), first)
    averaged = value_of(table, IMPORTANCE, "average")
    pd.testing.assert_series_equal(averaged, first[first.index.isin(averaged.index)])


@pytest.mark.parametrize(
    ("factor", "level", "data", "changed"),
    [
        ("lambda_g", "0.5", {}, {}),
        ("lambda_K", "0.1", {}, {"lambda_K": 0.1}),
        ("prior_scale", "3", {}, {"slope_prior_sd": 0.9, "intercept_prior_sd": 0.3}),
        ("n_clusters", "3", {"n_clusters": 3}, {}),
        ("ratio_sd", "0", {"ratio_sd": 0.0}, {}),
    ],
)
def test_a_level_is_the_plain_fit_with_it(config, swept, factor, level, data, changed):
    """The study's own way: its data, folds and method, with the one thing changed, and no stack of other levels."""
    block, settings = config["studies"][STUDY], configuration.settings(config, STUDY, "armed")
    made = registry.load(registry.study(STUDY).data)({**block["data"], **data}, STUDY, range(3))
    parts = made.parts["main"]
    folds = [f for f in make_splits(parts["seen"], range(3), 3, STUDY) if f.fold < 2]
    method = registry.load(registry.model("armed").method)(
        study=STUDY,
        network=settings["network"],
        training=settings["training"],
        **HOW,
        **(settings["variants"]["main"] | changed),
    )
    method.fit(parts["seen"], Splits(tuple(folds)))
    expected = {}
    for partition, name, output in (("seen", "seen", "mixed"), ("deconfounded_fixed", "deconfounded", "fixed")):
        rows = {(f.seed, f.fold): f.test if name == "seen" else parts[name].rows_of(f.seed) for f in folds}
        predicted = method.predict(parts[name], rows)
        right = (getattr(predicted, output) >= 0) == (parts[name].y[predicted.row] == 1)
        by_fold = pd.Series(right).groupby([predicted.seed, predicted.fold]).mean()
        for seed, value in by_fold.groupby(level=0).mean().items():
            expected[partition, "accuracy", seed] = value
    importance = method.importance(parts["seen"], {(f.seed, f.fold): f.test for f in folds})
    means = importance.groupby(["seed", "feature"])["importance"].mean().unstack("feature")
    for seed, row in means.iterrows():
        probes = [name for name in row.index if is_probe(name)]
        expected[("seen", "probe_rank", seed)] = 1 + (row.drop(probes) >= row[probes].max()).sum()
    found = value_of(swept["armed"], factor, level)
    np.testing.assert_allclose([found[key] for key in expected], list(expected.values()), atol=1e-12)


def test_other_levels_of_the_sweep_change_nothing(config, swept, tmp_path):
    alone = {**config, "sweeps": {**config["sweeps"], **{f: [] for f in FACTORS}, "lambda_K": [0.1]}}
    found = run(alone, "armed", tmp_path)
    pd.testing.assert_series_equal(value_of(found, "lambda_K", "0.1"), value_of(swept["armed"], "lambda_K", "0.1"))


def test_factors_of_the_data_change_the_data(config):
    settings = configuration.sweep_settings(config, "armed")
    drawn = {name: _Drawn.of(change, settings).parts for name, change in CHANGES.items()}
    seen = {name: parts["seen"] for name, parts in drawn.items()}
    assert {name: len(part.levels) for name, part in seen.items()} == {"own": 4, "fewer": 3, "small": 4, "even": 4}
    assert len(seen["small"]) == len(seen["own"]) / 2 and len(drawn["small"]["unseen"]) == len(drawn["own"]["unseen"])
    balance = {name: [part.y[part.clusters == c].mean() for c in part.levels] for name, part in seen.items()}
    assert np.allclose(balance["even"], 0.5) and np.std(balance["own"]) > 0.05
    probe = [seen[name].X[:, 2] for name in ("own", "even")]
    assert probe[0].std() > probe[1].std()


CHANGES = {"own": {}, "fewer": {"n_clusters": 3}, "small": {"n_per_cluster": 30}, "even": {"ratio_sd": 0.0}}


def test_points_change_one_thing_each(config):
    found = points(configuration.sweep_settings(config, "armed"))
    sizes = {p.names[0][0]: len({**p.data, **p.hyper}) for p in found[1:]}
    assert not found[0].data | found[0].hyper and sizes.pop("prior_scale") == 2  # of slopes and of the intercept
    assert set(sizes.values()) == {1}
    changed = {factor for p in found[1:] for factor, _ in p.names}
    assert changed == {"lambda_g", "lambda_K", "prior_scale", "n_clusters", "n_per_cluster", "ratio_sd"}
    assert all(len(p.names) == 1 for p in found[1:]) and len(found[0].names) == 6
    conventional = points(configuration.sweep_settings(config, "conventional"))
    assert not any(p.hyper for p in conventional) and len(conventional) == 4


def test_a_model_without_slopes_has_one_prior(config):
    flat = configuration.sweep_settings(config, "armed")
    flat["fit"]["variants"]["main"]["slopes"] = None
    (scaled,) = [p for p in points(flat) if p.names[0][0] == "prior_scale"]
    assert list(scaled.hyper) == ["intercept_prior_sd"]


def test_what_sweeps_depend_on(config):
    before = configuration.sweep_settings(config, "armed")
    assert "seeds" not in before["fit"] and list(before["fit"]["variants"]) == ["main"]
    assert "inference" not in configuration.sweep_settings(config, "conventional")
    other = configuration.load([DEFAULT])
    for key, value in (("studies.spirals_radius.training.epochs", 99), (f"studies.{STUDY}.seeds", 5)):
        put(other, key, value)
    assert configuration.sweep_settings(other, "armed") == configuration.sweep_settings(
        configuration.load([DEFAULT]), "armed"
    )
    put(other, "run.models", ["conventional"])
    assert swept_models(other) == []
