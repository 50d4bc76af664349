"""What a stand-in for ADNIMERGE knows to be true, as far as results can be scored by it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from armed.data.adni_standin import Truth

TRUTH_FILE = "truth.json"


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
            truth = Truth.load(beside)
            features.append(_features(truth).assign(dataset=dataset))
            clusters = [f"site {site:03d}" for site in truth.sites.index]
            intercepts = truth.sites["intercept"].to_numpy()
            sites.append(pd.DataFrame({"dataset": dataset, "cluster": clusters, "intercept": intercepts}))
    columns = ["dataset", "feature", "coefficient", "slope_sd", "predictive"]
    told = pd.concat(features, ignore_index=True)[columns] if features else pd.DataFrame(columns=columns)
    known = pd.concat(sites, ignore_index=True) if sites else pd.DataFrame(columns=["dataset", "cluster", "intercept"])
    return told, known


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
