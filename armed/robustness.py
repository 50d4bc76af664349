"""How far the order of the methods depends on the seed: the share of each rank, and so the chance of being best."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from armed import labels, registry
from armed.associations import wilson
from armed.metrics import LOWER_IS_BETTER
from armed.schemas import table
from armed.statistics import Settings

PARTITIONS = ("seen", "unseen", "deconfounded")
UNITS = ("dataset", "seed", "split")
_OF = ["study", "source", "variant", "partition", "metric"]


def unit(study: str, variant: str, settings: Settings) -> str:
    """What one ranking is of: a ``dataset`` of its own, a random ``split`` of one dataset, or a ``seed`` of one dataset.

    Datasets are independent. Seeds of one dataset are not: their folds and initial weights differ, their samples do not. A
    share of them says how surely the order is known on these samples, and nothing of others.
    """
    if settings.is_resampled(study, variant):
        return "dataset"
    return "split" if study in settings.random_splits else "seed"


def rank_shares(metrics: pd.DataFrame, headline: Mapping[str, str], settings: Settings) -> pd.DataFrame:
    """Share of datasets, seeds or splits in which each method has each rank.

    Parameters
    ----------
    metrics : pandas.DataFrame
        `metrics.tsv`. Variants of the data are ranked, each by itself; changed settings and models that use another's
        weights (the ablation with randomised Z) are not.
    headline : mapping of str to str
        Study to the metric it is ranked by.
    settings : Settings
        Tells what is resampled, and the confidence.

    Returns
    -------
    pandas.DataFrame
        Table `ranks`. A value is the mean over the folds of a seed, but of random splits each is a value. Rank 1 is best; k
        methods that tie share k ranks evenly, so that the shares of a method, and those of a rank, sum to 1. Methods that
        lack a value (fitted on fewer seeds, or undefined) are not ranked: a rank among others is not the same rank. Wilson
        intervals with n = datasets, seeds or splits (`unit` says how far those are independent).
    """
    rows = metrics[metrics["partition"].isin(PARTITIONS) & ~metrics["model"].isin(registry.WITHOUT_FITS)]
    rows = rows[rows["metric"].to_numpy() == rows["study"].map(dict(headline)).to_numpy()]
    found, groups = [], {key: group for key, group in rows.groupby(_OF, sort=False, observed=True)}
    # Studies and variants as they come, partitions in their order.
    place = {pair: i for i, pair in enumerate(dict.fromkeys((key[0], key[2]) for key in groups))}
    for key in sorted(groups, key=lambda key: (place[key[0], key[2]], PARTITIONS.index(key[3]))):
        study, variant, metric = key[0], key[2], key[4]
        group = groups[key]
        if variant not in labels.data_variants(study):
            continue
        kind = unit(study, variant, settings)
        values = unit_values(group, kind)
        if values.shape[1] < 2:
            continue
        share = shares(values.to_numpy(), lower_is_better=metric in LOWER_IS_BETTER)
        for model, of_model in zip(values.columns, share, strict=True):
            for rank, part in enumerate(of_model, start=1):
                bounds = wilson(part * len(values), len(values), settings.confidence)
                found.append((*key, model, rank, part, *bounds, len(values), values.shape[1], kind))
    names = [*_OF, "model", "rank", "share", "ci_low", "ci_high", "n", "n_models", "unit"]
    return pd.DataFrame(found, columns=names)[list(table("ranks").columns)]


def unit_values(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Values (units, models) of one study, variant, partition and metric; models without a value of each unit are left out."""
    by = ["seed", "fold"] if kind == "split" else ["seed"]
    groups = rows.groupby([*by, "model"], observed=True)["value"]
    # A mean over some folds is not that of others: an undefined fold makes the seed's value undefined.
    values = groups.mean().where(groups.count() == groups.size()).unstack("model")
    complete = [m for m in labels.ordered_models(values.columns) if values[m].notna().all()]
    return values[complete]


def shares(values: np.ndarray, *, lower_is_better: bool = False) -> np.ndarray:
    """Share of rows in which each column has each rank.

    Parameters
    ----------
    values : array, (n, models)
        Without NaN.
    lower_is_better : bool

    Returns
    -------
    array, (models, models)
        Column j is rank j + 1. A column that ties with others has an even share of the ranks that they take together.
    """
    ahead = values if lower_is_better else -values
    n_models = values.shape[1]
    better = (ahead[:, None, :] < ahead[:, :, None]).sum(2)  # columns ahead of each
    tied = (ahead[:, None, :] == ahead[:, :, None]).sum(2)  # itself among them
    place = np.arange(n_models)
    inside = (place >= better[:, :, None]) & (place < (better + tied)[:, :, None])
    return (inside / tied[:, :, None]).mean(0)


def mean_ranks(ranks: pd.DataFrame) -> pd.Series:
    """Mean rank by (study, variant, partition, model)."""
    weighted = ranks.assign(mean=ranks["rank"] * ranks["share"])
    return weighted.groupby(["study", "variant", "partition", "model"], sort=False, observed=True)["mean"].sum()
