"""Figures of autoencoders: which studies have them, what they show of known latents, that nothing covers anything."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from figure_checks import assert_nothing_covers_anything, smallest_text, texts
from matplotlib.colors import to_hex
from synthetic_cells import DATES, GROUPS, MODELS, STUDY, latents, metrics, write_cells
from synthetic_results import comparison_of, summary_of

from armed import config as configuration
from armed import results
from armed.errors import DataError
from armed.latents import BETWEEN, WITHIN, separation
from armed.plotting import draw, latent_maps, latent_readings, reconstruction_readings, reconstructions, style
from armed.plotting.catalogue import figures
from armed.reproducibility import ROOT

OF_EFFECTS = ["reconstructions", "under_clusters", "image_statistics"]
OF_LATENTS = ["latent_maps", "group_distances", "latent_readings"]
NEW = ["reconstruction_errors", *OF_EFFECTS, *OF_LATENTS]
FITTED = MODELS[:4]


@pytest.fixture(scope="module")
def config():
    config = configuration.load(ROOT / "config" / "config.yaml")
    config["run"]["studies"] = [STUDY]
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_cells(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def kept():
    return {model: latents(model, size=16, per_cell=2) for model in MODELS}


def with_models(config, *models):
    return {**config, "run": {**config["run"], "models": list(models)}}


def spec(kind, config):
    return next(s for s in figures(STUDY, config) if s.kind == kind)


def shown(figure):
    """Images of the panels, colour bars aside."""
    return [ax.images[0].get_array() for ax in figure.axes if ax.images]


@pytest.fixture(scope="module", params=NEW)
def drawn(request, folder, config):
    figure = draw.draw(spec(request.param, config), folder, config)
    figure.canvas.draw()
    return request.param, figure


class TestEveryFigure:
    def test_nothing_covers_anything(self, drawn):
        assert_nothing_covers_anything(drawn[1])

    def test_it_tells_the_source_and_is_legible(self, drawn):
        told = texts(drawn[1])
        assert "STAND-IN data" in told and "Not drawn" not in told
        assert smallest_text(drawn[1]) >= 8.5

    @pytest.mark.parametrize("kind", ["reconstructions", "latent_maps", "group_distances"])
    def test_it_is_the_same_each_time(self, kind, folder, config, tmp_path):
        first, again = (
            style.save(draw.draw(spec(kind, config), folder, config), tmp_path / name) for name in ("a", "b")
        )
        assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]

    @pytest.mark.parametrize("kind", NEW[1:-1])
    def test_without_latents_it_says_so(self, kind, folder, config, tmp_path):
        for name in ("summary", "metrics"):
            (tmp_path / f"{name}.tsv").write_bytes((folder / f"{name}.tsv").read_bytes())
        told = texts(draw.draw(spec(kind, config), tmp_path, config))
        assert "Not drawn" in told and "run the job" in " ".join(told.split())


class TestCatalogue:
    def test_order_and_kinds(self, config):
        assert [s.kind for s in figures(STUDY, config)] == ["performance", "roc", "calibration", *NEW]
        assert not {s.kind for s in figures("ad_diagnosis", config)} & {*NEW}

    def test_without_random_effects_there_is_nothing_to_compare(self, config):
        found = [s.kind for s in figures(STUDY, with_models(config, "conventional", "domain_adversarial"))]
        assert [kind for kind in found if kind in NEW] == ["reconstruction_errors", *OF_LATENTS]

    def test_captions_follow_the_settings(self, config, tmp_path):
        block = config["studies"][STUDY]
        changed = {**block, "seeds": 4, "shown": 5, "network": {**block["network"], "latent": 17}}
        changed["data"] = {**block["data"], "image_size": 128, "path": str(tmp_path)}
        (tmp_path / "low").mkdir()
        other = {**config, "studies": {**config["studies"], STUDY: changed}}
        told = {s.kind: s.caption for s in figures(STUDY, other)}
        assert "17 latent numbers" in told["reconstruction_errors"] and "128 x 128" in told["reconstruction_errors"]
        assert "5 at most" in told["reconstructions"] and "4 seeds x 1 fold" in told["group_distances"]
        assert "true phenotype" in spec("latent_readings", config).caption
        assert "true phenotype" not in told["latent_readings"] and "its class" in told["latent_readings"]


class TestWhichModel:
    def test_armed_where_it_is_there(self, folder, config):
        assert "ARMED: one latent" in texts(draw.draw(spec("under_clusters", config), folder, config))

    def test_otherwise_one_with_effects_of_its_own(self, folder, config):
        without = with_models(config, "conventional", "armed_no_adversary", "armed_randomized_z")
        assert "ARMED without adversary: one" in texts(draw.draw(spec("under_clusters", config), folder, without))

    def test_latents_of_a_model_with_anothers_weights_are_not_drawn_twice(self, folder, config):
        for kind in OF_LATENTS:
            assert "randomised" not in texts(draw.draw(spec(kind, config), folder, config))


class TestReconstructions:
    def test_a_row_of_each_kind_and_a_column_of_each_cell(self, kept):
        figure = reconstructions.reconstructions(kept, "armed", STUDY, "stand-in", cells=6)
        images, own = shown(figure), kept["armed"]
        assert len(images) == 5 * 6
        rows = [np.array([np.asarray(image) for image in images[k * 6 : k * 6 + 6]]) for k in range(5)]
        for row, (model, name) in zip(
            rows, [("armed", "image"), ("conventional", "mixed"), ("armed", "fixed")], strict=False
        ):
            np.testing.assert_allclose(row, kept[model][f"shown_{name}"][:6] / 255)
        np.testing.assert_allclose(rows[4], rows[3] - rows[2])
        heads = [ax.get_title() for ax in figure.axes if ax.get_title()]
        assert heads[:2] == [
            f"{GROUPS[0]}\nhigh\n{own['shown_cluster'][0]}",
            f"{GROUPS[1]}\nhigh\n{own['shown_cluster'][1]}",
        ]
        assert f"{GROUPS[3]}\nlow\n" in heads[3]

    def test_one_scale_for_all_greys_and_one_around_0_for_differences(self, kept):
        figure = reconstructions.reconstructions(kept, "armed", STUDY, "stand-in")
        limits = [ax.images[0].get_clim() for ax in figure.axes if ax.images]
        assert len(set(limits[:-7])) == 1 and len(set(limits[-7:])) == 1
        assert limits[-1][0] == -limits[-1][1]

    def test_a_reference_that_is_absent_or_was_shown_other_cells_has_no_row(self, kept):
        only = {"armed": kept["armed"]}
        assert len(shown(reconstructions.reconstructions(only, "armed", STUDY, "stand-in"))) == 4 * 7
        other = only | {"conventional": kept["conventional"] | {"shown_id": np.array(["x"] * 7)}}
        assert "Conventional" not in texts(reconstructions.reconstructions(other, "armed", STUDY, "stand-in"))

    def test_images_of_equal_pixels(self):
        """A network that has collapsed: no difference, no contrast."""
        flat = latents("armed", size=16, per_cell=1)
        for name in ("image", "fixed", "mixed", "under"):
            flat[f"shown_{name}"] = np.full_like(flat[f"shown_{name}"], 90)
        for figure in (
            reconstructions.reconstructions({"armed": flat}, "armed", STUDY, "stand-in"),
            reconstructions.under_clusters(flat, "armed", STUDY, "stand-in"),
        ):
            figure.canvas.draw()

    def test_no_cells(self):
        none = latents("armed", size=16, per_cell=1, shown=0)
        with pytest.raises(DataError, match="No cells"):
            reconstructions.reconstructions({"armed": none}, "armed", STUDY, "stand-in")


class TestUnderClusters:
    def test_the_same_cell_in_every_column_its_own_date_framed(self, kept):
        own = kept["armed"]
        figure = reconstructions.under_clusters(own, "armed", STUDY, "stand-in", cells=2)
        images = shown(figure)
        assert len(images) == 2 * (2 + 2 * len(DATES))
        np.testing.assert_allclose(images[2], own["shown_under"][0, 0] / 255)
        np.testing.assert_allclose(images[3], (own["shown_under"][0, 0].astype(float) - own["shown_fixed"][0]) / 255)
        of_images = [ax for ax in figure.axes if ax.images]
        framed = [i for i, ax in enumerate(of_images) if ax.spines["top"].get_visible()]
        assert len(framed) == 2 and to_hex(of_images[framed[0]].spines["top"].get_edgecolor()) == style.ORANGE.lower()
        date = list(own["levels"]).index(own["shown_cluster"][0])
        assert framed[0] == 2 + 2 * date  # in the row of mixed reconstructions

    def test_cells_of_each_class_in_turn(self):
        assert reconstructions.in_turn(np.array([0, 0, 0, 1, 1]), 3).tolist() == [0, 1, 3]
        assert reconstructions.in_turn(np.array([1, 1, 0]), 2).tolist() == [0, 2]
        assert reconstructions.in_turn(np.array([1, 1]), 5).tolist() == [0, 1]

    def test_of_many_dates_those_of_the_cells_and_others_evenly(self):
        names = [f"d{i:02d}" for i in range(20)]
        chosen = reconstructions.chosen_clusters(names, ["d07", "d13"], 6)
        assert {7, 13} < set(chosen) and len(chosen) == 6 and chosen == sorted(chosen)
        assert 0 in chosen and 19 in chosen
        assert reconstructions.chosen_clusters(names[:3], ["elsewhere"], 8) == [0, 1, 2]
        assert reconstructions.chosen_clusters(names, names, 4) == [0, 1, 2, 3]

    def test_a_model_without_effects_has_none(self, kept):
        with pytest.raises(DataError, match="under the effects"):
            reconstructions.under_clusters(kept["conventional"], "conventional", STUDY, "stand-in")


class TestLatentMaps:
    def test_components_are_those_of_largest_variance(self):
        rng = np.random.default_rng(0)
        plane = rng.normal(size=(300, 2)) * [3, 1]
        latent = np.column_stack([plane[:, 0], plane[:, 0] + 0.01 * plane[:, 1], plane[:, 1]])
        scores, shares = latent_maps.components(latent)
        assert abs(np.corrcoef(scores[:, 0], plane[:, 0])[0, 1]) > 0.99
        assert shares.sum() == pytest.approx(1, abs=1e-3) and shares[0] > 0.6
        assert scores.var(0) / 3 == pytest.approx(shares)

    def test_latents_that_do_not_vary(self):
        scores, shares = latent_maps.components(np.ones((5, 3)))
        assert not scores.any() and not shares.any()

    def test_each_cluster_and_each_group_has_one_colour(self, kept):
        figure = latent_maps.maps({m: kept[m] for m in FITTED}, STUDY, "stand-in")
        legends = [ax.get_legend() for ax in figure.axes if ax.get_legend()]
        assert [legend.get_title().get_text() for legend in legends] == ["Date", "PDX"]
        for legend, names in zip(legends, (DATES, GROUPS), strict=True):
            assert [t.get_text() for t in legend.get_texts()] == list(names)
            shades = [to_hex(line.get_color()) for line in legend.get_lines()]
            assert len(set(shades)) == len(names)

    def test_the_first_fit_is_drawn_and_its_index_told(self, kept):
        own = dict(kept["armed"])
        first = (own["partition"] == "seen") & (own["seed"] == 0)
        figure = latent_maps.maps({"armed": own}, STUDY, "stand-in")
        points = sum(len(c.get_offsets()) for c in figure.axes[0].collections)
        assert points == first.sum()
        index = separation(own["latent"][first], own["cluster"][first])["davies_bouldin"].value
        assert f"DB {index:.3g}" in figure.axes[0].get_title(loc="left")

    def test_many_dates_and_points_still_fit(self):
        many = latents("armed", size=16, per_cell=1, fits=1)
        many["cluster"] = np.array([f"201601{i % 24 + 10}" for i in range(len(many["latent"]))])
        figure = latent_maps.maps({"armed": many}, STUDY, "stand-in", points=20)
        figure.canvas.draw()
        assert_nothing_covers_anything(figure)
        assert sum(len(c.get_offsets()) for c in figure.axes[0].collections) <= 20

    def test_a_model_that_diverged_is_left_out(self, kept):
        lost = {**kept["conventional"], "latent": np.full_like(kept["conventional"]["latent"], np.nan)}
        figure = latent_maps.maps({"conventional": lost, "armed": kept["armed"]}, STUDY, "stand-in")
        assert "Conventional" not in texts(figure)
        with pytest.raises(DataError, match="has latents"):
            latent_maps.maps({"conventional": lost}, STUDY, "stand-in")


class TestDistances:
    def test_a_group_that_is_the_same_on_every_date_has_a_ratio_below_1(self, kept):
        own = dict(kept["armed"])
        place = np.random.default_rng(1).normal(size=(len(GROUPS), own["latent"].shape[1]))
        of_group = np.array([GROUPS.index(g) for g in own["group"]])
        noise = np.random.default_rng(2).normal(0, 0.1, own["latent"].shape)
        means = latent_readings.mean_distances({**own, "latent": place[of_group] + noise})
        assert len(means) == 2 and (means[WITHIN] < 0.3 * means[BETWEEN]).all()

    def test_batch_effects_turn_it_round(self, kept):
        means = latent_readings.mean_distances(kept["conventional"])
        assert (means[WITHIN] > means[BETWEEN]).all()

    def test_points_stand_for_fits(self, kept):
        figure = latent_readings.distances({m: kept[m] for m in FITTED}, STUDY, "stand-in")
        points = [line for line in figure.axes[1].get_lines() if line.get_marker() == "o" and len(line.get_xdata()) > 1]
        assert [len(line.get_xdata()) for line in points] == [2] * len(FITTED)
        means = latent_readings.mean_distances(kept["armed"])
        assert sorted(points[2].get_xdata()) == pytest.approx(sorted(means[WITHIN] / means[BETWEEN]))

    def test_without_groups_there_is_nothing_to_compare(self, kept):
        alone = {**kept["armed"], "group": np.full(len(kept["armed"]["group"]), "")}
        with pytest.raises(DataError, match="no pairs"):
            latent_readings.distances({"armed": alone}, STUDY, "stand-in")


class TestReadings:
    def test_marks_stand_at_the_means_and_chance_is_drawn(self):
        found = metrics(FITTED)
        summary = summary_of(found)
        figure = latent_readings.readings(summary, found, STUDY)
        probe = figure.axes[0]
        mean = summary.query(
            "model == 'armed' and metric == 'cluster_probe_accuracy' and partition == 'latents' and ci_method == 'corrected'"
        )["mean"].iloc[0]
        marks = [line.get_xdata()[0] for line in probe.get_lines() if line.get_marker() == "o"]
        assert marks[2] == pytest.approx(mean)
        upright = [line.get_xdata()[0] for line in probe.get_lines() if line.get_marker() != "o"]
        assert 0.125 in upright and 0.31 in upright

    def test_shares_that_are_not_defined_are_left_out(self):
        found = metrics(("conventional",))
        found.loc[found["metric"] == "variance_group", "value"] = np.nan
        figure = latent_readings.readings(summary_of(found), found, STUDY)
        figure.canvas.draw()
        assert_nothing_covers_anything(figure)

    def test_no_results(self):
        with pytest.raises(DataError, match="has no rows"):
            latent_readings.readings(summary_of(metrics()), metrics(), "heart")


class TestImageStatistics:
    def test_f_of_what_keeps_dates_is_above_that_of_what_does_not(self, kept):
        means, f = reconstruction_readings.by_cluster(kept["armed"])
        f = f.set_index(["image", "statistic"])["f"]
        assert (f["original"] > f["fixed"]).all() and (f["mixed"] > f["fixed"]).all()
        assert len(means) == 3 * 4 * len(DATES)

    def test_cells_count_and_not_frames(self):
        """Frames of one cell, however many, are one observation."""
        few = latents("armed", size=16, per_cell=1, fits=1)
        columns = (
            "seed",
            "fold",
            "partition",
            "cluster",
            "subject",
            *(f"statistics_{i}" for i in ("original", "fixed", "mixed")),
        )
        many = {**few, **{name: np.repeat(few[name], 5, 0) for name in columns}}
        for once, repeated in zip(
            reconstruction_readings.by_cluster(few), reconstruction_readings.by_cluster(many), strict=True
        ):
            pd.testing.assert_frame_equal(once, repeated, atol=1e-5)

    def test_without_statistics(self, kept):
        none = {**kept["armed"], "partition": np.full(len(kept["armed"]["partition"]), "unseen")}
        with pytest.raises(DataError, match="No image statistics"):
            reconstruction_readings.statistics(none, "armed", STUDY, "stand-in")


class TestErrors:
    def test_fixed_is_hollow_and_only_where_there_are_effects(self):
        found = metrics()
        summary = summary_of(found)
        figure = reconstruction_readings.errors(summary, comparison_of(summary), STUDY)
        marks = [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
        hollow = [line for line in marks if line.get_markerfacecolor() == "white"]
        assert len(marks) == 7 and len(hollow) == 2
        mean = summary.query(
            "model == 'armed' and metric == 'mse' and partition == 'seen_population' and ci_method == 'corrected'"
        )["mean"].iloc[0]
        assert hollow[0].get_xdata()[0] == pytest.approx(1000 * mean)
        published = [line.get_xdata()[0] for line in figure.axes[0].get_lines() if line.get_marker() == "|"]
        assert published == pytest.approx([1.9, 1.8, 1.2, 1.2, 1.8])

    def test_without_published_numbers_and_effects(self):
        summary = summary_of(metrics(("conventional",)))
        told = texts(reconstruction_readings.errors(summary, results.empty("comparison"), STUDY))
        assert "Table V" not in told and "Z = 0" not in told
