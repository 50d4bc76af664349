"""The site: `make docs` builds it into docs/_build from the documents of the tree and the docstrings."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

project = "ARMED-bench"
author = "ARMED-bench developers"
root_doc = "docs/index"  # sources are read from the root, so that documents outside docs/ are pages too
include_patterns = [
    *("docs/*.md", "docs/*.rst", "docs/studies/*.md", "docs/api/*.rst"),
    *(
        "README.md",
        "config/README.md",
        "baselines/README.md",
        "benchmarks/README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ),
]
exclude_patterns = ["docs/README.md", "docs/_*", ".*", "results", "smoke", "paper", "data", "tests", "**/.snakemake"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "mathml", "reference"]
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # the anchors that code hosts give
default_role = "py:obj"
numpydoc_show_class_members = False  # each class has its page, which lists them
autodoc_typehints = "none"  # docstrings say types
autosummary_generate = False
# The tables of the README's words and of symbols have cells with the same name twice; C++ lexers and the like are not used.
highlight_language = "none"

html_theme = "furo"
html_title = "ARMED-bench"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_show_copyright = False
html_show_search_summary = False  # it would fetch pages, which browsers refuse of files
html_additional_pages = {"index": "redirect.html"}
templates_path = ["_templates"]
