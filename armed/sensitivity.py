"""What the sweeps of `sensitivity.tsv` say: each model at each level, and ARMED held against the conventional network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from armed.associations import wilson
from armed.intervals import t_interval
from armed.sweep_config import FACTORS, REFERENCE

ACCURACIES = ("deconfounded", "seen", "unseen")
PROBE_WINS = "probe_wins"
MEASURES = (*ACCURACIES, PROBE_WINS)
"""Accuracy on three partitions, and whether a probe is more important than the weakest real feature."""
REAL_FEATURES = 2
"""Of the spirals: where the best probe has this rank or a smaller one, it is above the weakest of them."""
_AT = ["factor", "level", "model", "measure"]


def measured(sensitivity: pd.DataFrame, factors: tuple[str, ...] = FACTORS) -> pd.DataFrame:
    """One row for each dataset: factor, level, model, measure, seed, value (of `PROBE_WINS` 1 or 0; NaN where undefined).

    Parameters
    ----------
    sensitivity : pandas.DataFrame
        `sensitivity.tsv`; rows of other factors are left out.
    factors : tuple of str
    """
    rows = sensitivity[sensitivity["factor"].isin(factors)]
    accuracy = rows[(rows["metric"] == "accuracy") & rows["partition"].isin(ACCURACIES)]
    accuracy = accuracy.assign(measure=accuracy["partition"])
    ranks = rows[rows["metric"] == "probe_rank"]
    wins = (ranks["value"] <= REAL_FEATURES).astype(float).where(ranks["value"].notna())
    found = pd.concat([accuracy, ranks.assign(measure=PROBE_WINS, value=wins)])
    return found[[*_AT, "seed", "value"]].reset_index(drop=True)


def curves(sensitivity: pd.DataFrame, confidence: float = 0.95, factors: tuple[str, ...] = FACTORS) -> pd.DataFrame:
    """Each model at each level.

    Returns
    -------
    pandas.DataFrame
        factor, level, model, measure, mean, ci_low, ci_high, n. Intervals over datasets: Student's t of accuracies, Wilson's
        of the share in which a probe wins.
    """
    lines = []
    for key, values in measured(sensitivity, factors).groupby(_AT, sort=False)["value"]:
        known = values.dropna().to_numpy()
        if key[-1] == PROBE_WINS:
            mean = float(known.mean()) if len(known) else np.nan
            lines.append((*key, mean, *wilson(known.sum(), len(known), confidence), len(known)))
        else:
            lines.append((*key, *t_interval(known, confidence)[:3], len(known)))
    return pd.DataFrame(lines, columns=[*_AT, "mean", "ci_low", "ci_high", "n"])


def differences(
    sensitivity: pd.DataFrame, own: Mapping[str, float], confidence: float = 0.95, model: str = "armed"
) -> pd.DataFrame:
    """A model less the conventional network, dataset by dataset.

    Parameters
    ----------
    sensitivity : pandas.DataFrame
    own : mapping of str to float
        The study's own level of each factor (`armed.sweep_config.own_levels`): where a factor changes nothing of the
        conventional network, that is what all levels are held against.
    confidence : float
    model : str

    Returns
    -------
    pandas.DataFrame
        factor, level, measure, difference, ci_low, ci_high, n: Student's t over the differences of datasets.
    """
    rows = measured(sensitivity, tuple(own))
    values = {key: of_key.set_index("seed")["value"] for key, of_key in rows.groupby(_AT, sort=False)}
    lines = []
    for (factor, level, of, measure), mine in values.items():
        theirs = values.get((factor, level, REFERENCE, measure))
        if theirs is None:
            theirs = values.get((factor, f"{own[factor]:g}", REFERENCE, measure))
        if of != model or theirs is None:
            continue
        pairs = (mine - theirs).dropna().to_numpy()
        mean, low, high, _ = t_interval(pairs, confidence)
        lines.append((factor, level, measure, mean, *np.clip([low, high], -1, 1), len(pairs)))
    return pd.DataFrame(lines, columns=["factor", "level", "measure", "difference", "ci_low", "ci_high", "n"])


def ordered_levels(levels: pd.Series) -> list[str]:
    """Distinct levels by size."""
    return sorted(levels.unique(), key=float)
