"""From the fit job to the tables: the tuned variant is fitted, predicted, scored, summarised and told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from config_edits import DEFAULT, OVERLAYS, SPIRALS, put

from armed import config as configuration
from armed import results
from armed.comparison import paired_tests
from armed.data.study import StudyData
from armed.jobs import data, fit, predict
from armed.jobs.tuning import collect_tuning
from armed.methods import ARMED
from armed.statistics import Settings, summarise

STUDY = "spirals_radius"
TABLES = (
    "predictions",
    "metrics",
    "cluster_metrics",
    "thresholds",
    "importance",
    "random_effects",
    "draws",
    "boundaries",
)


@pytest.fixture(scope="module")
def config() -> dict:
    config = configuration.load([DEFAULT, OVERLAYS[0]])
    for key, value in {
        "training.epochs": 1,
        "data.resampled": False,
        "data.n_clusters": 3,
        "data.n_per_cluster": 40,
        "data.n_per_unseen_cluster": 10,
        "tuning.models": ["armed", "conventional"],
        "tuning.candidates": 3,
        "tuning.space.armed": {"learning_rate": {"low": 1e-3, "high": 1e-1, "scale": "log"}, "lambda_g": [0.1, 1.0]},
    }.items():
        put(config, f"{SPIRALS}.{key}", value)
    configuration.check(config)
    return config


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory):
    """Fits and tables of `armed` and `conventional`."""
    folder = tmp_path_factory.mktemp("run")
    npz, splits = folder / "data.npz", folder / "splits.parquet"
    data.prepare(configuration.data_settings(config, STUDY), [], npz)
    data.split(configuration.split_settings(config, STUDY), npz, splits)
    for model in ("armed", "conventional"):
        settings, run = configuration.settings(config, STUDY, model), folder / model
        fit.fit(settings, "", npz, splits, run, folder / "checkpoints", device="cpu", stack_size=64)
        predict.predict(
            settings, "simulated", npz, splits, run, None, {t: folder / f"{model}_{t}" for t in TABLES}, 1, 200
        )
    return folder


def read(folder: Path, table: str) -> pd.DataFrame:
    frames = [results.read(table, folder / f"{model}_{table}") for model in ("armed", "conventional")]
    return pd.concat(frames, ignore_index=True)


def test_the_tuned_variant_is_a_variant_like_others(folder, config):
    metrics = read(folder, "metrics")
    tuned = metrics[metrics["variant"] == "tuned"]
    cells = tuned[["model", "seed", "fold"]].drop_duplicates()
    assert len(cells[cells["fold"] >= 0]) == 2 * 2 and set(cells["seed"]) == {0}
    main = metrics[(metrics["variant"] == "main") & (metrics["seed"] == 0)]
    assert set(tuned["metric"]) == set(main["metric"]) and set(tuned["partition"]) == set(main["partition"])
    record = json.loads((folder / "armed" / "run.json").read_text())
    assert record["settings"]["tuning"]["candidates"] == 3 and "tuned" in record["seconds"]
    assert not (folder / "checkpoints").exists()


def test_the_table_of_all_searches(folder, config):
    collect_tuning([folder / "armed", folder / "conventional"], folder / "tuning.tsv")
    table = results.read("tuning", folder / "tuning.tsv")
    armed = table[table["model"] == "armed"]
    assert len(armed) == 2 * 3 * 2 and set(armed["hyperparameter"]) == {"learning_rate", "lambda_g"}
    own = armed[armed["candidate"] == 0].set_index("hyperparameter")["value"]
    assert set(own["lambda_g"]) == {0.5} and set(own["learning_rate"]) == {0.001}
    for _, rows in table.groupby(["model", "fold", "hyperparameter"]):
        assert rows["chosen"].sum() == 1 and rows["candidate"].tolist() == [0, 1, 2]
        assert rows["score"].idxmax() == rows["chosen"].idxmax()
    assert set(table["n"]) == {2} and set(table["policy"]) == {"best_mean"} and set(table["metric"]) == {"auroc"}
    rates = table[table["hyperparameter"] == "learning_rate"].groupby("model")["candidate"].nunique()
    assert rates.to_dict() == {"armed": 3, "conventional": 3}, "the same budget"


def test_what_was_chosen_is_what_was_fitted(folder, config):
    """Where the own settings were kept the fit is that of `main`, elsewhere it is another."""
    fits = [ARMED.load(folder / "armed" / v) for v in ("main", "tuned")]
    table = pd.read_csv(folder / "armed" / "tuning.tsv", sep="\t").query("chosen == 1")
    chosen = table.drop_duplicates("fold").set_index("fold")["candidate"]
    states = [f.stack_.state()["net.output.weight"] for f in fits]
    for position, (seed, fold) in enumerate(fits[1].replicas_):
        assert seed == 0
        same = np.allclose(states[0][fits[0].replicas_.index((seed, fold))], states[1][position], atol=1e-6)
        assert same == (chosen[fold] == 0)


def test_nothing_tuned_gives_an_empty_table(tmp_path):
    collect_tuning([], tmp_path / "tuning.tsv")
    assert results.read("tuning", tmp_path / "tuning.tsv").empty


def test_one_seed_is_enough_for_intervals_and_tests(folder):
    settings = Settings(bootstrap=100)
    metrics, by_cluster = read(folder, "metrics"), read(folder, "cluster_metrics")
    draws = read(folder, "draws")  # three clusters: intervals are over their points
    summary = summarise(metrics, by_cluster, settings, draws)
    tuned = summary[(summary["variant"] == "tuned") & (summary["ci_method"] == "corrected")]
    assert set(tuned["n_seeds"]) == {1} and (tuned["ci_low"] <= tuned["ci_high"]).all()
    tests = paired_tests(metrics, by_cluster, settings, draws=draws)
    tests = tests[tests["variant"] == "tuned"]
    assert set(tests["model"]) == {"armed"} and set(tests["n_seeds"]) == {1} and tests["p_holm"].notna().all()
    results.validate("summary", summary)
    results.validate("paired_tests", tests)


def test_trainings_that_share_a_compiled_step_count_together(folder, config):
    """A variant and its search in stacks of one size."""
    settings = configuration.settings(config, STUDY, "armed")
    settings["variants"] = {"main": settings["variants"]["main"]}
    loaded = StudyData.load(folder / "data.npz")
    variants = list(fit.variants(settings, loaded))
    assert [v.folder for v in variants] == ["main", "tuned"]
    # 60 training rows, 2 batches; 2 seeds x 2 folds in stacks of 4, 3 candidates x 2 inner folds x 2 folds in three of them.
    elsewhere = fit._steps_elsewhere(variants, settings, loaded, folder / "splits.parquet", {"stack_size": 4})
    assert elsewhere == {"main": 3 * 1, "tuned": 2}
    assert fit._steps_elsewhere(variants, settings, loaded, folder / "splits.parquet", {}) == {}
