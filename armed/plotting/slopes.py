"""What ARMED's random slopes mean: beside univariate models, and beside the truth of stand-ins as subjects grow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import stdtrit

from armed import labels
from armed.associations import cluster_correlation, slope_sds
from armed.errors import DataError
from armed.plotting import style
from armed.plotting.performance import select

FEWEST = 4  # features; below, a correlation has no interval
RECOVERY = {
    "slope_recovery": ("S.d. of slopes:\nr with the true s.d.", 0.0),
    "slope_ratio": ("S.d. of slopes:\nlearned / true (median)", 1.0),
    "intercept_recovery": ("Site intercepts:\nr with the true ones", 0.0),
}
"""Metrics of the recovery study: title of the panel, and where a line is drawn."""


class _Panel(NamedTuple):
    kind: str | None
    column: str
    label: str


_PANELS = (
    _Panel("continuous", "slope_sd", "Continuous: s.d. of the univariate\nmodel's slopes"),
    _Panel("categorical", "relative_risk_sd", "Categorical: s.d. of the sites'\nrelative risks"),
    _Panel(None, "true_slope_sd", "All: true s.d. of the slopes"),
)


@style.styled
def random_slopes(
    random_effects: pd.DataFrame,
    univariate: pd.DataFrame,
    study: str,
    source: str,
    variant: str = "main",
    confidence: float = 0.95,
    dataset: int = 0,
) -> Figure:
    """Draw the s.d. over sites of learned slopes against what univariate models say, and against the truth where known.

    Parameters
    ----------
    random_effects : pandas.DataFrame
        `results/random_effects.tsv`. Models with slopes on at least `FEWEST` of the features are drawn.
    univariate : pandas.DataFrame
        `results/univariate.tsv`.
    study, source, variant : str
    confidence : float
        Of the correlations' intervals.
    dataset : int
        Dataset of `univariate` that `variant` was fitted to.

    Raises
    ------
    DataError
        If no model has slopes on the features of `univariate`.
    """
    effects = select(random_effects, "random_effects.tsv", study=study, variant=variant, effect="slope")
    known = select(univariate, "univariate.tsv", study=study, dataset=dataset)
    pairs = slope_sds(effects).merge(known, on="feature", how="inner", validate="many_to_one")
    counts = pairs["model"].value_counts()
    models = labels.ordered_models(counts.index[counts >= FEWEST])
    if not models:
        raise DataError(f"No model of {study} has random slopes on at least {FEWEST} of univariate.tsv's features.")
    panels = [p for p in _PANELS if known[p.column].notna().any()]
    figure = style.new_figure(2.6 * len(models) + 0.85)
    axes = figure.subplots(len(models), len(panels), squeeze=False, sharex="col")
    for line, model in zip(axes, models, strict=True):
        own = pairs[pairs["model"] == model]
        for ax, panel in zip(line, panels, strict=True):
            rows = own if panel.kind is None else own[own["kind"] == panel.kind]
            told = _scatter(ax, rows.dropna(subset=[panel.column, "sd"]), panel.column, model, confidence)
            first = ax is line[0]
            ax.set_title(f"{labels.model(model) if first else ''}\n{told}", loc="left", fontsize=9)
        line[0].set_ylabel("S.d. of the learned slopes")
    for ax, panel in zip(axes[-1], panels, strict=True):
        ax.set_xlabel(panel.label)
    n_fits = len(effects[["seed", "fold"]].drop_duplicates())
    style.add_title(
        figure,
        f"{labels.study(study)}: how random slopes vary over sites",
        f"{labels.source(source)}. One point per feature; learned slopes: mean over {n_fits} fits. r: Pearson's, over "
        f"features, with its {confidence:.0%} interval.",
    )
    return figure


@style.styled
def recovery(sensitivity: pd.DataFrame, study: str, source: str, confidence: float = 0.95) -> Figure:
    """Draw how well slopes and intercepts of the truth are recovered, by the number of subjects.

    Parameters
    ----------
    sensitivity : pandas.DataFrame
        `results/sensitivity.tsv`, factor ``subjects``; a seed is a dataset.
    study, source : str
    confidence : float
        Of the t interval over datasets.

    Raises
    ------
    DataError
        If the table has no such row.
    """
    rows = select(
        sensitivity, "sensitivity.tsv", study=study, factor="subjects", metric=list(RECOVERY), partition="seen"
    ).dropna(subset="value")
    levels = sorted(rows["level"].unique(), key=float)
    models = labels.ordered_models(rows["model"].unique())
    panels = [m for m in RECOVERY if m in set(rows["metric"])]
    figure = style.new_figure(4.1)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, metric in zip(axes, panels, strict=True):
        title, line = RECOVERY[metric]
        ax.axhline(line, color="#888888", linewidth=1, zorder=1)
        own = rows[rows["metric"] == metric]
        for place, model in enumerate(models):
            at = np.arange(len(levels)) + 0.25 * (place - (len(models) - 1) / 2)
            values = [own.loc[(own["model"] == model) & (own["level"] == k), "value"].to_numpy() for k in levels]
            _datasets(ax, at, values, style.model_colour(model), confidence)
        ax.set_xticks(range(len(levels)), [f"x{level}" for level in levels])
        ax.set_xlim(-0.5, len(levels) - 0.5)
        ax.set_title(title, loc="left", fontsize=9)
        ax.grid(axis="y")
        ax.set_xlabel("Subjects")
    handles = [Line2D([], [], color=style.model_colour(m), marker="o", label=labels.model(m)) for m in models]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    style.add_title(
        figure,
        f"{labels.study(study)}: is the truth of the stand-in recovered?",
        f"{labels.source(source)}. Points: one per dataset ({rows['seed'].nunique()}); lines: mean and {confidence:.0%} "
        "interval.",
    )
    return figure


def _scatter(ax: Axes, rows: pd.DataFrame, column: str, model: str, confidence: float) -> str:
    """Points and their line; returns r with its interval and n."""
    ax.plot(rows[column], rows["sd"], "o", color=style.model_colour(model), markersize=4.5, alpha=0.75)
    if len(rows) > 2 and np.ptp(rows[column]) > 0:
        slope, intercept = np.polyfit(rows[column], rows["sd"], 1)
        ends = np.array([rows[column].min(), rows[column].max()])
        ax.plot(ends, intercept + slope * ends, color="#888888", linewidth=1, zorder=1)
    ax.margins(0.08)
    ax.grid()
    found = cluster_correlation(rows[column], rows["sd"], rows["feature"], confidence)
    if np.isnan(found.r):
        return f"r not defined\nn = {found.n} features"
    told = f"r = {found.r:.2f}"
    if np.isfinite(found.ci_low):
        told += f" [{found.ci_low:.2f}, {found.ci_high:.2f}]"
    return f"{told}\nn = {found.n} features".replace("-", "−")


def _datasets(ax: Axes, at: np.ndarray, values: list[np.ndarray], colour: str, confidence: float) -> None:
    """Points of each level, and their means with intervals, joined by a line."""
    means = [v.mean() if len(v) else np.nan for v in values]
    ax.plot(at, means, "o-", color=colour, markersize=5, linewidth=1.2, zorder=4)
    for x, own, mean in zip(at, values, means, strict=True):
        # Fixed offsets, not random ones: the same figure each time.
        ax.plot(
            x + 0.07 * np.sin(np.arange(len(own)) * 2.4),
            own,
            "o",
            color=colour,
            alpha=0.3,
            markersize=2.6,
            markeredgewidth=0,
        )
        if len(own) > 1:
            half = stdtrit(len(own) - 1, 0.5 + confidence / 2) * own.std(ddof=1) / np.sqrt(len(own))
            ax.vlines(x, mean - half, mean + half, color=colour, linewidth=2, zorder=3)
