"""Intervals of an AUROC by DeLong and by drawing whole cells, on scores of which the spread is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from armed import results
from armed.auroc_intervals import auroc_intervals, with_delong
from armed.delong import delong
from armed.errors import DataError

NAMES = {"study": "spirals_radius", "source": "stand-in", "model": "armed"}


def predictions(seed=0, *, n_cells=40, frames=10, alike=0.0, n_fits=2, partition="seen", shift=1.0):
    """Scores N(0, 1) of class 0 and N(shift, 1) of class 1, of which the share `alike` is the cell's own."""
    rng = np.random.default_rng(seed)
    cell = np.repeat(np.arange(n_cells), frames)
    fits = []
    for fit in range(n_fits):
        score = np.sqrt(alike) * rng.normal(size=n_cells)[cell] + np.sqrt(1 - alike) * rng.normal(size=len(cell))
        y = cell % 2
        fits.append(
            pd.DataFrame(
                {"subject": np.char.add("c", cell.astype(str)), "y_true": y, "mixed": score + shift * y}
            ).assign(variant="main", partition=partition, seed=fit, fold=0)
        )
    return pd.concat(fits, ignore_index=True)


def made(frame, **changed):
    table = auroc_intervals(frame, **NAMES | {"draws": 400} | changed)
    return results.validate("auroc_intervals", table).set_index(["partition", "method"])


class TestIntervals:
    def test_delong_averages_each_fits_limits(self):
        frame = predictions()
        row = made(frame).loc[("seen", "delong")]
        fits = [delong(own["y_true"], own["mixed"]) for _, own in frame.groupby("seed")]
        assert row["mean"] == pytest.approx(np.mean([fit.auroc for fit in fits]))
        assert [row["ci_low"], row["ci_high"]] == pytest.approx(np.mean([fit.interval() for fit in fits], axis=0))
        assert row["n_fits"] == 2

    def test_frames_that_are_independent_give_both_alike(self):
        table = made(predictions(n_cells=100, frames=4), draws=2000)
        width = table["ci_high"] - table["ci_low"]
        assert width["seen", "cells"] == pytest.approx(width["seen", "delong"], rel=0.15)

    def test_frames_of_a_cell_that_are_alike_widen_that_of_cells_alone(self):
        table = made(predictions(alike=0.9))
        width = table["ci_high"] - table["ci_low"]
        assert width["seen", "cells"] > 2 * width["seen", "delong"]

    def test_that_of_cells_covers_the_truth_and_delongs_does_not(self):
        """Of frames that are nearly all their cell's: true AUROC Phi(1 / sqrt 2)."""
        covers = {"delong": [], "cells": []}
        for seed in range(80):
            table = made(predictions(seed, alike=0.9, n_fits=1), draws=300)
            for method, found in covers.items():
                row = table.loc[("seen", method)]
                found.append(row["ci_low"] <= 0.76025 <= row["ci_high"])
        assert np.mean(covers["cells"]) > 0.85 and np.mean(covers["delong"]) < 0.6

    def test_each_partition_has_its_own(self):
        frame = pd.concat([predictions(), predictions(1, partition="unseen", shift=0.2)])
        table = made(frame)
        assert len(table) == 4 and table.loc[("unseen", "delong"), "mean"] < table.loc[("seen", "delong"), "mean"]

    def test_models_are_compared_on_the_same_draws(self):
        frame = predictions(alike=0.5)
        other = made(frame.assign(mixed=2 * frame["mixed"] + 3), model="conventional")
        assert other["ci_low"].tolist() == made(frame)["ci_low"].tolist()

    def test_confidence(self):
        narrow, wide = made(predictions(), confidence=0.5), made(predictions())
        assert (wide["ci_low"] < narrow["ci_low"]).all() and (wide["ci_high"] > narrow["ci_high"]).all()

    def test_fits_without_both_classes_are_left_out(self):
        frame = predictions()
        frame.loc[frame["seed"] == 1, "y_true"] = 1
        table = made(frame)
        assert (table["n_fits"] == 1).all() and table["mean"].notna().all()
        none = made(frame[frame["seed"] == 1])
        assert (none["n_fits"] == 0).all() and none[["mean", "ci_low", "ci_high"]].isna().all(axis=None)

    def test_missing_columns_are_told(self):
        with pytest.raises(DataError, match="'subject' is missing"):
            made(predictions().drop(columns="subject"))


class TestSummary:
    def test_delongs_limits_stand_in_for_the_papers_interval_alone(self):
        summary = pd.DataFrame(
            [
                ("spirals_radius", "stand-in", "armed", "main", "seen", metric, method, 0.8, 0.7, 0.9, 3, 1)
                for metric in ("auroc", "accuracy")
                for method in ("paper", "corrected")
            ],
            columns=list(results.table("summary").columns),
        )
        summary = pd.concat([summary, summary.assign(model="conventional")], ignore_index=True)
        summary.loc[summary["ci_method"] == "paper", ["ci_low", "ci_high"]] = np.nan  # one split per seed
        intervals = auroc_intervals(predictions(), **NAMES, draws=50)
        found = results.validate("summary", with_delong(summary, intervals))
        replaced = (found["model"] == "armed") & (found["metric"] == "auroc") & (found["ci_method"] == "paper")
        limits = intervals.loc[intervals["method"] == "delong", ["ci_low", "ci_high"]]
        assert found.loc[replaced, ["ci_low", "ci_high"]].to_numpy().tolist() == limits.to_numpy().tolist()
        pd.testing.assert_frame_equal(found[~replaced], summary[~replaced], check_dtype=False)

    def test_without_intervals_nothing_changes(self):
        summary = results.empty("summary")
        assert with_delong(summary, results.empty("auroc_intervals")).empty
