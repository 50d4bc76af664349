"""Reads what the figures on robustness need from the results folder and draws them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from armed import robustness_tables, sweep_config
from armed.errors import DataError
from armed.plotting import robustness, style
from armed.plotting.robustness_captions import RANKS, figures
from armed.sensitivity import curves

logger = logging.getLogger(__name__)


def draw_robustness(results_dir: Path, config: Mapping) -> list[Path]:
    """Draw all figures of this part into `results_dir`/figures; one whose tables are absent is left out with a warning.

    Returns
    -------
    list of Path
        The files written, svg and png of each figure.
    """
    found, written = robustness_tables.read(results_dir, config), []
    for spec in figures(config):
        try:
            figure = _ranks(found, config) if spec.name == RANKS else _sensitivity(found, config)
        except DataError as error:
            logger.warning("figure %s is not drawn: %s", spec.name, error)
            continue
        written += style.save(figure, Path(results_dir) / "figures" / spec.name)
    return written


def _ranks(found: Mapping, config: Mapping) -> Figure:
    return robustness.ranks(robustness_tables.shown_ranks(found["ranks"], config))


def _sensitivity(found: Mapping, config: Mapping) -> Figure:
    own = sweep_config.own_levels(config, "armed") if sweep_config.swept_models(config) else {}
    shown = curves(found["sensitivity"], config["statistics"]["confidence"])
    swept = found["sensitivity"]["factor"].isin(list(own))
    sources = [*found["sensitivity"].loc[swept, "source"], *found["worth"]["source"]]
    parts = ["one thing changed at a time"] * bool(len(shown)) + ["the authors' choices"] * bool(len(found["worth"]))
    title = f"Sensitivity: {' and '.join(parts)}"
    return robustness.sensitivity(shown, own, found["worth"], list(dict.fromkeys(sources)), title)
