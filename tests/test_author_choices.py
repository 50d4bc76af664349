"""What a choice of the authors is worth: constructed results with known differences, both ways."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from config_edits import DEFAULT, put
from metric_rows import noise, rows
from test_sensitivity import swept, table

from armed import config as configuration
from armed import results
from armed.author_choices import CHOICES, COLUMNS, offered, worth
from armed.intervals import corrected_t
from armed.sensitivity import PROBE_WINS
from armed.statistics import Settings

HEADLINE = {"spirals_radius": "accuracy", "mci_conversion": "auroc"}
NOTHING = results.empty("sensitivity")


def judged(*frames: pd.DataFrame, sensitivity: pd.DataFrame = NOTHING) -> pd.DataFrame:
    metrics = pd.concat(frames, ignore_index=True) if frames else results.empty("metrics")
    found = worth(metrics, sensitivity, HEADLINE, Settings())
    assert list(found) == list(COLUMNS)
    return found


def test_difference_and_interval_are_those_of_paired_values():
    main, shared = 0.73 + noise(20, 10), 0.75 + noise(20, 10, seed=1)
    (row,) = judged(rows(main), rows(shared, variant="shared_init")).itertuples()
    expected = corrected_t((shared - main).ravel(), 1 / 9)
    assert (row.choice, row.model) == ("shared_init", "armed") and row.n_seeds == 20 and row.unit == "seed"
    assert (row.difference, row.ci_low, row.ci_high, row.p) == pytest.approx(tuple(expected))


def test_a_shared_start_shows_in_the_spread_of_seeds():
    starts = noise(20, 1, seed=2, sd=0.06)
    own = 0.73 + noise(20, 10, seed=3, sd=0.06)
    (row,) = judged(rows(own), rows(0.73 + starts + noise(20, 10, seed=4), variant="shared_init")).itertuples()
    assert row.sd_authors == pytest.approx(0.06, abs=0.02) and row.sd_other == pytest.approx(
        0.06 / np.sqrt(10), abs=0.01
    )


def test_without_an_effect_the_interval_holds_0_and_with_one_it_does_not():
    main = 0.7 + noise(20, 10)
    again = judged(rows(main, model="mldg"), rows(main + noise(20, 10, seed=5), model="mldg", variant="label_defect"))
    assert again["ci_low"].item() < 0 < again["ci_high"].item()
    worse = judged(rows(main, model="mldg"), rows(main - 0.1, model="mldg", variant="label_defect"))
    assert worse["ci_high"].item() < 0 and worse["difference"].item() == pytest.approx(-0.1)


def test_where_the_study_has_the_authors_way_the_sign_is_theirs_minus_the_other():
    theirs, other = np.full((3, 2), 0.76), np.full((3, 2), 0.75)
    (row,) = judged(
        rows(theirs, model="armed_no_adversary"), rows(other, model="armed_no_adversary", variant="lambda_F1")
    ).itertuples()
    assert row.choice == "lambda_F" and row.difference == pytest.approx(0.01)


def test_only_the_study_s_first_metric_on_seen_clusters_counts():
    values = np.full((3, 2), 0.7)
    frames = [
        rows(values, variant=variant, partition=partition, metric=metric)
        for variant in ("main", "shared_init")
        for partition, metric in (("unseen", "accuracy"), ("seen", "auroc"))
    ]
    assert judged(*frames).empty and judged(rows(values)).empty and judged().empty


def test_importance_at_the_mean_point_is_told_by_the_share_in_which_a_probe_wins():
    frame = table(
        swept("importance_at", "average", "armed", [3, 3, 3, 1], "probe_rank", "seen"),
        swept("importance_at", "mean_point", "armed", [1, 3, 2, 1], "probe_rank", "seen"),
    )
    (row,) = judged(sensitivity=frame).itertuples()
    assert (row.metric, row.unit, row.n_seeds) == (PROBE_WINS, "dataset", 4) and row.difference == 0.5
    assert np.isnan(row.sd_authors)


def test_what_a_configuration_asks_for():
    config = configuration.load([DEFAULT])
    assert offered(config) == [*CHOICES, "importance"]
    put(config, "studies.mci_conversion.data.reference_protocol", False)
    put(config, "studies.spirals_radius.variants.mldg", {"label_defect": None})
    put(config, "sweeps", None)
    assert offered(config) == ["shared_init", "half_kl", "lambda_F"]
    put(config, "run.studies", ["heart"])
    assert offered(config) == []
