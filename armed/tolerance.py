"""How far numbers may be apart where another processor, or another version of a library, rounds differently.

Stated in docs/reproduce.md, from what `benchmarks.reliability.processors` measures. A rounding difference grows in training:
weights are within `WEIGHTS` after `STEPS` steps, but after some thousand a few replicas have parted ways. So what a whole
training is held to are means over folds and seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

WEIGHTS, STEPS = 1e-5, 20
"""Largest difference of a weight between engines or processors after so many steps."""
MEAN = 0.01
"""Of a mean over folds and seeds, relative to means above 1; where its 95% interval is wider, half of that interval's width."""


def excess(stored: pd.DataFrame, again: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """Tell the means that are farther apart than the tolerance.

    Parameters
    ----------
    stored, again : pandas.DataFrame
        One row for each fold and seed, with a column ``value``.
    by : sequence of str
        Columns that say what a mean is of.

    Returns
    -------
    list of str
        A sentence for each.
    """
    first, second = (
        frame.groupby(list(by), observed=True)["value"].agg(["mean", "std", "count"]) for frame in (stored, again)
    )
    both = first.join(second, how="inner", suffixes=("", "_again"))
    half = 1.96 * both["std"].fillna(0.0) / np.sqrt(both["count"].clip(lower=1))
    allowed = np.maximum(half, MEAN * np.maximum(1, both["mean"].abs()))
    apart = (both["mean"] - both["mean_again"]).abs()
    wrong = (apart > allowed) | (both["mean"].isna() != both["mean_again"].isna())
    return [
        f"{', '.join(map(str, key))}: mean {row['mean']:.6g}, again {row['mean_again']:.6g}; {allowed[key]:.2g} is allowed"
        for key, row in both[wrong].iterrows()
    ]
