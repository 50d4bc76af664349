"""What a report does not have: cells without a result, with the reason, and remarks on fits that gave one all the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from armed import autoencoder_tables, image_tables, labels, registry
from armed import config as configuration
from armed.retrieval import Receipt

LEVELS_TOLD = (
    *("z_accuracy", "adversary_accuracy", "davies_bouldin", "calinski_harabasz"),
    *(image_tables.LOCALISATION, *autoencoder_tables.READINGS),
)
"""Metrics whose notes tell chance levels and counts: what is told of the fit stands at its other metrics too."""


def absent_cells(study: str, metrics: pd.DataFrame, results_dir: Path, config: Mapping) -> pd.DataFrame:
    """List what the configuration asks for and the metrics do not have, and why.

    Parameters
    ----------
    study : str
    metrics : pandas.DataFrame
        `results/metrics.tsv`.
    results_dir : Path
        Its `runs/` tells a fit that is absent from one that was not scored.
    config : mapping
        The whole configuration.

    Returns
    -------
    pandas.DataFrame
        Columns Model, What, Reason: models and variants without a row, then values that are not defined, by reason. One
        row where the study's data could not be had.
    """
    if problem := not_run(study, results_dir):
        return pd.DataFrame([("all", "all", f"not run: {problem}")], columns=["Model", "What", "Reason"])
    rows = metrics[metrics["study"] == study]
    have = set(zip(rows["model"], rows["variant"], strict=True))
    lines = []
    for model in configuration.selected_models(config, study):
        wanted = [*configuration.data_variants(config, study)]
        settings = configuration.settings(config, study, model)
        wanted += [v for v in settings["variants"] if v != "main"] + [registry.TUNED] * ("tuning" in settings)
        missing = [v for v in wanted if (model, v) not in have]
        if missing:
            fitted = (results_dir / "runs" / study / model).is_dir()
            reason = (
                "fitted, but not scored: its prediction or scoring did not finish; see the logs of those jobs"
                if fitted
                else "no finished fit: it failed, or was not run; see the log of its fit"
            )
            what = "all" if len(missing) == len(wanted) else _join(labels.variant_name(v) for v in missing)
            lines.append((labels.model(model), what, reason))
    undefined = rows[rows["value"].isna()]
    for (model, variant, note), cells in undefined.groupby(["model", "variant", "note"], sort=False):
        what = f"{_join(labels.metric(m) for m in cells['metric'].unique())} ({len(cells)} cell{'s' if len(cells) > 1 else ''})"
        lines.append((labels.model(model, variant, study), what, note))
    return pd.DataFrame(lines, columns=["Model", "What", "Reason"])


def not_run(study: str, results_dir: Path) -> str:
    """Tell why a study was not run, as its data could not be had; empty where they could."""
    path = Path(results_dir) / "raw" / f"{registry.study(study).raw}.json"
    return Receipt.read(path).problem if registry.study(study).source == "open" and path.is_file() else ""


def fit_notes(study: str, metrics: pd.DataFrame) -> pd.DataFrame:
    """Count the remarks on fits that gave a value all the same, such as a fit that did not converge."""
    rows = metrics[(metrics["study"] == study) & (metrics["note"] != "") & metrics["value"].notna()]
    rows = rows[~rows["metric"].isin(LEVELS_TOLD)].drop_duplicates(["seed", "fold", "model", "variant", "note"])
    counts = rows.groupby(["model", "variant", "note"], sort=False).size().reset_index(name="n")
    return pd.DataFrame(
        {
            "Model": [labels.model(m, v, study) for m, v in zip(counts["model"], counts["variant"], strict=True)],
            "Remark": counts["note"],
            "Fits": counts["n"],
        }
    )


def _join(items: Iterable[str]) -> str:
    return ", ".join(items)
