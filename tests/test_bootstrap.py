"""Draws of subjects: the same as scoring repeated rows, the spread of closed forms, and intervals that cover."""

import math
import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from metric_rows import NO_CLUSTERS
from scipy.special import ndtr

from armed import bootstrap, metrics, results
from armed.bootstrap import draw_metrics, draws_of_model
from armed.errors import DataError
from armed.scoring import score
from armed.statistics import Settings, summarise

BINARY = [name for name, m in metrics.METRICS.items() if m.labels != "continuous"]
WITHIN = "within_cluster_auroc"
CELL = ["variant", "partition", "seed", "fold"]


def predictions(n=48, clusters=3, seeds=2, folds=3, visits=2, partitions=("unseen",), variants=("main",)):
    """Each subject has `visits` rows, in every (seed, fold) of the unseen partition, in one fold of the seen one."""
    rng = np.random.default_rng(n)
    keys = [variants, partitions, range(seeds), range(folds), range(n)]
    frame = pd.MultiIndex.from_product(keys, names=[*CELL, "sample_id"]).to_frame(index=False)
    subject = frame["sample_id"] // visits
    frame = frame.assign(subject=subject.map("s{}".format), cluster="c" + (subject % clusters).astype(str))
    frame["y_true"] = rng.integers(0, 2, n)[frame["sample_id"]]
    frame["mixed"] = np.round(rng.normal(frame["y_true"]), 1)
    frame["fixed"] = frame["mixed"]
    frame = frame[(frame["partition"] != "seen") | ((subject + frame["seed"]) % folds == frame["fold"])]
    return frame.sample(frac=1, random_state=0, ignore_index=True)


def drawn_rows(frame, study, draws, unit="subject"):
    """Rows of each draw, repeated, read off the draws of one unit's rows marked alone."""
    by = ["cluster", "subject"] if unit == "subject" else ["cluster"]
    names = frame[by].drop_duplicates().sort_values(by, ignore_index=True)
    plan = bootstrap._Units.of(frame.assign(cluster=frame["cluster"].astype(str)), study, unit)
    counts = np.concatenate(list(plan.draw(draws, 7)), axis=1)
    assert counts.shape == (len(names), draws)
    for d in range(draws):
        times = names.assign(times=counts[:, d].astype(int))
        whole = times.groupby("cluster")["times"] if unit == "subject" else times.groupby(lambda _: 0)["times"]
        assert (whole.sum() == whole.size()).all()
        merged = frame.merge(times, on=by)
        yield merged.loc[merged.index.repeat(merged["times"])]


@pytest.mark.parametrize(("partition", "unit"), [("seen", "subject"), ("unseen", "subject"), ("unseen", "cluster")])
def test_draws_are_scores_of_repeated_rows(partition, unit):
    frame = predictions(partitions=(partition,), variants=("main", "tuned"))
    keys = frame[["seed", "fold", "variant"]].drop_duplicates()
    thresholds = keys.assign(threshold=np.linspace(0.3, 0.6, len(keys)))
    asked = [*BINARY, WITHIN]
    found = draw_metrics(frame, asked, study="heart", draws=20, thresholds=thresholds, unit=unit)
    assert len(found) == 2 * len(asked) * 20
    wide = found.set_index(["variant", "partition", "metric", "draw"])["value"]
    names = {"study": "spirals_radius", "source": "open", "model": "armed"}
    for draw, rows in enumerate(drawn_rows(frame, "heart", 20, unit)):
        scored = score(rows, asked, thresholds, by_cluster=[], **names).metrics
        # Undefined in one fold: undefined. As pandas leaves NaN out, it is told to count.
        seeds = scored.groupby(["variant", "partition", "metric", "seed"])["value"].agg(lambda v: v.mean(skipna=False))
        expected = seeds.groupby(level=[0, 1, 2]).agg(lambda v: v.mean(skipna=False))
        ours = wide.xs(draw, level="draw").reindex(expected.index)
        np.testing.assert_allclose(ours, expected, atol=1e-10)


def test_draws_are_the_same_for_all_models_partitions_and_chunks(monkeypatch):
    frame = predictions(partitions=("unseen", "unseen_population"))
    frame["mixed"] = frame["sample_id"] % 7 / 7
    found = draw_metrics(frame, ["auroc", "ece"], study="heart", draws=50)
    one, other = (found[found["partition"] == p]["value"].to_numpy() for p in ("unseen", "unseen_population"))
    np.testing.assert_allclose(one, other, rtol=1e-12)
    monkeypatch.setattr(bootstrap, "AT_ONCE", 7)
    few = frame[(frame["seed"] == 0) & (frame["partition"] == "unseen")]
    alone = draw_metrics(few.sample(frac=1, random_state=1), ["auroc", "ece"], study="heart", draws=30)
    expected = found[(found["partition"] == "unseen") & (found["draw"] < 30)]
    np.testing.assert_allclose(alone["value"], expected["value"])
    categories = few.astype({c: "category" for c in ("cluster", "variant", "partition", "subject")})
    pd.testing.assert_frame_equal(draw_metrics(categories, ["auroc", "ece"], study="heart", draws=30), alone)
    elsewhere = draw_metrics(few, ["auroc"], study="own", draws=30)["value"]
    assert (elsewhere.to_numpy() != alone["value"][:30].to_numpy()).mean() > 0.9


def test_draws_of_a_cluster_do_not_depend_on_which_others_there_are():
    frame = predictions()
    alone = frame[frame["cluster"] == "c1"]
    both = next(drawn_rows(frame, "heart", 3))
    expected = next(drawn_rows(alone, "heart", 3))
    assert sorted(both.loc[both["cluster"] == "c1", "sample_id"]) == sorted(expected["sample_id"])


@pytest.mark.parametrize("metric", ["accuracy", "mse"])
def test_means_have_the_analytic_spread_within_clusters(metric):
    frame = predictions(n=120, seeds=1, folds=1, visits=1)
    if metric == "mse":
        frame["y_true"] = np.random.default_rng(3).normal(size=len(frame)) + 5 * (frame["cluster"] == "c0")
    value = (
        (frame["mixed"] >= 0) == (frame["y_true"] == 1) if metric == "accuracy" else frame["mixed"] - frame["y_true"]
    )
    value = value.astype(float) ** 2
    # Variance of a mean of n drawn out of n, summed over clusters; what clusters differ by is no part of it.
    by = value.groupby(frame["cluster"])
    expected = math.sqrt((by.size() * by.var(ddof=0)).sum()) / len(frame)
    found = draw_metrics(frame, [metric], study="heart", draws=20000)["value"]
    assert found.mean() == pytest.approx(value.mean(), abs=4 * expected / math.sqrt(20000))
    assert found.std() == pytest.approx(expected, rel=0.02)


def test_undefined_cells_are_left_out_and_undefined_draws_are_nan():
    frame = predictions(n=20, clusters=2, seeds=1, visits=1)
    frame.loc[frame["fold"] == 0, "y_true"] = 1
    frame.loc[frame["fold"] == 1, "mixed"] = np.nan
    frame.loc[frame["fold"] == 2, "y_true"] = (frame["sample_id"] == 0).astype(int)
    found = draw_metrics(frame, ["auroc", "accuracy"], study="heart", draws=400)
    auroc = found[found["metric"] == "auroc"]["value"]
    # The only positive is not drawn in (1 - 1/10)^10 of the draws.
    assert auroc.isna().mean() == pytest.approx(0.9**10, abs=0.08)
    assert found.loc[found["metric"] == "accuracy", "value"].notna().all()
    nothing = draw_metrics(frame[frame["fold"] == 0], ["auroc", WITHIN], study="heart", draws=3)
    assert list(nothing.columns) == bootstrap.DRAWN and nothing.empty
    broken = draw_metrics(frame[frame["fold"] == 1], ["auroc", WITHIN], study="heart", draws=3)
    assert broken.empty


def test_multiclass_and_continuous_predictions():
    frame = predictions(n=60, visits=1).drop(columns="mixed")
    rng = np.random.default_rng(0)
    frame["y_true"] = frame["sample_id"] % 3
    frame = frame.assign(**{f"mixed_{k}": rng.normal(frame["y_true"] == k) for k in range(3)})
    found = draw_metrics(frame, ["auroc", "accuracy", "ece"], study="heart", draws=10)
    assert found["value"].between(0, 1).all() and len(found) == 30
    own = frame.assign(y_true=rng.normal(size=len(frame)), mixed=0.0)
    assert draw_metrics(own, ["mse", "r2"], study="heart", draws=10)["value"].notna().all()


def test_draws_are_made_where_clusters_are_few_or_small_only(tmp_path, monkeypatch):
    few = predictions(partitions=("seen", "unseen", "unseen_population"))
    found = draws_of_model(few, ["auroc", WITHIN], study="spirals_radius", model="armed", draws=5)
    names = set(zip(found["partition"], found["metric"], strict=True))
    unseen = {(p, m) for p in ("unseen", "unseen_population") for m in ("auroc", WITHIN)}
    assert names == unseen | {("seen", WITHIN)}
    results.write("draws", found, tmp_path / "draws.parquet")
    back = results.read("draws", tmp_path / "draws.parquet")
    assert (back["value"] == found["value"].to_numpy()).all()
    many = predictions(n=60, clusters=10, partitions=("seen", "unseen"))
    found = draws_of_model(many, ["auroc", WITHIN], study="spirals_radius", model="armed", draws=5)
    whole = draw_metrics(
        many[many["partition"] == "unseen"], ["auroc", WITHIN], study="spirals_radius", draws=5, unit="cluster"
    )
    pd.testing.assert_frame_equal(found[whole.columns], whole, check_dtype=False)
    monkeypatch.setattr(bootstrap, "SMALL_CLUSTER", 2)
    empty = draws_of_model(many, ["auroc"], study="spirals_radius", model="armed", draws=5)
    assert empty.empty
    results.write("draws", empty, tmp_path / "draws.parquet")
    assert results.read("draws", tmp_path / "draws.parquet").empty


def test_what_is_missing_is_told_at_once():
    frame = predictions().drop(columns=["subject", "mixed"])
    frame.loc[0, "cluster"] = None
    with pytest.raises(DataError, match=r"(?s)'cluster' has 1 missing.*'subject' is missing.*'mixed'"):
        draw_metrics(frame, ["auroc"], study="heart")
    frame = predictions()
    with pytest.raises(DataError, match="6 fits have no threshold"):
        thresholds = pd.DataFrame({"seed": [], "fold": [], "variant": [], "threshold": []})
        draw_metrics(frame, ["auroc"], study="heart", thresholds=thresholds)
    with pytest.raises(DataError, match="Did you mean 'auroc'"):
        draw_metrics(frame, ["aurocc"], study="heart")


def test_two_thousand_draws_are_quick_and_small():
    frame = predictions(n=250, clusters=4, seeds=4, folds=5, visits=1)
    start = time.process_time()
    draw_metrics(frame, [*BINARY, WITHIN], study="heart")
    assert time.process_time() - start < 3  # 0.2 s on an idle machine
    tracemalloc.start()
    try:
        draw_metrics(frame, [*BINARY, WITHIN], study="heart")
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_intervals_on_the_clusters_met_cover():
    """AUROC of a fixed score on three clusters that differ in level and in their share of positives."""
    rng, hits, trials = np.random.default_rng(0), 0, 200
    level, share, n = np.array([-1.0, 0.0, 1.5]), np.array([0.3, 0.5, 0.7]), 60
    positives, negatives = share / share.sum(), (1 - share) / (1 - share).sum()
    truth = positives @ ndtr((1 + level[:, None] - level) / math.sqrt(2)) @ negatives
    for _ in range(trials):
        cluster = np.repeat(np.arange(3), n)
        # A fixed number of positives per cluster would be less than subjects drawn at random have.
        y = (rng.random(3 * n) < share[cluster]).astype(int)
        frame = pd.DataFrame({"cluster": cluster, "y_true": y, "mixed": rng.normal(level[cluster] + y)})
        names = {"variant": "main", "partition": "unseen", "seed": 0, "fold": 0}
        frame = frame.assign(fixed=frame["mixed"], subject=frame.index, **names)
        kinds = {"study": "spirals_radius", "source": "open", "model": "armed"}
        scored = score(frame, ["auroc"], by_cluster=[], **kinds).metrics
        draws = draw_metrics(frame, ["auroc"], study="spirals_radius", draws=500)
        summary = summarise(scored, NO_CLUSTERS, Settings(), draws.assign(study="spirals_radius", model="armed"))
        found = summary.set_index("ci_method").loc["corrected"]
        hits += found["ci_low"] <= truth <= found["ci_high"]
    assert 0.91 <= hits / trials <= 0.985


@pytest.mark.parametrize(("n_mixed", "defined"), [(2, False), (12, True)])
def test_few_clusters_with_both_classes_give_no_draws_within_clusters(n_mixed, defined):
    """Of thirty sites most have one class: draws would tell whether one or other of the rest is there, and little else."""
    rng = np.random.default_rng(0)
    rows = [
        ("main", "unseen", 0, fold, f"site {c}", f"{c}-{k}", float(k % 2 if c < n_mixed else c % 2), rng.normal())
        for fold in range(2)
        for c in range(30)
        for k in range(4)
    ]
    columns = ["variant", "partition", "seed", "fold", "cluster", "subject", "y_true", "mixed"]
    found = draws_of_model(
        pd.DataFrame(rows, columns=columns), ["auroc", WITHIN], study="heart", model="armed", draws=50
    )
    within = found.loc[found["metric"] == WITHIN, "value"]
    assert len(within) == 50 and within.notna().any() == defined
    assert found.loc[found["metric"] == "auroc", "value"].notna().all()
