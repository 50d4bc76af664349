"""Sweeps as readers see them: shares, paired differences and what they are held against, on constructed tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from armed import results
from armed.associations import wilson
from armed.intervals import t_interval
from armed.sensitivity import PROBE_WINS, curves, differences, measured, ordered_levels

STUDY = "spirals_confounded"
OWN = {"lambda_g": 0.5, "ratio_sd": 0.35}


def swept(factor: str, level: str, model: str, values, metric="accuracy", partition="deconfounded") -> pd.DataFrame:
    """Rows of `sensitivity.tsv`, one for each dataset."""
    frame = pd.DataFrame({"seed": range(len(values)), "value": np.asarray(values, float)})
    named = {"study": STUDY, "source": "simulated", "fold": -1, "model": model, "variant": "main", "n": 100}
    told = {"factor": factor, "level": level, "metric": metric, "partition": partition}
    return frame.assign(**named, **told, note=np.where(frame["value"].isna(), "diverged", ""))


def table(*frames: pd.DataFrame) -> pd.DataFrame:
    return results.validate("sensitivity", pd.concat(frames, ignore_index=True), models=["oracle"])


def test_a_probe_wins_where_it_is_above_the_weakest_of_two_real_features():
    found = measured(table(swept("lambda_g", "0.5", "armed", [1, 2, 3, 4, np.nan], "probe_rank", "seen")))
    assert found["value"].tolist()[:4] == [1, 1, 0, 0] and np.isnan(found["value"].iloc[4])
    assert set(found["measure"]) == {PROBE_WINS}


def test_shares_have_wilsons_interval_and_accuracies_students():
    accuracy = [0.6, 0.7, 0.75, 0.8]
    frame = table(
        swept("lambda_g", "0.5", "armed", [1, 3, 3, 3], "probe_rank", "seen"),
        swept("lambda_g", "0.5", "armed", accuracy),
    )
    found = curves(frame).set_index("measure")
    assert found.loc[PROBE_WINS, ["mean", "ci_low", "ci_high"]].tolist() == pytest.approx([0.25, *wilson(1, 4)])
    expected = t_interval(np.array(accuracy))[:3]
    assert found.loc["deconfounded", ["mean", "ci_low", "ci_high"]].tolist() == pytest.approx(expected)
    assert set(found["n"]) == {4}


def test_rows_of_the_recovery_study_are_left_out():
    frame = table(swept("subjects", "1", "oracle", [0.5, 0.6], "slope_recovery", "seen"))
    assert measured(frame).empty and curves(frame).empty and differences(frame, OWN).empty


def test_differences_are_paired_by_dataset():
    base = np.array([0.2, 0.5, 0.8])
    frame = table(swept("ratio_sd", "0", "armed", base + 0.05), swept("ratio_sd", "0", "conventional", base))
    (row,) = differences(frame, OWN).itertuples()
    assert (row.difference, row.ci_low, row.ci_high) == pytest.approx((0.05, 0.05, 0.05)) and row.n == 3


def test_settings_that_the_reference_does_not_have_are_held_against_the_study_as_it_is():
    frame = table(
        swept("lambda_g", "2", "armed", [0.7, 0.9]),
        swept("lambda_g", "0.5", "armed", [0.8, 0.8]),
        swept("lambda_g", "0.5", "conventional", [0.6, 0.7]),
        swept("ratio_sd", "0", "armed", [0.9, 0.9]),
        swept("ratio_sd", "0", "conventional", [0.5, 0.5]),
        swept("ratio_sd", "0.35", "conventional", [0.1, 0.1]),
    )
    found = differences(frame, OWN).set_index(["factor", "level"])["difference"]
    expected = {("lambda_g", "2"): 0.15, ("lambda_g", "0.5"): 0.15, ("ratio_sd", "0"): 0.4}
    assert found.to_dict() == pytest.approx(expected)


def test_intervals_of_differences_end_where_shares_do():
    frame = table(
        swept("lambda_g", "0.5", "armed", [1, 3], "probe_rank", "seen"),
        swept("lambda_g", "0.5", "conventional", [3, 3], "probe_rank", "seen"),
    )
    (row,) = differences(frame, OWN).itertuples()
    assert (row.difference, row.ci_low, row.ci_high) == (0.5, -1, 1)


def test_levels_are_ordered_by_size():
    assert ordered_levels(pd.Series(["10", "1e-05", "0", "2", "1e-05"])) == ["0", "1e-05", "2", "10"]
