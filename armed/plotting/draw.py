"""Reads what a figure needs from the results folder and draws it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from armed import labels, registry, results
from armed.config import selected_models
from armed.data.study import StudyData
from armed.errors import DataError
from armed.image_tables import chance_levels
from armed.plotting import (
    associations,
    curves,
    latent_maps,
    latent_readings,
    performance,
    reconstruction_readings,
    reconstructions,
    saliency,
    slopes,
    spirals,
    style,
    top_features,
)
from armed.plotting.catalogue import FigureSpec, figures, headline_metric

logger = logging.getLogger(__name__)


def draw_study(study: str, results_dir: Path, config: Mapping) -> list[Path]:
    """Draw all figures of a study into `results_dir`/figures.

    Parameters
    ----------
    study : str
    results_dir : Path
        Holds the tables, `data/`, `boundaries/`, `predictions/`.
    config : mapping
        The whole configuration.

    Returns
    -------
    list of Path
        The files written, svg and png of each figure.
    """
    written = []
    for spec in figures(study, config):
        written += style.save(draw(spec, Path(results_dir), config), Path(results_dir) / "figures" / spec.name)
    return written


def draw(spec: FigureSpec, results_dir: Path, config: Mapping) -> Figure:
    """Draw one figure; where the runs it needs are absent, a figure that says so.

    Raises
    ------
    FileNotFoundError
        If a table or the study's data is missing.
    """
    try:
        return KINDS[spec.kind](spec.study, results_dir, config)
    except DataError as error:
        logger.warning("figure %s is empty: %s", spec.name, error)
        return _empty(spec, _source(spec.study, results_dir), str(error))


def _data(study: str, results_dir: Path, config: Mapping) -> Figure:
    settings = config["studies"][study]["data"]
    return spirals.data_per_cluster(_study_data(study, results_dir), study, _source(study, results_dir), settings)


def _boundaries(study: str, results_dir: Path, config: Mapping) -> Figure:
    grids = {}
    for model in selected_models(config, study):
        path = results_dir / "boundaries" / study / f"{model}.parquet"
        # A Z drawn anew for each point of the grid gives no boundary to look at.
        if path.is_file() and model not in registry.WITHOUT_FITS:
            grids[model] = pd.read_parquet(path)
    settings = config["studies"][study]["data"]
    return spirals.decision_boundaries(
        grids, _study_data(study, results_dir), study, _source(study, results_dir), settings
    )


def _performance(study: str, results_dir: Path, config: Mapping) -> Figure:
    summary, comparison = _table("summary", results_dir), _table("comparison", results_dir)
    return performance.accuracy(summary, comparison, study, headline_metric(study), confidence=_confidence(config))


def _null_check(study: str, results_dir: Path, config: Mapping) -> Figure:
    return performance.null_check(
        _table("summary", results_dir), study, headline_metric(study), confidence=_confidence(config)
    )


def _importance(study: str, results_dir: Path, config: Mapping) -> Figure:
    return associations.importance(
        _own_fits("importance", results_dir), study, _source(study, results_dir), confidence=_confidence(config)
    )


def _deconfounding(study: str, results_dir: Path, config: Mapping) -> Figure:
    return associations.deconfounding_share(
        _own_fits("deconfounding", results_dir), study, _source(study, results_dir), _confidence(config)
    )


def _random_intercepts(study: str, results_dir: Path, config: Mapping) -> Figure:
    truth = _study_data(study, results_dir).truth
    return associations.random_intercepts(
        _own_fits("random_effects", results_dir), truth, study, _source(study, results_dir)
    )


def _roc(study: str, results_dir: Path, config: Mapping) -> Figure:
    predictions = _predictions(study, results_dir, config)
    return curves.roc(predictions, _table("summary", results_dir), study, _source(study, results_dir))


def _calibration(study: str, results_dir: Path, config: Mapping) -> Figure:
    predictions = _predictions(study, results_dir, config)
    return curves.calibrations(predictions, study, _source(study, results_dir), _confidence(config))


def _top_features(study: str, results_dir: Path, config: Mapping) -> Figure:
    truth = _study_data(study, results_dir).feature_truth
    first = truth[truth["dataset"] == truth["dataset"].min()]  # that of variant main
    return top_features.importance(_own_fits("importance", results_dir), first, study, _source(study, results_dir))


def _probe_ranks(study: str, results_dir: Path, config: Mapping) -> Figure:
    importance, shares = (_own_fits(name, results_dir) for name in ("importance", "deconfounding"))
    return top_features.probe_ranks(importance, shares, study, _source(study, results_dir), _confidence(config))


def _random_slopes(study: str, results_dir: Path, config: Mapping) -> Figure:
    effects, univariate = _own_fits("random_effects", results_dir), _if_there("univariate", results_dir)
    return slopes.random_slopes(effects, univariate, study, _source(study, results_dir), confidence=_confidence(config))


def _recovery(study: str, results_dir: Path, config: Mapping) -> Figure:
    sensitivity = _if_there("sensitivity", results_dir)
    return slopes.recovery(sensitivity, study, _source(study, results_dir), _confidence(config))


def _saliency(study: str, results_dir: Path, config: Mapping) -> Figure:
    found = _kept("saliency", study, results_dir, config)
    # The paper's figure is of ARMED; without it, of a model whose maps can differ between sites.
    order = sorted(found, key=lambda m: (m != "armed", not registry.MODELS[m].random_effects))
    if not order:
        raise DataError(f"No model of {study} has maps; run the job that makes them, or leave this figure out.")
    return saliency.maps(found[order[0]], order[0], study, _source(study, results_dir))


def _saliency_models(study: str, results_dir: Path, config: Mapping) -> Figure:
    return saliency.models(_kept("saliency", study, results_dir, config), study, _source(study, results_dir))


def _localisation(study: str, results_dir: Path, config: Mapping) -> Figure:
    chances = chance_levels(_table("metrics", results_dir), study)
    return saliency.localisation(_table("summary", results_dir), chances, study, _confidence(config))


def _reconstruction_errors(study: str, results_dir: Path, config: Mapping) -> Figure:
    summary, comparison = _table("summary", results_dir), _table("comparison", results_dir)
    return reconstruction_readings.errors(summary, comparison, study, _confidence(config))


def _reconstructions(study: str, results_dir: Path, config: Mapping) -> Figure:
    kept = _kept("latents", study, results_dir, config)
    return reconstructions.reconstructions(kept, _with_effects(kept, study), study, _source(study, results_dir))


def _under_clusters(study: str, results_dir: Path, config: Mapping) -> Figure:
    kept = _kept("latents", study, results_dir, config)
    model = _with_effects(kept, study)
    return reconstructions.under_clusters(kept[model], model, study, _source(study, results_dir))


def _image_statistics(study: str, results_dir: Path, config: Mapping) -> Figure:
    kept = _kept("latents", study, results_dir, config)
    model = _with_effects(kept, study)
    return reconstruction_readings.statistics(kept[model], model, study, _source(study, results_dir))


def _latent_maps(study: str, results_dir: Path, config: Mapping) -> Figure:
    return latent_maps.maps(_own_latents(study, results_dir, config), study, _source(study, results_dir))


def _group_distances(study: str, results_dir: Path, config: Mapping) -> Figure:
    return latent_readings.distances(_own_latents(study, results_dir, config), study, _source(study, results_dir))


def _latent_readings(study: str, results_dir: Path, config: Mapping) -> Figure:
    summary, metrics = (_own_fits(name, results_dir) for name in ("summary", "metrics"))
    return latent_readings.readings(summary, metrics, study, confidence=_confidence(config))


KINDS = {
    "data": _data,
    "boundaries": _boundaries,
    "performance": _performance,
    "null_check": _null_check,
    "importance": _importance,
    "deconfounding": _deconfounding,
    "random_intercepts": _random_intercepts,
    "roc": _roc,
    "calibration": _calibration,
    "top_features": _top_features,
    "probe_ranks": _probe_ranks,
    "random_slopes": _random_slopes,
    "recovery": _recovery,
    "saliency": _saliency,
    "saliency_models": _saliency_models,
    "localisation": _localisation,
    "reconstruction_errors": _reconstruction_errors,
    "reconstructions": _reconstructions,
    "under_clusters": _under_clusters,
    "image_statistics": _image_statistics,
    "latent_maps": _latent_maps,
    "group_distances": _group_distances,
    "latent_readings": _latent_readings,
}


def _table(name: str, results_dir: Path) -> pd.DataFrame:
    return results.read(name, results_dir / f"{name}.tsv")


def _if_there(name: str, results_dir: Path) -> pd.DataFrame:
    """A table that not every run makes."""
    if not (results_dir / f"{name}.tsv").is_file():
        raise DataError(f"There is no {name}.tsv; run what makes it, or leave this figure out.")
    return _table(name, results_dir)


def _predictions(study: str, results_dir: Path, config: Mapping) -> dict[str, pd.DataFrame]:
    """Predictions of each model for variant ``main``; only the columns and rows that curves need."""
    found = {}
    wanted = [("variant", "==", "main"), ("partition", "in", list(curves.PANELS))]
    for model in selected_models(config, study):
        path = results_dir / "predictions" / study / f"{model}.parquet"
        if path.is_file():
            found[model] = pd.read_parquet(path, columns=list(curves.COLUMNS_READ), filters=wanted)
    return found


def _kept(folder: str, study: str, results_dir: Path, config: Mapping) -> dict[str, dict[str, np.ndarray]]:
    """Arrays of each model that has some, by name."""
    found = {}
    for model in selected_models(config, study):
        path = results_dir / folder / study / f"{model}.npz"
        if path.is_file():
            with np.load(path, allow_pickle=False) as file:
                found[model] = dict(file)
    return found


def _with_effects(found: Mapping[str, object], study: str) -> str:
    """ARMED, as in the paper; without it another model with random effects of its own."""
    own = [m for m in found if registry.MODELS[m].random_effects and m not in registry.WITHOUT_FITS]
    if not own:
        raise DataError(f"No model of {study} with random effects has reconstructions; run the job that makes latents.")
    return min(own, key=lambda m: m != "armed")


def _own_latents(study: str, results_dir: Path, config: Mapping) -> dict[str, dict[str, np.ndarray]]:
    """Latents of each model but those that use another's weights, whose latents they share."""
    found = _kept("latents", study, results_dir, config)
    return {model: arrays for model, arrays in found.items() if model not in registry.WITHOUT_FITS}


def _own_fits(name: str, results_dir: Path) -> pd.DataFrame:
    """A table without the models that use another's weights."""
    table = _table(name, results_dir)
    return table[~table["model"].isin(registry.WITHOUT_FITS)]


def _confidence(config: Mapping) -> float:
    return config["statistics"]["confidence"]


def _study_data(study: str, results_dir: Path) -> StudyData:
    return StudyData.load(results_dir / "data" / f"{study}.npz")


def _source(study: str, results_dir: Path) -> str:
    """Source told by the results; by the registry where there are none yet."""
    path = results_dir / "summary.tsv"
    if path.is_file():
        found = results.read("summary", path).query("study == @study")["source"].unique()
        if len(found):
            return ", ".join(found)
    return registry.study(study).source


@style.styled
def _empty(spec: FigureSpec, source: str, reason: str) -> Figure:
    figure = style.new_figure(1.4)
    ax = figure.subplots()
    ax.set_axis_off()
    ax.text(0.5, 0.5, reason, ha="center", va="center", wrap=True)
    title = f"{labels.study(spec.study)}: {spec.kind.replace('_', ' ')}"
    style.add_title(figure, title, f"{labels.source(source)}. Not drawn.")
    return figure
