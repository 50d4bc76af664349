"""Attacks by names: of studies, columns, clusters and features, as pages, tables, figures and models show or use them."""

from __future__ import annotations

import html.parser
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd

from armed import config as configuration
from armed import data_checks, registry, tables
from armed.data import own_table
from armed.data.clustered import ClusteredData
from armed.data.splits import make_splits
from armed.data.study import StudyData
from armed.plotting import style, top_features
from baselines.gradient_boosting import GradientBoosting
from baselines.mixed_logit import MixedLogit
from baselines.mixedlm import MixedLM
from benchmarks.reliability.hostile_files import DEFAULT
from benchmarks.reliability.hostile_models import Attack
from benchmarks.reliability.hostile_outcomes import CANARY, HARMLESS, TEXT

SCRIPT = '"><img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'
FORMULA = "=cmd|' /C calc'!A0"
STUDIES = (f"../../{CANARY}", f"x; touch {CANARY}", f"$(touch {CANARY})", "a/b", ".*", "x\n", "claims", "Heart", "nul")


def attacks(models: Path, slow: bool) -> dict[str, tuple[str, Attack]]:
    """Name -> what shows or uses it, and the attack."""
    directive = "Title\n\n.. raw:: html\n\n   <script>window.pwned=1</script>"
    return {
        **{f"study called {name!r}": ("configuration", lambda folder, n=name: _study(folder, n)) for name in STUDIES},
        "directive in the title of a study": ("configuration", lambda folder: _study(folder, "wards", directive)),
        "script in names": ("data check, as HTML", lambda folder: _page(folder, SCRIPT)),
        "script in names of a table": ("results/tables/*.html", _fragment),
        "script in names of a figure": ("results/figures/*.svg", lambda folder: _figure(folder, SCRIPT)),
        "unfinished formula in the name of a feature": ("figures", lambda folder: _figure(folder, r"$\frac{cost")),
        "names that begin with an underscore": ("figures", lambda folder: _figure(folder, "_nolegend_")),
        "command of LaTeX in names": ("results/tables/*.tex", _latex),
        "formula of a spreadsheet as a cluster": ("results/tables/*.tsv", _spreadsheet),
        "calls in names of features": ("linear mixed model", lambda folder: _fit(folder, MixedLM)),
        "calls in names of features, logistic": ("logistic mixed model", lambda folder: _fit(folder, MixedLogit)),
        "calls in names of features, trees": ("gradient boosting", lambda folder: _fit(folder, GradientBoosting)),
    }


def page(folder: Path, name: str) -> Path:
    """A data check of a table whose columns, clusters and categories have a name."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"{name} a": rng.normal(size=120), "ill": rng.integers(0, 2, 120)})
    frame["ward"] = [f"{name} {i // 30}" for i in range(120)]
    frame["colour"] = [f"{name} {i % 3}" for i in range(120)]
    frame.to_csv(folder / "table.csv", index=False)
    block = {"path": "table.csv", "kind": "binary", "label": "ill", "cluster": "ward"}
    made: StudyData = own_table.make(block, "hostile", [0], [folder / "table.csv"])
    _declare(name)
    data_checks.write_page(data_checks.check(made, "hostile", source="own"), folder / "page.html")
    return folder / "page.html"


def figure(folder: Path, name: str) -> Path:
    """A figure of the most important features, whose names begin so."""
    _declare(name)
    features = [f"{name} {i}" for i in range(3)]
    table = pd.DataFrame(
        {"study": "hostile", "seed": 0, "fold": 0, "model": "armed", "variant": "main"}, index=range(3)
    )
    table = table.assign(feature=features, importance=[3.0, 2.0, 1.0], rank=[1, 2, 3])
    drawn = top_features.importance(table, pd.DataFrame({"feature": [], "predictive": []}), "hostile", "own")
    return style.save(drawn, folder / "figure")[0]


def _declare(title: str) -> None:
    made = "armed.data.own_table:make"
    registry.declare(registry.Study("hostile", title, "own", made, ("seen",), ("auroc",), raw="own"))


def _study(folder: Path, name: str, title: str | None = None) -> tuple[str, str]:
    config = configuration.load(DEFAULT)
    (folder / "table.csv").write_text("ill,ward,age\n")
    data = {"path": str(folder / "table.csv"), "label": "ill", "cluster": "ward", "title": title}
    config["studies"][name] = {"data": data}
    config["run"]["studies"] = [name]
    configuration.complete(config)
    return "read", ""


class _Elements(html.parser.HTMLParser):
    """Elements of a page that could run something, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.live: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag in ("script", "img", "iframe", "object", "base") or any(name.startswith("on") for name, _ in attrs):
            self.live.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def _shown(page: str, name: str) -> tuple[str, str]:
    elements = _Elements()
    elements.feed(page)
    if elements.live or name not in elements.text:
        return "part of the page", ", ".join(elements.live)
    return TEXT, f"{page.count('&lt;script&gt;')} times"


def _page(folder: Path, name: str) -> tuple[str, str]:
    return _shown(page(folder, name).read_text(encoding="utf-8"), name)


def _fragment(folder: Path) -> tuple[str, str]:
    tables.table("x", pd.DataFrame({SCRIPT: [SCRIPT, "1"], "Verdict": [SCRIPT, "agrees"]}), folder, SCRIPT)
    return _shown((folder / "x.html").read_text(encoding="utf-8"), SCRIPT)


def _figure(folder: Path, name: str) -> tuple[str, str]:
    drawn = ElementTree.parse(figure(folder, name))
    kinds = {element.tag.rpartition("}")[2] for element in drawn.iter()}
    text = " ".join("".join(element.itertext()) for element in drawn.iter() if element.tag.endswith("}text"))
    begin = name[:12]
    if kinds & {"script", "img", "image", "foreignObject", "a"} or begin not in text:
        return "part of the drawing", ", ".join(sorted(kinds))
    return TEXT, f"{text.count(begin)} times"


def _latex(folder: Path) -> tuple[str, str]:
    name = r"\input{/etc/passwd} 100% $x_1^2$ a & b #1 ~"
    tables.table("x", pd.DataFrame({name: [name]}), folder, f"{name}\n\n\\par")
    text = (folder / "x.tex").read_text(encoding="utf-8")
    told = [line for line in text.splitlines() if "passwd" in line]
    live = [line for line in told if "\\input" in line or " $x" in line or "a & b" in line]
    return ("a command", live[0]) if live else (TEXT, f"{len(told)} lines: {told[0]}")


def _spreadsheet(folder: Path) -> tuple[str, str]:
    tables.table("x", pd.DataFrame({"Cluster": [FORMULA]}), folder)
    kept = pd.read_csv(folder / "x.tsv", sep="\t")["Cluster"].item()
    told = "kept as it is: tables are data, which programs read; open those of strangers as text"
    return (HARMLESS, told) if kept == FORMULA else ("changed", kept)


def _fit(folder: Path, method: type) -> tuple[str, str]:
    call = f"__import__('os').system('touch {folder / CANARY}')"
    rng = np.random.default_rng(0)
    X, clusters = rng.normal(size=(160, 4)), np.arange(160) % 4
    y = (X[:, 0] + 0.3 * clusters + rng.normal(size=160) > 0.4).astype(int)
    names = (call, f"C({call})", f"Q('x') + I({call})", 'a"]}, {"b:[c')
    data = ClusteredData(X, y, clusters, feature_names=names)
    fit = method().fit(data, make_splits(data, [0], 2, "hostile"))
    fit.save(folder / "model")
    told = method.load(folder / "model").importance(data, {(0, 0): np.arange(160)})
    return (TEXT, "names of columns, nothing more") if set(told["feature"]) == set(names) else ("changed", "")
