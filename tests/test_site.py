"""The site of the documents: it builds without a warning, is whole, and needs no network. And how to cite the project."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from test_docs import DOCUMENTS, ROOT, name

import armed


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    recipe = re.search(r"sphinx-build (.+) docs/_build$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert "--fail-on-warning" in recipe
    command = [sys.executable, "-m", "sphinx", *recipe.split(), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def pages(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in folder.rglob("*.html")}


@pytest.mark.slow
@pytest.mark.xdist_group("site")
class TestSite:
    def test_every_document_is_a_page(self, site):
        wanted = {name(p).removesuffix(".md") + ".html" for p in DOCUMENTS}
        wanted = (wanted - {"docs/README.html"}) | {"docs/index.html", "docs/api/index.html", "index.html"}
        assert wanted <= set(pages(site))

    def test_nothing_comes_from_the_network(self, site):
        for page, text in pages(site).items():
            loaded = re.findall(r"<(?:script|img|iframe)[^>]*\bsrc=\"([^\"]+)|<link[^>]*\bhref=\"([^\"]+)", text)
            assert not [a or b for a, b in loaded if re.match(r"(https?:)?//", a or b)], page

    def test_equations_are_drawn_by_the_browser(self, site):
        method = (site / "docs" / "method.html").read_text(encoding="utf-8")
        written = (ROOT / "docs" / "method.md").read_text(encoding="utf-8").count("$$\n\\begin{aligned}")
        assert method.count("<mtable") == written > 0
        assert "$$" not in method and not re.search(r"<script[^>]*mathjax", method, re.IGNORECASE)

    def test_links_lead_somewhere(self, site):
        wrong = []
        for page, text in pages(site).items():
            for target in re.findall(r"<a [^>]*href=\"([^\"#?]+)[#\"]", text):
                if not re.match(r"[a-z]+:", target) and not ((site / page).parent / target).resolve().exists():
                    wrong.append((page, target))
        assert not wrong

    def test_the_reference_has_signatures_and_parameters(self, site):
        text = (site / "docs" / "api" / "armed.fit.html").read_text(encoding="utf-8")
        assert "learning_rate" not in text  # of another page
        assert re.search(r"armed\.</span>.*fit</span>", text) and "Parameters" in text and "Returns" in text


class TestCitation:
    """CITATION.cff against the Citation File Format, version 1.2.0: what it requires of a file and of a reference."""

    CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))

    def test_required_keys(self):
        assert {"cff-version", "message", "title", "authors"} <= set(self.CITATION)
        assert self.CITATION["cff-version"] == "1.2.0" and self.CITATION["type"] == "software"

    def test_the_paper_is_the_preferred_citation(self):
        paper = self.CITATION["preferred-citation"]
        assert {"type", "title", "authors"} <= set(paper)
        assert re.fullmatch(r"10\.\d{4,9}/\S+", paper["doi"])
        assert [a["family-names"] for a in paper["authors"]] == ["Nguyen", "Treacher", "Montillo"]
        assert all({"given-names", "family-names"} <= set(a) for a in paper["authors"])

    def test_version_and_licence_are_those_of_the_package(self):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert self.CITATION["version"] == project["version"] == armed.__version__
        assert self.CITATION["license"] == project["license"]

    def test_keys_are_known(self):
        known = {
            "abstract",
            "authors",
            "cff-version",
            "commit",
            "contact",
            "date-released",
            "doi",
            "identifiers",
            "keywords",
        }
        known |= {
            "license",
            "license-url",
            "message",
            "preferred-citation",
            "references",
            "repository",
            "title",
            "type",
        }
        known |= {"repository-artifact", "repository-code", "url", "version"}
        assert set(self.CITATION) <= known
