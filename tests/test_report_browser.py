"""The report as a reader has it: opened from a file in Chromium, at desk and phone width, without scripts, and in print."""

from __future__ import annotations

import dataclasses
import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from synthetic_results import small_config, write_results

from armed import registry, results
from armed.plotting import draw, style
from armed.plotting.catalogue import figures
from armed.report import build_report

RADIUS = "spirals_radius"
HOSTILE = '<img src=x onerror="document.title=1">&</script>'
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[browser]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium was found on the PATH"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report of stand-ins with a hostile name of a study and a hostile note."""
    config = small_config()
    folder = write_results(tmp_path_factory.mktemp("results"), config)
    for name in ("metrics", "summary", "comparison"):
        frame = results.read(name, folder / f"{name}.tsv").assign(source="stand-in")
        if name == "metrics":
            frame.loc[frame["note"] == "no variance <p>", "note"] = HOSTILE
        results.write(name, frame, folder / f"{name}.tsv")
    for spec in figures(RADIUS, config):
        style.save(draw.draw(spec, folder, config), folder / "figures" / spec.name)
    entry = registry.STUDIES[RADIUS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.STUDIES, RADIUS, dataclasses.replace(entry, label=HOSTILE))
        build_report(folder, config, folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Tab:
    """A page that is open, with what it asked for and what it complained about."""

    def __init__(self, browser, report, *, scripts: bool = True, **window) -> None:
        self.context = browser.new_context(java_script_enabled=scripts, **window)
        self.page = self.context.new_page()
        self.asked, self.complaints = [], []
        self.page.on("request", lambda request: self.asked.append(request.url.split(":")[0]))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(report.as_uri())

    def unfold(self) -> None:
        """Open everything that is folded and come past every table."""
        self.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
        for table in self.page.locator("table.sortable").all():
            table.scroll_into_view_if_needed()
        self.page.wait_for_function(
            "[...document.querySelectorAll('table.sortable')].every((t) => t.classList.contains('dataTable'))"
        )

    def column(self, table, number: int) -> list[str]:
        return table.locator(f"tbody tr td:nth-child({number})").all_inner_texts()


@pytest.fixture(scope="module")
def tab(browser, report):
    tab = Tab(browser, report, viewport={"width": 1280, "height": 900})
    tab.unfold()
    yield tab
    tab.context.close()


def numbers(cells: list[str]) -> list[float]:
    return [float(re.match(r"<?\s?([+−]?[\d.]+)", cell)[1].replace("−", "-")) for cell in cells if cell != "–"]


def test_no_errors_and_nothing_from_outside(tab):
    assert tab.complaints == []
    assert set(tab.asked) <= {"file", "data", "blob"} and tab.asked.count("file") == 1


def test_hostile_names_are_text(tab):
    assert tab.page.title() == "ARMED: the benchmark's results"
    assert tab.page.locator(f"[id='{RADIUS}'] h2").inner_text() == HOSTILE
    assert tab.page.locator("img[src=x]").count() == 0
    assert HOSTILE in tab.page.locator("#absent").inner_text()


def test_links_lead_somewhere(tab):
    broken = tab.page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map((a) => a.getAttribute('href').slice(1))"
        ".filter((id) => !document.getElementById(id))"
    )
    assert broken == [] and tab.page.locator("nav a").count() > 4


def test_tables_sort_by_number(tab):
    table = tab.page.locator(f"[id='{RADIUS}'] table.filtered").filter(has_text="p (Holm)")
    names = table.locator("th").all_inner_texts()
    number = next(i for i, name in enumerate(names, 1) if name.startswith("Difference"))
    before = tab.column(table, number)
    header = table.locator(f"th:nth-child({number})")
    header.click()
    sync_api.expect(header).to_have_class(re.compile("dt-ordering-asc"))
    up = numbers(tab.column(table, number))
    assert up == sorted(numbers(before)) and up != numbers(before) and up[0] < 0 < up[-1]
    header.click()
    sync_api.expect(header).to_have_class(re.compile("dt-ordering-desc"))
    assert numbers(tab.column(table, number)) == up[::-1]
    header.click()
    sync_api.expect(header).not_to_have_class(re.compile("dt-ordering-"))
    assert tab.column(table, number) == before


def test_tables_can_be_filtered(tab):
    table = tab.page.locator(f"[id='{RADIUS}'] table.filtered").filter(has_text="p (Holm)")
    every = len(tab.column(table, 1))
    box = table.locator("xpath=ancestor::div[contains(@class, 'dt-container')]").locator("input")
    box.fill("MLDG")
    sync_api.expect(table.locator("tbody tr")).not_to_have_count(every)
    left = tab.column(table, 1)
    assert 0 < len(left) < every and all("MLDG" in name for name in left)
    box.fill("")
    sync_api.expect(table.locator("tbody tr")).to_have_count(every)


def test_figures_are_drawn_at_a_readable_size(tab):
    shown = tab.page.evaluate(
        "[...document.querySelectorAll('figure img')].map((i) => [i.naturalWidth, i.clientWidth, i.clientHeight])"
    )
    assert len(shown) == 3 and all(natural > 300 and wide > 600 and high > 150 for natural, wide, high in shown)


def test_figures_look_as_those_in_files(tab, browser, report):
    """Shorter drawings are the same drawings: no pixel of a thousand is another colour."""
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    for place, spec in enumerate(figures(RADIUS, small_config())):
        short = tab.page.locator("figure img").nth(place).get_attribute("src")
        seen = []
        for address in ((report.parent / "figures" / f"{spec.name}.svg").as_uri(), short):
            page.goto((report.parent / "figures").as_uri())  # a page that may show files
            page.set_content(f'<body style="margin:0"><img width="1040" src="{address}"></body>', wait_until="load")
            seen.append(np.asarray(Image.open(io.BytesIO(page.locator("img").screenshot())).convert("L"), float))
        assert seen[0].std() > 10 and seen[0].shape == seen[1].shape
        assert (np.abs(seen[0] - seen[1]) > 64).mean() < 0.001, spec.name
    page.close()


def test_on_a_phone_only_tables_and_figures_scroll_sideways(browser, report):
    tab = Tab(browser, report, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    tab.unfold()
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.page.locator("figure img").first.evaluate("(image) => image.clientWidth") >= 600
    assert tab.complaints == []
    tab.context.close()


def test_without_scripts_and_in_print_every_row_is_there(browser, report):
    tab = Tab(browser, report, scripts=False, viewport={"width": 800, "height": 1100})
    rows = tab.page.locator("tbody tr")
    assert rows.count() > 100 and tab.page.locator("#run tbody tr").first.is_visible()
    tab.page.emulate_media(media="print")
    assert all(row.is_visible() for row in rows.all())
    assert len(tab.page.pdf()) > 50_000
    tab.context.close()
