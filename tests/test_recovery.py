"""Recovery of true effects: each metric by hand, and all fits of a model at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from armed import recovery
from armed.recovery import (
    feature_recovery,
    intercept_recovery,
    slope_ratio,
    slope_recovery,
    truth_metrics,
)

NAN = np.nan
FEATURES = ("a", "b", "c")


def test_slope_recovery_is_pearsons_r_over_features_that_are_known():
    # Deviations from the means: (-1, 0, 1) and (-1, 1, 0), so r = 1 / 2; the fourth feature has no slope.
    found = slope_recovery([[1.0, 2.0, 3.0, NAN], [3.0, 2.0, 1.0, 9.0]], [[1.0, 3.0, 2.0, 5.0], [1.0, 2.0, 3.0, NAN]])
    np.testing.assert_allclose(found.value, [0.5, -1.0])
    assert found.n.tolist() == [3, 3] and found.note.tolist() == ["", ""]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 5, 26))
    np.testing.assert_allclose(slope_recovery(x, y).value, [np.corrcoef(a, b)[0, 1] for a, b in zip(x, y, strict=True)])


@pytest.mark.parametrize(
    ("learned", "true", "n", "reason"),
    [
        ([1.0, 2.0, NAN], [1.0, 2.0, 3.0], 2, "fewer than 3 clusters with a learned and a true value"),
        ([NAN, NAN, NAN], [1.0, 2.0, 3.0], 0, "fewer than 3 clusters with a learned and a true value"),
        ([0.1, 0.1, 0.1], [1.0, 2.0, 3.0], 3, "all learned values are equal"),
        ([0.1, 0.2, 0.3], [0.3, 0.3, 0.3], 3, "all true values are equal"),
    ],
)
def test_a_correlation_that_is_undefined_is_nan_with_the_reason(learned, true, n, reason):
    found = intercept_recovery([learned], [true])
    assert np.isnan(found.value).all() and found.n.tolist() == [n] and found.note.tolist() == [reason]


def test_slope_ratio_is_the_median_over_features():
    # 0.5, 1, 3; a true s.d. of 0 has no ratio.
    found = slope_ratio([[1.0, 2.0, 3.0, 1.0], [1.0, NAN, NAN, 1.0]], [2.0, 2.0, 1.0, 0.0])
    assert found.value[0] == 1.0 and found.n.tolist() == [3, 1]
    assert np.isnan(found.value[1]) and found.note.tolist() == [
        "",
        "fewer than 3 features with a learned and a true value",
    ]


def test_feature_recovery_counts_pairs():
    # Predictive 0.9 and 0.5 against 0.8 and 0.1: three of four pairs; with a tie at 0.5, 2.5 of four.
    found = feature_recovery([[0.9, 0.8, 0.1, 0.5, 7.0], [0.9, 0.5, 0.1, 0.5, 7.0]], [1, 0, 0, 1, NAN])
    np.testing.assert_allclose(found.value, [3 / 4, 3.5 / 4])
    assert found.n.tolist() == [4, 4]
    for importance, predictive in (([1.0, 2.0], [1, 1]), ([NAN, NAN], [1, 0])):
        undefined = feature_recovery([importance], predictive)
        assert np.isnan(undefined.value).all() and "none that are not, predictive" in undefined.note[0]


def effects(slopes: dict, intercepts: dict) -> pd.DataFrame:
    """Rows of random effects: {(seed, fold, feature): {cluster: mean}} and {(seed, fold): {cluster: mean}}."""
    rows = [(*key[:2], c, "slope", key[2], mean) for key, means in slopes.items() for c, mean in means.items()]
    rows += [(*key, c, "intercept", "", mean) for key, means in intercepts.items() for c, mean in means.items()]
    frame = pd.DataFrame(rows, columns=["seed", "fold", "cluster", "effect", "feature", "mean"])
    return frame.assign(sd=0.1)


def feature_truth(datasets=(0,)) -> pd.DataFrame:
    sds = {"a": 0.1, "b": 0.2, "c": 0.3, "flag": 9.0}
    frames = [
        pd.DataFrame(
            {"dataset": d, "feature": list(sds), "coefficient": 1.0, "slope_sd": np.roll(list(sds.values()), 0)}
        )
        for d in datasets
    ]
    return pd.concat(frames).assign(predictive=lambda f: (f["feature"] == "a").astype(int))


def sites(datasets=(0,)) -> pd.DataFrame:
    values = {"A": -1.0, "B": 0.0, "C": 1.0}
    frames = [pd.DataFrame({"cluster": list(values), "dataset": d, "intercept": values.values()}) for d in datasets]
    return pd.concat(frames)


KINDS = {"a": "continuous", "b": "continuous", "c": "continuous", "flag": "categorical"}


def spread(sd: float) -> dict[str, float]:
    """Slopes of three clusters with a sample s.d. of `sd`, and of one of which nothing is known."""
    return {"A": -sd, "B": 0.0, "C": sd, "unknown": 100.0}


def test_a_few_named_slopes_are_not_scored():
    """As those of the statsmodels models, three of 37: a correlation over them would say nothing."""
    slopes = {(0, 0, f): spread(0.1) for f in FEATURES}
    assert not len(truth_metrics(effects(slopes, {}), None, feature_truth(), sites(), {0: 0}, KINDS))


class TestTruthMetrics:
    @pytest.fixture(autouse=True)
    def three_will_do(self, monkeypatch):
        """Examples small enough to work out by hand."""
        monkeypatch.setattr(recovery, "FEWEST_SLOPES", 3)

    def test_all_fits_at_once(self):
        learned = {f: {(0, 0): sd, (0, 1): 0.3 - sd} for f, sd in {"a": 0.05, "b": 0.1, "c": 0.15, "flag": 7.0}.items()}
        slopes = {(*key, f): spread(sd) for f, by_fit in learned.items() for key, sd in by_fit.items()}
        slopes |= {(0, 0, "hidden.2[0]"): spread(5.0)}
        intercepts = {(0, 0): {"A": -2.0, "B": 0.0, "C": 2.0, "unknown": 50.0}, (0, 1): {"A": 1.0, "B": 0.0, "C": -1.0}}
        importance = pd.DataFrame(
            {"seed": 0, "fold": [0, 0, 1, 1], "feature": ["a", "b", "a", "b"], "importance": [2.0, 1.0, 1.0, 2.0]}
        )
        found = truth_metrics(effects(slopes, intercepts), importance, feature_truth(), sites(), {0: 0}, KINDS)
        assert (found["partition"] == "seen").all() and (found["seed"] == 0).all()
        value = found.pivot(index="metric", columns="fold", values="value")
        np.testing.assert_allclose(value.loc["slope_recovery"], [1.0, -1.0])
        np.testing.assert_allclose(value.loc["slope_ratio"], [0.5, 1.0])  # 0.25 / 0.1, 0.2 / 0.2, 0.15 / 0.3
        np.testing.assert_allclose(value.loc["intercept_recovery"], [1.0, -1.0])
        np.testing.assert_allclose(value.loc["feature_recovery"], [1.0, 0.0])
        n = found.groupby("metric")["n"].unique().map(list).to_dict()
        assert n == {"slope_recovery": [3], "slope_ratio": [3], "intercept_recovery": [3], "feature_recovery": [2]}

    def test_each_seed_is_held_against_its_own_dataset(self):
        intercepts = {(s, 0): {"A": -1.0, "B": 0.0, "C": 1.0} for s in (3, 4)}
        truth = sites((3, 4))
        truth.loc[truth["dataset"] == 4, "intercept"] *= -1
        found = truth_metrics(effects({}, intercepts), None, feature_truth((3, 4)), truth, {3: 3, 4: 4}, KINDS)
        assert found.set_index("seed")["value"].to_dict() == pytest.approx({3: 1.0, 4: -1.0})

    def test_models_with_few_slopes_by_name_get_no_slope_metrics(self):
        slopes = {(0, 0, f): spread(0.1) for f in ("a", "b", "flag", "hidden.2[0]")}
        found = truth_metrics(effects(slopes, {}), None, feature_truth(), sites(), {0: 0}, KINDS)
        assert not len(found)

    def test_a_diverged_fit_is_nan_with_the_reason(self):
        nothing = dict.fromkeys("ABC", NAN)
        slopes = {(0, 0, f): nothing for f in FEATURES}
        found = truth_metrics(effects(slopes, {(0, 0): nothing}), None, feature_truth(), sites(), {0: 0}, KINDS)
        assert len(found) == 3 and found["value"].isna().all() and (found["note"].str.len() > 0).all()

    @pytest.mark.parametrize("random_effects", [None, effects({}, {})])
    def test_nothing_to_score_or_no_truth(self, random_effects):
        found = truth_metrics(random_effects, None, feature_truth(), sites(), {0: 0}, KINDS)
        assert not len(found) and "value" in found
        importance = pd.DataFrame({"seed": [0], "fold": [0], "feature": ["a"], "importance": [1.0]})
        intercepts = effects({(0, 0, f): spread(1.0) for f in FEATURES}, {(0, 0): spread(1.0)})
        unknown = sites().assign(intercept=NAN)
        assert not len(truth_metrics(intercepts, importance, feature_truth().iloc[:0], unknown, {0: 0}, KINDS))
