"""Ours beside the published numbers, and models beside a reference: verdicts and paired tests."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from armed import registry
from armed.errors import DataError, Problems, did_you_mean
from armed.intervals import Values
from armed.metrics import limits
from armed.schemas import table
from armed.statistics import GROUP, RESAMPLED, Settings, cluster_sums, draw_key, draw_values, estimate

logger = logging.getLogger(__name__)

PUBLISHED = ("table", "study", "partition", "model", "metric", "mean", "ci_low", "ci_high")
COMPARED_VARIANTS = {("mldg", "label_defect")}
"""(model, variant) compared beside ``main``: the published MLDG numbers come from code with that defect."""
NOT_THE_PAPERS_DATA = ("stand-in", "own")
_JOIN = ["study", "partition", "model", "metric"]


def read_published(path: str | Path) -> pd.DataFrame:
    """Read `published_results.csv` (columns `PUBLISHED`; bounds are NaN where none is printed)."""
    frame = pd.read_csv(path)
    problems = Problems(DataError, str(path))
    for column in PUBLISHED:
        if column not in frame.columns:
            problems.add(f"column '{column}' is missing; the columns are {', '.join(frame.columns)}")
    problems.raise_if_any()
    repeated = frame.duplicated(["table", *_JOIN])
    if repeated.any():
        problems.add(f"{int(repeated.sum())} rows repeat another's table, {', '.join(_JOIN)}")
    if frame["mean"].isna().any():
        problems.add(f"{int(frame['mean'].isna().sum())} rows have no mean")
    problems.raise_if_any()
    return frame[list(PUBLISHED)]


def compare(
    summary: pd.DataFrame,
    published: pd.DataFrame,
    settings: Settings | None = None,
    *,
    other_data: Collection[str] = (),
) -> pd.DataFrame:
    """Put our `corrected` intervals beside the published numbers.

    Parameters
    ----------
    summary : pandas.DataFrame
        `summary.tsv`. Variant ``main`` is compared, and `COMPARED_VARIANTS` beside it.
    published : pandas.DataFrame
        As `read_published` gives it.
    settings : Settings, optional
        Its `tolerance` is the half-width of published numbers printed without an interval; of metrics without an upper end
        (mse, indices of latents) it is a share of the number.
    other_data : collection of str
        Studies whose published numbers are of other data than ours (drawn anew, or drawn differently): like
        those of stand-ins they are shown, but ``not comparable``.

    Returns
    -------
    pandas.DataFrame
        `comparison.tsv`. Verdict ``agrees``: the published mean lies in our interval widened by the published
        half-width; else ``differs``; ``not comparable`` also where we have no interval.
    """
    settings = settings or Settings()
    beside = [pair in COMPARED_VARIANTS for pair in zip(summary["model"], summary["variant"], strict=True)]
    ours = summary[
        (summary["ci_method"] == "corrected") & ((summary["variant"] == "main") | np.asarray(beside, dtype=bool))
    ]
    theirs = published.rename(columns={c: f"published_{c}" for c in ("ci_low", "ci_high")})
    theirs = theirs.rename(columns={"mean": "published"})
    joined = ours.merge(theirs, on=_JOIN, how="inner")
    half = (joined["published_ci_high"] - joined["published_ci_low"]) / 2
    unit = np.where(joined["metric"].map(lambda name: limits(name)[1]) < np.inf, 1.0, joined["published"].abs())
    joined["tolerance"] = half.fillna(pd.Series(settings.tolerance * unit, joined.index)).astype(float)
    joined["delta"] = joined["mean"] - joined["published"]
    inside = (joined["published"] >= joined["ci_low"] - joined["tolerance"]) & (
        joined["published"] <= joined["ci_high"] + joined["tolerance"]
    )
    comparable = joined[["ci_low", "ci_high"]].notna().all(axis=1)
    comparable &= ~joined["source"].isin(NOT_THE_PAPERS_DATA) & ~joined["study"].isin(list(other_data))
    joined["verdict"] = np.where(comparable, np.where(inside, "agrees", "differs"), "not comparable")
    return joined[list(table("comparison").columns)]


def paired_tests(
    metrics: pd.DataFrame,
    cluster_metrics: pd.DataFrame,
    settings: Settings | None = None,
    *,
    reference: str = "conventional",
    references: Mapping[str, str] | None = None,
    draws: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Compare every model with its study's reference on the seeds and folds that both have.

    Parameters
    ----------
    metrics, cluster_metrics : pandas.DataFrame
        `metrics.tsv` and `cluster_metrics.tsv`.
    settings : Settings, optional
        Intervals and p values are of the same kind as those of `armed.statistics.summarise`, of the
        differences.
    reference : str
        Model compared with. Settings variants that it does not have are compared with its ``main``. Studies in which it
        was not run have no rows, and a warning says so.
    references : mapping of str to str, optional
        Study to its reference, where it is another one (``mixedlm`` for continuous labels).
    draws : pandas.DataFrame, optional
        Table `draws`. Where both models have values of it, differences are bootstrapped over subjects: draw by draw, as
        all models have the same draws.

    Returns
    -------
    pandas.DataFrame
        study, source, variant, partition, metric, model, reference, difference (model - reference), ci_low,
        ci_high, p, p_holm, n_seeds. Holm's correction is over all models and variants compared with the same
        numbers of the reference (one study, partition and metric); intervals are not widened for it.

    Raises
    ------
    DataError
        A reference is neither in the metrics nor a model of the registry.
    """
    settings = settings or Settings()
    references = _references(metrics, reference, references or {})
    sums, drawn = cluster_sums(cluster_metrics, settings), draw_values(draws)
    values = {key: Values.of(group) for key, group in metrics.groupby(GROUP, sort=False, observed=True)}
    rows = []
    for key, mine in values.items():
        study, source, model, variant, partition, metric = key
        reference = references[study]
        against = (study, source, reference, variant, partition, metric)
        if against not in values and variant != RESAMPLED:
            against = (study, source, reference, "main", partition, metric)
        if model == reference or against not in values:
            continue
        pairs = mine.minus(values[against])
        if not len(pairs.value):
            continue
        clusters = sums[key].minus(sums[against]) if key in sums and against in sums else None
        subjects = draw_by_draw(drawn.get(draw_key(key)), drawn.get(draw_key(against)))
        difference = estimate(pairs, study, variant, partition, clusters, settings, subjects)
        names = (study, source, variant, partition, metric, model, reference)
        family = (study, against[3], partition, metric)
        rows.append((*names, *difference, math.nan, len(np.unique(pairs.seed)), family))
    return _with_holm(pd.DataFrame(rows, columns=[*table("paired_tests").columns, "family"]))


def draw_by_draw(mine: np.ndarray | None, theirs: np.ndarray | None) -> np.ndarray | None:
    """Differences on the draws that both have: these are the first ones, as draws do not depend on how many there are."""
    if mine is None or theirs is None:
        return None
    n = min(len(mine), len(theirs))
    return mine[:n] - theirs[:n]


def _references(metrics: pd.DataFrame, default: str, own: Mapping[str, str]) -> dict[str, str]:
    """Reference of each study in the metrics; unknown ones raise, those that were not run are warned of."""
    known, problems = metrics["model"].unique(), Problems(DataError, "the references of paired tests")
    for name in dict.fromkeys((default, *own.values())):
        if name not in known and name not in registry.MODELS:
            problems.add(
                f"reference model '{name}' is not in the metrics.{did_you_mean(name, known)}"
                f" There are: {', '.join(known)}"
            )
    problems.raise_if_any()
    found = {}
    for study, models in metrics.groupby("study", sort=False, observed=True)["model"]:
        found[study] = own.get(study, default)
        if found[study] not in set(models):
            logger.warning("%s: no paired tests, as the reference model '%s' has no metrics", study, found[study])
    return found


def _with_holm(tests: pd.DataFrame) -> pd.DataFrame:
    tests = tests.astype({"p": float, "p_holm": float})
    for rows in tests.dropna(subset="p").groupby("family", sort=False).groups.values():
        tests.loc[rows, "p_holm"] = holm(tests.loc[rows, "p"].to_numpy())
    return tests.drop(columns="family")[list(table("paired_tests").columns)]


def holm(p: np.ndarray) -> np.ndarray:
    """Correct the p values (n,) of one family (Holm, Scand. J. Stat. 6, 1979).

    statsmodels' `multipletests` collects garbage at each call, which for many small families takes most of a summary's time.
    """
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return corrected
