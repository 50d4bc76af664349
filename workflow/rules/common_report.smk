# What the report is made from, and what `snakemake --report` shows.
import re
from types import SimpleNamespace

from armed import labels
from armed.plotting import catalogue

PAGE = ["report.html.j2", "study.html.j2", "box.html.j2", "robustness.html.j2", "page.css", "sorting.js"]
FIGURES = [spec for study in STUDIES for spec in catalogue.figures(study, config)]
DRAWN = ["summary", "comparison", "importance", "random_effects", "deconfounding", "metrics", "univariate"]
SOURCES = {study: labels.source(configuration.source(config, study)) for study in STUDIES}


def of_study(wildcards):
    """Category of a file in Snakemake's report."""
    study = wildcards.get("study")
    return labels.study(study) if study in STUDIES else "All studies"


def raw_files(wildcards):
    """What each study is made from, whose digests are recorded."""
    found = {study: raw(SimpleNamespace(study=study)) for study in can_be_run()}
    return {study: [paths] if isinstance(paths, str) else list(paths) for study, paths in found.items()}


def captions(wildcards):
    """Captions with the source of the data, for Snakemake's report: reStructuredText."""
    told = {spec.name: f"{SOURCES[spec.study]}. {spec.caption}" for spec in FIGURES}
    return {name: re.sub(r"([\\`*_|])", r"\\\1", text) for name, text in told.items()}


def drawn_already():
    """The folder of figures, for `snakemake --report` alone: their names follow the settings, so that no job declares them."""
    folder = "results/figures"
    if not any(Path(folder, f"{spec.name}.svg").is_file() for spec in FIGURES):
        return []
    marked = report(
        folder,
        patterns=[f"{{study,{spec.study}}}_{{kind,{spec.kind}}}.svg" for spec in FIGURES]
        + ["{study,robustness}_{kind}.svg"],
        caption="report/figure.rst",
        category=of_study,
        subcategory="Figures",
        labels={"figure": "{kind}"},
    )
    return [marked]
