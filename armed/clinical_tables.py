"""Tables for readers that only some studies have: published metrics and claims, discrimination, truth, univariate models."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from armed import claims_tables, labels
from armed.registry import REFERENCE_PROTOCOL
from armed.tables import decimals, interval, number, ordered

TOP = 10
"""Features of the univariate table in the report."""
TRUTH_METRICS = ("feature_recovery", "slope_recovery", "slope_ratio", "intercept_recovery")
RECOVERY_METRICS = ("slope_recovery", "slope_ratio", "intercept_recovery")
_DISCRIMINATION = {"auroc": "pooled", "within_cluster_auroc": "within clusters"}
_PARTITIONS = ("seen", "unseen", "deconfounded")


def published_tables(comparison: pd.DataFrame, study: str) -> dict[str, pd.DataFrame]:
    """Lay out a published table of several metrics beside ours, as it was printed: models down, metrics across.

    Parameters
    ----------
    comparison : pandas.DataFrame
        `results/comparison.tsv`.
    study : str

    Returns
    -------
    dict of str to pandas.DataFrame
        Partition to table; none where one metric was published, for which `armed.tables.comparison_table` is enough.
    """
    keep = (comparison["study"] == study) & (comparison["ci_method"] == "corrected") & (comparison["variant"] == "main")
    rows = ordered(comparison[keep])
    if rows["metric"].nunique() < 2:
        return {}
    digits = {m: decimals(m, [*own["mean"], *own["published"]]) for m, own in rows.groupby("metric", sort=False)}
    made = {}
    for partition, of_partition in rows.groupby("partition", sort=False):
        lines: dict[str, dict[str, str]] = {}
        for row in of_partition.itertuples():
            line, name = lines.setdefault(labels.model(row.model), {}), _capital(labels.metric(row.metric))
            line[f"{name}: paper"] = interval(
                row.published, row.published_ci_low, row.published_ci_high, digits[row.metric]
            )
            line[f"{name}: ours"] = interval(row.mean, row.ci_low, row.ci_high, digits[row.metric])
        metrics = list(dict.fromkeys(of_partition["metric"]))
        columns = [f"{_capital(labels.metric(m))}: {whose}" for m in metrics for whose in ("paper", "ours")]
        made[partition] = _filled(lines, columns)
    return made


def discrimination_table(summary: pd.DataFrame, study: str) -> pd.DataFrame:
    """Lay out the AUROC over all samples beside that within clusters, which no difference between clusters can raise.

    Parameters
    ----------
    summary : pandas.DataFrame
        `results/summary.tsv`; its `corrected` intervals of variant ``main`` are shown.
    study : str

    Returns
    -------
    pandas.DataFrame
        Strings; without rows where one of the two is not known.
    """
    keep = (summary["study"] == study) & (summary["ci_method"] == "corrected") & (summary["variant"] == "main")
    keep &= summary["metric"].isin(_DISCRIMINATION) & summary["partition"].isin(_PARTITIONS)
    rows = ordered(summary[keep])
    if rows["metric"].nunique() < 2:
        return pd.DataFrame()
    lines: dict[str, dict[str, str]] = {}
    for row in rows.itertuples():
        column = _discrimination(row.partition, row.metric)
        lines.setdefault(labels.model(row.model), {})[column] = interval(row.mean, row.ci_low, row.ci_high)
    present = [p for p in _PARTITIONS if p in set(rows["partition"])]
    return _filled(lines, [_discrimination(p, m) for p in present for m in _DISCRIMINATION])


def truth_table(summary: pd.DataFrame, study: str) -> pd.DataFrame:
    """Lay out how far each model's fits tell what a stand-in knows to be true: models down, metrics across."""
    keep = (summary["study"] == study) & (summary["ci_method"] == "corrected") & (summary["partition"] == "seen")
    keep &= summary["metric"].isin(TRUTH_METRICS) & (summary["variant"] != REFERENCE_PROTOCOL)
    rows = ordered(summary[keep])
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows.itertuples():
        data = labels.data_variant(row.variant, study)
        key = (labels.model(row.model, row.variant, study), labels.variant_name(data))
        lines.setdefault(key, {})[_capital(labels.metric(row.metric))] = interval(row.mean, row.ci_low, row.ci_high)
    columns = [_capital(labels.metric(m)) for m in TRUTH_METRICS if m in set(rows["metric"])]
    filled = [
        {"Model": model, "Data": data} | {c: cells.get(c, number(np.nan)) for c in columns}
        for (model, data), cells in lines.items()
    ]
    made = pd.DataFrame(filled, columns=["Model", "Data", *columns])
    return made if made["Data"].nunique() > 1 else made.drop(columns="Data")


def recovery_table(sensitivity: pd.DataFrame, study: str, confidence: float = 0.95) -> pd.DataFrame:
    """Lay out the recovery study: model and number of subjects down, metrics across, mean [t interval] over datasets.

    Parameters
    ----------
    sensitivity : pandas.DataFrame
        `results/sensitivity.tsv`; factor ``subjects``.
    study : str
    confidence : float

    Returns
    -------
    pandas.DataFrame
        Strings.
    """
    keep = (sensitivity["study"] == study) & (sensitivity["factor"] == "subjects")
    rows = sensitivity[keep & sensitivity["metric"].isin(RECOVERY_METRICS)]
    columns = [m for m in RECOVERY_METRICS if m in set(rows["metric"])]
    lines = []
    for model in labels.ordered_models(rows["model"].unique()):
        for level in sorted(rows["level"].unique(), key=float):
            own = rows[(rows["model"] == model) & (rows["level"] == level)]
            if own.empty:
                continue
            line = {"Model": labels.model(model), "Subjects": f"x{level}"}
            for metric in columns:
                values = own.loc[own["metric"] == metric, "value"].dropna().to_numpy()
                line[_capital(labels.metric(metric))] = interval(*mean_interval(values, confidence))
            lines.append(line | {"Datasets": own["seed"].nunique()})
    return pd.DataFrame(lines)


def univariate_table(univariate: pd.DataFrame, study: str, top: int | None = TOP) -> pd.DataFrame:
    """Lay out the mixed logistic models of single features, the clearest first (coefficient by its s.d.).

    Parameters
    ----------
    univariate : pandas.DataFrame
        `results/univariate.tsv`; its first dataset, that of variant ``main``, is shown.
    study : str
    top : int or None
        How many features; None for all.

    Returns
    -------
    pandas.DataFrame
        Strings; columns that say nothing (no truth, no remark) are left out.
    """
    rows = univariate[univariate["study"] == study]
    rows = rows[rows["dataset"] == rows["dataset"].min()]
    clear = (rows["coefficient"] / rows["coefficient_sd"]).abs().sort_values(ascending=False, kind="stable")
    rows = rows.loc[clear.index].head(top or len(rows))
    fitted = zip(rows["coefficient"], rows["coefficient_sd"], strict=True)
    made = {
        "Feature": rows["feature"].tolist(),
        "Kind": rows["kind"].tolist(),
        "Log odds (s.d.)": [f"{number(c)} ({number(sd)})" for c, sd in fitted],
        "True log odds": [number(v) for v in rows["true_coefficient"]],
        "S.d. of slopes": [number(v) for v in rows["slope_sd"]],
        "True s.d.": [number(v) for v in rows["true_slope_sd"]],
        "S.d. of relative risks": [number(v) for v in rows["relative_risk_sd"]],
        "Truly predictive": [{1: "yes", 0: "no"}.get(v, "") for v in rows["predictive"]],
        "Remark": rows["note"].fillna("").tolist(),
    }
    table = pd.DataFrame(made)
    empty = ("", number(np.nan))
    return table[[c for c in table if c in ("Feature", "Kind") or not table[c].isin(empty).all()]]


def study_tables(study: str, frames: Mapping[str, pd.DataFrame], confidence: float = 0.95) -> dict[str, pd.DataFrame]:
    """Lay out all of these tables that have rows.

    Parameters
    ----------
    study : str
    frames : mapping of str to pandas.DataFrame
        Tables ``summary``, ``comparison``, ``claims``, ``univariate`` and ``sensitivity`` of `results/`.
    confidence : float
        Of the intervals of the recovery study.

    Returns
    -------
    dict of str to pandas.DataFrame
        File name (for `armed.tables.table`) -> table as readers see it.
    """
    published = published_tables(frames["comparison"], study)
    made = {f"{study}_published_{partition}": frame for partition, frame in published.items()} | {
        f"{study}_discrimination": discrimination_table(frames["summary"], study),
        f"{study}_claims": claims_tables.study_ledger(frames["claims"], study),
        f"{study}_truth": truth_table(frames["summary"], study),
        f"{study}_recovery": recovery_table(frames["sensitivity"], study, confidence),
        f"{study}_univariate": univariate_table(frames["univariate"], study, top=None),
    }
    return {name: frame for name, frame in made.items() if len(frame)}


def mean_interval(values: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """Mean of values (n,) and its t interval; NaN where there are too few."""
    if len(values) < 2:
        return (float(values[0]) if len(values) else np.nan), np.nan, np.nan
    from scipy.special import stdtrit  # slow to load, and for this alone

    half = stdtrit(len(values) - 1, 0.5 + confidence / 2) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def _filled(lines: Mapping[str, Mapping[str, str]], columns: list[str]) -> pd.DataFrame:
    rows = [{"Model": name} | {c: cells.get(c, number(np.nan)) for c in columns} for name, cells in lines.items()]
    return pd.DataFrame(rows, columns=["Model", *columns])


def _discrimination(partition: str, metric: str) -> str:
    return f"{_capital(labels.partition(partition))}: {_DISCRIMINATION[metric]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
