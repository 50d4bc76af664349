"""Pages and figures with names that are scripts, in a browser: they are text, and nothing of them runs."""

from __future__ import annotations

import pytest
from test_report_browser import CHROMIUM, sync_api

from armed import registry
from benchmarks.reliability import hostile_names

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium was found on the PATH"),
]


@pytest.mark.parametrize("made", [hostile_names.page, hostile_names.figure])
def test_scripts_in_names_do_not_run(made, tmp_path):
    path = made(tmp_path, hostile_names.SCRIPT)
    registry.STUDIES.pop("hostile")
    dialogs, asked = [], []
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page()
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        assert page.evaluate("window.pwned") is None
        assert page.locator("script, img[src=x]").count() == 0
        assert "onerror" in page.evaluate("document.documentElement.textContent")
        chromium.close()
    assert dialogs == [] and asked == [path.as_uri()]
