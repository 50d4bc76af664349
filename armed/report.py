"""The report: one page that opens offline, made from the tables and figures of a results folder."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from armed import (
    autoencoder_tables,
    claims_tables,
    clinical_tables,
    image_tables,
    labels,
    registry,
    reproducibility,
    results,
    robustness_tables,
    schemas,
    tables,
)
from armed import config as configuration
from armed.files import atomic
from armed.findings import findings
from armed.pages import html as _html
from armed.pages import render
from armed.plotting.catalogue import FigureSpec, figures, headline_metric
from armed.retrieval import Receipt

logger = logging.getLogger(__name__)

TABLES = ("metrics", "summary", "comparison", "paired_tests", "deconfounding", "tuning")
NOT_ALWAYS = ("univariate", "sensitivity", "claims", "auroc_intervals")
"""Tables that not every run makes."""
LEVELS_TOLD = (
    *("z_accuracy", "adversary_accuracy", "davies_bouldin", "calinski_harabasz"),
    *(image_tables.LOCALISATION, *autoencoder_tables.READINGS),
)
"""Metrics whose notes tell chance levels and counts: what is told of the fit stands at its other metrics too."""
LOCALISED_BY = {"grad_cam": "Grad-CAM", "hires_cam": "HiResCAM"}
LARGEST_SVG = 50_000  # bytes; figures with many points and images are smaller and faster as pixels
COLOURS, ALMOST_ALL = 64, 256  # of a picture's palette: few where that changes little
CHANGE = 2.5  # of 255, root mean square over pixels, that few colours may make
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
        runs=_html(_runs(studies, found["metrics"])),
        environment=_html(_environment(results_dir)),
        confidence=f"{config['statistics']['confidence']:.0%}",
        tolerance=f"{config['statistics']['tolerance']:g}",
        stand_ins=_stand_ins(found["metrics"]),
        studies=[_study(study, found, results_dir, config) for study in studies],
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
        sources = found["summary"].loc[found["summary"]["study"] == study, "source"].unique()
        caption = ". ".join([labels.study(study), *(labels.source(source) for source in sources)]) + "."
        made = tables.study_tables(study, found, headline_metric(study))
        made |= clinical_tables.study_tables(study, found, config["statistics"]["confidence"])
        made |= image_tables.study_tables(study, found, image_tables.read_volumes(slices_folder(results_dir, study)))
        made |= autoencoder_tables.study_tables(study, found)
        for name, frame in made.items():
            written += tables.table(name, frame, results_dir / "tables", caption)
    return written + robustness_tables.write_tables(results_dir, config)


def absent_cells(study: str, metrics: pd.DataFrame, results_dir: Path, config: Mapping) -> pd.DataFrame:
    """List what the configuration asks for and the metrics do not have, and why.

    Parameters
    ----------
    study : str
    metrics : pandas.DataFrame
        `results/metrics.tsv`.
    results_dir : Path
        Its `runs/` tells a fit that is absent from one that was not scored.
    config : mapping
        The whole configuration.

    Returns
    -------
    pandas.DataFrame
        Columns Model, What, Reason: models and variants without a row, then values that are not defined, by reason. One
        row where the study's data could not be had.
    """
    if problem := not_run(study, results_dir):
        return pd.DataFrame([("all", "all", f"not run: {problem}")], columns=["Model", "What", "Reason"])
    rows = metrics[metrics["study"] == study]
    have = set(zip(rows["model"], rows["variant"], strict=True))
    lines = []
    for model in configuration.selected_models(config, study):
        wanted = [*configuration.data_variants(config, study)]
        settings = configuration.settings(config, study, model)
        wanted += [v for v in settings["variants"] if v != "main"] + [registry.TUNED] * ("tuning" in settings)
        missing = [v for v in wanted if (model, v) not in have]
        if missing:
            fitted = (results_dir / "runs" / study / model).is_dir()
            reason = (
                "fitted, but not scored: its prediction or scoring did not finish; see the logs of those jobs"
                if fitted
                else "no finished fit: it failed, or was not run; see the log of its fit"
            )
            what = "all" if len(missing) == len(wanted) else _join(labels.variant_name(v) for v in missing)
            lines.append((labels.model(model), what, reason))
    undefined = rows[rows["value"].isna()]
    for (model, variant, note), cells in undefined.groupby(["model", "variant", "note"], sort=False):
        what = f"{_join(labels.metric(m) for m in cells['metric'].unique())} ({len(cells)} cell{'s' if len(cells) > 1 else ''})"
        lines.append((labels.model(model, variant, study), what, note))
    return pd.DataFrame(lines, columns=["Model", "What", "Reason"])


def not_run(study: str, results_dir: Path) -> str:
    """Tell why a study was not run, as its data could not be had; empty where they could."""
    path = Path(results_dir) / "raw" / f"{registry.study(study).raw}.json"
    return Receipt.read(path).problem if registry.study(study).source == "open" and path.is_file() else ""


def fit_notes(study: str, metrics: pd.DataFrame) -> pd.DataFrame:
    """Count the remarks on fits that gave a value all the same, such as a fit that did not converge."""
    rows = metrics[(metrics["study"] == study) & (metrics["note"] != "") & metrics["value"].notna()]
    rows = rows[~rows["metric"].isin(LEVELS_TOLD)].drop_duplicates(["seed", "fold", "model", "variant", "note"])
    counts = rows.groupby(["model", "variant", "note"], sort=False).size().reset_index(name="n")
    return pd.DataFrame(
        {
            "Model": [labels.model(m, v, study) for m, v in zip(counts["model"], counts["variant"], strict=True)],
            "Remark": counts["note"],
            "Fits": counts["n"],
        }
    )


def _study(study: str, found: Mapping[str, pd.DataFrame], results_dir: Path, config: Mapping) -> dict:
    headline = headline_metric(study)
    summary = found["summary"][found["summary"]["study"] == study]
    elsewhere = (headline, image_tables.LOCALISATION, *clinical_tables.TRUTH_METRICS, *autoencoder_tables.READINGS)
    others = [m for m in dict.fromkeys(summary["metric"]) if m not in elsewhere]
    problem = not_run(study, results_dir)
    check = results_dir / "data_checks" / f"{study}.html"
    sources = summary["source"].unique()
    tests = tables.tests_table(found["paired_tests"], study, headline)
    return {
        "id": study,
        "label": labels.study(study),
        "sources": [labels.source(s) for s in sources],
        "stand_in": "stand-in" in sources,
        "metric": labels.metric(headline),
        "findings": findings(study, found, config),
        "not_run": problem,
        "check": f"{check.parent.name}/{check.name}" if check.is_file() else "",
        **_clinical(study, found, config),
        **_of_images(study, found, results_dir, config),
        **_of_autoencoders(study, found, results_dir),
        "comparison": _html(tables.comparison_table(found["comparison"], study)),
        "results": _html(tables.results_table(summary, study, headline)),
        "other_results": [(labels.metric(m), _html(tables.results_table(summary, study, m))) for m in others],
        "tests": _html(tests),
        "n_tests": len(tests),
        "deconfounding": _html(tables.deconfounding_table(found["deconfounding"], study)),
        "tuning": _html(tables.tuning_table(found["tuning"], study)),
        "criterion": labels.probe_criterion(study),
        "figures": [] if problem else [_figure(spec, results_dir) for spec in figures(study, config)],
        "absent": _html(absent_cells(study, found["metrics"], results_dir, config)),
        "notes": _html(fit_notes(study, found["metrics"])),
    }


def _robustness(results_dir: Path, config: Mapping) -> dict:
    """How far the conclusions hold; empty where nothing was ranked."""
    values = robustness_tables.report_values(results_dir, config)
    return values | {"figures": [_figure(spec, results_dir) for spec in values.get("figures", ())]} if values else {}


def _clinical(study: str, found: Mapping[str, pd.DataFrame], config: Mapping) -> dict:
    """What only some studies have."""
    confidence = config["statistics"]["confidence"]
    univariate = found["univariate"][found["univariate"]["study"] == study]
    n_features = int((univariate["dataset"] == univariate["dataset"].min()).sum())
    return {
        "is_simulated": study in registry.SPIRALS,
        "published": [
            (labels.partition(partition).capitalize(), _html(frame).replace(", ", ",\u00a0"))  # not broken there
            for partition, frame in clinical_tables.published_tables(found["comparison"], study).items()
        ],
        "claims": _html(claims_tables.study_ledger(found["claims"], study)),
        "discrimination": _html(clinical_tables.discrimination_table(found["summary"], study)),
        "truth": _html(clinical_tables.truth_table(found["summary"], study)),
        "recovery": _html(clinical_tables.recovery_table(found["sensitivity"], study, confidence)),
        "univariate": _html(clinical_tables.univariate_table(univariate, study)),
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
        "volumes": _html(told.counts) if told else "",
        "n_not_used": len(told.not_used) if told else 0,
        "not_used": _html(told.not_used) if told else "",
        "rules": told.rules if told else [],
        "localisation": _html(image_tables.localisation_table(found["summary"], chances, study)),
        "localised_by": f"{LOCALISED_BY.get(settings.get('maps'), '')} at layer {settings.get('layer')}",
    }


def _of_autoencoders(study: str, found: Mapping[str, pd.DataFrame], results_dir: Path) -> dict:
    """What only studies have whose networks are autoencoders."""
    page = Path(results_dir) / "frames" / study / "index.html"
    made = {
        p: autoencoder_tables.readings_table(found["summary"], found["metrics"], study, p)
        for p in autoencoder_tables.PARTITIONS
    }
    return {
        "frames": page.relative_to(results_dir).as_posix() if page.is_file() else "",
        "cluster": labels.noun("cluster", study),
        "group": labels.noun("group", study),
        "readings": [
            (labels.partition(p).capitalize(), _html(frame).replace(", ", ",\u00a0"))  # not broken there
            for p, frame in made.items()
            if len(frame)
        ],
        "auroc_intervals": _html(autoencoder_tables.auroc_intervals_table(found["auroc_intervals"], study)),
    }


def slices_folder(results_dir: Path, study: str) -> Path:
    """Where the slices of a study on images are."""
    return Path(results_dir) / "slices" / study


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


def _runs(studies: Iterable[str], metrics: pd.DataFrame) -> pd.DataFrame:
    """What was run, by study, counted in the metrics themselves."""
    lines = []
    for study in studies:
        rows = metrics[metrics["study"] == study]
        fits = rows[(rows["fold"] >= 0) & ~rows["model"].isin(registry.WITHOUT_FITS)]
        fits = fits.drop_duplicates(["model", "variant", "seed", "fold"])
        lines.append(
            {
                "Study": labels.study(study),
                "Data": "; ".join(labels.source(s) for s in rows["source"].unique()) or "not run",
                "Models": rows["model"].nunique(),
                "Seeds": rows["seed"].nunique(),
                "Folds": fits["fold"].nunique(),
                "Trained models": len(fits),
            }
        )
    return pd.DataFrame(lines)


def _stand_ins(metrics: pd.DataFrame) -> list[str]:
    return [labels.study(s) for s in metrics.loc[metrics["source"] == "stand-in", "study"].unique()]


def _environment(results_dir: Path) -> pd.DataFrame:
    """Versions, commit and machine as the fits recorded them; each value that occurs, where they differ."""
    records = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(results_dir.glob("runs/*/*/run.json"))]
    told = [{**record, **record.get("environment", {})} for record in records]
    if not told:
        told = [reproducibility.environment()]
    facts = {"Commit": "git_commit", "Python": "python", "Platform": "platform", "CPU cores": "cpu_count"}
    lines = [(name, _values(record.get(key) for record in told)) for name, key in facts.items()]
    seconds = [record["wall_seconds"] for record in records if "wall_seconds" in record]
    lines.append(("Time of all fits", f"{sum(seconds) / 60:.1f} min" if seconds else ""))
    lines.append(("Device", _values(record.get("device") for record in told)))
    for package in reproducibility.REPORTED_PACKAGES:
        lines.append((package, _values(record.get("packages", {}).get(package) for record in told)))
    return pd.DataFrame([line for line in lines if line[1]], columns=["What", "Value"])


def _values(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(str(v) for v in values if v is not None))


def _figure(spec: FigureSpec, results_dir: Path) -> dict:
    """Caption and embedded image of a figure; the image is None where there is no file."""
    svg, png = (results_dir / "figures" / f"{spec.name}.{kind}" for kind in ("svg", "png"))
    image = None
    if svg.is_file() and (svg.stat().st_size <= LARGEST_SVG or not png.is_file()):
        image = _embedded("image/svg+xml", svg.read_bytes())
    elif png.is_file():
        image = _embedded("image/webp", _webp(png))
    return {"name": spec.name, "caption": spec.caption, "image": image}


def _webp(png: Path) -> bytes:
    """The same picture in fewer bytes: in 64 colours where that is hardly seen, in 256, or lossy, whichever is smallest."""
    with Image.open(png) as opened:
        picture = opened.convert("RGB")
    # Colours as far apart as can be: those of small marks are kept, which the mean over all pixels would not tell.
    few = picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE).convert("RGB")
    # Less effort than most: half of the time for a twentieth more bytes.
    candidates = [_encoded(picture, quality=75, method=4)]
    if np.sqrt(np.square(np.subtract(few, picture, dtype=np.float32)).mean()) > CHANGE:
        few = picture.quantize(ALMOST_ALL, dither=Image.Dither.NONE).convert("RGB")
    candidates.append(_encoded(few, lossless=True, quality=50, method=1))
    return min(candidates, key=len)


def _encoded(picture: Image.Image, **how: object) -> bytes:
    written = io.BytesIO()
    picture.save(written, "WEBP", **how)
    return written.getvalue()


def _embedded(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _join(items: Iterable[str]) -> str:
    return ", ".join(items)
