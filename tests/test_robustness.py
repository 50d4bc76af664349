"""Ranks over seeds: closed forms with and without ties, what is ranked, and what is resampled."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from metric_rows import rows

from armed import results
from armed.associations import wilson
from armed.robustness import mean_ranks, rank_shares, shares
from armed.statistics import Settings

HEADLINE = {"spirals_radius": "accuracy", "heart": "auroc", "ad_diagnosis": "auroc"}


def ranked(frames, settings=None, **names) -> pd.DataFrame:
    """Table `ranks` of arrays (seeds, folds) by model, as the workflow would write it."""
    metrics = pd.concat([rows(values, model=model, **names) for model, values in frames.items()], ignore_index=True)
    return results.validate("ranks", rank_shares(metrics, HEADLINE, settings or Settings()))


def best(table: pd.DataFrame) -> dict[str, float]:
    return table[table["rank"] == 1].set_index("model")["share"].to_dict()


def test_shares_of_rows_without_ties_count_orders():
    values = np.array([[0.9, 0.8, 0.7], [0.8, 0.9, 0.7], [0.9, 0.8, 0.7], [0.7, 0.8, 0.9]])
    np.testing.assert_allclose(shares(values), [[0.5, 0.25, 0.25], [0.25, 0.75, 0], [0.25, 0, 0.75]])
    np.testing.assert_allclose(shares(-values, lower_is_better=True), shares(values))
    np.testing.assert_allclose(shares(values, lower_is_better=True), shares(values)[:, ::-1])


def test_ties_share_the_ranks_that_they_take_together():
    # Two on top, then three that are equal, then one: ranks 1-2, 3-5, 6.
    found = shares(np.array([[0.9, 0.5, 0.9, 0.5, 0.1, 0.5]]))
    half, third = [0.5, 0.5, 0, 0, 0, 0], [0, 0, 1 / 3, 1 / 3, 1 / 3, 0]
    np.testing.assert_allclose(found, [half, third, half, third, [0, 0, 0, 0, 0, 1], third])


def test_shares_are_a_doubly_stochastic_matrix():
    values = np.random.default_rng(0).integers(0, 4, size=(50, 7)).astype(float)
    found = shares(values)
    np.testing.assert_allclose(found.sum(0), 1)
    np.testing.assert_allclose(found.sum(1), 1)


def test_methods_that_differ_in_noise_alone_are_each_best_equally_often():
    found = shares(np.random.default_rng(1).normal(size=(40_000, 5)))
    np.testing.assert_allclose(found, 0.2, atol=0.01)


def test_a_rank_is_of_the_mean_over_folds():
    # By folds armed is ahead in three of four, by means behind in the first seed.
    armed, conventional = [[0.6, 0.9], [0.8, 0.8]], [[0.9, 0.8], [0.7, 0.7]]
    found = ranked({"armed": armed, "conventional": conventional})
    assert best(found) == {"conventional": 0.5, "armed": 0.5} and set(found["n"]) == {2}
    means = mean_ranks(found)
    assert means["spirals_radius", "main", "seen", "armed"] == 1.5


def test_lower_errors_rank_first():
    frame = pd.concat([rows([[0.2], [0.3]], metric="mse"), rows([[0.4], [0.1]], metric="mse", model="mldg")])
    found = rank_shares(frame, {"spirals_radius": "mse"}, Settings())
    assert best(found) == {"armed": 0.5, "mldg": 0.5}
    found = rank_shares(frame[frame["seed"] == 0], {"spirals_radius": "mse"}, Settings())
    assert best(found) == {"armed": 1.0, "mldg": 0.0}


def test_the_chance_of_being_best_has_wilsons_interval_over_seeds():
    values = np.full((20, 10), 0.7)
    other = values + np.where(np.arange(20) < 14, 0.01, -0.01)[:, None]
    found = ranked({"conventional": values, "armed": other})
    row = found[(found["model"] == "armed") & (found["rank"] == 1)].iloc[0]
    assert row["share"] == 0.7 and (row["ci_low"], row["ci_high"]) == pytest.approx(wilson(14, 20))
    assert row["n"] == 20  # seeds, not the 200 folds


def test_only_methods_with_every_seed_are_ranked():
    whole, fewer = np.full((4, 2), 0.7), np.full((3, 2), 0.9)
    undefined = np.full((4, 2), 0.9)
    undefined[1, 1] = np.nan
    frames = {"conventional": whole, "armed": whole + 0.1, "mixedlm": fewer, "mldg": undefined}
    found = ranked(frames | {"armed_randomized_z": whole + 0.2})
    assert set(found["model"]) == {"conventional", "armed"} and set(found["n_models"]) == {2}
    assert best(found) == {"conventional": 0.0, "armed": 1.0}


def test_variants_of_the_data_are_ranked_and_changed_settings_are_not():
    values = np.full((3, 2), 0.7)
    frames = [rows(values + d, model=m, variant=v) for v in ("main", "resampled", "first_order") for m, d in MODELS]
    found = rank_shares(pd.concat(frames), HEADLINE, Settings())
    assert set(found["variant"]) == {"main", "resampled"}
    assert found.groupby("variant")["unit"].unique().map(list).to_dict() == {"main": ["seed"], "resampled": ["dataset"]}


MODELS = (("conventional", 0.0), ("armed", 0.1))


def test_random_splits_are_each_a_ranking():
    settings = Settings(random_splits=["ad_diagnosis"])
    frames = {"conventional": [[0.7, 0.7, 0.7], [0.7, 0.7, 0.7]], "armed": [[0.8, 0.6, 0.6], [0.6, 0.6, 0.6]]}
    found = ranked(frames, settings, study="ad_diagnosis", metric="auroc", source="stand-in")
    assert best(found) == pytest.approx({"conventional": 5 / 6, "armed": 1 / 6}) and set(found["unit"]) == {"split"}
    assert set(found["n"]) == {6}
    found = ranked(frames, study="heart", metric="auroc", source="open")
    assert best(found) == {"conventional": 1.0, "armed": 0.0} and set(found["unit"]) == {"seed"}


def test_partitions_and_metrics_are_ranked_apart():
    values = np.full((2, 2), 0.7)
    frames = [
        rows(values + d * sign, model=m, partition=p, metric=k)
        for m, d in MODELS
        for p, sign in (("seen", 1), ("unseen", -1), ("unseen_population", 1))
        for k in ("accuracy", "auroc")
    ]
    found = rank_shares(pd.concat(frames), HEADLINE, Settings())
    assert set(found["partition"]) == {"seen", "unseen"} and set(found["metric"]) == {"accuracy"}
    assert best(found[found["partition"] == "seen"]) == {"conventional": 0.0, "armed": 1.0}
    assert best(found[found["partition"] == "unseen"]) == {"conventional": 1.0, "armed": 0.0}


def test_one_method_alone_has_no_rank():
    assert ranked({"armed": np.full((3, 2), 0.7)}).empty
