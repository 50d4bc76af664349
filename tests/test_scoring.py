"""Rows for every cell against scoring each cell alone."""

import time

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from armed import metrics, results
from armed.errors import DataError
from armed.scoring import score

BINARY = [name for name, m in metrics.METRICS.items() if m.labels != "continuous"]
SPIRALS = ["accuracy", "auroc", "auprc", "balanced_accuracy", "brier", "within_cluster_auroc"]


def predictions(seeds=3, folds=4, n=60, clusters=5, partitions=("seen", "unseen"), variants=("main", "other")):
    rng = np.random.default_rng(seeds * 1000 + folds)
    frame = pd.MultiIndex.from_product(
        [variants, partitions, range(seeds), range(folds), range(n)],
        names=["variant", "partition", "seed", "fold", "sample_id"],
    ).to_frame(index=False)
    frame["cluster"] = np.array([f"c{i}" for i in range(clusters)])[rng.integers(0, clusters, len(frame))]
    frame["y_true"] = rng.integers(0, 2, len(frame))
    frame["mixed"] = np.round(rng.normal(frame["y_true"]), 1)
    frame["fixed"] = np.round(rng.normal(0.5 * frame["y_true"]), 1)
    return frame.sample(frac=1, random_state=0, ignore_index=True)


def scored(frame, names=SPIRALS, thresholds=None, **more):
    kinds = {"study": "spirals_radius", "source": "simulated", "model": "armed"}
    return score(frame, names, thresholds, **kinds, **more)


def test_every_cell_is_scored_as_if_alone():
    frame = predictions()
    found = scored(frame, BINARY)
    for table, by in (("metrics", []), ("cluster_metrics", ["cluster"])):
        key = ["variant", "partition", "seed", "fold", *by]
        rows = getattr(found, table)
        assert len(results.validate(table, rows)) == frame[key].drop_duplicates().shape[0] * len(BINARY)
        wide = rows.set_index([*key, "metric"])["value"].unstack()
        counts = rows.set_index([*key, "metric"])["n"].unstack()
        for cell, group in frame.groupby(key):
            alone = metrics.evaluate(group["y_true"], group["mixed"], BINARY)
            assert wide.loc[cell].to_dict() == pytest.approx(alone, nan_ok=True)
            assert set(counts.loc[cell]) == {len(group)}


def test_within_cluster_auroc_pools_the_pairs_inside_cluster_and_fold():
    frame = predictions()
    found = scored(frame, ["within_cluster_auroc"])
    key = ["variant", "partition", "seed"]
    assert len(found.metrics) == frame[key].drop_duplicates().shape[0]
    for table, by in ((found.metrics, key), (found.cluster_metrics, [*key, "cluster"])):
        assert (table["fold"] == -1).all()
        ours = table.set_index(by)
        for cell, group in frame.groupby(by):
            concordant = pairs = 0
            for _, inside in group.groupby(["fold", "cluster"]):
                positive = inside.loc[inside["y_true"] == 1, "mixed"].to_numpy()[:, None]
                negative = inside.loc[inside["y_true"] == 0, "mixed"].to_numpy()[None, :]
                concordant += (positive > negative).sum() + (positive == negative).sum() / 2
                pairs += positive.size * negative.size
            assert ours.loc[cell, "value"] == pytest.approx(concordant / pairs)
            assert ours.loc[cell, "n"] == pairs


def test_what_predicts_the_cluster_only_scores_half_within_clusters():
    frame = predictions(clusters=4)
    share = frame["cluster"].map({"c0": 0.1, "c1": 0.3, "c2": 0.7, "c3": 0.9})
    frame["y_true"] = (np.random.default_rng(0).random(len(frame)) < share).astype(int)
    found = scored(frame.assign(mixed=share)).metrics.groupby("metric")["value"].mean()
    assert found["within_cluster_auroc"] == 0.5
    assert found["auroc"] > 0.75


def test_one_class_in_every_cluster_leaves_no_pairs():
    frame = predictions().assign(y_true=lambda f: (f["cluster"] < "c2").astype(int))
    rows = results.validate("metrics", scored(frame, ["within_cluster_auroc"]).metrics)
    assert rows["value"].isna().all()
    assert set(rows["note"]) == {"no cluster and fold holds both classes"} and set(rows["n"]) == {0}


def test_nan_predictions_reach_the_seed_they_are_of():
    frame = predictions(variants=("main",), partitions=("seen",))
    frame.loc[frame.index[frame["seed"] == 1][0], "mixed"] = np.nan
    rows = scored(frame).metrics.query("metric == 'within_cluster_auroc'").set_index("seed")
    assert rows["value"].isna().to_dict() == {0: False, 1: True, 2: False}
    assert rows.loc[1, "note"] == "predictions contain NaN"


def test_the_fixed_effects_are_scored_on_deconfounded_rows():
    frame = predictions(partitions=("seen", "deconfounded"))
    found = scored(frame)
    assert set(found.metrics["partition"]) == {"seen", "deconfounded", "deconfounded_fixed"}
    deconfounded = frame[frame["partition"] == "deconfounded"]
    alone = scored(deconfounded.assign(mixed=deconfounded["fixed"]))
    for ours, expected in zip(found, alone, strict=True):
        ours = ours[ours["partition"] == "deconfounded_fixed"]
        expected = expected[expected["partition"] == "deconfounded"].assign(partition="deconfounded_fixed")
        pd.testing.assert_frame_equal(ours.reset_index(drop=True), expected.reset_index(drop=True))


def test_thresholds_are_those_of_the_fit():
    frame = predictions(seeds=2, folds=2)
    keys = frame[["seed", "fold", "variant"]].drop_duplicates(ignore_index=True)
    thresholds = keys.assign(threshold=np.linspace(0.2, 0.8, len(keys)))
    found = scored(frame, ["accuracy"], thresholds)
    for rows, by in ((found.metrics, []), (found.cluster_metrics, ["cluster"])):
        merged = frame.merge(thresholds, on=["seed", "fold", "variant"])
        merged["hit"] = (expit(merged["mixed"]) >= merged["threshold"]) == merged["y_true"]
        expected = merged.groupby(["variant", "partition", "seed", "fold", *by])["hit"].mean()
        np.testing.assert_allclose(rows["value"], expected)
    with pytest.raises(DataError, match="1 fits have no threshold"):
        scored(frame, ["accuracy"], thresholds.iloc[1:])


def test_the_cluster_table_can_be_kept_small():
    found = scored(predictions(), by_cluster=["accuracy"])
    assert set(found.metrics["metric"]) == set(SPIRALS)
    assert set(found.cluster_metrics["metric"]) == {"accuracy"}
    assert len(scored(predictions(), by_cluster=[]).cluster_metrics) == 0


def test_predictions_read_from_a_file_score_the_same(tmp_path):
    frame = predictions(partitions=("seen", "deconfounded"))
    results.write("predictions", frame, tmp_path / "p.parquet")
    read = scored(results.read("predictions", tmp_path / "p.parquet"))
    for ours, expected in zip(read, scored(frame), strict=True):
        pd.testing.assert_frame_equal(ours, expected, rtol=1e-6, check_dtype=False)


def test_classes_and_means_are_scored_from_frames():
    frame = predictions().drop(columns=["mixed", "fixed"])
    rng = np.random.default_rng(0)
    frame["y_true"] = rng.integers(0, 3, len(frame))
    many = frame.assign(**{f"{o}_{k}": rng.normal(size=len(frame)) for o in ("fixed", "mixed") for k in range(3)})
    assert scored(many, ["accuracy"]).metrics["value"].mean() == pytest.approx(1 / 3, abs=0.05)
    means = frame.assign(y_true=rng.normal(size=len(frame)), mixed=0.0, fixed=0.0)
    assert scored(means, ["mse"]).metrics["value"].mean() == pytest.approx(1, abs=0.1)


def test_missing_columns_and_metrics_that_are_not_of_predictions_are_told():
    with pytest.raises(DataError, match=r"(?s)'cluster' is missing.*column 'mixed'"):
        scored(predictions().drop(columns=["cluster", "mixed"]))
    with pytest.raises(DataError, match="'z_accuracy' is not known"):
        scored(predictions(), ["z_accuracy"])


def test_a_model_is_scored_in_seconds(tmp_path):
    # 20 seeds x 10 folds x 3 partitions x 1000 rows: a slicing loop over the 30 000 cluster cells takes minutes.
    frame = predictions(20, 10, 1000, 10, ("seen", "unseen", "deconfounded"), ("main",))
    start = time.process_time()
    found = scored(frame)
    assert time.process_time() - start < 10
    assert len(found.metrics) == 20 * 4 * (10 * 5 + 1)
