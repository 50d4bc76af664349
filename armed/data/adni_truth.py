"""What a stand-in for ADNIMERGE knows to be true, as far as results can be scored by it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from armed.data.adni_standin import Truth
from armed.data.study import FEATURE_TRUTH_COLUMNS

TRUTH_FILE = "truth.json"
SITE_COLUMNS = ("dataset", "cluster", "intercept")


def read_truths(raw: Mapping[int, Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the truth that lies beside each raw file; nothing where there is none, as beside the real file.

    Parameters
    ----------
    raw : mapping of int to Path
        Number of each dataset to its table of visits.

    Returns
    -------
    features : DataFrame
        `dataset`, `feature`, `coefficient` (univariate log odds per s.d.; of an indicator against the reference level),
        `slope_sd` (s.d. over the seen sites of the slopes drawn) and `predictive` (1: with information of its own).
    sites : DataFrame
        `dataset`, `cluster`, `intercept` (log odds, against the mean site).
    """
    features, sites = [], []
    for dataset, path in raw.items():
        beside = Path(path).with_name(TRUTH_FILE)
        if beside.is_file():
            of_features, of_sites = tables(Truth.load(beside), dataset)
            features.append(of_features)
            sites.append(of_sites)
    told = pd.concat(features, ignore_index=True) if features else pd.DataFrame(columns=list(FEATURE_TRUTH_COLUMNS))
    known = pd.concat(sites, ignore_index=True) if sites else pd.DataFrame(columns=list(SITE_COLUMNS))
    return told, known


def tables(truth: Truth, dataset: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the truth of one dataset as the tables `features` and `sites` of `read_truths`."""
    clusters = [f"site {site:03d}" for site in truth.sites.index]
    sites = pd.DataFrame({"dataset": dataset, "cluster": clusters, "intercept": truth.sites["intercept"].to_numpy()})
    return _features(truth).assign(dataset=dataset)[list(FEATURE_TRUTH_COLUMNS)], sites


def _features(truth: Truth) -> pd.DataFrame:
    seen = truth.sites.index[truth.sites["seen"]]
    continuous = pd.DataFrame(
        {
            "coefficient": truth.features["coef"],
            "slope_sd": truth.slopes.loc[seen].std(),
            "predictive": truth.features["predictive"].astype(int),
        }
    )
    indicators = pd.DataFrame(
        {
            "coefficient": truth.indicators["log_odds"],
            "slope_sd": truth.indicator_slopes.loc[seen].std(),
            "predictive": truth.indicators["predictive"].astype(int),
        }
    )
    return pd.concat([continuous, indicators]).rename_axis("feature").reset_index()
