"""What the report shows of one study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from armed import autoencoder_tables, claims_tables, clinical_tables, image_tables, labels, registry, tables
from armed.absent import absent_cells, fit_notes, not_run
from armed.findings import findings
from armed.pages import html
from armed.plotting.catalogue import figures, headline_metric
from armed.report_figures import embedded

LOCALISED_BY = {"grad_cam": "Grad-CAM", "hires_cam": "HiResCAM"}


def study_values(study: str, found: Mapping[str, pd.DataFrame], results_dir: Path, config: Mapping) -> dict:
    """Make what the report's template shows of a study, each table with a caption that tells the source of the data.

    Parameters
    ----------
    study : str
    found : mapping of str to pandas.DataFrame
        The tables of `results/` by name; those that do not exist without rows.
    results_dir : Path
    config : mapping
        The whole configuration.

    Returns
    -------
    dict
        Values by the names that `workflow/report/study.html.j2` has for them; tables as HTML, empty where without rows.
    """
    sources = found["metrics"].loc[found["metrics"]["study"] == study, "source"].unique()
    caption = source_words(study, found["metrics"])
    problem = not_run(study, results_dir)
    check = Path(results_dir) / "data_checks" / f"{study}.html"
    values = {
        "id": study,
        "label": labels.study(study),
        "source": caption,
        "stand_in": "stand-in" in sources,
        "metric": labels.metric(headline_metric(study)),
        "findings": findings(study, found, config),
        "not_run": problem,
        "check": f"{check.parent.name}/{check.name}" if check.is_file() else "",
        **_results(study, found),
        **_clinical(study, found, config),
        **_of_images(study, found, results_dir, config),
        **_of_autoencoders(study, found, results_dir),
        "figures": [] if problem else [embedded(spec, results_dir) for spec in figures(study, config)],
        "absent": absent_cells(study, found["metrics"], results_dir, config),
        "notes": fit_notes(study, found["metrics"]),
    }
    return {name: _shown(value, caption) for name, value in values.items()}


def _shown(value: object, caption: str) -> object:
    """Tables as HTML, those that come with a name (mapping) as pairs; anything else as it is."""
    if isinstance(value, pd.DataFrame):
        return html(value, caption)
    if isinstance(value, Mapping):
        return [(name, html(frame, caption)) for name, frame in value.items() if len(frame)]
    return value


def _results(study: str, found: Mapping[str, pd.DataFrame]) -> dict:
    """What every study has."""
    headline = headline_metric(study)
    summary = found["summary"][found["summary"]["study"] == study]
    elsewhere = (headline, image_tables.LOCALISATION, *clinical_tables.TRUTH_METRICS, *autoencoder_tables.READINGS)
    others = [m for m in dict.fromkeys(summary["metric"]) if m not in elsewhere]
    tests = tables.tests_table(found["paired_tests"], study, headline)
    return {
        "comparison": tables.comparison_table(found["comparison"], study),
        "results": tables.results_table(summary, study, headline),
        "other_results": {labels.metric(m): tables.results_table(summary, study, m) for m in others},
        "tests": tests,
        "n_tests": len(tests),
        "deconfounding": tables.deconfounding_table(found["deconfounding"], study),
        "criterion": labels.probe_criterion(study),
        "tuning": tables.tuning_table(found["tuning"], study),
    }


def _clinical(study: str, found: Mapping[str, pd.DataFrame], config: Mapping) -> dict:
    """What only some studies have."""
    confidence = config["statistics"]["confidence"]
    univariate = found["univariate"][found["univariate"]["study"] == study]
    n_features = int((univariate["dataset"] == univariate["dataset"].min()).sum())
    published = clinical_tables.published_tables(found["comparison"], study)
    return {
        "is_simulated": study in registry.SPIRALS,
        "published": {labels.partition(p).capitalize(): _unbroken(frame) for p, frame in published.items()},
        "claims": claims_tables.study_ledger(found["claims"], study),
        "discrimination": clinical_tables.discrimination_table(found["summary"], study),
        "truth": clinical_tables.truth_table(found["summary"], study),
        "recovery": clinical_tables.recovery_table(found["sensitivity"], study, confidence),
        "univariate": clinical_tables.univariate_table(univariate, study),
        "univariate_shown": f"{min(clinical_tables.TOP, n_features)} clearest of {n_features} features",
    }


def _of_images(study: str, found: Mapping[str, pd.DataFrame], results_dir: Path, config: Mapping) -> dict:
    """What only studies on images have."""
    folder = slices_folder(results_dir, study)
    page = folder / "index.html"
    told = image_tables.read_volumes(folder)
    chances = image_tables.chance_levels(found["metrics"], study)
    settings = config["studies"][study].get("saliency") or {}
    return {
        "slices": page.relative_to(results_dir).as_posix() if page.is_file() else "",
        "volumes": told.counts if told else "",
        "n_not_used": len(told.not_used) if told else 0,
        "not_used": told.not_used if told else "",
        "rules": told.rules if told else [],
        "localisation": image_tables.localisation_table(found["summary"], chances, study),
        "localised_by": f"{LOCALISED_BY.get(settings.get('maps'), '')} at layer {settings.get('layer')}",
    }


def _of_autoencoders(study: str, found: Mapping[str, pd.DataFrame], results_dir: Path) -> dict:
    """What only studies have whose networks are autoencoders."""
    page = Path(results_dir) / "frames" / study / "index.html"
    readings = {
        p: autoencoder_tables.readings_table(found["summary"], found["metrics"], study, p)
        for p in autoencoder_tables.PARTITIONS
    }
    return {
        "frames": page.relative_to(results_dir).as_posix() if page.is_file() else "",
        "cluster": labels.noun("cluster", study),
        "group": labels.noun("group", study),
        "readings": {labels.partition(p).capitalize(): _unbroken(frame) for p, frame in readings.items()},
        "auroc_intervals": autoencoder_tables.auroc_intervals_table(found["auroc_intervals"], study),
    }


def _unbroken(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with intervals that are not broken into two lines."""
    return frame.map(lambda cell: str(cell).replace(", ", ",\u00a0"))


def slices_folder(results_dir: Path, study: str) -> Path:
    """Where the slices of a study on images are."""
    return Path(results_dir) / "slices" / study


def source_words(study: str, metrics: pd.DataFrame) -> str:
    """Tell in words where a study's data came from; they stand above every table. Empty where it has no results."""
    return "; ".join(labels.source(s) for s in metrics.loc[metrics["study"] == study, "source"].unique())
