"""Figures on robustness: what they show of known tables, that nothing covers anything, and when there are which."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from config_edits import DEFAULT, put
from figure_checks import assert_nothing_covers_anything, smallest_text, texts
from matplotlib.colors import to_hex
from synthetic_results import small_config, write_results
from test_sensitivity import swept

from armed import config as configuration
from armed import registry, results, robustness_tables, sweep_config
from armed.errors import DataError
from armed.plotting import robustness, style
from armed.plotting.catalogue import headline_metric
from armed.plotting.draw_robustness import draw_robustness
from armed.plotting.robustness_captions import figures
from armed.robustness import rank_shares
from armed.sensitivity import curves
from armed.statistics import Settings

ACCURACY = {"conventional": 0.7, "domain_adversarial": 0.68, "armed": 0.72}


@pytest.fixture(scope="module")
def config() -> dict:
    return small_config()


def sensitivity_of(config: dict, datasets: int = 6) -> pd.DataFrame:
    """Every level of every factor; a probe wins in every second dataset for the conventional network alone."""
    rng, parts = np.random.default_rng(3), []
    for model in sweep_config.MODELS:
        own = sweep_config.own_levels(config, model)
        for factor in own:
            for level in sweep_config.levels(config, model).get(factor, [own[factor]]):
                for partition in ("seen", "unseen", "deconfounded"):
                    values = ACCURACY[model] + rng.normal(0, 0.01, datasets)
                    parts.append(swept(factor, f"{level:g}", model, values, partition=partition))
                ranks = np.where(np.arange(datasets) % 2, 2, 3) if model == "conventional" else np.full(datasets, 3)
                parts.append(swept(factor, f"{level:g}", model, ranks, "probe_rank", "seen"))
        for level in ("average", "mean_point"):
            parts.append(swept("importance_at", level, model, ranks, "probe_rank", "seen"))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, config):
    folder = write_results(tmp_path_factory.mktemp("results"), config)
    results.write("sensitivity", sensitivity_of(config), folder / "sensitivity.tsv")
    metrics = results.read("metrics", folder / "metrics.tsv")
    headline = {study: headline_metric(study) for study in registry.SPIRALS}
    results.write("ranks", rank_shares(metrics, headline, Settings.from_config(config)), folder / "ranks.tsv")
    return folder


@pytest.fixture(scope="module")
def found(folder, config):
    return robustness_tables.read(folder, config)


@pytest.fixture(scope="module")
def ranks_figure(found, config):
    figure = robustness.ranks(robustness_tables.shown_ranks(found["ranks"], config))
    figure.canvas.draw()
    return figure


@pytest.fixture(scope="module")
def sensitivity_figure(found, config):
    own = sweep_config.own_levels(config, "armed")
    figure = robustness.sensitivity(curves(found["sensitivity"]), own, found["worth"], ["simulated"], "Sensitivity")
    figure.canvas.draw()
    return figure


@pytest.fixture(scope="module", params=["ranks_figure", "sensitivity_figure"])
def drawn(request):
    return request.getfixturevalue(request.param)


class TestEveryFigure:
    def test_nothing_covers_anything(self, drawn):
        assert_nothing_covers_anything(drawn)

    def test_it_tells_the_source_and_is_legible(self, drawn):
        assert "Simulated data" in texts(drawn)
        assert smallest_text(drawn) >= 8.5

    def test_axis_names_are_inside_and_apart(self, drawn):
        renderer = drawn.canvas.get_renderer()
        boxes = [ax.xaxis.label.get_window_extent(renderer) for ax in drawn.axes if ax.get_xlabel()]
        assert all(box.x0 >= 0 and box.x1 <= drawn.bbox.x1 for box in boxes)
        assert not [(a, b) for a in boxes for b in boxes if a is not b and a.overlaps(b)]


def test_bars_are_the_shares_of_ranks(ranks_figure, found, config):
    shown = robustness_tables.shown_ranks(found["ranks"], config)
    rows = shown[(shown["study"] == "spirals_radius") & (shown["partition"] == "seen") & (shown["model"] == "armed")]
    assert set(rows["variant"]) == {"resampled"}
    ax = next(ax for ax in ranks_figure.axes if "random radius\nseen" in ax.get_title(loc="left"))
    place = [t.get_text() for t in ax.get_yticklabels()].index("ARMED")
    widths = [bar.get_width() for bar in ax.patches if round(bar.get_y() + bar.get_height() / 2) == place]
    np.testing.assert_allclose(widths, rows["share"][rows["share"] > 0])
    told = [t.get_text() for t in ax.texts if t.get_position()[1] == place]
    assert told == [f"{100 * rows['share'].iloc[0]:.0f}%"]


def test_a_null_check_is_not_ranked_on_unseen_clusters(ranks_figure):
    titles = [ax.get_title(loc="left").replace("\n", " ") for ax in ranks_figure.axes]
    assert any(t.startswith("Spirals, inverted radii seen") for t in titles)
    assert not any(t.startswith("Spirals, inverted radii unseen") for t in titles)


def test_panels_show_means_at_each_level(sensitivity_figure, found):
    ax = next(ax for ax in sensitivity_figure.axes if ax.get_title() == "lambda_g")
    colour = to_hex(style.model_colour("armed"))
    (line,) = [line for line in ax.lines if to_hex(line.get_color()) == colour]
    rows = found["sensitivity"].query("factor == 'lambda_g' and model == 'armed' and partition == 'deconfounded'")
    means = rows.assign(at=rows["level"].astype(float)).groupby("at")["value"].mean()
    np.testing.assert_allclose(line.get_ydata(), means)


def test_what_changes_nothing_of_a_model_is_a_level_line(sensitivity_figure):
    ax = next(ax for ax in sensitivity_figure.axes if ax.get_title() == "lambda_K")
    lines = {to_hex(line.get_color()): len(line.get_xdata()) for line in ax.lines}
    assert lines[to_hex(style.model_colour("armed"))] == 6
    assert lines[to_hex(style.model_colour("conventional"))] == 2


def test_choices_stand_with_their_models(sensitivity_figure, found):
    names = {t.get_text() for ax in sensitivity_figure.axes for t in ax.get_yticklabels()}
    assert {"One initialisation for all folds: ARMED", "Labels of other samples: Meta-learning (MLDG)"} <= names
    assert "Importance at the mean point: Conventional" in names
    assert set(found["worth"]["choice"]) == {
        *("shared_init", "label_defect", "first_order", "half_kl", "lambda_F", "importance")
    }


def test_stand_ins_are_named(found):
    worth = found["worth"].assign(source="stand-in")
    figure = robustness.sensitivity(curves(results.empty("sensitivity")), {}, worth, ["stand-in"], "Choices")
    assert "STAND-IN" in texts(figure) and "One initialisation for all folds: ARMED (stand-in)" in texts(figure)


def test_ranks_on_stand_ins_are_marked(found, config):
    shown = robustness_tables.shown_ranks(found["ranks"], config)
    others = {"spirals_radius": "mci_probes", "spirals_inverted": "ad_diagnosis", "spirals_confounded": "heart"}
    sources = {"spirals_radius": "stand-in", "spirals_inverted": "stand-in", "spirals_confounded": "open"}
    shown = shown.assign(study=shown["study"].map(others), source=shown["study"].map(sources))
    figure = robustness.ranks(shown)
    figure.canvas.draw()
    assert_nothing_covers_anything(figure)
    assert "* STAND-IN data" in texts(figure) and "Open data" in texts(figure)
    marked = {
        ax.get_title(loc="left").replace("\n", " ").split(",")[0]: "*" in ax.get_title(loc="left") for ax in figure.axes
    }
    assert marked["MCI conversion with site probes * seen"] and not marked["Heart disease"]


def test_nothing_to_draw():
    with pytest.raises(DataError, match="rank at least two methods"):
        robustness.ranks(results.empty("ranks"))
    with pytest.raises(DataError, match="Nothing was swept"):
        robustness.sensitivity(
            curves(results.empty("sensitivity")), {}, pd.DataFrame(columns=["metric"]), ["simulated"], "None"
        )


def test_files_are_the_same_each_time(folder, config):
    first = {path.name: path.read_bytes() for path in draw_robustness(folder, config)}
    assert set(first) == {f"{s.name}.{kind}" for s in figures(config) for kind in ("svg", "png")}
    assert {path.name: path.read_bytes() for path in draw_robustness(folder, config)} == first


def test_figures_and_captions_follow_the_settings():
    config = configuration.load([DEFAULT])
    config["sweeps"] |= {"datasets": 7, "folds": 2}
    ranks, sensitivity = figures(config)
    assert "7 datasets x 2 folds" in sensitivity.caption and "Below" in sensitivity.caption
    assert "too good" in sensitivity.caption and "Wilson" in ranks.caption
    put(config, "sweeps", None)
    assert "datasets x" not in figures(config)[1].caption and "Below" not in figures(config)[1].caption
    put(config, "run.studies", ["heart"])
    assert [s.name for s in figures(config)] == ["robustness_ranks"]


def test_choices_of_one_seed_have_no_spread(found):
    worth = found["worth"].assign(sd_authors=np.nan, sd_other=np.nan, ci_low=np.nan, ci_high=np.nan)
    figure = robustness.sensitivity(curves(results.empty("sensitivity")), {}, worth, ["simulated"], "Choices")
    assert not any("S.d. over seeds" in ax.get_xlabel() for ax in figure.axes)
    assert any("Authors' way - other" in ax.get_xlabel() for ax in figure.axes)
