"""Figures of how far the paper's conclusions depend on the seed, on settings and on the authors' choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from armed import author_choices, labels
from armed.errors import DataError
from armed.plotting import style
from armed.sensitivity import PROBE_WINS, ordered_levels

COLUMNS = 4
"""Panels in a row."""
_SMALL = 8.5  # points, of what stands in or between small panels
_WIDE = 16
"""Characters of a small panel's tick labels, at most."""
_ROW = 0.165  # inches of a model's bar
_RANKS = "YlGnBu_r"
_FACTORS = {
    "lambda_g": "lambda_g",
    "lambda_K": "lambda_K",
    "lambda_F": "lambda_F",
    "prior_scale": "s.d. of priors, times",
    "n_clusters": "seen clusters",
    "n_per_cluster": "points of a cluster",
    "ratio_sd": "confounding (ratio_sd)",
}
_MEASURES = {"deconfounded": "Accuracy,\ndeconfounded", PROBE_WINS: "A probe wins"}


@style.styled
def ranks(shown: pd.DataFrame) -> Figure:
    """Draw the shares of ranks as stacked bars, one panel for each study and partition, with the chance of being best.

    Parameters
    ----------
    shown : pandas.DataFrame
        Rows of `ranks.tsv`, one variant of the data for each study.
    """
    if shown.empty:
        raise DataError("ranks.tsv has no rows to draw: rank at least two methods on the same seeds.")
    models = labels.ordered_models(shown["model"].unique())
    panels = list(shown.groupby(["study", "partition"], sort=False))
    n_rows = -(-len(panels) // COLUMNS)
    figure = style.new_figure(n_rows * (_ROW * len(models) + 0.5) + 1.35)
    grid = figure.add_gridspec(n_rows, COLUMNS, wspace=0.04)
    for i, ((study, partition), rows) in enumerate(panels):
        ax = figure.add_subplot(grid[divmod(i, COLUMNS)])
        _bars(ax, rows, models)
        name = labels.study(study) + " *" * (rows["source"].iloc[0] == "stand-in")
        title = f"{style.wrapped(name)}\n{labels.partition_short(partition)}, n = {rows['n'].iloc[0]}"
        ax.set_title(title, fontsize=_SMALL, pad=3, loc="left")
        ax.set_yticks(range(len(models)), [labels.model(m) for m in models] if i % COLUMNS == 0 else [])
        ax.tick_params(axis="y", labelsize=_SMALL, length=0)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), matplotlib.colormaps[_RANKS].resampled(8)),
        ax=figure.axes,
        orientation="horizontal",
        location="bottom",
        fraction=0.02,
        aspect=60,
        shrink=0.5,
        pad=0.02,
    )
    bar.set_ticks([0, 1], labels=["rank 1 (best)", "last"])
    bar.outline.set_visible(False)
    sources = ["* " * (s == "stand-in") + labels.source(s) for s in dict.fromkeys(shown["source"])]
    style.add_title(
        figure,
        "Ranks of the methods: share of datasets, seeds or splits",
        f"Bars: from the best rank to the last. Beside: share of first ranks. {'. '.join(sources)}.",
    )
    return figure


def _bars(ax: Axes, rows: pd.DataFrame, models: Sequence[str]) -> None:
    n_models = rows["n_models"].iloc[0]
    colours = matplotlib.colormaps[_RANKS](np.linspace(0, 1, n_models))
    share = rows.pivot(index="model", columns="rank", values="share")
    for place, model in enumerate(models):
        if model not in share.index:
            ax.text(0.02, place, "–", fontsize=_SMALL, va="center", color="#777777")
            continue
        ends = share.loc[model].cumsum()
        starts = ends - share.loc[model]
        taken = (share.loc[model] > 0).to_numpy()
        ax.barh(place, share.loc[model][taken], left=starts[taken], height=0.82, color=colours[taken], linewidth=0)
        ax.text(1.02, place, f"{100 * share.loc[model, 1]:.0f}%", fontsize=_SMALL, va="center")
    ax.set(xlim=(0, 1.38), ylim=(len(models) - 0.45, -0.55), xticks=[])
    ax.spines[:].set_visible(False)


@style.styled
def sensitivity(
    shown: pd.DataFrame, own: Mapping[str, float], worth: pd.DataFrame, sources: Sequence[str], title: str
) -> Figure:
    """Draw the sweeps as small panels, and what each of the authors' choices is worth below them.

    Parameters
    ----------
    shown : pandas.DataFrame
        `armed.sensitivity.curves`; may be empty.
    own : mapping of str to float
        The study's own level of each factor.
    worth : pandas.DataFrame
        `armed.author_choices.worth`; may be empty.
    sources : sequence of str
        Sources of the data.
    title : str
    """
    if shown.empty and worth.empty:
        raise DataError("Nothing was swept and none of the authors' choices toggled; run what does it.")
    factors = [f for f in _FACTORS if f in own and f in set(shown["factor"])]
    blocks = -(-(len(factors) + 1) // COLUMNS) if factors else 0  # with a place for the legend
    heights = [2.65] * blocks + [0.26 * len(worth) + 1.2] * (len(worth) > 0)
    figure = style.new_figure(sum(heights) + 0.85)
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    for block in range(blocks):
        own_factors = factors[block * COLUMNS : (block + 1) * COLUMNS]
        below = grid[block].subgridspec(2, COLUMNS, height_ratios=[1.25, 1])
        _block(figure, below, own_factors, shown, own)
        if block == blocks - 1:
            _legend(figure.add_subplot(below[:, len(own_factors)]), shown)
    if len(worth):
        _choices(figure, grid[blocks], worth)
    told = ". ".join(labels.source(s) for s in sources)
    style.add_title(figure, title, f"{told}. Intervals over datasets, or over seeds and folds of one dataset.")
    return figure


def _block(figure: Figure, grid, factors: Sequence[str], shown: pd.DataFrame, own: Mapping[str, float]) -> None:
    for row, (measure, name) in enumerate(_MEASURES.items()):
        of_measure = shown[shown["measure"] == measure]
        for column, factor in enumerate(factors):
            ax = figure.add_subplot(grid[row, column])
            rows = of_measure[of_measure["factor"] == factor]
            _levels(ax, rows, f"{own[factor]:g}")
            bounds = of_measure[["ci_low", "ci_high"]]
            ax.set_ylim(
                (-0.04, 1.04) if measure == PROBE_WINS else (bounds.min().min() - 0.01, bounds.max().max() + 0.01)
            )
            if column == 0:
                ax.set_ylabel(name, fontsize=_SMALL)
            else:
                ax.set_yticklabels([])
            if row == 0:
                ax.set_title(_FACTORS[factor], fontsize=_SMALL + 0.5, pad=4)
                ax.set_xticklabels([])


def _levels(ax: Axes, rows: pd.DataFrame, own: str) -> None:
    """Levels at even distances: they span orders of magnitude, and 0."""
    levels = ordered_levels(rows["level"])
    for model in labels.ordered_models(rows["model"].unique()):
        mine = rows[rows["model"] == model].set_index("level")
        at = [i for i, level in enumerate(levels) if level in mine.index]
        mine = mine.loc[[levels[i] for i in at]]
        colour = style.model_colour(model)
        if len(at) == 1:  # nothing of it changes
            ax.axhline(mine["mean"].iloc[0], color=colour, linewidth=1, linestyle=(0, (4, 2)))
            ax.axhspan(mine["ci_low"].iloc[0], mine["ci_high"].iloc[0], color=colour, alpha=0.1, linewidth=0)
            continue
        ax.fill_between(at, mine["ci_low"], mine["ci_high"], color=colour, alpha=0.16, linewidth=0)
        ax.plot(at, mine["mean"], color=colour, marker="o", markersize=3.5, linewidth=1.4)
    if own in levels:
        ax.axvline(levels.index(own), color="#555555", linewidth=0.8, linestyle=":", zorder=0)
    names = [_short(level) for level in levels]
    if len("".join(names)) > _WIDE:  # every second one, the study's own among them
        start = levels.index(own) % 2 if own in levels else 0
        names = [name if i % 2 == start else "" for i, name in enumerate(names)]
    ax.set_xticks(range(len(levels)), names, fontsize=_SMALL)
    ax.tick_params(axis="y", labelsize=_SMALL)
    ax.grid(axis="y")
    ax.set_xlim(-0.4, len(levels) - 0.6)


def _short(level: str) -> str:
    """1e-05 as 1e-5, so that it fits."""
    mantissa, e, exponent = f"{float(level):g}".partition("e")
    if not e and 0 < float(level) < 0.01:
        mantissa, e, exponent = f"{float(level):.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa.removeprefix("0") if "." in mantissa else mantissa


def _legend(ax: Axes, shown: pd.DataFrame) -> None:
    ax.set_axis_off()
    models = labels.ordered_models(shown["model"].unique())
    lines = [
        Line2D([], [], color=style.model_colour(m), marker="o", markersize=3.5, label=labels.model(m)) for m in models
    ]
    lines.append(Line2D([], [], color="#555555", linestyle=":", linewidth=0.8, label="study's own level"))
    ax.legend(handles=lines, loc="center", fontsize=_SMALL)


def _choices(figure: Figure, place, worth: pd.DataFrame) -> None:
    """Metrics and shares have axes of their own: a share moves by more."""
    of_probes = worth["metric"] == PROBE_WINS
    parts = [part for part in (worth[~of_probes], worth[of_probes]) if len(part)]
    grid = place.subgridspec(len(parts), 2, width_ratios=[2.2, 1], height_ratios=[len(part) + 1 for part in parts])
    for i, part in enumerate(parts):
        ax, beside = (figure.add_subplot(grid[i, column]) for column in (0, 1))
        _differences(ax, part)
        if part["metric"].iloc[0] == PROBE_WINS:
            beside.set_axis_off()
            ax.set_xlabel("Authors' way - other\n(share in which a probe wins)", fontsize=_SMALL)
            continue
        ax.set_xlabel("Authors' way - other\n(accuracy, AUROC)", fontsize=_SMALL)
        _spreads(beside, part)


def _differences(ax: Axes, worth: pd.DataFrame) -> None:
    names = []
    for place, row in enumerate(worth.itertuples()):
        reach = [[row.difference - row.ci_low], [row.ci_high - row.difference]]
        colour = style.model_colour(row.model)
        ax.errorbar(row.difference, place, xerr=reach, fmt="o", color=colour, markersize=4.5, linewidth=1.4)
        name = f"{author_choices.says(row.choice)}: {labels.model(row.model)}"
        names.append(f"{name} (stand-in)" if row.source == "stand-in" else name)
    ax.axvline(0, color="#555555", linewidth=0.8)
    _rows(ax, len(names))
    ax.set_yticks(range(len(names)), names, fontsize=_SMALL)


def _spreads(ax: Axes, worth: pd.DataFrame) -> None:
    """Nothing where there is one seed, or the seeds do not differ."""
    widest = worth[["sd_authors", "sd_other"]].max(axis=None)
    if not widest > 0:
        ax.set_axis_off()
        return
    for place, row in enumerate(worth.itertuples()):
        colour = style.model_colour(row.model)
        ax.plot(row.sd_other, place, "o", markerfacecolor="white", markeredgecolor=colour, markersize=5.5)
        ax.plot(row.sd_authors, place, "o", color=colour, markersize=4.5)
    _rows(ax, len(worth))
    ax.set_yticks([])
    ax.set_xlim(0, 1.15 * widest)
    ax.set_xlabel("S.d. over seeds\n(filled: theirs)", fontsize=_SMALL)


def _rows(ax: Axes, n: int) -> None:
    ax.set_ylim(n - 0.45, -0.55)
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=_SMALL)
    for place in range(1, n, 2):
        ax.axhspan(place - 0.5, place + 0.5, color="#f4f4f4", zorder=0, linewidth=0)
