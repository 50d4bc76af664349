"""The smoke run: every rule, and what it leaves behind."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from armed import config as configuration
from armed import results, schemas

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("workflow")]
TABLES = ("metrics", "cluster_metrics", "thresholds", "importance", "random_effects")
DERIVED = ("summary", "comparison", "paired_tests", "deconfounding", "tuning", "ranks", "sensitivity")


@pytest.fixture(scope="module")
def folder(smoke):
    return smoke.folder / "run" / "results"


@pytest.fixture(scope="module")
def config(smoke):
    return configuration.load([smoke.folder / "config" / "config.yaml", smoke.folder / "config" / "smoke.yaml"])


@pytest.mark.parametrize("name", [*TABLES, *DERIVED])
def test_tables_fit_their_schemas(folder, name):
    table = results.read(name, folder / f"{name}.tsv")
    assert len(table), name


def test_every_cell_is_there_once(folder, config):
    metrics = results.read("metrics", folder / "metrics.tsv")
    accuracy = metrics[(metrics["metric"] == "accuracy") & (metrics["partition"] == "seen")]
    for study in configuration.selected_studies(config):
        for model in configuration.selected_models(config, study):
            for variant in configuration.data_variants(config, study):
                named = accuracy[["study", "model", "variant"]] == [study, model, variant]
                rows = accuracy[named.all(axis=1)]
                assert sorted(zip(rows["seed"], rows["fold"], strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_the_tuned_variant_has_the_folds_of_the_tuned_seeds(folder):
    metrics = results.read("metrics", folder / "metrics.tsv")
    tuned = metrics[(metrics["variant"] == "tuned") & (metrics["metric"] == "accuracy")]
    assert set(zip(tuned["study"], tuned["model"], strict=True)) == {("spirals_radius", "armed")}
    assert set(zip(tuned["seed"], tuned["fold"], strict=True)) == {(0, 0), (0, 1)}
    chosen = results.read("tuning", folder / "tuning.tsv").query("chosen == 1")
    assert set(zip(chosen["seed"], chosen["fold"], strict=True)) == {(0, 0), (0, 1)}
    assert "Hyperparameters chosen" in (folder / "report.html").read_text(encoding="utf-8")


def test_values_are_in_range(folder):
    metrics = results.read("metrics", folder / "metrics.tsv")
    bounded = metrics[~metrics["metric"].isin(["probe_rank", "mse", "r2"])]
    assert bounded["value"].between(0, 1).all()
    assert set(metrics["metric"]) >= {"accuracy", "auroc", "z_accuracy", "adversary_accuracy", "probe_rank"}
    assert set(metrics["metric"]) <= set(schemas.METRICS)


def test_partitions_follow_capabilities(folder):
    metrics = results.read("metrics", folder / "metrics.tsv")
    has = metrics.groupby("model")["partition"].agg(set)
    assert "unseen_population" in has["armed"]
    assert "unseen_population" not in has["conventional"]
    confounded = metrics[metrics["study"] == "spirals_confounded"]
    assert {"deconfounded", "deconfounded_fixed"} <= set(confounded["partition"])


def test_predictions_give_the_metrics_back(folder):
    metrics = results.read("metrics", folder / "metrics.tsv")
    for study in ("spirals_radius", "spirals_confounded"):
        rows = results.read("predictions", folder / "predictions" / study / "armed.parquet")
        rows = rows[
            (rows["partition"] == "seen") & (rows["seed"] == 1) & (rows["fold"] == 0) & (rows["variant"] == "main")
        ]
        again = ((rows["mixed"] >= 0) == (rows["y_true"] == 1)).mean()
        told = metrics.query(
            "study == @study and model == 'armed' and variant == 'main' and partition == 'seen'"
            " and metric == 'accuracy' and seed == 1 and fold == 0"
        )
        assert told["value"].item() == pytest.approx(again)


def test_test_rows_are_the_folds_rows(folder):
    splits = pd.read_parquet(folder / "splits" / "spirals_radius.parquet").query(
        "variant == 'main' and seed == 0 and fold == 1"
    )
    rows = results.read("predictions", folder / "predictions" / "spirals_radius" / "conventional.parquet")
    rows = rows.query("partition == 'seen' and variant == 'main' and seed == 0 and fold == 1")
    assert sorted(rows["sample_id"].astype(int)) == sorted(splits["row"])


def test_run_records_say_what_was_run(folder):
    record = json.loads((folder / "runs" / "spirals_radius" / "armed" / "run.json").read_text())
    assert record["settings"]["variants"]["main"]["lambda_g"] == 0.5
    assert record["device"] == "cpu"
    assert all(re.fullmatch(r"[0-9a-f]{16,}", digest) for digest in record["source_digest"])
    assert not (folder / "checkpoints" / "spirals_radius" / "armed").exists()


def test_report_is_one_page_that_needs_nothing_else(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert len(page) < 5_000_000
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert "not comparable" in page or "differs" in page or "agrees" in page


def test_sweeps_have_the_levels_asked_for(folder, config):
    swept = results.read("sensitivity", folder / "sensitivity.tsv")
    levels = swept.groupby("factor")["level"].unique().map(set).to_dict()
    assert levels == {
        "lambda_g": {"0", "0.5"},
        "n_clusters": {"3", "10"},
        "ratio_sd": {"0", "0.35"},
        "importance_at": {"average", "mean_point"},
    }
    assert set(swept["model"]) == {"conventional", "armed"} and set(swept["seed"]) == {0, 1}


def test_the_study_as_it_is_stands_among_the_levels(folder):
    """Its first fold, as the study itself has trained and scored it."""
    swept = results.read("sensitivity", folder / "sensitivity.tsv").query("factor == 'lambda_g' and level == '0.5'")
    metrics = results.read("metrics", folder / "metrics.tsv")
    own = metrics.query("study == 'spirals_confounded' and fold == 0 and metric == 'accuracy'")
    keys = ["model", "partition", "seed"]
    both = swept[swept["metric"] == "accuracy"].merge(own, on=keys, suffixes=("", "_own"))
    assert len(both) == 2 * 4 * 2
    # Stacks of other sizes may take another engine, which rounds differently.
    np.testing.assert_allclose(both["value"], both["value_own"], atol=0.02)


def test_ranks_share_out_every_seed(folder):
    ranks = results.read("ranks", folder / "ranks.tsv")
    by_rank = ranks.groupby(["study", "variant", "partition", "rank"])["share"].sum()
    np.testing.assert_allclose(by_rank, 1)
    assert {"seen", "unseen", "deconfounded"} == set(ranks["partition"])


def test_figures_are_drawn_both_ways(folder, config):
    from armed.plotting import robustness_captions
    from armed.plotting.catalogue import figures

    for study in configuration.selected_studies(config):
        for spec in figures(study, config):
            for suffix in (".svg", ".png"):
                assert (folder / "figures" / f"{spec.name}{suffix}").stat().st_size > 1000
    for spec in robustness_captions.figures(config):
        assert (folder / "figures" / f"{spec.name}.svg").stat().st_size > 1000
