"""Figures: what they show of known tables, that nothing covers anything, and that files are the same each time."""

from __future__ import annotations

import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from figure_checks import assert_nothing_covers_anything, smallest_text, texts
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from synthetic_results import small_config, write_results

from armed import registry, results
from armed.data.study import StudyData
from armed.errors import DataError
from armed.plotting import associations, draw, performance, spirals, style
from armed.plotting.catalogue import figures

CONFOUNDED, RADIUS, INVERTED = "spirals_confounded", "spirals_radius", "spirals_inverted"


@pytest.fixture(scope="module")
def config():
    return small_config()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, config):
    return write_results(tmp_path_factory.mktemp("results"), config)


@pytest.fixture
def tables(folder):
    names = ("summary", "comparison", "importance", "random_effects", "deconfounding")
    return {name: results.read(name, folder / f"{name}.tsv") for name in names}


def spec(study, kind, config):
    return next(s for s in figures(study, config) if s.kind == kind)


def all_specs():
    return [(s.study, s.kind) for study in registry.SPIRALS for s in figures(study, small_config())]


@pytest.fixture(scope="module", params=all_specs(), ids="-".join)
def drawn(request, folder, config):
    study, kind = request.param
    if kind == "boundaries":  # few models, with the longest names: laying out all panels takes seconds
        config = small_config()
        config["run"]["models"] = ["conventional", "mldg", "armed_no_adversary"]
    figure = draw.draw(spec(study, kind, config), folder, config)
    figure.canvas.draw()
    return figure


class TestEveryFigure:
    def test_nothing_covers_anything(self, drawn):
        assert_nothing_covers_anything(drawn)

    def test_it_tells_the_source_and_is_legible(self, drawn):
        assert "Simulated data" in texts(drawn)
        assert smallest_text(drawn) >= 8.5

    def test_no_global_state(self, drawn):
        assert "matplotlib.pyplot" not in sys.modules or not matplotlib.pyplot.get_fignums()
        assert isinstance(drawn.canvas, FigureCanvasAgg)


def test_the_stand_in_is_named(tables):
    summary = tables["summary"].assign(source="stand-in")
    figure = performance.accuracy(summary, tables["comparison"], RADIUS)
    assert "STAND-IN" in texts(figure) and "not a reproduction" in texts(figure)


def test_settings_of_matplotlib_stay_as_they_were(tables):
    before = dict(matplotlib.rcParams)
    performance.accuracy(tables["summary"], tables["comparison"], RADIUS)
    assert dict(matplotlib.rcParams) == before


def test_drawing_loads_no_pyplot():
    code = "import armed.plotting.draw, sys; print('matplotlib.pyplot' in sys.modules, 'torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


def test_the_catalogue_loads_no_matplotlib_and_no_pandas():
    code = "import armed.plotting.catalogue, sys; print({'matplotlib', 'pandas', 'torch'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


class TestSave:
    def test_two_files_the_same_each_time(self, tables, tmp_path):
        contents = []
        for run in ("a", "b"):
            figure = performance.null_check(tables["summary"], INVERTED)
            paths = style.save(figure, tmp_path / run / "null.check")
            assert [p.name for p in paths] == ["null.check.svg", "null.check.png"]
            contents.append([p.read_bytes() for p in paths])
        assert contents[0] == contents[1]
        assert b"<dc:date>" not in contents[0][0] and contents[0][1].startswith(b"\x89PNG")

    def test_the_layout_is_free_of_the_solvers_rounding(self, tables, tmp_path):
        """Whose last digit depends on addresses in memory: the same figure drawn twice would differ now and then."""
        figure = performance.null_check(tables["summary"], INVERTED)
        style.save(figure, tmp_path / "x")
        bounds = np.array([ax.get_position(original=True).bounds for ax in figure.axes])
        np.testing.assert_allclose(bounds, bounds.round(9), rtol=0, atol=2e-16)
        figure.draw_without_rendering()
        assert np.array_equal(bounds, [ax.get_position(original=True).bounds for ax in figure.axes])

    def test_a_failure_leaves_what_was_there(self, tables, tmp_path, monkeypatch):
        figure = performance.null_check(tables["summary"], INVERTED)
        (tmp_path / "x.svg").write_text("old")

        def broken(path, **_):
            path.write_text("half")
            raise OSError("disk full")

        monkeypatch.setattr(figure, "savefig", broken)
        with pytest.raises(OSError, match="disk full"):
            style.save(figure, tmp_path / "x")
        assert [p.name for p in tmp_path.iterdir()] == ["x.svg"] and (tmp_path / "x.svg").read_text() == "old"


class TestCatalogue:
    def test_figures_follow_the_settings(self, config):
        kinds = {study: [s.kind for s in figures(study, config)] for study in registry.SPIRALS}
        shared = ["data", "boundaries", "performance"]
        assert kinds[RADIUS] == shared
        assert kinds[INVERTED] == [*shared, "null_check"]
        assert kinds[CONFOUNDED] == [*shared, "importance", "deconfounding", "random_intercepts"]

    def test_no_intercepts_without_a_model_that_has_them(self):
        config = small_config()
        config["run"]["models"] = ["conventional"]
        assert "random_intercepts" not in [s.kind for s in figures(CONFOUNDED, config)]

    def test_captions_follow_the_settings(self):
        config = small_config(seeds=7, folds=4)
        config["studies"][CONFOUNDED]["data"] |= {"n_probes": 3, "ratio_sd": 0.2, "n_clusters": 12}
        captions = {s.kind: s.caption for s in figures(CONFOUNDED, config)}
        assert "7 seeds x 4 folds" in captions["performance"]
        assert "3 probes" in captions["importance"] and "s.d. 0.2" in captions["importance"]
        assert "n = 12" in captions["random_intercepts"]


class TestAccuracy:
    def points(self, figure, axes=0):
        """(x, y, colour, hollow) of every own result in one panel."""
        found = []
        for line in figure.axes[axes].lines:
            if line.get_marker() == "o":
                face = to_hex(line.get_markerfacecolor())
                found.append((line.get_xdata()[0], line.get_ydata()[0], line.get_color(), face == "#ffffff"))
        return found

    def row(self, summary, **values):
        for column, value in values.items():
            summary = summary[summary[column] == value]
        return summary.iloc[0]

    def test_each_result_stands_where_it_belongs(self, tables):
        figure = performance.accuracy(tables["summary"], tables["comparison"], RADIUS)
        names = [t.get_text() for t in figure.axes[0].get_yticklabels()]
        shown = {"study": RADIUS, "metric": "accuracy", "ci_method": "corrected", "model": "armed"}
        for panel, partition in enumerate(("seen", "unseen")):
            for variant, hollow in (("main", False), ("resampled", True)):
                row = self.row(tables["summary"], **shown, partition=partition, variant=variant)
                near = [
                    p
                    for p in self.points(figure, panel)
                    if round(p[1]) == names.index("ARMED") and p[3] == hollow and p[2] == style.VERMILLION
                ]
                assert [p[0] for p in near] == [pytest.approx(row["mean"])]

    def test_variants_of_settings_have_rows_of_their_own(self, tables):
        figure = performance.accuracy(tables["summary"], tables["comparison"], RADIUS)
        names = [t.get_text() for t in figure.axes[0].get_yticklabels()]
        assert "Meta-learning (MLDG), label defect" in names
        assert not [n for n in names if "new dataset" in n]
        assert len(names) == len(set(names))

    def test_published_values_are_marked(self, tables):
        figure = performance.accuracy(tables["summary"], tables["comparison"], RADIUS)
        marked = {line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "|"}
        published = tables["comparison"].query("study == @RADIUS and table == 'notebook'")["published"]
        assert marked == set(published) and len(marked) == 7

    def test_without_intervals_and_without_published_values(self, tables):
        summary = tables["summary"].assign(ci_low=np.nan, ci_high=np.nan)
        figure = performance.accuracy(summary, tables["comparison"].iloc[:0], RADIUS)
        assert len(self.points(figure)) > 10
        assert all(len(c.get_segments()) == 0 for c in figure.axes[0].collections)

    def test_no_results(self, tables):
        with pytest.raises(DataError, match="no rows with study = heart"):
            performance.accuracy(tables["summary"], tables["comparison"], "heart")


class TestNullCheck:
    def test_misses_are_marked(self, tables):
        summary = tables["summary"].copy()
        summary.loc[summary["study"] == INVERTED, ["mean", "ci_low", "ci_high"]] = (0.5, 0.49, 0.51)
        summary.loc[(summary["study"] == INVERTED) & (summary["model"] == "menet"), "ci_low"] = 0.505
        figure = performance.null_check(summary, INVERTED)
        names = [t.get_text() for t in figure.axes[0].get_yticklabels()]
        missed = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_marker() == "X"]
        assert [names[int(y)] for y in missed] == ["MeNet"]


class TestImportance:
    def table(self, values):
        rows = [
            (CONFOUNDED, 0, fold, "armed", "main", feature, value, 1)
            for fold, of_fold in enumerate(values)
            for feature, value in zip(("x1", "probe1"), of_fold, strict=True)
        ]
        return pd.DataFrame(rows, columns=list(results.table("importance").columns))

    def test_shares_are_of_the_mean_over_folds(self):
        shares = associations.importance_shares(self.table([(1.0, 1.0), (5.0, 1.0)]))
        assert dict(zip(shares["feature"], shares["share"], strict=True)) == {"x1": 0.75, "probe1": 0.25}

    def test_a_model_that_uses_nothing_has_no_shares(self):
        shares = associations.importance_shares(self.table([(0.0, 0.0)]))
        assert shares["share"].isna().all()
        associations.importance(self.table([(0.0, 0.0)]), CONFOUNDED, "simulated")

    def test_probes_and_real_features_differ_in_colour(self, tables):
        figure = associations.importance(tables["importance"], CONFOUNDED, "simulated")
        assert [ax.get_title(loc="left") for ax in figure.axes[:2]] == ["Conventional", "ARMED"]
        colours = [line.get_color() for line in figure.axes[0].lines]
        assert colours == [style.BLUE, style.BLUE, style.VERMILLION, style.VERMILLION]

    def test_deconfounding_shows_the_shares(self, tables):
        figure = associations.deconfounding_share(tables["deconfounding"], CONFOUNDED, "simulated")
        names = [t.get_text() for t in figure.axes[0].get_yticklabels()]
        found = {names[round(line.get_ydata()[0])]: line.get_xdata()[0] for line in figure.axes[0].lines}
        assert found["Conventional"] == pytest.approx(25) and found["ARMED"] == pytest.approx(4)


class TestIntercepts:
    def frames(self, datasets=2):
        truth, effects = [], []
        for dataset in range(datasets):
            for i in range(5):
                ratio = 0.1 + 0.2 * i
                truth.append(("main", dataset, "seen", f"c{i}", 1.0, ratio))
                for fold in range(4):
                    mean = ratio * (1 if dataset == 0 else -1) + (0.1 if fold % 2 else -0.1)
                    effects.append((CONFOUNDED, dataset, fold, "armed", "main", f"c{i}", "intercept", "", mean, 0.1))
        columns = list(results.table("random_effects").columns)
        names = ["variant", "dataset", "part", "cluster", "radius", "ratio"]
        return pd.DataFrame(effects, columns=columns), pd.DataFrame(truth, columns=names)

    def test_n_is_the_number_of_clusters_of_a_dataset(self):
        found = associations.intercept_correlations(*self.frames())
        assert found["n"].tolist() == [5, 5]
        assert found["r"].tolist() == pytest.approx([1, -1])

    def test_seeds_share_the_only_dataset(self):
        effects, truth = self.frames()
        found = associations.intercept_correlations(effects, truth[truth["dataset"] == 0])
        assert found["r"].tolist() == pytest.approx([1, -1])

    def test_a_balance_that_does_not_vary_is_an_error(self):
        effects, truth = self.frames()
        with pytest.raises(DataError, match="balance"):
            associations.random_intercepts(effects, truth.assign(ratio=0.5), CONFOUNDED, "simulated")


class TestSpirals:
    @pytest.fixture
    def data(self, folder):
        return StudyData.load(folder / "data" / f"{INVERTED}.npz")

    def test_clusters_are_ordered_by_radius(self, data, config):
        settings = config["studies"][INVERTED]["data"]
        figure = spirals.data_per_cluster(data, INVERTED, "simulated", settings)
        shown = [float(ax.get_title(loc="left").removeprefix("radius ").replace("−", "-")) for ax in figure.axes]
        truth = data.truth.query("part == 'seen' and dataset == 0")["radius"]
        assert shown == sorted(shown) == pytest.approx(sorted(truth), abs=0.006)

    def test_all_points_of_one_dataset_are_drawn(self, data, config):
        settings = config["studies"][INVERTED]["data"]
        figure = spirals.data_per_cluster(data, INVERTED, "simulated", settings, dataset=1)
        drawn = sum(len(line.get_xdata()) for ax in figure.axes for line in ax.lines)
        assert drawn == settings["n_clusters"] * settings["n_per_cluster"]

    def test_planes_are_the_right_way_up(self, data, config):
        """A model that predicts class 1 where x2 > 0 has that colour in the upper half."""
        side = np.linspace(-1, 1, 21)
        x1, x2 = (g.ravel() for g in np.meshgrid(side, side))
        clusters = data.truth.query("part == 'seen' and dataset == 0")["cluster"]
        parts = [
            pd.DataFrame({"variant": "main", "cluster": c, "x1": x1, "x2": x2, "fixed": 0.0, "mixed": 20 * x2})
            for c in clusters
        ]
        settings = config["studies"][INVERTED]["data"]
        grids = {"armed": pd.concat(parts).sample(frac=1, random_state=0)}
        figure = spirals.decision_boundaries(grids, data, INVERTED, "simulated", settings)
        image = figure.axes[0].images[0]
        assert image.origin == "lower" and image.get_extent() == [-1, 1, -1, 1]
        values = np.asarray(image.get_array())
        assert (values[-1] > 0.99).all() and (values[0] < 0.01).all()

    def test_models_without_a_grid_are_left_out(self, folder, config):
        grids = {"armed": pd.read_parquet(folder / "boundaries" / RADIUS / "armed.parquet")}
        data = StudyData.load(folder / "data" / f"{RADIUS}.npz")
        grids["conventional"] = grids["armed"].iloc[:0]
        settings = config["studies"][RADIUS]["data"]
        figure = spirals.decision_boundaries(grids, data, RADIUS, "simulated", settings)
        assert "ARMED" in texts(figure) and "Conventional" not in texts(figure)

    def test_names_stay_inside_the_picture_that_is_written(self, folder, config, tmp_path):
        grid = pd.read_parquet(folder / "boundaries" / RADIUS / "armed.parquet")
        data, settings = StudyData.load(folder / "data" / f"{RADIUS}.npz"), config["studies"][RADIUS]["data"]
        grids = dict.fromkeys([m for m in registry.MODELS if m not in registry.WITHOUT_FITS], grid)
        figure = spirals.decision_boundaries(grids, data, RADIUS, "simulated", settings)
        style.save(figure, tmp_path / "x")
        names = [ax.yaxis.label for ax in figure.axes if ax.get_ylabel()]
        assert "Meta-learning (MLDG)" in [name.get_text() for name in names]
        assert min(name.get_window_extent().x0 for name in names) > 0.02 * figure.dpi  # inches, of 0.04 that are left free


class TestDraw:
    def test_draw_study_writes_every_figure(self, folder, tmp_path):
        config = small_config()
        config["run"]["models"] = ["conventional", "armed"]
        for name in ("summary.tsv", "comparison.tsv", "data", "boundaries"):
            (tmp_path / name).symlink_to(folder / name)
        written = draw.draw_study(INVERTED, tmp_path, config)
        assert {p.stem for p in written} == {s.name for s in figures(INVERTED, config)}
        assert all(p.stat().st_size > 1000 for p in written)

    def test_a_figure_without_results_says_why(self, folder, config, tmp_path):
        empty = results.read("importance", folder / "importance.tsv").iloc[:0]
        results.write("importance", empty, tmp_path / "importance.tsv")
        figure = draw.draw(spec(CONFOUNDED, "importance", config), tmp_path, config)
        assert "Not drawn" in texts(figure) and "importance.tsv has no rows" in texts(figure)
