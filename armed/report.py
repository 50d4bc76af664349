"""The report: one page that opens offline, made from the tables and figures of a results folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from armed import (
    autoencoder_tables,
    claims_tables,
    clinical_tables,
    image_tables,
    labels,
    results,
    robustness_tables,
    schemas,
    tables,
)
from armed import config as configuration
from armed.files import atomic
from armed.pages import html, render, sorting
from armed.plotting.catalogue import headline_metric
from armed.report_figures import embedded
from armed.report_run import facts, stand_ins, studies_run, versions
from armed.report_study import slices_folder, source_words, study_values

logger = logging.getLogger(__name__)

TABLES = ("metrics", "summary", "comparison", "paired_tests", "deconfounding", "tuning")
NOT_ALWAYS = ("univariate", "sensitivity", "claims", "auroc_intervals")
"""Tables that not every run makes."""
LARGEST_PAGE = 5_000_000  # bytes


def build_report(results_dir: Path, config: Mapping, out: Path) -> None:
    """Write the report as one HTML file that needs no other file and no network.

    Parameters
    ----------
    results_dir : Path
        Results folder: the tables, `figures/` and `runs/*/*/run.json`. What is absent is listed in the page.
    config : mapping
        The whole configuration of the run.
    out : Path
        The page; it appears only when complete.

    Raises
    ------
    DataError
        If a table does not fit its schema.
    """
    results_dir, out = Path(results_dir), Path(out)
    found = _tables(results_dir)
    studies = configuration.selected_studies(config)
    page = render(
        "report.html.j2",
        runs=html(studies_run(studies, found["metrics"], results_dir), "What was run, by study"),
        facts=html(facts(results_dir), "Date, commit, machine"),
        versions=html(versions(results_dir), "Versions"),
        claims=html(claims_tables.summary(found["claims"]), claims_tables.CAPTION),
        ledger=_ledger(found["claims"]),
        confidence=f"{config['statistics']['confidence']:.0%}",
        tolerance=f"{config['statistics']['tolerance']:g}",
        stand_ins=stand_ins(found["metrics"]),
        studies=[study_values(study, found, results_dir, config) for study in studies],
        sorting=sorting(),
        robustness=_robustness(results_dir, config),
    )
    with atomic(out) as part:
        part.write_text(page, encoding="utf-8")
    size = len(page.encode())
    if size > LARGEST_PAGE:
        logger.warning("%s has %.1f MB, more than the %.0f MB meant", out, size / 1e6, LARGEST_PAGE / 1e6)
    logger.info("wrote %s (%.1f MB)", out, size / 1e6)


def write_tables(results_dir: Path, config: Mapping) -> list[Path]:
    """Write the tables for readers of all studies into `results_dir`/tables, as tsv, html fragment and LaTeX.

    Parameters
    ----------
    results_dir : Path
        Results folder.
    config : mapping
        The whole configuration of the run.

    Returns
    -------
    list of Path
        The files written.
    """
    results_dir = Path(results_dir)
    found = _tables(results_dir)
    written = []
    for name, frame in claims_tables.run_tables(found["claims"]).items():
        written += tables.table(name, frame, results_dir / "tables", claims_tables.CAPTION)
    for study in configuration.selected_studies(config):
        caption = f"{labels.study(study)}. {source_words(study, found['metrics'])}".strip()
        made = tables.study_tables(study, found, headline_metric(study))
        made |= clinical_tables.study_tables(study, found, config["statistics"]["confidence"])
        made |= image_tables.study_tables(study, found, image_tables.read_volumes(slices_folder(results_dir, study)))
        made |= autoencoder_tables.study_tables(study, found)
        for name, frame in made.items():
            written += tables.table(name, frame, results_dir / "tables", caption)
    return written + robustness_tables.write_tables(results_dir, config)


def _tables(results_dir: Path) -> dict[str, pd.DataFrame]:
    return {name: _table(name, results_dir) for name in (*TABLES, *NOT_ALWAYS)}


def _table(name: str, results_dir: Path) -> pd.DataFrame:
    path = results_dir / f"{name}.tsv"
    if path.is_file():
        return results.read(name, path)
    if name in TABLES:
        logger.warning("%s does not exist; the report goes without it", path)
    dtypes = {schemas.TEXT: "str", schemas.INTEGER: "int64", schemas.REAL: "float64"}
    columns = schemas.table(name).columns
    return pd.DataFrame({column: pd.Series(dtype=dtypes[kind]) for column, kind in columns.items()})


def _ledger(judged: pd.DataFrame) -> list[tuple[str, str, Markup]]:
    """Each claim of the paper, how many tests of it came to which verdict, and those tests; what each estimates is left out."""
    shown = ["Study", "Data", "Tested as", "Estimate", "Published", "Verdict", "Remark"]
    made = []
    for claim, tests in claims_tables.ledger(judged).groupby("Claim of the paper", sort=False):
        counts = tests["Verdict"].value_counts(sort=False)
        told = ", ".join(f"{n} {verdict}" for verdict, n in counts.sort_values(ascending=False, kind="stable").items())
        made.append((claim, told, html(tests[shown], claims_tables.CAPTION)))
    return made


def _robustness(results_dir: Path, config: Mapping) -> dict:
    """What the part on robustness shows, its figures embedded; empty where nothing was ranked or swept."""
    values = robustness_tables.report_values(results_dir, config)
    return values and {**values, "figures": [embedded(spec, results_dir) for spec in values["figures"]]}
