"""Verdicts by the stated tolerance, and paired tests against closed forms and other implementations."""

import math

import numpy as np
import pandas as pd
import pytest
from metric_rows import NO_CLUSTERS, cluster_rows, noise, rows
from scipy import stats
from statsmodels.stats.multitest import multipletests

from armed import results
from armed.comparison import compare, paired_tests, read_published
from armed.errors import DataError
from armed.statistics import ClusterSums, Settings, corrected_t, summarise

RESAMPLED = Settings(dataset_per_seed={"spirals_inverted", "spirals_confounded"})


def published(**changes):
    row = {"table": "notebook", "study": "spirals_radius", "partition": "seen", "model": "armed"}
    row |= {"metric": "accuracy", "mean": 0.75, "ci_low": 0.74, "ci_high": 0.76}
    return pd.DataFrame([row | changes])


def summary_row(low, high, **names):
    frame = summarise(rows(np.full((2, 2), (low + high) / 2), **names), NO_CLUSTERS)
    return frame.assign(ci_low=low, ci_high=high)


def test_the_tolerance_of_errors_is_a_share_of_them():
    """0.02 would take any mean squared error for another."""
    mse = {"metric": "mse", "mean": 0.0019, "ci_low": np.nan, "ci_high": np.nan}
    found = compare(summary_row(0.0018, 0.0020).assign(metric="mse"), published(**mse))
    assert found["tolerance"].item() == pytest.approx(0.02 * 0.0019)


@pytest.mark.parametrize(
    ("low", "high", "theirs", "verdict"),
    [
        (0.70, 0.76, {}, "agrees"),
        (0.761, 0.78, {}, "differs"),
        (0.7599, 0.78, {}, "agrees"),
        (0.72, 0.7401, {}, "agrees"),
        (0.72, 0.7399, {}, "differs"),
        (0.7699, 0.78, {"ci_low": np.nan, "ci_high": np.nan}, "agrees"),
        (0.7701, 0.78, {"ci_low": np.nan, "ci_high": np.nan}, "differs"),
        (np.nan, np.nan, {}, "not comparable"),
    ],
)
def test_verdicts_follow_the_stated_tolerance(low, high, theirs, verdict):
    # Published 0.75 with half-width 0.01, or 0.02 where none is printed.
    found = compare(summary_row(low, high), published(**theirs))
    assert found["verdict"].tolist() == [verdict]
    assert found["tolerance"].item() == pytest.approx(0.02 if theirs else 0.01)
    results.validate("comparison", found)


def test_stand_ins_and_other_data_are_never_called_a_reproduction():
    ours = summary_row(0.70, 0.80, source="stand-in")
    assert compare(ours, published())["verdict"].tolist() == ["not comparable"]
    ours = summary_row(0.70, 0.80)
    assert compare(ours, published(), other_data=["spirals_radius"])["verdict"].tolist() == ["not comparable"]


def test_only_main_is_compared_and_mldg_with_the_label_defect_beside_it():
    variants = [("armed", "main"), ("armed", "resampled"), ("mldg", "main"), ("mldg", "label_defect")]
    variants += [("mldg", "first_order"), ("conventional", "label_defect")]
    ours = pd.concat([summary_row(0.7, 0.8, model=m, variant=v) for m, v in variants])
    models = ("armed", "mldg", "conventional")
    tables = [published(model=m, table=t) for m in models for t in ("notebook", "rerun")]
    found = results.validate("comparison", compare(ours, pd.concat(tables)))
    expected = {(m, v, t) for m, v in (variants[0], *variants[2:4]) for t in ("notebook", "rerun")}
    assert {*zip(found["model"], found["variant"], found["table"], strict=True)} == expected
    assert set(found["ci_method"]) == {"corrected"}
    assert found["delta"].to_numpy() == pytest.approx(0.0)


def test_the_published_numbers_can_be_read():
    found = read_published("config/published_results.csv")
    row = found[(found["study"] == "spirals_radius") & (found["table"] == "notebook")].set_index("model")
    assert row.loc["armed", ["mean", "ci_low", "ci_high"]].tolist() == [0.7878, 0.7797, 0.7959]
    assert found[["ci_low", "ci_high"]].isna().all(axis=1).sum() > 0


def test_published_numbers_that_are_ambiguous_are_refused(tmp_path):
    pd.concat([published(), published(mean=np.nan)]).to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(DataError, match=r"(?s)1 rows repeat.*1 rows have no mean"):
        read_published(tmp_path / "p.csv")
    published().drop(columns="ci_low").to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(DataError, match="'ci_low' is missing"):
        read_published(tmp_path / "p.csv")


def three_models(**names):
    base = 0.7 + noise(6, 5)
    gains = {"conventional": 0.0, "armed": 0.03, "menet": 0.002, "mldg": -0.01}
    values = {m: base + g + noise(6, 5, seed=i + 1, sd=0.01) for i, (m, g) in enumerate(gains.items())}
    values["conventional"] = base
    return values, pd.concat([rows(v, model=m, **names) for m, v in values.items()])


def test_paired_differences_are_corrected_within_one_dataset():
    values, frame = three_models()
    found = results.validate("paired_tests", paired_tests(frame, NO_CLUSTERS)).set_index("model")
    assert list(found.index) == ["armed", "menet", "mldg"]
    for model in found.index:
        expected = corrected_t((values[model] - values["conventional"]).ravel(), 1 / 4)
        row = found.loc[model]
        assert row[["difference", "ci_low", "ci_high", "p"]].tolist() == pytest.approx(expected)
        assert row["n_seeds"] == 6
    assert found["p_holm"].tolist() == pytest.approx(multipletests(found["p"], method="holm")[1])
    assert (found["p_holm"] >= found["p"]).all() and found.loc["armed", "p_holm"] < 0.01


def test_paired_differences_over_datasets_are_a_paired_t_over_seeds():
    values, frame = three_models(study="spirals_inverted")
    found = paired_tests(frame, NO_CLUSTERS, RESAMPLED).set_index("model")
    for model in found.index:
        means = values[model].mean(axis=1), values["conventional"].mean(axis=1)
        assert found.loc[model, "p"] == pytest.approx(stats.ttest_rel(*means).pvalue)


def test_comparisons_pair_on_what_both_have():
    values, frame = three_models()
    frame = frame[(frame["model"] != "armed") | (frame["seed"] < 3)]
    frame.loc[(frame["model"] == "conventional") & (frame["seed"] == 0) & (frame["fold"] == 0), "value"] = np.nan
    row = paired_tests(frame, NO_CLUSTERS).set_index("model").loc["armed"]
    shared = (values["armed"] - values["conventional"])[:3]
    assert row["n_seeds"] == 3
    assert row["difference"] == pytest.approx(np.mean([shared[0, 1:].mean(), shared[1].mean(), shared[2].mean()]))


def test_variants_are_compared_with_the_reference_on_the_same_data():
    _, frame = three_models()
    defect = frame[frame["model"] == "mldg"].assign(variant="label_defect")
    resampled = frame[frame["model"] != "conventional"].assign(variant="resampled")
    found = paired_tests(pd.concat([frame, defect, resampled]), NO_CLUSTERS)
    assert "resampled" not in set(found["variant"])  # its reference was not run, and main has other data
    family = found.set_index(["model", "variant"])
    assert family.loc[("mldg", "label_defect"), "p"] == pytest.approx(family.loc[("mldg", "main"), "p"])
    assert found["p_holm"].tolist() == pytest.approx(multipletests(found["p"], method="holm")[1])
    both = pd.concat([frame, frame.assign(variant="resampled")])
    assert set(paired_tests(both, NO_CLUSTERS)["variant"]) == {"main", "resampled"}


def test_paired_differences_on_unseen_clusters_are_bootstrapped():
    clusters = np.linspace(0.6, 0.9, 12) + noise(5, 4, 12, sd=0.01)
    better = clusters + 0.02 + noise(1, 1, 12, seed=3, sd=0.01)
    models = {"conventional": clusters, "armed": better}
    frame = pd.concat([rows(v.mean(axis=2), model=m, partition="unseen") for m, v in models.items()])
    inside = pd.concat([cluster_rows(v, model=m, partition="unseen") for m, v in models.items()])
    found = paired_tests(frame, inside).iloc[0]
    difference = (better - clusters).mean(axis=(0, 1))
    assert found["difference"] == pytest.approx(difference.mean())
    # Clusters differ by 0.1, their differences by 0.01 only: pairing keeps the interval narrow.
    assert found["ci_high"] - found["ci_low"] == pytest.approx(2 * 1.96 * difference.std() / math.sqrt(12), rel=0.15)
    assert found["p"] < 0.01


def test_differences_by_cluster_are_of_shared_seeds_and_clusters():
    mine = ClusterSums(np.array([0, 1]), np.array(["a", "b"]), np.array([[2.0, 4], [6, 8]]), np.full((2, 2), 2.0))
    other = ClusterSums(np.array([1, 2]), np.array(["b", "c"]), np.array([[3.0, 1], [1, 1]]), np.full((2, 2), 1.0))
    found = mine.minus(other)
    assert (found.seeds.tolist(), found.clusters.tolist()) == ([1], ["b"])
    assert found.weighted / found.weights == pytest.approx(4 - 3)


def test_a_reference_that_was_not_run_leaves_no_tests(caplog):
    _, frame = three_models()
    frame = frame[frame["model"] != "conventional"]
    found = paired_tests(frame, NO_CLUSTERS)
    assert len(results.validate("paired_tests", found)) == 0
    assert "'conventional' has no metrics" in caplog.text
    with pytest.raises(DataError, match="Did you mean 'armed'"):
        paired_tests(frame, NO_CLUSTERS, reference="armd")


def test_references_may_differ_by_study(caplog):
    _, frame = three_models()
    own = three_models(study="spirals_inverted")[1].replace(
        {"model": {"conventional": "mixedlm", "mldg": "conventional"}}
    )
    absent = frame[frame["model"] != "conventional"].assign(study="spirals_confounded")
    table = pd.concat([frame, own, absent])
    found = paired_tests(table, NO_CLUSTERS, references={"spirals_inverted": "mixedlm"})
    pairs = set(zip(found["study"], found["reference"], strict=True))
    assert pairs == {("spirals_radius", "conventional"), ("spirals_inverted", "mixedlm")}
    assert set(found.loc[found["study"] == "spirals_inverted", "model"]) == {"armed", "menet", "conventional"}
    assert [r.getMessage() for r in caplog.records] == [
        "spirals_confounded: no paired tests, as the reference model 'conventional' has no metrics"
    ]
    with pytest.raises(DataError, match=r"'mixdlm' is not in the metrics. Did you mean 'mixedlm'"):
        paired_tests(table, NO_CLUSTERS, references={"spirals_inverted": "mixdlm"})


def test_paired_differences_are_taken_draw_by_draw():
    shared, own = noise(2000, seed=5, sd=0.1), noise(2000, seed=6, sd=0.005)
    metrics, draws = [], []
    for model, gain, extra in (("conventional", 0.0, 0.0), ("armed", 0.02, own)):
        names = {"model": model, "partition": "unseen"}
        metrics.append(rows(np.full((1, 4), 0.7 + gain), **names))
        frame = pd.DataFrame({"draw": np.arange(2000), "value": 0.7 + gain + shared + extra})
        draws.append(frame.assign(study="spirals_radius", variant="main", metric="accuracy", **names))
    found = paired_tests(pd.concat(metrics), NO_CLUSTERS, draws=pd.concat(draws)).iloc[0]
    assert found["difference"] == pytest.approx(0.02)
    # Subjects differ by 0.1 in their draws, the models by 0.005 only: pairing keeps the interval narrow.
    assert found["ci_high"] - found["ci_low"] == pytest.approx(2 * 1.96 * 0.005, rel=0.06)
    assert found["p"] < 0.001
    fewer = [draws[0], draws[1][:1500]]
    assert paired_tests(pd.concat(metrics), NO_CLUSTERS, draws=pd.concat(fewer)).iloc[0]["ci_low"] > 0
    alone = paired_tests(pd.concat(metrics), NO_CLUSTERS, draws=draws[0]).iloc[0]
    assert np.isnan(alone["ci_low"])
