"""Rows of `metrics` and `cluster_metrics` from predictions: all seeds, folds, variants and partitions at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from armed import metrics as definitions
from armed import results
from armed.cells import Cells, concordance
from armed.errors import DataError, Problems
from armed.schemas import table

CELL = ["variant", "partition", "seed", "fold"]
WHOLE_SEED = -1
"""Fold of a value that belongs to a seed, not to one fold."""
FIXED_OF = {"deconfounded_fixed": "deconfounded"}
"""Partitions that score the fixed output of another partition's rows."""
WITHIN = "within_cluster_auroc"


class Scores(NamedTuple):
    """Rows of `metrics.tsv` and of `cluster_metrics.tsv`."""

    metrics: pd.DataFrame
    cluster_metrics: pd.DataFrame


def score(
    predictions: pd.DataFrame,
    metrics: Sequence[str],
    thresholds: pd.DataFrame | None = None,
    *,
    study: str,
    source: str,
    model: str,
    by_cluster: Sequence[str] | None = None,
) -> Scores:
    """Score one model's predictions in every (variant, partition, seed, fold).

    Parameters
    ----------
    predictions : pandas.DataFrame
        Columns of the predictions table; logits (or means). `mixed` is scored. Where there are `deconfounded`
        rows, their `fixed` is scored too, as partition `deconfounded_fixed`.
    metrics : sequence of str
        `armed.metrics.METRICS` and ``within_cluster_auroc``.
    thresholds : pandas.DataFrame, optional
        Columns seed, fold, variant, threshold (a probability). Without it 0.5.
    study, source, model : str
        Written into the rows.
    by_cluster : sequence of str, optional
        Metrics of the cluster table (default: all of `metrics`).

    Returns
    -------
    Scores
        `n` counts samples; for ``within_cluster_auroc`` pairs of a positive and a negative. That metric is
        concordant over all pairs inside cluster x fold, summed over folds: one row per seed, with fold -1 (in
        `cluster_metrics` one per cluster and seed, so that intervals over clusters can weigh them).

    Raises
    ------
    DataError
        Columns missing, unknown metrics, labels that do not fit them, or no threshold for a (seed, fold,
        variant).
    """
    by_cluster = [m for m in metrics if by_cluster is None or m in by_cluster]
    rows = _rows(predictions)
    labels = rows.frame["y_true"].to_numpy(np.float64)
    definitions.check_labels(labels, rows.output, metrics, [*definitions.METRICS, WITHIN])
    cell, keys = _cells(rows.frame, CELL)
    at = _thresholds(keys, thresholds)
    cells = Cells.of(cell, labels, rows.output, at, len(keys))
    inner, inner_keys = _cells(rows.frame, [*CELL, "cluster"])
    clusters = Cells.of(inner, labels, rows.output, _thresholds(inner_keys, thresholds), len(inner_keys))
    seeds, per_cluster = [_plain(cells, keys, metrics)], [_plain(clusters, inner_keys, by_cluster)]
    if WITHIN in metrics:
        seeds.append(_within(clusters, inner_keys, ["variant", "partition", "seed"]))
    if WITHIN in by_cluster:
        per_cluster.append(_within(clusters, inner_keys, ["variant", "partition", "seed", "cluster"]))
    named = {"study": study, "source": source, "model": model}
    return Scores(
        _table("metrics", seeds, named, [*CELL, "metric"]),
        _table("cluster_metrics", per_cluster, named, [*CELL, "metric", "cluster"]),
    )


class _Rows(NamedTuple):
    frame: pd.DataFrame
    output: np.ndarray


def _rows(predictions: pd.DataFrame) -> _Rows:
    """Rows to score: `mixed` of all, and `fixed` of those that `FIXED_OF` names."""
    problems = Problems(DataError, "the predictions to score")
    needed = [*CELL, "cluster", "y_true"]
    for column in needed:
        if column not in predictions.columns:
            problems.add(f"column '{column}' is missing")
    for output in ("fixed", "mixed"):
        if not {output, f"{output}_0"} & set(predictions.columns):
            problems.add(f"column '{output}' (or '{output}_0', ... for more than two classes) is missing")
    problems.raise_if_any()
    frames, outputs = [predictions[needed]], [results.outputs(predictions, "mixed")]
    for derived, partition in FIXED_OF.items():
        rows = np.flatnonzero(predictions["partition"] == partition)
        if len(rows) and not (predictions["partition"] == derived).any():
            frames.append(predictions[needed].iloc[rows].assign(partition=derived))
            outputs.append(results.outputs(predictions, "fixed")[rows])
    if len(frames) == 1:
        return _Rows(frames[0].reset_index(drop=True), outputs[0])
    # Categories stay such where all frames have the same ones.
    partitions = pd.CategoricalDtype(list(dict.fromkeys(name for f in frames for name in f["partition"].unique())))
    frames = [frame.astype({"partition": partitions}) for frame in frames]
    return _Rows(pd.concat(frames, ignore_index=True), np.concatenate(outputs))


def _cells(frame: pd.DataFrame, columns: list[str]) -> tuple[np.ndarray, pd.DataFrame]:
    """Cell of each row, and the cells' names, sorted by the columns."""
    code, levels = np.zeros(len(frame), np.int64), []
    for column in columns:
        codes, values = _factorize(frame[column])
        code = code * max(len(values), 1) + codes
        levels.append(values)
    cell, present = pd.factorize(code, sort=True)
    names = {}
    for column, values in zip(reversed(columns), reversed(levels), strict=True):
        present, digit = np.divmod(present, max(len(values), 1))
        names[column] = values[digit]
    return cell, pd.DataFrame({column: names[column] for column in columns})


def _factorize(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        # Codes are there already; only the categories need sorting.
        values = column.cat.categories.astype(str).to_numpy(object)
        order = np.argsort(values, kind="stable")
        rank = np.empty(len(values), np.int64)
        rank[order] = np.arange(len(values))
        return rank[column.cat.codes.to_numpy()], values[order]
    codes, values = pd.factorize(column, sort=True)
    return codes, np.asarray(values)


def _thresholds(keys: pd.DataFrame, thresholds: pd.DataFrame | None) -> float | np.ndarray:
    if thresholds is None:
        return 0.5
    on = ["seed", "fold", "variant"]
    merged = keys[on].merge(thresholds[[*on, "threshold"]], how="left", on=on, validate="many_to_one")
    found = merged["threshold"]
    if found.isna().any():
        missing = keys.loc[found.isna().to_numpy(), on].drop_duplicates()
        raise DataError(
            f"{len(missing)} fits have no threshold; the first: {missing.iloc[0].to_dict()}."
            " Give one for every (seed, fold, variant), or none at all for 0.5."
        )
    return found.to_numpy(np.float64)


def _plain(cells: Cells, keys: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    parts = []
    for metric in metrics:
        if metric != WITHIN:
            value, note = definitions.compute(cells, metric)
            parts.append(keys.assign(metric=metric, value=value, n=cells.size, note=note))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _within(clusters: Cells, keys: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    concordant, pairs = concordance(clusters)
    sums = keys[by].assign(concordant=concordant, n=pairs, broken=clusters.broken)
    sums = sums.groupby(by, sort=True, as_index=False).agg({"concordant": "sum", "n": "sum", "broken": "any"})
    defined = (sums["n"] > 0) & ~sums["broken"]
    value = sums["concordant"] / sums["n"].where(defined)
    reason = np.where(sums["broken"], definitions.NAN_PREDICTIONS, "no cluster and fold holds both classes")
    note = np.where(defined, "", reason)
    return sums[by].assign(fold=WHOLE_SEED, metric=WITHIN, value=value, n=sums["n"], note=note)


def _table(name: str, parts: list[pd.DataFrame], named: dict[str, str], order: list[str]) -> pd.DataFrame:
    columns = list(table(name).columns)
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=columns)
    frame = pd.concat(parts, ignore_index=True).assign(**named).astype({"n": "int64"})
    return frame.sort_values(order, ignore_index=True)[columns]
