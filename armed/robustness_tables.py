"""Tables, sentences and figures of the report's part on how far the paper's conclusions hold: from the tables alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from armed import author_choices, labels, results, sweep_config
from armed import config as configuration
from armed.findings import Finding
from armed.pages import html
from armed.plotting import robustness_captions
from armed.plotting.catalogue import headline_metric, is_null_check
from armed.registry import WITHOUT_FITS
from armed.robustness import mean_ranks
from armed.sensitivity import ACCURACIES, MEASURES, PROBE_WINS, curves, differences, ordered_levels
from armed.statistics import RESAMPLED, Settings
from armed.tables import interval, number, p_value, percent, table

UNITS = {"dataset": ("dataset", "datasets"), "seed": ("seed", "seeds"), "split": ("split", "splits")}
FACTORS = {
    "lambda_g": "lambda_g (adversary)",
    "lambda_K": "lambda_K (KL)",
    "lambda_F": "lambda_F (fixed effects)",
    "prior_scale": "s.d. of the priors, times",
    "n_clusters": "seen clusters",
    "n_per_cluster": "points of a cluster",
    "ratio_sd": "confounding (ratio_sd)",
}
"""Factors of the sweeps, for readers."""


def ranks_table(ranks: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """Lay out the chance of being best and the mean rank: study, clusters, data and model down.

    Parameters
    ----------
    ranks : pandas.DataFrame
        `results/ranks.tsv`.
    summary : pandas.DataFrame
        `results/summary.tsv`: methods that it has and that are not ranked are listed too.

    Returns
    -------
    pandas.DataFrame
        Strings.
    """
    lines, means = [], mean_ranks(ranks)
    best = ranks[ranks["rank"] == 1]
    by = ["study", "source", "variant", "partition", "metric"]
    for (study, source, variant, partition, metric), rows in best.groupby(by, sort=False):
        n, unit, n_models = rows["n"].iloc[0], rows["unit"].iloc[0], rows["n_models"].iloc[0]
        base = {
            "Study": study_name(study, source),
            "Clusters": labels.partition_short(partition),
            "Data": labels.variant_name(variant),
            "Metric": labels.metric(metric),
        }
        over = f"{n} {UNITS[unit][int(n != 1)]}{_of_one(unit)}"
        for row in rows.itertuples():
            chance = percent(row.share, row.ci_low, row.ci_high)
            mean = number(means[study, variant, partition, row.model], 1)
            lines.append(base | {"Model": labels.model(row.model), "Best in": chance, "Mean rank": mean, "Over": over})
            lines[-1]["Of"] = str(n_models)
        for model in _not_ranked(summary, study, variant, partition, metric, set(rows["model"])):
            told = {"Model": labels.model(model), "Best in": "not ranked", "Mean rank": number(np.nan)}
            lines.append(base | told | {"Over": "fewer seeds, or undefined", "Of": ""})
    return pd.DataFrame(lines)


def study_name(study: str, source: str) -> str:
    """Name of a study, with a word where its data only stand in for others."""
    return f"{labels.study(study)} (stand-in data)" if source == "stand-in" else labels.study(study)


def _of_one(unit: str) -> str:
    return "" if unit == "dataset" else " of one dataset"


def _not_ranked(
    summary: pd.DataFrame, study: str, variant: str, partition: str, metric: str, ranked: set[str]
) -> list[str]:
    rows = summary[(summary["study"] == study) & (summary["partition"] == partition) & (summary["metric"] == metric)]
    models = rows.loc[rows["variant"] == variant, "model"].unique()
    return [m for m in labels.ordered_models(models) if m not in ranked and m not in WITHOUT_FITS]


def sweeps_table(sensitivity: pd.DataFrame, own: Mapping[str, float], confidence: float = 0.95) -> pd.DataFrame:
    """Lay out the sweeps: level down; ARMED's difference from the conventional network, and how often a probe wins, across.

    Parameters
    ----------
    sensitivity : pandas.DataFrame
        `results/sensitivity.tsv`.
    own : mapping of str to float
        The study's own level of each factor, which is marked.
    confidence : float

    Returns
    -------
    pandas.DataFrame
        Strings; without rows where nothing was swept.
    """
    shown, gains = curves(sensitivity, confidence), differences(sensitivity, own, confidence)
    at = shown.set_index(["factor", "level", "model", "measure"])
    gain = gains.set_index(["factor", "level", "measure"])
    lines = []
    for factor in [f for f in FACTORS if f in own and f in set(shown["factor"])]:
        for level in ordered_levels(shown.loc[shown["factor"] == factor, "level"]):
            mark = " (study's own)" if level == f"{own[factor]:g}" else ""
            line = {"Changed": FACTORS[factor], "Level": f"{level}{mark}"}
            mine = _row(at, (factor, level, "armed", "deconfounded"))
            line["Accuracy of ARMED, deconfounded"] = interval(*mine)
            for measure in ACCURACIES:
                name = f"ARMED - conventional, {labels.partition_short(measure)}"
                line[name] = interval(*_row(gain, (factor, level, measure), "difference"), signed=True)
            for model in sweep_config.MODELS[::-1]:
                line[f"A probe wins: {labels.model(model)}"] = percent(*_row(at, (factor, level, model, PROBE_WINS)))
            lines.append(line)
    return pd.DataFrame(lines)


def _row(frame: pd.DataFrame, key: tuple, mean: str = "mean") -> tuple[float, float, float]:
    """Number with its interval; NaN where a model was not fitted at a level."""
    if key not in frame.index:
        return (np.nan,) * 3
    return tuple(frame.loc[key, [mean, "ci_low", "ci_high"]])


def choices_table(worth: pd.DataFrame) -> pd.DataFrame:
    """Lay out what each of the authors' choices is worth (`armed.author_choices.worth`)."""
    lines = []
    for row in worth.itertuples():
        metric = "share in which a probe wins" if row.metric == PROBE_WINS else labels.metric(row.metric)
        lines.append(
            {
                "The authors' way": author_choices.says(row.choice),
                "Model": labels.model(row.model),
                "Study": study_name(row.study, row.source),
                "Difference in": metric,
                "Authors' way - other": interval(row.difference, row.ci_low, row.ci_high, signed=True),
                "p": p_value(row.p),
                "S.d. over seeds, theirs": number(row.sd_authors),
                "S.d. over seeds, other": number(row.sd_other),
                "Over": f"{row.n_seeds} {UNITS[row.unit][int(row.n_seeds != 1)]}{_of_one(row.unit)}",
            }
        )
    return pd.DataFrame(lines)


def findings(ranks: pd.DataFrame, sensitivity: pd.DataFrame, worth: pd.DataFrame, config: Mapping) -> list[Finding]:
    """Say what the ranks, the sweeps and the choices show; other results give other sentences."""
    found = [_of_ranks(rows, study) for study, rows in shown_ranks(ranks, config).groupby("study", sort=False)]
    if sweep_config.swept_models(config):
        own = sweep_config.own_levels(config, "armed")
        found += _of_sweeps(sensitivity, own, config["statistics"]["confidence"])
    return found + _of_choices(worth)


def shown_ranks(ranks: pd.DataFrame, config: Mapping) -> pd.DataFrame:
    """Ranks on new datasets where there are such, and not where no method can know anything."""
    anew = set(ranks.loc[ranks["variant"] == RESAMPLED, "study"])
    wanted = np.where(ranks["study"].isin(list(anew)), RESAMPLED, "main")
    null = {s for s in configuration.selected_studies(config) if is_null_check(config["studies"][s])}
    hopeless = ranks["study"].isin(list(null)) & (ranks["partition"] != "seen")
    return ranks[(ranks["variant"] == wanted) & ~hopeless]


def _of_ranks(rows: pd.DataFrame, study: str) -> Finding:
    parts = []
    for partition, own in rows[rows["rank"] == 1].groupby("partition", sort=False):
        n, unit = own["n"].iloc[0], own["unit"].iloc[0]
        first = own.loc[own["share"].idxmax()]
        text = f"{labels.model(first.model)} is best in {_count(first.share * n)} of {n} {UNITS[unit][int(n != 1)]}"
        if first.model != "armed" and (own["model"] == "armed").any():
            text += f", ARMED in {_count(own.loc[own['model'] == 'armed', 'share'].iloc[0] * n)}"
        where = labels.partition(partition).replace("deconfounded", "test data without the confounding")
        parts.append(f"on {where} {text}")
    units = set(rows["unit"])
    note = "" if units == {"dataset"} else " (of one dataset: nothing is said of other samples)"
    text = "; ".join(parts)
    about = f"Ranks, {study_name(study, rows['source'].iloc[0])}"
    return Finding(about, f"{text[:1].upper()}{text[1:]}{note}.")


def _count(value: float) -> str:
    """A count of units; ties share."""
    return f"{value:.0f}" if abs(value - round(value)) < 1e-9 else f"{value:.1f}"


def _of_sweeps(sensitivity: pd.DataFrame, own: Mapping[str, float], confidence: float) -> list[Finding]:
    gains, found = differences(sensitivity, own, confidence), []
    # The study as it is stands once in each factor, and is counted once.
    at_own = gains["level"] == gains["factor"].map({f: f"{level:g}" for f, level in own.items()})
    once = gains[~at_own | (gains["factor"] == gains["factor"].iloc[0])] if len(gains) else gains
    for measure in MEASURES:
        rows = once[once["measure"] == measure]
        if rows.empty:
            continue
        sign = -1 if measure == PROBE_WINS else 1
        low, high = (rows[c] * sign for c in ("ci_low", "ci_high"))
        better, worse = rows[np.minimum(low, high) > 0], rows[np.maximum(low, high) < 0]
        what = (
            "A probe beats a real feature less often than with the conventional network"
            if measure == PROBE_WINS
            else "ARMED's accuracy is above the conventional network's"
        )
        text = f"{what} at {len(better)} of {len(rows)} settings (interval clear of 0)"
        text += f", and the reverse holds at {_levels(worse)}." if len(worse) else "; at none the reverse holds."
        about = "probes" if measure == PROBE_WINS else labels.partition(measure)
        found.append(Finding(f"One thing changed at a time, {about}", text))
    return found


def _levels(rows: pd.DataFrame) -> str:
    told = [f"{FACTORS[r.factor]} {r.level} ({number(r.difference, signed=True)})" for r in rows.itertuples()]
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"


def _of_choices(worth: pd.DataFrame) -> list[Finding]:
    found = []
    for choice, rows in worth.groupby("choice", sort=False):
        parts = []
        for row in rows.itertuples():
            metric = "share in which a probe wins" if row.metric == PROBE_WINS else labels.metric(row.metric)
            gain = interval(row.difference, row.ci_low, row.ci_high, signed=True)
            spread = ""
            if not np.isnan(row.sd_authors):
                spread = f", s.d. over seeds {number(row.sd_authors)} against {number(row.sd_other)}"
            parts.append(f"{labels.model(row.model)} {gain} in {metric}{spread}")
        study = study_name(*rows[["study", "source"]].iloc[0])
        found.append(Finding(f"{author_choices.says(choice)}: {study}", f"{'; '.join(parts)}."))
    return found


def read(results_dir: Path, config: Mapping) -> dict[str, pd.DataFrame]:
    """The tables that this part is made from: ``ranks``, ``summary``, ``sensitivity``, ``worth``; empty where not there."""
    results_dir = Path(results_dir)
    found = {name: _table(name, results_dir) for name in ("ranks", "summary", "sensitivity", "metrics")}
    headline = {study: headline_metric(study) for study in configuration.selected_studies(config)}
    settings = Settings.from_config(config)
    worth = author_choices.worth(found.pop("metrics"), found["sensitivity"], headline, settings)
    return found | {"worth": worth}


def _table(name: str, results_dir: Path) -> pd.DataFrame:
    path = results_dir / f"{name}.tsv"
    return results.read(name, path) if path.is_file() else results.empty(name)


def tables(found: Mapping[str, pd.DataFrame], config: Mapping) -> dict[str, pd.DataFrame]:
    """Tables for readers that have rows, by file name."""
    own = sweep_config.own_levels(config, "armed") if sweep_config.swept_models(config) else {}
    made = {
        "robustness_ranks": ranks_table(found["ranks"], found["summary"]),
        "robustness_sweeps": sweeps_table(found["sensitivity"], own, config["statistics"]["confidence"]),
        "author_choices": choices_table(found["worth"]),
    }
    return {name: frame for name, frame in made.items() if len(frame)}


def write_tables(results_dir: Path, config: Mapping) -> list[Path]:
    """Write the tables for readers into `results_dir`/tables, as tsv, html fragment and LaTeX; returns the files."""
    found, written = read(results_dir, config), []
    for name, frame in tables(found, config).items():
        written += table(name, frame, Path(results_dir) / "tables", robustness_captions.table_caption(name, config))
    return written


def report_values(results_dir: Path, config: Mapping) -> dict:
    """What `workflow/report/robustness.html.j2` shows; empty where nothing was ranked or swept.

    Returns
    -------
    dict
        ``findings`` (list of `Finding`), ``tables`` (list of name, title, html, caption), ``figures`` (list of `FigureSpec`),
        ``not_offered`` (choices that cannot be toggled here).
    """
    found = read(results_dir, config)
    made = tables(found, config)
    if not made:
        return {}
    titles = {
        "robustness_ranks": "How likely each method is to be best",
        "robustness_sweeps": "One thing changed at a time",
        "author_choices": "What each of the authors' choices is worth",
    }
    shown = [(n, titles[n], html(frame), robustness_captions.table_caption(n, config)) for n, frame in made.items()]
    return {
        "findings": findings(found["ranks"], found["sensitivity"], found["worth"], config),
        "tables": shown,
        "figures": robustness_captions.figures(config),
        "not_offered": author_choices.NOT_OFFERED,
    }
