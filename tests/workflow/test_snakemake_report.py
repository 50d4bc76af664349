"""Snakemake's own report of the smoke run: made without network, with a category for each study, and captions."""

from __future__ import annotations

import html
import json
import re
import shutil
import zipfile

import pytest

from armed import config as configuration
from armed import labels
from armed.plotting.catalogue import figures

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("workflow")]


@pytest.fixture(scope="module")
def config(smoke):
    return configuration.load([smoke.folder / "config" / "config.yaml", smoke.folder / "config" / "smoke.yaml"])


@pytest.fixture(scope="module")
def page(smoke):
    # A proxy that no one answers: what asked the network for anything would fail.
    nowhere = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "all_proxy")}
    with pytest.MonkeyPatch.context() as patch:
        for name, address in nowhere.items():
            patch.setenv(name, address)
        done = smoke.run("--report", "out.html")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "downloading" not in done.stdout + done.stderr
    assert "(ERROR/" not in done.stdout + done.stderr  # of the captions' markup
    return (smoke.folder / "run" / "out.html").read_text(encoding="utf-8")


def words(page):
    """What a page of JSON and HTML says, without its tags."""
    text = re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), page)
    text = text.replace("\\n", " ").replace('\\"', '"')
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_every_figure_is_there_with_its_caption_and_source(page, config):
    told = words(page)
    for study in configuration.selected_studies(config):
        for spec in figures(study, config):
            assert f"{spec.name}.svg" in page, spec.name
            assert " ".join(spec.caption.split()) in told, spec.name
    assert "Simulated data." in told


def test_studies_are_categories_and_tables_and_the_page_are_there(page, config):
    for study in configuration.selected_studies(config):
        assert json.dumps(labels.study(study)) in page
        assert f"{study}_comparison.html" in page
    assert '"All studies"' in page and "report for readers" in page


def test_the_methods_follow_the_settings(page):
    assert re.search(r"spirals_radius.{0,40}: 2 seeds, 2 folds", page)


def test_also_as_zip(smoke):
    done = smoke.run("--report", "out.zip")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    with zipfile.ZipFile(smoke.folder / "run" / "out.zip") as archive:
        names = archive.namelist()
    assert any(name.endswith("report.html") for name in names)
    assert any(name.endswith("spirals_radius_performance.svg") for name in names)


def test_there_is_nothing_to_do_once_figures_are_there(smoke):
    assert smoke.planned().rules == set()


def test_without_figures_there_is_still_a_report(smoke):
    """Such as before the first run has drawn any."""
    figures_folder = smoke.folder / "run" / "results" / "figures"
    away = figures_folder.with_name("figures_away")
    shutil.move(figures_folder, away)
    try:
        done = smoke.run("--report", "none.html", "--forceall")
    finally:
        shutil.move(away, figures_folder)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
