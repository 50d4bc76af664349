"""What the report's page is made of: tables that can be sorted, captions that tell the source, figures in few bytes, links."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from synthetic_clinical import HEART, clinical_config, write_clinical
from synthetic_results import small_config, write_results
from test_report import Page

from armed import labels, pages, registry, report_figures, results, tables
from armed.plotting import draw, style
from armed.plotting.catalogue import FigureSpec, figures
from armed.report import NOT_ALWAYS, TABLES, build_report, write_tables
from armed.report_run import facts, studies_run

RADIUS = "spirals_radius"
STAND_IN = labels.source("stand-in")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def config():
    return small_config()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, config):
    """Results of stand-ins, one study of them with its figures."""
    folder = write_results(tmp_path_factory.mktemp("results"), config)
    for name in ("metrics", "summary", "comparison"):
        frame = results.read(name, folder / f"{name}.tsv").assign(source="stand-in")
        results.write(name, frame, folder / f"{name}.tsv")
    for spec in figures(RADIUS, config):
        style.save(draw.draw(spec, folder, config), folder / "figures" / spec.name)
    (folder / "data_checks").mkdir()
    (folder / "data_checks" / f"{RADIUS}.html").write_text("checked")
    return folder


@pytest.fixture(scope="module")
def page(folder, config):
    build_report(folder, config, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A drawing with text, a line and a picture in it."""
    figure = style.new_figure(3.0)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1 / 3, 1], [0, 2 / 3, 1])
    left.set_title('a < b & "c" isn\'t #1, 100%')
    y, x, k = np.mgrid[:150, :150, :3]
    right.imshow((128 + 100 * np.sin(x / (20 + 9 * k) + y / 30)).astype(np.uint8))
    folder = tmp_path_factory.mktemp("results")
    return folder, *style.save(figure, folder / "figures" / "one")


def points(tree):
    """Every point of the paths of a drawing, of straight lines relative to the point before or not."""
    found = []
    for path in tree.iter(f"{SVG}path"):
        at = np.zeros(2)
        for command, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", path.get("d")):
            for pair in np.reshape([float(v) for v in numbers.split()], (-1, 2)):
                at = at + pair if command == "l" else pair
                found.append(at)
    return np.array(found)


def orders(cells):
    html = tables.fragment(pd.DataFrame({"Ours": cells}))
    found = re.findall(r'<td[^>]*?(?: data-order="([^"]*)")?>', html)
    return [float(v) if v else None for v in found]


class TestSorting:
    @pytest.mark.parametrize(
        ("cells", "expected"),
        [
            (["0.764 [0.758, 0.769]", "−0.01", "+1.5", "–"], [0.764, -0.01, 1.5, None]),
            (["12% [3, 20]", "3%", ""], [12.0, 3.0, None]),
            (["x16", "x4"], [16.0, 4.0]),
            (["1.2e-05", "0.5 to 1", "1 of 2 folds"], [1.2e-5, 0.5, 1.0]),
            (["ARMED", "0.5"], [None, None]),
            (["2-back", "3D"], [None, None]),
            (["–", "–"], [None, None]),
        ],
    )
    def test_cells_are_ordered_by_the_number_they_begin_with(self, cells, expected):
        assert orders(cells) == expected

    def test_less_than_comes_before(self):
        less, equal = orders(["< 0.001", "0.001"])
        assert less < equal

    def test_only_tables_that_are_not_seen_at_a_glance(self):
        def kind(rows):
            found = re.match(r'<table(?: class="([\w ]+)")?>', tables.fragment(pd.DataFrame({"n": range(rows)})))
            return found[1]

        assert [kind(rows) for rows in (6, 7, 15, 16)] == [None, "sortable", "sortable", "sortable filtered"]

    def test_hostile_names_are_escaped(self):
        bad = '"><script>alert(1)</script>'
        html = tables.fragment(pd.DataFrame({bad: [bad, "x"], "Verdict": [bad, "agrees"]}), bad)
        assert "<script" not in html and html.count("&lt;script&gt;") == 4

    def test_the_library_is_whole_and_the_same_each_time(self):
        packed = pages.sorting()
        assert packed == pages.sorting.__wrapped__()
        assert b"DataTables" in gzip.decompress(base64.b64decode(packed))


class TestPage:
    def test_nothing_is_fetched(self, page):
        tags = re.findall(r'<(?:script|link|img|iframe|object|embed|source|video|audio)\b(?:"[^"]*"|[^">])*>', page)
        addresses = [a for tag in tags for a in re.findall(r'(?:src|href|srcset|data)="([^"]*)"', tag)]
        assert addresses and all(a.startswith("data:") for a in addresses)
        css = page[page.index("<style>") : page.index("</style>")]
        assert not re.search(r"url\(|@import", css)

    def test_links_and_anchors_lead_somewhere(self, page, folder):
        parsed = Page(page)
        links = [a for a in parsed.addresses if not a.startswith("data:")]
        assert f"data_checks/{RADIUS}.html" in links and f"#{RADIUS}" in links
        for link in links:
            assert link[1:] in parsed.ids if link.startswith("#") else (folder / link).is_file(), link

    def test_the_order(self, page):
        places = [page.index(f'<section id="{name}"') for name in ("run", "claims", "findings", RADIUS, "absent")]
        assert places == sorted(places)
        study = page[places[3] : places[4]]
        parts = [study.index(f">{name}<") for name in ("As published, and ours", "Figures", "Model by model")]
        assert parts == sorted(parts)

    def test_every_table_and_figure_of_a_stand_in_says_so(self, page, folder, config):
        for section in re.findall(r'<section id="spirals_\w+" class="study">.*?</section>', page, re.DOTALL):
            n_tables = section.count("<table")
            assert n_tables >= 5 and section.count(f"<caption>{STAND_IN}</caption>") == n_tables
            captions = re.findall(r"<figcaption>(.*?)</figcaption>", section, re.DOTALL)
            assert captions and all(STAND_IN in caption for caption in captions)
        drawn = re.findall(r'<img src="data:image/svg\+xml,([^"]+)"', page)
        assert len(drawn) == 3 and all("STAND-IN data" in unquote(svg) for svg in drawn)
        files = [path for path in write_tables(folder, config) if path.suffix in (".html", ".tex")]
        assert len(files) > 20
        for path in files:
            words = STAND_IN if path.name.startswith("spirals_") else "stand-in"
            assert words in path.read_text(encoding="utf-8"), path.name

    def test_no_column_of_a_study_is_called_a_reproduction(self, page):
        assert not re.search(r"(?<!not a )reproduction(?! of the paper's)", Page(page).text)


class TestRun:
    def test_date_and_times(self, tmp_path):
        for model, day in (("armed", "2026-03-02"), ("menet", "2026-03-01")):
            run = tmp_path / "runs" / RADIUS / model
            run.mkdir(parents=True)
            record = {"finished": f"{day}T10:00:00+00:00", "wall_seconds": 90.0, "environment": {"cpu_count": 4}}
            (run / "run.json").write_text(json.dumps(record))
        for place in (f"fit/{RADIUS}/armed", f"figures/{RADIUS}", "fit/spirals_inverted/armed"):
            path = tmp_path / "timings" / f"{place}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("s\th:m:s\n120.0\t0:02:00\n")
        told = facts(tmp_path).set_index("What")["Value"]
        assert told["Date of the fits"] == "2026-03-01 to 2026-03-02" and told["Time of all fits"] == "3.0 min"
        row = studies_run([RADIUS], results.empty("metrics"), tmp_path).iloc[0]
        assert row["Fits (min)"] == "3.0" and row["All jobs (min)"] == "4.0" and row["Data"] == "not run"

    def test_nothing_recorded(self, tmp_path):
        assert "Date of the fits" not in set(facts(tmp_path)["What"])
        row = studies_run([RADIUS], results.empty("metrics"), tmp_path).iloc[0]
        assert row["Fits (min)"] == row["All jobs (min)"] == "–"


class TestFigures:
    @staticmethod
    def read(address):
        assert address.startswith("data:image/svg+xml,") and not set('"<>#\n') & (set(address) - set("<>"))
        return ElementTree.fromstring(unquote(address.partition(",")[2]))

    def test_a_drawing_keeps_its_text_lines_and_pictures_in_fewer_bytes(self, files):
        _, svg, _ = files
        before, address = svg.read_text(encoding="utf-8"), report_figures.drawing(svg.read_text(encoding="utf-8"))
        after, original = self.read(address), ElementTree.fromstring(before)
        assert len(address) < 0.6 * len(before)

        def texts(tree):
            return [" ".join("".join(e.itertext()).split()) for e in tree.iter(f"{SVG}text")]

        assert texts(after) == texts(original) and 'a < b & "c" isn\'t #1, 100%' in texts(after)

        assert np.abs(np.subtract(points(after), points(original))).max() < 0.006
        images = [e.get("{http://www.w3.org/1999/xlink}href") for e in after.iter(f"{SVG}image")]
        assert len(images) == 1 and images[0].startswith("data:image/webp;base64,")

    def test_what_would_be_large_becomes_a_picture(self, files, monkeypatch):
        folder, _, png = files
        spec = FigureSpec("one", RADIUS, "data", "Caption")
        drawn = report_figures.embedded(spec, folder)
        assert drawn["image"].startswith("data:image/svg+xml,") and (drawn["width"], drawn["height"]) == (518, 216)
        monkeypatch.setattr(report_figures, "LARGEST_DRAWING", 100)
        with Image.open(png) as picture:
            size = picture.size
        drawn = report_figures.embedded(spec, folder)
        assert drawn["image"].startswith("data:image/webp;base64,") and (drawn["width"], drawn["height"]) == size
        png.rename(folder / "away.png")
        assert report_figures.embedded(spec, folder)["image"].startswith("data:image/svg+xml,")
        (folder / "away.png").rename(png)

    def test_pictures_keep_what_is_transparent(self):
        shades = np.zeros((60, 60, 4), np.uint8)
        shades[10:30, 10:30] = (213, 94, 0, 255)
        found = report_figures.smallest(Image.fromarray(shades, "RGBA"))
        after = np.asarray(Image.open(io.BytesIO(found)).convert("RGBA"))
        assert after[0, 0, 3] == 0 and after[20, 20, 3] == 255
        assert np.abs(after[20, 20].astype(int) - (213, 94, 0, 255)).max() <= 8


class TestOwnTable:
    """A study of the user's own, which no published number stands beside."""

    @pytest.fixture
    def parts(self, tmp_path, monkeypatch):
        config = clinical_config()
        config["run"]["studies"] = [HEART]
        folder = write_clinical(tmp_path, config)
        entry = registry.Study(
            "own_t", "Own <table>", "own", "m:f", ("seen", "unseen"), ("auroc", "accuracy"), raw="own"
        )
        monkeypatch.setitem(registry.STUDIES, "own_t", entry)
        config["run"]["studies"] = ["own_t"]
        config["studies"]["own_t"] = config["studies"].pop(HEART)
        for name in (*TABLES, *NOT_ALWAYS):
            if (folder / f"{name}.tsv").is_file():
                frame = results.read(name, folder / f"{name}.tsv")
                frame = frame[frame["study"] == HEART] if name != "comparison" else frame.iloc[:0]
                changed = {"study": "own_t"} | ({"source": "own"} if "source" in frame else {})
                results.write(name, frame.assign(**changed), folder / f"{name}.tsv", models=["oracle"])
        build_report(folder, config, folder / "report.html")
        return (folder / "report.html").read_text(encoding="utf-8")

    def test_its_results_stand_where_others_have_published_numbers(self, parts):
        study = re.search(r'<section id="own_t" class="study">.*?</section>', parts, re.DOTALL)[0]
        assert study.index(">Results: AUROC<") < study.index(">Figures<") < study.index(">Model by model<")
        assert "As published" not in study and "Own &lt;table&gt;" in study
        n_tables = study.count("<table")
        assert n_tables > 3 and study.count("<caption>The user&#39;s own data</caption>") == n_tables
