"""Jobs that ask how far the paper's conclusions depend on the seed, on the data and on settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from armed import config as configuration
from armed import results
from armed.plotting.catalogue import headline_metric
from armed.robustness import rank_shares
from armed.statistics import Settings


def ranks(config: Mapping, metrics: Path, out: Path) -> None:
    """Write the table `ranks` of all selected studies.

    Parameters
    ----------
    config : mapping
        The whole configuration.
    metrics : Path
        Table `metrics` to read.
    out : Path
        Table to write.
    """
    headline = {study: headline_metric(study) for study in configuration.selected_studies(config)}
    shares = rank_shares(results.read("metrics", metrics), headline, Settings.from_config(config))
    results.write("ranks", shares, out)
