"""Figures of the clinical studies and of own tables: which there are, what they show, that nothing covers anything."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from figure_checks import assert_nothing_covers_anything, smallest_text, texts
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from synthetic_clinical import CONTINUOUS, HEART, MCI, MCI_PROBES, SOURCE, clinical_config, write_clinical

from armed import registry, results
from armed.associations import chance_in_top, probe_in_top_ten
from armed.errors import DataError
from armed.plotting import curves, draw, performance, slopes, style, top_features
from armed.plotting.catalogue import figures

OWN = "own_outcome"


@pytest.fixture(scope="module")
def config():
    return clinical_config()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, config):
    return write_clinical(tmp_path_factory.mktemp("results"), config)


@pytest.fixture
def tables(folder):
    names = ("summary", "comparison", "importance", "random_effects", "deconfounding", "univariate", "sensitivity")
    return {name: results.read(name, folder / f"{name}.tsv") for name in names}


@pytest.fixture
def own(config, monkeypatch):
    """Declare a study of an own table with labels of some kind."""

    def declare(kind):
        config = clinical_config()
        config["studies"][OWN] = config["own_study"]
        entry = registry.Study(
            OWN, "Own", "own", "armed.data.own_table:make", ("seen",), ("mse",), kind=kind, raw="own"
        )
        monkeypatch.setitem(registry.STUDIES, OWN, replace(entry, metrics=registry.METRICS_OF_KIND[kind]))
        return config

    return declare


def kinds(study, config):
    return [s.kind for s in figures(study, config)]


def spec(study, kind, config):
    return next(s for s in figures(study, config) if s.kind == kind)


def all_specs():
    return [(s.study, s.kind) for study in SOURCE for s in figures(study, clinical_config())]


@pytest.fixture(scope="module", params=all_specs(), ids="-".join)
def drawn(request, folder, config):
    figure = draw.draw(spec(*request.param, config), folder, config)
    figure.canvas.draw()
    return request.param[0], figure


class TestEveryFigure:
    def test_nothing_covers_anything(self, drawn):
        assert_nothing_covers_anything(drawn[1])

    def test_it_tells_the_source_and_is_legible(self, drawn):
        study, figure = drawn
        told = texts(figure)
        assert ("Open data" if study == HEART else "STAND-IN data") in told and "Not drawn" not in told
        assert smallest_text(figure) >= 8.5


class TestCatalogue:
    def test_figures_follow_the_study(self, config):
        first = ["performance", "roc", "calibration", "top_features"]
        assert kinds(MCI, config) == [*first, "random_intercepts", "random_slopes", "recovery"]
        assert kinds(MCI_PROBES, config) == [*first, "probe_ranks", "random_intercepts"]
        assert kinds(HEART, config) == first

    def test_no_recovery_on_real_data(self, tmp_path):
        config = clinical_config()
        real = tmp_path / "ADNIMERGE.csv"
        real.write_text("")
        config["studies"][MCI]["data"]["path"] = str(real)
        assert "recovery" not in kinds(MCI, config) and "random_slopes" in kinds(MCI, config)
        config = clinical_config()
        config["recovery"] = None
        assert "recovery" not in kinds(MCI, config)

    def test_no_word_of_a_truth_that_real_data_have_not(self, tmp_path):
        config = clinical_config()
        assert "generator" in spec(MCI, "top_features", config).caption
        real = tmp_path / "ADNIMERGE.csv"
        real.write_text("")
        config["studies"][MCI]["data"]["path"] = str(real)
        assert "generator" not in spec(MCI, "top_features", config).caption

    def test_no_slopes_without_a_model_that_has_them(self):
        config = clinical_config()
        config["run"]["models"] = ["conventional", "mixedlm"]
        assert kinds(MCI, config)[-1] == "random_intercepts"
        config["run"]["models"] = ["conventional"]
        assert kinds(MCI, config)[-1] == "top_features"

    @pytest.mark.parametrize("kind", ["continuous", "multiclass"])
    def test_curves_need_two_classes(self, own, kind):
        assert kinds(OWN, own(kind)) == ["performance", "top_features"]

    def test_captions_follow_the_settings(self, own):
        config = clinical_config(seeds=7, folds=4)
        assert "7 seeds (unseen clusters: 3)" in spec(MCI, "roc", config).caption
        assert "7 seeds x 4 folds" in spec(MCI_PROBES, "probe_ranks", config).caption
        assert "class weights" in spec(MCI, "calibration", config).caption
        config["studies"][MCI]["training"]["class_weights"] = "none"
        assert "class weights" not in spec(MCI, "calibration", config).caption
        config["studies"][MCI]["data"]["n_seen"] = 12
        assert "n = 12" in spec(MCI, "random_intercepts", config).caption
        config["recovery"] = {"datasets": 5, "subjects": [1, 2.5]}
        assert "5 stand-ins of each size (x1, x2.5;" in spec(MCI, "recovery", config).caption
        assert "12 seen sites" in spec(MCI, "random_slopes", config).caption
        continuous = own("continuous")
        assert "Lower is better" in spec(OWN, "performance", continuous).caption
        assert "d prediction" in spec(OWN, "top_features", continuous).caption


class TestPerformance:
    def test_three_variants_of_the_data_stand_apart_in_a_row(self, tables):
        figure = performance.accuracy(tables["summary"], tables["comparison"], MCI, "auroc")
        names = [t.get_text() for t in figure.axes[0].get_yticklabels()]
        assert len(names) == len(registry.models_for(MCI))
        row = names.index("ARMED")
        marks = [
            (line.get_marker(), round(line.get_ydata()[0] - row, 2))
            for line in figure.axes[0].lines
            if abs(line.get_ydata()[0] - row) < 0.5
        ]
        assert marks == [("o", 0), ("o", 0.2), ("D", 0.4), ("|", -0.2)]
        assert "the authors' dataset" not in texts(figure) and "paper, Table III" in texts(figure)

    def test_where_lower_is_better_it_says_so(self, tables, own):
        own("continuous")
        summary = tables["summary"].query("study == @HEART and metric == 'auroc'")
        summary = summary.assign(study=OWN, metric="mse", source="own")
        figure = performance.accuracy(summary, tables["comparison"], OWN, "mse")
        assert "MSE of each model" in texts(figure) and "Lower is better" in texts(figure)


def predictions(logits, y, seed=0):
    ids = [str(i) for i in range(len(y))]
    return pd.DataFrame({"seed": seed, "fold": 0, "sample_id": ids, "y_true": y, "mixed": logits})


class TestCurves:
    def test_the_area_under_one_seeds_curve_is_its_auroc(self):
        rng = np.random.default_rng(0)
        y = (rng.uniform(size=400) < 0.3).astype(float)
        logits = np.round(y + rng.normal(size=400), 1)  # with ties
        fpr, tpr = curves.mean_roc(predictions(logits, y))
        assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1) and (np.diff(tpr) >= 0).all()
        assert np.trapezoid(tpr, fpr) == pytest.approx(roc_auc_score(y, logits), abs=0.005)

    def test_seeds_are_averaged_vertically_and_one_class_is_left_out(self):
        y = np.array([0.0, 0, 1, 1])
        good, bad = predictions([1.0, 2, 3, 4], y), predictions([4.0, 3, 2, 1], y, seed=1)
        _, tpr = curves.mean_roc(pd.concat([good, bad, predictions([1.0, 2, 3, 4], y * 0, seed=2)]))
        assert tpr[100] == pytest.approx(0.5)
        assert len(curves.mean_roc(predictions([1.0], np.ones(1)))[0]) == 0

    def test_calibration_by_hand(self):
        logits = np.repeat([-2.0, 2.0], 10)
        y = np.r_[[1.0] + [0.0] * 9, [1.0] * 8 + [0.0] * 2]
        found = curves.calibration(predictions(logits, y), bins=2)
        assert found.predicted == pytest.approx(expit([-2.0, 2.0])) and found.observed == pytest.approx([0.1, 0.8])
        assert found.ece == pytest.approx((abs(0.1 - expit(-2)) + abs(0.8 - expit(2))) / 2)
        assert (found.low < found.observed).all() and (found.observed < found.high).all()

    def test_predicting_a_sample_more_often_makes_no_interval_narrower(self):
        rng = np.random.default_rng(1)
        y, logits = (rng.uniform(size=100) < 0.4).astype(float), rng.normal(size=100)
        once = curves.calibration(predictions(logits, y))
        thrice = curves.calibration(pd.concat([predictions(logits, y, seed) for seed in range(3)]))
        assert thrice.low == pytest.approx(once.low) and thrice.ece == pytest.approx(once.ece)

    def test_equal_predictions_are_one_bin(self):
        found = curves.calibration(predictions(np.zeros(50), np.arange(50) % 2.0))
        assert found.observed.tolist() == [0.5] and len(found.low) == 1

    def test_the_legend_has_the_tables_auroc(self, tables, folder, config):
        told = texts(draw.draw(spec(MCI, "roc", config), folder, config))
        means = tables["summary"].query(
            "study == @MCI and model == 'armed' and variant == 'main' and metric == 'auroc' and ci_method == 'corrected'"
        )
        means = means.set_index("partition")["mean"]
        assert f"ARMED: {means['seen']:.3f} | {means['unseen']:.3f}" in told

    def test_diverged_fits_are_left_out(self, tables):
        frame = predictions([np.nan, np.nan], [0.0, 1.0]).assign(partition="seen")
        with pytest.raises(DataError, match="no predictions with finite logits"):
            curves.roc({"armed": frame}, tables["summary"], MCI, "stand-in")

    def test_without_unseen_clusters_there_is_one_panel(self, tables):
        frame = predictions([0.0, 1.0], [0.0, 1.0]).assign(partition="seen")
        assert len(curves.roc({"armed": frame}, tables["summary"], MCI, "own").axes) == 1
        assert "unseen" not in texts(curves.calibrations({"armed": frame}, MCI, "own"))


class TestTopFeatures:
    def table(self, values, names=("a", "b", "Probe: p")):
        rows = [
            (MCI_PROBES, 0, fold, "armed", "main", name, value, 1 + sorted(of_fold, reverse=True).index(value))
            for fold, of_fold in enumerate(values)
            for name, value in zip(names, of_fold, strict=True)
        ]
        return pd.DataFrame(rows, columns=list(results.table("importance").columns))

    def test_shares_are_of_each_fit_and_the_most_important_come_first(self):
        found = top_features.top_shares(self.table([(1.0, 3.0, 0.0), (2.0, 20.0, 18.0)]), top=2)
        assert found["feature"].tolist() == ["b", "Probe: p"]
        assert found["share"].tolist() == pytest.approx([(0.75 + 0.5) / 2, 0.45 / 2])
        assert found["place"].tolist() == [0, 1]

    def test_kinds_of_features_are_told_apart(self):
        truth = pd.DataFrame({"feature": ["a", "b"], "predictive": [1, 0]})
        figure = top_features.importance(self.table([(3.0, 2.0, 1.0)]), truth, MCI_PROBES, "stand-in")
        points = [(line.get_marker(), line.get_color()) for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
        assert points == [("o", style.BLUE), ("o", "#8a8a8a"), ("D", style.VERMILLION)]
        assert "ARMED: 1 of 3 truly predictive" in texts(figure)
        figure = top_features.importance(self.table([(3.0, 2.0, 1.0)]), truth.iloc[:0], MCI_PROBES, "restricted")
        assert "predictive" not in texts(figure)

    def test_models_that_use_nothing(self):
        with pytest.raises(DataError, match="uses any feature"):
            truth = pd.DataFrame({"feature": [], "predictive": []})
            top_features.importance(self.table([(0.0, 0.0, 0.0)]), truth, MCI_PROBES, "stand-in")

    def test_long_names_are_cut(self):
        name = "a column of a table whose name goes on and on and on"
        table = self.table([(2.0, 1.0)], (name, "b"))
        figure = top_features.importance(table, pd.DataFrame({"feature": [], "predictive": []}), MCI_PROBES, "own")
        assert name[:36] + "…" in texts(figure)

    def test_chance_and_shares_are_drawn(self, tables):
        figure = top_features.probe_ranks(tables["importance"], tables["deconfounding"], MCI_PROBES, "stand-in")
        dashed = [line.get_xdata()[0] for ax in figure.axes for line in ax.lines if line.get_linestyle() == "--"]
        by_hand = 1 - math.comb(37, 10) / math.comb(42, 10)
        assert dashed[1] == pytest.approx(100 * by_hand) == pytest.approx(100 * chance_in_top(42, 5))
        assert chance_in_top(42, 5, int(dashed[0])) >= 0.5 > chance_in_top(42, 5, int(dashed[0]) - 1)

    def test_a_study_without_probes(self, tables):
        shares = tables["deconfounding"].assign(study=MCI)
        with pytest.raises(DataError, match="no probe"):
            top_features.probe_ranks(tables["importance"], shares, MCI, "stand-in")

    def test_a_probe_in_the_top_ten_by_hand(self):
        names = [*(f"x{i}" for i in range(11)), "Probe: p"]
        high, low = [*range(2, 13), 20.0], [*range(2, 13), 1.0]
        shares = probe_in_top_ten(self.table([high, low, low], names)).set_index("unit")
        assert shares.loc["fold", "share"] == pytest.approx(1 / 3)
        assert shares.loc["dataset", "share"] == 1.0  # mean 7.3 of 20, 1 and 1 is place 6
        assert shares["n_seeds"].tolist() == [1, 1] and shares["n_folds"].tolist() == [3, 3]


class TestSlopes:
    def test_sds_are_over_clusters_and_averaged_over_fits(self):
        rows = [
            (MCI, 0, fold, "armed", "main", site, "slope", "Age", value, 0.1)
            for fold, values in enumerate([(0.0, 2.0), (0.0, 4.0)])
            for site, value in zip("ab", values, strict=True)
        ]
        found = slopes.slope_sds(pd.DataFrame(rows, columns=list(results.table("random_effects").columns)))
        assert found["sd"].tolist() == pytest.approx([(np.sqrt(2) + 2 * np.sqrt(2)) / 2])

    def test_one_row_per_model_with_slopes_on_the_input(self, tables):
        figure = slopes.random_slopes(tables["random_effects"], tables["univariate"], MCI, "stand-in")
        assert len(figure.axes) == 6  # two models; those with three slopes are left out
        counts = [len(ax.lines[0].get_xdata()) for ax in figure.axes[:3]]
        assert counts == [len(CONTINUOUS), 11, 37]
        assert f"n = {len(CONTINUOUS)} features" in texts(figure)

    def test_no_panel_of_a_truth_that_is_not_known(self, tables):
        univariate = tables["univariate"].assign(true_slope_sd=np.nan)
        figure = slopes.random_slopes(tables["random_effects"], univariate, MCI, "restricted")
        assert len(figure.axes) == 4 and "true s.d." not in texts(figure)

    def test_other_features(self, tables):
        univariate = tables["univariate"].assign(feature=[f"x{i}" for i in range(37)])
        with pytest.raises(DataError, match="random slopes on at least"):
            slopes.random_slopes(tables["random_effects"], univariate, MCI, "stand-in")

    def test_recovery_shows_means_over_datasets(self, tables):
        figure = slopes.recovery(tables["sensitivity"], MCI, "stand-in")
        assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["x1", "x4", "x16"]
        own = tables["sensitivity"].query("model == 'oracle' and metric == 'slope_recovery'")
        means = own.groupby("level")["value"].mean()[["1", "4", "16"]]
        joined = [line.get_ydata() for line in figure.axes[0].lines if line.get_linestyle() == "-"]
        assert joined[-1] == pytest.approx(means.to_numpy())
        assert "Oracle" in texts(figure)


@pytest.mark.parametrize(("kind", "table"), [("random_slopes", "univariate"), ("recovery", "sensitivity")])
def test_a_table_that_was_not_made_is_named(folder, config, tmp_path, kind, table):
    for name in ("summary.tsv", "random_effects.tsv"):
        (tmp_path / name).symlink_to(folder / name)
    figure = draw.draw(spec(MCI, kind, config), tmp_path, config)
    assert "Not drawn" in texts(figure) and f"There is no {table}.tsv" in texts(figure)


def test_predictions_that_were_not_made_are_told(folder, config, tmp_path):
    (tmp_path / "summary.tsv").symlink_to(folder / "summary.tsv")
    for kind in ("roc", "calibration"):
        assert "Not drawn" in texts(draw.draw(spec(HEART, kind, config), tmp_path, config))
