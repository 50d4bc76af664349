"""The job that makes AUROC intervals from a model's predictions, and their way into the summary."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from armed import results
from armed.data.clustered import ClusteredData
from armed.data.study import StudyData
from armed.delong import delong
from armed.jobs.auroc_intervals import intervals

STUDY = "ad_diagnosis"
FRAMES = 5


@pytest.fixture
def files(tmp_path):
    """Data of two parts, and predictions of two fits of each partition in another order, as other jobs leave them."""
    rng = np.random.default_rng(0)
    parts, frames = {}, []
    for name, sites in (("seen", ("a", "b")), ("unseen", ("x", "y"))):
        n = 30 * FRAMES
        cell = np.repeat(np.arange(30), FRAMES)
        subject = np.array([f"{name}{c}" for c in cell])
        parts[name] = ClusteredData(
            np.zeros((n, 1)),
            cell % 2,
            np.array(sites)[cell // 2 % 2],
            np.array([f"{name}-{i}" for i in range(n)]),
            subject,
        )
        for partition in (name,) if name == "seen" else ("unseen", "unseen_population"):
            for seed in (0, 1):
                rows = rng.permutation(n)[: n // 2] if name == "seen" else rng.permutation(n)
                score = rng.normal(size=30)[cell[rows]] + parts[name].y[rows]
                of_rows = {"sample_id": parts[name].sample_id[rows], "cluster": parts[name].clusters[rows]}
                named = {"partition": partition, "seed": seed, "fold": 0, "variant": "main"}
                frames.append(
                    pd.DataFrame(of_rows).assign(**named, y_true=parts[name].y[rows], fixed=score, mixed=score)
                )
    StudyData({"main": parts}, pd.DataFrame()).save(tmp_path / "data.npz")
    predictions = pd.concat(frames, ignore_index=True)
    results.write("predictions", predictions, tmp_path / "predictions.parquet")
    return tmp_path


def run(folder):
    settings = {"study": STUDY, "model": "armed"}
    given = folder / "data.npz", folder / "predictions.parquet", folder / "intervals.tsv"
    intervals(settings, "stand-in", *given, draws=300, confidence=0.95)
    return results.read("auroc_intervals", folder / "intervals.tsv")


def test_every_partition_has_both(files):
    table = run(files)
    keys = set(zip(table["partition"], table["method"], strict=True))
    assert keys == {(p, m) for p in ("seen", "unseen", "unseen_population") for m in ("delong", "cells")}
    assert (table["n_fits"] == 2).all() and (table["source"] == "stand-in").all()


def test_delongs_is_of_the_predictions(files):
    row = run(files).query("partition == 'unseen' and method == 'delong'").iloc[0]
    predictions = results.read("predictions", files / "predictions.parquet").query("partition == 'unseen'")
    limits = [delong(own["y_true"], own["mixed"]).interval() for _, own in predictions.groupby("seed")]
    assert [row["ci_low"], row["ci_high"]] == pytest.approx(np.mean(limits, axis=0))


def test_subjects_are_those_of_the_data(files):
    """Frames of a cell have one score: taken as independent they make the interval much too narrow."""
    table = (
        run(files)
        .assign(width=lambda t: t["ci_high"] - t["ci_low"])
        .pivot(index="partition", columns="method", values="width")
    )
    assert (table["cells"]["unseen"] > 1.7 * table["delong"]["unseen"]) and (table["cells"] > table["delong"]).all()
