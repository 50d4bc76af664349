"""How well each model does: metric per model with intervals and published values, and the null check."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from armed import labels, registry
from armed.errors import DataError
from armed.metrics import LOWER_IS_BETTER
from armed.plotting import style

_PANELS = ("seen", "unseen", "deconfounded")
_DODGE = {2: 0.26, 3: 0.2}  # of a row's height, between the marks of one row, by the number of variants
_SHAPES = ("o", "o", "D")  # of the variants; all but the first are hollow


def select(frame: pd.DataFrame, what: str, **values: object) -> pd.DataFrame:
    """Rows of `frame` whose named columns have the given value (or one of a list); an error if none has."""
    rows = frame
    for column, value in values.items():
        rows = rows[rows[column].isin(value if isinstance(value, list | tuple) else [value])]
    if rows.empty:
        wanted = ", ".join(f"{c} = {v}" for c, v in values.items())
        raise DataError(f"{what} has no rows with {wanted}; run the models it needs, or leave this figure out.")
    return rows


@style.styled
def accuracy(
    summary: pd.DataFrame,
    comparison: pd.DataFrame,
    study: str,
    metric: str = "accuracy",
    confidence: float = 0.95,
) -> Figure:
    """Draw a metric per model with its `corrected` interval and published values, seen beside unseen clusters.

    Parameters
    ----------
    summary, comparison : pandas.DataFrame
        Tables of `results/`. Variants that differ in their data (``resampled``) share a row, variants of a
        model's settings have their own. `comparison` may be empty.
    study, metric : str
    confidence : float
        Of the intervals in `summary`.

    Raises
    ------
    DataError
        If there is no result of the study.
    """
    rows = select(summary, "summary.tsv", study=study, metric=metric, ci_method="corrected", partition=list(_PANELS))
    panels = [p for p in _PANELS if p in set(rows["partition"])]
    cells = _cells(rows, study)
    published = comparison[(comparison["study"] == study) & (comparison["metric"] == metric)]
    published = published.drop_duplicates(["table", "partition", "model"])
    # Five rows' worth of inches for title, axis label and legend.
    variants = [v for v in labels.data_variants(study) if v in set(rows["variant"])]
    dodge = _DODGE.get(len(variants), _DODGE[2])
    figure = style.new_figure((0.36 if len(variants) < 3 else 0.46) * len(cells) + 1.9)
    axes = figure.subplots(1, len(panels), sharey=True, sharex=True, squeeze=False)[0]
    for ax, partition in zip(axes, panels, strict=True):
        _rows(ax, rows[rows["partition"] == partition], cells, variants, dodge)
        _published(ax, published[published["partition"] == partition], cells, dodge)
        ax.set_title(_capital(labels.partition(partition)), loc="left")
        ax.set_xlabel(_capital(labels.metric(metric)))
    style.name_rows(figure, [labels.model(m, v, study) for m, v in cells])
    _legend(figure, variants, published["table"].unique(), study)
    style.add_title(
        figure,
        f"{labels.study(study)}: {labels.metric(metric)} of each model",
        f"{labels.source(rows['source'].iloc[0])}. Mean and {confidence:.0%} interval ({_counts(rows)})."
        + " Lower is better." * (metric in LOWER_IS_BETTER),
    )
    return figure


@style.styled
def null_check(
    summary: pd.DataFrame,
    study: str,
    metric: str = "accuracy",
    expected: float = 0.5,
    partition: str = "unseen",
    confidence: float = 0.95,
) -> Figure:
    """Draw a metric on clusters where nothing can be learnt: every model's interval should hold `expected`.

    Parameters
    ----------
    summary : pandas.DataFrame
        `results/summary.tsv`.
    study, metric, partition : str
    expected : float
        What a method without information scores. 0.5 on unseen clusters of inverted radii: class 1 at radius r
        is class 0 at -r.
    confidence : float
        Of the intervals in `summary`.

    Raises
    ------
    DataError
        If there is no result of the study.
    """
    rows = select(summary, "summary.tsv", study=study, metric=metric, ci_method="corrected", partition=partition)
    rows = rows[rows["variant"].isin(labels.data_variants(study))]
    cells = _cells(rows, study)
    figure = style.new_figure(0.32 * len(cells) + 1.75)
    ax = figure.subplots()
    ax.axvline(expected, color=style.BLACK, linewidth=1.2, zorder=1)
    for position, (model, variant) in enumerate(cells):
        row = rows[(rows["model"] == model) & (rows["variant"] == variant)].iloc[0]
        holds = row["ci_low"] <= expected <= row["ci_high"]
        _mark(ax, row, position, style.BLUE if holds else style.VERMILLION, "o" if holds else "X")
    style.name_rows(figure, [labels.model(m, v, study) for m, v in cells])
    low, high = ax.get_xlim()
    reach = max(0.03, abs(low - expected), abs(high - expected))
    ax.set_xlim(expected - reach, expected + reach)
    ax.set_xlabel(f"{_capital(labels.metric(metric))}, {labels.partition(partition)}")
    handles = [
        Line2D([], [], color=style.BLUE, marker="o", label=f"interval holds {expected:g}"),
        Line2D([], [], color=style.VERMILLION, marker="X", label=f"interval misses {expected:g}"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    style.add_title(
        figure,
        f"{labels.study(study)}: null check on unseen clusters",
        f"{labels.source(rows['source'].iloc[0])}. Nothing can be known about an unseen cluster, so every\n"
        f"model must score {expected:g}. Mean and {confidence:.0%} interval ({_counts(rows)}).",
    )
    return figure


def _cells(rows: pd.DataFrame, study: str) -> list[tuple[str, str]]:
    """(model, variant) of each row of a figure; variants of the data are marks within the row of ``main``."""
    cells = []
    for model in labels.ordered_models(rows["model"].unique()):
        variants = rows.loc[rows["model"] == model, "variant"].unique()
        if set(variants) & set(labels.data_variants(study)):
            cells.append((model, "main"))
        cells += [(model, v) for v in variants if v not in labels.data_variants(study)]
    return cells


def _rows(ax: Axes, rows: pd.DataFrame, cells: list[tuple[str, str]], variants: list[str], dodge: float) -> None:
    for position, (model, variant) in enumerate(cells):
        shown = variants if variant == "main" else (variant,)
        for i, name in enumerate(shown):
            cell = rows[(rows["model"] == model) & (rows["variant"] == name)]
            if len(cell):
                colour = style.model_colour(model)
                _mark(ax, cell.iloc[0], position + i * dodge, colour, _SHAPES[i], hollow=i > 0)


def _mark(ax: Axes, row: pd.Series, y: float, colour: str, marker: str, *, hollow: bool = False) -> None:
    if row["ci_low"] <= row["ci_high"]:  # false where an interval is not defined
        ax.hlines(y, row["ci_low"], row["ci_high"], color=colour, linewidth=1.6, zorder=2)
    face = "white" if hollow else colour
    ax.plot(
        row["mean"],
        y,
        marker,
        color=colour,
        markerfacecolor=face,
        markersize=5.5,
        markeredgewidth=1.3,
        zorder=3,
    )


def _published(ax: Axes, published: pd.DataFrame, cells: list[tuple[str, str]], dodge: float) -> None:
    place = {model: position for position, (model, variant) in enumerate(cells) if variant == "main"}
    for row in published.itertuples():
        if row.model not in place:
            continue
        y = place[row.model] - dodge
        if row.table == "rerun":
            ax.plot(row.published, y, "x", color=style.GREY, markersize=5, markeredgewidth=1.3, zorder=2)
            continue
        if row.published_ci_low <= row.published_ci_high:
            ax.hlines(y, row.published_ci_low, row.published_ci_high, color=style.BLACK, linewidth=1)
        ax.plot(row.published, y, "|", color=style.BLACK, markersize=9, markeredgewidth=1.8, zorder=2)


def _legend(figure: Figure, variants: list[str], tables: list[str], study: str) -> None:
    handles = []
    if len(variants) > 1:
        names = {"main": "ours, the authors' dataset" if study in registry.SPIRALS else "ours"}
        for i, variant in enumerate(variants):
            face = "#444444" if i == 0 else "white"
            label = names.get(variant, f"ours, {labels.variant_name(variant)}")
            handles.append(Line2D([], [], color="#444444", marker=_SHAPES[i], markerfacecolor=face, label=label))
    else:
        handles.append(Line2D([], [], color="#444444", marker="o", label="ours"))
    for table in tables:
        rerun = table == "rerun"
        handles.append(
            Line2D(
                [],
                [],
                color=style.GREY if rerun else style.BLACK,
                linestyle="none" if rerun else "-",
                marker="x" if rerun else "|",
                markersize=6 if rerun else 9,
                markeredgewidth=1.5,
                label=labels.published(table),
            )
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=2)


def _counts(rows: pd.DataFrame) -> str:
    """Seeds and folds behind the rows, as a range where models differ."""

    def span(values: pd.Series, unit: str) -> str:
        low, high = int(values.min()), int(values.max())
        return f"{low} {unit[:-1] if low == 1 else unit}" if low == high else f"{low} to {high} {unit}"

    return f"{span(rows['n_seeds'], 'seeds')} x {span(rows['n_folds'], 'folds')}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
