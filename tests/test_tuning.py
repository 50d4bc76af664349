"""Policies, inner folds and the table of a search; what is chosen never looks at test rows or unseen clusters."""

from __future__ import annotations

import numpy as np
import pytest
from config_edits import DEFAULT
from contract import ALL, CONFIG, SEEN, TRAINING, create, splits

from armed import config as configuration
from armed import metrics, registry
from armed.candidates import Range
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.errors import ConfigError
from armed.methods import ARMED
from armed.tuning import COLUMNS, POLICIES, Plan, Tuning, inner_splits, score, select, tune

NAN = np.nan
PLAN = Plan(
    space={"learning_rate": Range(1e-3, 1e-1), "lambda_g": Range(0.05, 2)},
    default={"learning_rate": 0.01, "lambda_g": 0.5},
    candidates=3,
    inner_folds=2,
)


TUNABLE = [m for m in registry.models_for("spirals_radius") if registry.model(m).tunable]


def plan_of(model: str) -> Plan:
    config = configuration.load(DEFAULT)
    settings = configuration.settings(config, "spirals_radius", model)["tuning"]
    return Plan(**{**settings, "candidates": 3, "inner_folds": 2})


class TestPolicies:
    @pytest.mark.parametrize(
        ("scores", "policy", "chosen"),
        [
            ([[0.7, 0.7], [0.8, 0.8], [0.9, 0.7]], "best_mean", 1),  # the first of equals
            ([[0.7, 0.7], [NAN, 0.99], [0.8, 0.9]], "best_mean", 2),  # not in all inner folds
            ([[NAN, NAN], [NAN, 0.9]], "best_mean", 0),
            ([[0.71, 0.71], [0.75, 0.75], [0.9, 0.7]], "one_se", 0),  # s.e. of the best is 0.1
            ([[0.6, 0.6], [0.75, 0.75], [0.9, 0.7]], "one_se", 1),
            ([[0.6, 0.6], [0.65, 0.65], [0.81, 0.79]], "one_se", 2),
            ([[NAN, 0.9], [0.71, 0.71], [0.9, 0.7]], "one_se", 1),
        ],
    )
    def test_select(self, scores, policy, chosen):
        assert select(np.array(scores), policy) == chosen

    @pytest.mark.parametrize("policy", POLICIES)
    def test_lower_is_better(self, policy):
        assert select(np.array([[0.3, 0.3], [0.1, 0.11], [0.2, 0.2]]), policy, lower=True) == 1

    def test_wrong_names_are_refused(self):
        with pytest.raises(ConfigError) as error:
            Plan({}, {}, policy="best", metric="auc", inner_folds=1)
        for told in ("3 problems", "Did you mean 'best_mean'?", "Did you mean 'auroc'?", "inner_folds is 1"):
            assert told in str(error.value)


class TestInnerFolds:
    def test_they_divide_the_training_rows_of_each_fold(self):
        inner = inner_splits(ALL, splits(), 3, "s")
        assert len(inner) == 3 * len(splits())
        for outer in splits():
            mine = [f for f in inner if f.seed == outer.seed and f.fold // 3 == outer.fold]
            assert [f.fold % 3 for f in mine] == [0, 1, 2]
            np.testing.assert_array_equal(np.sort(np.concatenate([f.test for f in mine])), outer.train)
            for f in mine:
                np.testing.assert_array_equal(np.sort(np.concatenate([f.train, f.test])), outer.train)
                assert not len(f.validation)

    def test_subjects_stay_together_and_strata_are_even(self):
        data = ALL.take(SEEN)
        subject = np.arange(len(data)) // 2
        paired = ClusteredData(data.X, data.y, data.clusters, subject=subject)
        rows = np.arange(100)
        outer = Splits((Fold(0, 0, rows, rows[:0], np.arange(100, 120)),))
        for f in inner_splits(paired, outer, 2, "s"):
            assert not set(subject[f.train]) & set(subject[f.test])
        for f in inner_splits(data, splits(), 2, "s"):
            strata = [f"{c} {k}" for c, k in zip(data.clusters, data.y, strict=True)]
            for stratum in set(strata):
                counts = [sum(strata[i] == stratum for i in part) for part in (f.train, f.test)]
                assert abs(counts[0] - counts[1]) <= 1

    def test_seeds_and_folds_differ_and_come_out_the_same_again(self):
        one, two = (inner_splits(ALL, splits(), 2, "s") for _ in "ab")
        assert all(np.array_equal(a.test, b.test) for a, b in zip(one, two, strict=True))
        assert not np.array_equal(one.folds[0].test, inner_splits(ALL, splits(), 2, "t").folds[0].test)

    def test_they_depend_on_training_rows_alone(self):
        outer = Splits(splits().folds[:1])
        for one, two in zip(
            inner_splits(ALL, outer, 2, "s"), inner_splits(poisoned(outer), outer, 2, "s"), strict=True
        ):
            np.testing.assert_array_equal(one.test, two.test)


def poisoned(outer: Splits) -> ClusteredData:
    """Every row that is no training row, test rows and unseen clusters alike, turned to nonsense."""
    (fold,) = outer
    others = np.setdiff1d(np.arange(len(ALL)), fold.train)
    X, y, clusters = ALL.X.copy(), ALL.y.copy(), ALL.clusters.copy()
    X[others], y[others], clusters[others] = 1e6, 1 - y[others], "nowhere"
    return ClusteredData(X, y, clusters)


def method() -> ARMED:
    return ARMED(study="contract", network=CONFIG["network"], training=TRAINING)


class TestTune:
    @pytest.fixture(scope="class")
    @classmethod
    def tuning(cls) -> Tuning:
        return tune(method(), ALL, splits(), PLAN)

    def test_every_fold_of_the_tuned_seeds_has_a_choice(self, tuning):
        assert list(tuning.chosen) == [(0, 0), (0, 1)]
        assert tuning.candidates[0] == PLAN.default and len(tuning.candidates) == 3
        for key, scores in tuning.scores.items():
            assert scores.shape == (3, 2)
            assert tuning.chosen[key] == scores.mean(1).argmax()

    def test_scores_are_those_of_models_trained_by_hand(self, tuning):
        inner = inner_splits(ALL, splits().select([0]), 2, "contract")
        rate, weight = tuning.candidates[1]["learning_rate"], tuning.candidates[1]["lambda_g"]
        training = {**TRAINING, "learning_rate": rate}
        one = ARMED(study="contract", network=CONFIG["network"], training=training, lambda_g=weight)
        one.fit(ALL, inner)
        for f in inner:
            mixed = one.predict(ALL, {(0, f.fold): f.test}).mixed
            expected = metrics.evaluate(ALL.y[f.test], mixed, ["auroc"])["auroc"]
            assert tuning.scores[0, f.fold // 2][1, f.fold % 2] == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("model", ["logistic_regression", "gradient_boosting"])
    def test_methods_fitted_one_after_another(self, model):
        """Scores are those of fits by hand, the first are its own settings, and `assign` fits what was chosen."""
        plan = plan_of(model)
        tuning = tune(create(model), ALL, splits(), plan)
        inner = inner_splits(ALL, splits().select([0]), 2, "contract")
        assert tuning.candidates[0] == {name: CONFIG["settings"][model][name] for name in plan.space}
        for number, setting in enumerate(tuning.candidates):
            one = create(model, **setting).fit(ALL, inner)
            for f in inner:
                mixed = one.predict(ALL, {(0, f.fold): f.test}, new_clusters="population").mixed
                expected = metrics.evaluate(ALL.y[f.test], mixed, ["auroc"])["auroc"]
                assert tuning.scores[0, f.fold // 2][number, f.fold % 2] == pytest.approx(expected)
        fitted = create(model).fit(ALL, splits(), [0], assign=tuning.assign).predict(ALL.take(SEEN))
        for fold in splits().select([0]):
            alone = create(model, **tuning.assign[0, fold.fold]).fit(ALL, Splits((fold,))).predict(ALL.take(SEEN))
            np.testing.assert_array_equal(fitted.mixed[fitted.fold == fold.fold], alone.mixed)

    def test_what_diverged_has_no_score(self):
        inner = inner_splits(ALL, splits().select([0]), 2, "contract")
        fit = method().fit_settings(ALL, inner, [PLAN.default])
        fit.notes[0, 1, 0] = "diverged"
        scores = score(fit, ALL, {(f.seed, f.fold): f.test for f in inner}, "auroc")
        assert [key for key, value in scores.items() if np.isnan(value)] == [(0, 1, 0)]

    @pytest.mark.parametrize("model", TUNABLE)
    def test_test_rows_and_unseen_clusters_have_no_say(self, model):
        """All methods, each with all its hyperparameters."""
        outer = Splits(splits().folds[:1])
        clean, other = (tune(create(model), data, outer, plan_of(model)) for data in (ALL, poisoned(outer)))
        np.testing.assert_array_equal(clean.scores[0, 0], other.scores[0, 0])
        assert clean.assign == other.assign and len(np.unique(clean.scores[0, 0])) > 1

    @pytest.mark.parametrize("model", ["lmmnn", "armed"])
    def test_what_was_chosen_can_be_fitted(self, model):
        """By `assign`, which gives the weights that those settings give on their own."""
        tuning = tune(create(model), ALL, splits(), plan_of(model))
        fitted = create(model).fit(ALL, splits(), [0], assign=tuning.assign)
        assert fitted.replicas_ == [(0, 0), (0, 1)]
        for position, key in enumerate(fitted.replicas_):
            alone = create(model).fit_settings(ALL, splits().select([0]), [tuning.assign[key]])
            weight = next(name for name in alone.stack.state() if name.endswith("output.weight"))
            expected, found = (s.state()[weight][position] for s in (alone.stack, fitted.stack_))
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_table_of_a_search():
    found = [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}]
    scores = {(0, 1): np.array([[0.5, 0.7], [0.9, 0.7]])}
    tuning = Tuning(found, scores, {(0, 1): 1})
    table = tuning.to_frame()
    assert list(table) == list(COLUMNS)
    assert list(table.itertuples(index=False))[2][:5] == (0, 1, 1, "a", 3.0)
    np.testing.assert_allclose(table["score"], [0.6, 0.6, 0.8, 0.8])
    np.testing.assert_allclose(table["score_sd"], np.full(4, 0.02**0.5))
    assert list(table["chosen"]) == [0, 0, 1, 1]
    assert tuning.assign == {(0, 1): found[1]}
