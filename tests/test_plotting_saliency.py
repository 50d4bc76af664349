"""Figures of where networks look: which studies have them, what they show, that nothing covers anything."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from figure_checks import assert_nothing_covers_anything, smallest_text, texts
from synthetic_clinical import MCI, MCI_PROBES, clinical_config
from synthetic_results import summary_of

from armed import image_tables, results
from armed.errors import DataError
from armed.plotting import draw, saliency, style
from armed.plotting.catalogue import figures

SHAPE = (24, 20)
SITES = ("site 0", "site 1", "site 2", "site 3", "site 4")
SCANNERS = ("GE Signa", "GE Discovery; GE Signa", "SIEMENS TrioTim", "Philips Achieva", "GE Signa")
MODELS = ("conventional", "mldg", "armed", "armed_no_adversary")
CHANCE = {"seen": 0.08, "unseen": 0.1}
SETTINGS = {"maps": "hires_cam", "layer": "hidden.2.activation", "subjects": 2}
NEW = ["saliency", "saliency_models", "localisation"]


def kept(n: int = 6, *, region: bool = True, empty: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    mixed = rng.gamma(0.3, size=(n, len(SITES), *SHAPE)).astype(np.float32)
    mixed /= mixed.sum((2, 3), keepdims=True)
    fixed = mixed.mean(1)
    if empty:
        fixed, mixed = np.zeros_like(fixed), np.zeros_like(mixed)
    found = {
        "image": rng.integers(0, 256, (n, *SHAPE)).astype(np.uint8),
        "fixed": fixed,
        "mixed": mixed,
        "sites": np.array(SITES),
        "scanner": np.array(SCANNERS),
        "sample_id": np.array([f"s{i}" for i in range(n)]),
        "subject": np.array([f"s{i}" for i in range(n)]),
        "site": np.array(SITES)[np.arange(n) % len(SITES)],
        "label": (np.arange(n) < n // 2).astype(int),
    }
    place = np.zeros((n, *SHAPE), bool)
    place[:, 8:12, 5:9] = True
    return found | ({"region": place} if region else {})


@pytest.fixture(scope="module")
def config():
    """The configuration with one study as if it were on images."""
    config = clinical_config()
    config["run"] |= {"studies": [MCI, MCI_PROBES], "models": list(MODELS)}
    config["studies"][MCI]["saliency"] = dict(SETTINGS)
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory, config):
    folder = tmp_path_factory.mktemp("results")
    rows = [
        (MCI, "stand-in", s, f, m, "main", p, "localisation", 0.1 + 0.04 * i + 0.01 * s, 20, f"chance {CHANCE[p]:.3g}")
        for i, m in enumerate(MODELS)
        for p in CHANCE
        for s in range(3)
        for f in range(2)
    ]
    metrics = pd.DataFrame(rows, columns=list(results.table("metrics").columns))
    results.write("metrics", metrics, folder / "metrics.tsv")
    results.write("summary", summary_of(metrics), folder / "summary.tsv")
    (folder / "saliency" / MCI).mkdir(parents=True)
    for model in MODELS:
        np.savez_compressed(folder / "saliency" / MCI / f"{model}.npz", **kept())
    return folder


def spec(kind, config):
    return next(s for s in figures(MCI, config) if s.kind == kind)


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

    def test_it_is_the_same_each_time(self, drawn, tmp_path):
        first, again = (style.save(drawn[1], tmp_path / name) for name in ("a", "b"))
        assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]


class TestCatalogue:
    def test_only_studies_with_a_saliency_block_have_them(self, config):
        found = [s.kind for s in figures(MCI, config)]
        assert found == ["performance", "roc", "calibration", *NEW, "random_intercepts"]
        assert not {s.kind for s in figures(MCI_PROBES, config)} & {*NEW}
        assert "top_features" in {s.kind for s in figures(MCI_PROBES, config)}

    def test_no_localisation_where_no_region_is_known(self, tmp_path):
        config = clinical_config()
        real = tmp_path / "ADNIMERGE.csv"
        real.write_text("")
        config["studies"][MCI]["data"]["path"] = str(real)
        config["studies"][MCI]["saliency"] = {**SETTINGS, "layer": "hidden.0"}
        found = {s.kind: s.caption for s in figures(MCI, config)}
        assert "saliency" in found and "localisation" not in found
        assert "hidden.0" in found["saliency"] and "stand-in" not in found["saliency"]

    def test_captions_follow_the_settings(self, config):
        assert all("HiResCAM at layer hidden.2.activation" in spec(kind, config).caption for kind in NEW[:2])
        assert "HiResCAM at layer hidden.2.activation" in spec("localisation", config).caption
        assert "3 seeds x 2 folds" in spec("localisation", config).caption


class TestDraw:
    def test_of_armed_where_it_is_there(self, folder, config):
        assert "where ARMED looks" in texts(draw.draw(spec("saliency", config), folder, config))

    def test_otherwise_of_a_model_with_random_effects(self, folder, config):
        without = {**config, "run": {**config["run"], "models": ["conventional", "armed_no_adversary"]}}
        assert "ARMED without adversary looks" in texts(draw.draw(spec("saliency", config), folder, without))

    @pytest.mark.parametrize("kind", ["saliency", "saliency_models"])
    def test_without_maps_it_says_so(self, kind, config, tmp_path):
        with warnings.catch_warnings():
            figure = draw.draw(spec(kind, config), tmp_path, config)
        assert "Not drawn" in texts(figure) and "run the job that makes them" in texts(figure)


class TestMaps:
    def test_a_panel_for_each_site_and_its_difference(self):
        figure = saliency.maps(kept(), "armed", MCI, "stand-in", sites=4, subjects=2)
        images = [ax for ax in figure.axes if ax.images]
        assert len(images) == 4 * (2 + 2 * 4)
        heads = [ax.get_title() for ax in images if ax.get_title()]
        assert heads == ["Image", "Fixed effects", "GE\nsite 0", "GE\nsite 1", "Philips\nsite 3", "Siemens\nsite 2"]
        assert [ax.get_ylabel() for ax in images if "class" in ax.get_ylabel()] == [
            "class 1\nsite 0 GE",
            "class 1\nsite 1 GE",
            "class 0\nsite 3 Philips",
            "class 0\nsite 4 GE",
        ]

    def test_what_stays_as_it_is_has_no_colour(self):
        """A difference of 0 leaves the grey image."""
        found = kept(2)
        found["mixed"][:] = found["fixed"][:, None]
        figure = saliency.maps(found, "armed", MCI, "stand-in")
        last = [ax for ax in figure.axes if ax.images][-1].images[0].get_array()
        assert np.array_equal(last[..., 0], last[..., 1]) and np.array_equal(last[..., 0], last[..., 2])

    def test_empty_maps_are_told(self):
        figure = saliency.maps(kept(2, empty=True), "armed", MCI, "stand-in")
        assert texts(figure).count("all 0") == 2 * (1 + len(SITES))

    def test_no_outline_without_a_region(self):
        figure = saliency.maps(kept(region=False), "armed", MCI, "restricted")
        assert not figure.legends and "STAND-IN" not in texts(figure)

    def test_no_subjects(self):
        with pytest.raises(DataError, match="No maps of subjects"):
            saliency.maps(kept(0), "armed", MCI, "stand-in")


class TestModels:
    def test_each_subject_under_its_own_site(self):
        found = kept(2)
        found["mixed"][0, 1:] = 0.0  # all but the map of its own site
        figure = saliency.models({"armed": found}, MCI, "stand-in")
        assert "all 0" not in texts(figure)
        found["site"] = np.array(["site 1", "site 1"])
        assert texts(saliency.models({"armed": found}, MCI, "stand-in")).count("all 0") == 1

    def test_ten_models_fit(self):
        names = [*MODELS, "cluster_input", "domain_adversarial", "menet", "lmmnn", "mixedlm", "mixed_logit"]
        figure = saliency.models({name: kept() for name in names}, MCI, "stand-in")
        figure.canvas.draw()
        assert_nothing_covers_anything(figure)


class TestSites:
    def test_makers(self):
        assert [saliency.maker(s) for s in ("GE Signa", "SIEMENS Trio", "", "GE a; Philips b; GE c")] == [
            "GE",
            "Siemens",
            "",
            "GE/Philips",
        ]

    def test_as_even_over_makers_as_can_be(self):
        chosen = [SITES[i] for i in saliency.chosen_sites(SITES, SCANNERS, 3)]
        assert chosen == ["site 0", "site 3", "site 2"]
        assert sorted(saliency.chosen_sites(SITES, SCANNERS, 9)) == [0, 1, 2, 3, 4]
        assert saliency.chosen_sites(SITES, [""] * 5, 2) == [0, 1]


class TestLocalisation:
    def test_chance_comes_from_the_notes(self, folder):
        metrics = results.read("metrics", folder / "metrics.tsv")
        assert image_tables.chance_levels(metrics, MCI) == pytest.approx(CHANCE)
        metrics["note"] = "no sample has both a map and a region"
        assert image_tables.chance_levels(metrics, MCI) == {}

    def test_no_results(self, folder):
        summary = results.read("summary", folder / "summary.tsv")
        with pytest.raises(DataError, match=r"summary.tsv has no rows"):
            saliency.localisation(summary, {}, MCI_PROBES)
