"""Which of many features the models use: the most important ones of each, and how high site probes rank."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from armed import labels
from armed.associations import TOP, chance_in_top
from armed.data.study import is_probe
from armed.errors import DataError
from armed.plotting import style
from armed.plotting.performance import select

COLUMNS = 2  # small multiples beside one another: names of features are long
_LONGEST = 37  # characters of a name
_WIDTH = 8.4  # inches
_CHARACTER = 0.066  # inches of a name's character
_KINDS = {
    "predictive": (style.BLUE, "o", "truly predictive"),
    "other": ("#8a8a8a", "o", "not: correlated at most"),
    "probe": (style.VERMILLION, "D", "probe: knows the cluster alone"),
    "unknown": (style.BLUE, "o", "feature"),
}
_SPREAD = (0.05, 0.95)  # of the fits


def top_shares(importance: pd.DataFrame, top: int = TOP) -> pd.DataFrame:
    """Importance of each model's most important features, as a share of the model's total.

    Parameters
    ----------
    importance : pandas.DataFrame
        Rows of `results/importance.tsv` of one study and variant.
    top : int
        How many features of each model.

    Returns
    -------
    pandas.DataFrame
        model, feature, share, low, high, place: mean and the middle 90% over fits (seed x fold) of the share of a fit's
        total; place 0 is the most important. Fits that use no feature are left out.
    """
    totals = importance.groupby(["model", "seed", "fold"])["importance"].transform("sum")
    shares = importance.assign(share=importance["importance"] / totals.where(totals > 0)).dropna(subset="share")
    by = shares.groupby(["model", "feature"], sort=False)["share"]
    table = pd.DataFrame({"share": by.mean(), "low": by.quantile(_SPREAD[0]), "high": by.quantile(_SPREAD[1])})
    table = table.reset_index().sort_values(["model", "share"], ascending=[True, False], kind="stable")
    table["place"] = table.groupby("model").cumcount()
    return table[table["place"] < top].reset_index(drop=True)


@style.styled
def importance(
    table: pd.DataFrame, truth: pd.DataFrame, study: str, source: str, variant: str = "main", top: int = TOP
) -> Figure:
    """Draw the most important features of each model.

    Parameters
    ----------
    table : pandas.DataFrame
        `results/importance.tsv`.
    truth : pandas.DataFrame
        `StudyData.feature_truth` of the dataset of `variant`; may be empty.
    study, source, variant : str
    top : int

    Raises
    ------
    DataError
        If no model of the study has importances.
    """
    rows = select(table, "importance.tsv", study=study, variant=variant)
    shares = top_shares(rows, top)
    models = labels.ordered_models(shares["model"].unique())
    if not models:
        raise DataError(f"No model of {study} uses any feature: all importances are 0 or not defined.")
    predictive = dict(zip(truth["feature"], truth["predictive"] == 1, strict=True))
    shown = min(top, int(shares["place"].max()) + 1)
    figure, panels = style.small_multiples(len(models), COLUMNS, 0.44 + 0.172 * shown, width=_WIDTH)
    shares["name"] = [_short(f) for f in shares["feature"]]
    reach = 100 * shares["high"].max()
    for_names = _CHARACTER * shares["name"].str.len().max() / (_WIDTH / COLUMNS - 0.15)  # share of a panel's width
    kinds: set[str] = set()
    for ax, model in zip(panels, models, strict=True):
        own = shares[shares["model"] == model]
        kinds |= _draw_top(ax, own, predictive)
        ax.set_title(labels.model(model) + _found(own, predictive), loc="left")
        ax.set_xlim(-1.04 * reach * for_names / (1 - for_names), 1.04 * reach)
        ticks = [t for t in ax.get_xticks() if 0 <= t <= reach]
        ax.set_xticks(ticks, [f"{t:g}%" for t in ticks])
    handles = [
        Line2D([], [], color=colour, marker=marker, markerfacecolor=_face(kind), markersize=5, label=name)
        for kind, (colour, marker, name) in _KINDS.items()
        if kind in kinds
    ]
    if len(handles) > 1:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    n_fits = rows.groupby("model").apply(_fits, include_groups=False).max()
    style.add_title(
        figure,
        f"{labels.study(study)}: the {shown} most important features of each model",
        f"{labels.source(source)}. Share of the model's total importance (mean gradient of the fixed effects times s.d. of "
        f"x). Point: mean over {n_fits} fits; line: the middle 90% of the fits.",
    )
    return figure


@style.styled
def probe_ranks(
    table: pd.DataFrame, shares: pd.DataFrame, study: str, source: str, confidence: float = 0.95, top: int = TOP
) -> Figure:
    """Draw the rank of each model's best probe, and how often a probe is among the most important features.

    Parameters
    ----------
    table : pandas.DataFrame
        `results/importance.tsv`, whose ranks are within a fit, 1 the most important.
    shares : pandas.DataFrame
        `results/deconfounding.tsv` of `armed.associations.probe_in_top_ten`; fits are counted (unit ``fold``).
    study, source : str
    confidence : float
        Of the intervals in `shares`.
    top : int

    Raises
    ------
    DataError
        If a table has no row of the study, or no feature is a probe.
    """
    rows = select(table, "importance.tsv", study=study, variant=list(labels.data_variants(study)))
    shares = select(shares, "deconfounding.tsv", study=study, unit="fold")
    features = rows["feature"].unique()
    n_probes = sum(is_probe(f) for f in features)
    if not n_probes:
        raise DataError(f"importance.tsv has no probe in {study}; its features are {', '.join(features)}.")
    best = rows[rows["feature"].map(is_probe).astype(bool) & (rows["rank"] > 0)]
    best = best.groupby(["model", "variant", "seed", "fold"])["rank"].min().reset_index()
    models = labels.ordered_models(best["model"].unique())
    variants = [v for v in labels.data_variants(study) if v in set(best["variant"])]
    figure = style.new_figure(0.42 * len(models) + 2.1)
    ranks, won = figure.subplots(1, 2, sharey=True)
    for i, model in enumerate(models):
        for j, variant in enumerate(variants):
            y, hollow = i + 0.3 * (j - (len(variants) - 1) / 2), j > 0
            of_model = (best["model"] == model) & (best["variant"] == variant)
            _draw_ranks(ranks, best.loc[of_model, "rank"].to_numpy(), y, style.model_colour(model), hollow)
            share = shares[(shares["model"] == model) & (shares["variant"] == variant)]
            _draw_share(won, share, y, style.model_colour(model), hollow)
    by_chance = [chance_in_top(len(features), n_probes, k) for k in range(1, len(features) + 1)]
    ranks.axvline(1 + np.searchsorted(by_chance, 0.5), color="#777777", linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    won.axvline(100 * by_chance[top - 1], color="#777777", linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    style.name_rows(figure, [labels.model(m) for m in models])
    ranks.set(xlim=(0, len(features) - n_probes + 2), xlabel=f"Rank of the best probe among {len(features)}")
    ranks.set_title("Rank 1: most important", loc="left")
    won.set(xlim=(-3, 103), xlabel=f"Fits with a probe in the top {top} (%)")
    won.set_title("Lower is better", loc="left")
    _legend(figure, variants)
    style.add_title(
        figure,
        f"{labels.study(study)}: do models take site probes for features?",
        f"{labels.source(source)}. {n_probes} probes among {len(features)} features. Left: median, middle 50% and 90% of "
        f"the fits. Right: share and {confidence:.0%} Wilson interval by number of seeds.",
    )
    return figure


def _fits(rows: pd.DataFrame) -> int:
    return len(rows[["seed", "fold"]].drop_duplicates())


def _draw_top(ax: Axes, own: pd.DataFrame, predictive: dict[str, bool]) -> set[str]:
    """One model's features, the most important on top; returns the kinds drawn."""
    kinds = set()
    for row in own.itertuples():
        kind = _kind(row.feature, predictive)
        colour, marker, _ = _KINDS[kind]
        kinds.add(kind)
        ax.hlines(row.place, 100 * row.low, 100 * row.high, color=colour, linewidth=1.4, alpha=0.6)
        ax.plot(100 * row.share, row.place, marker, color=colour, markerfacecolor=_face(kind), markersize=4.5, zorder=3)
        ax.annotate(
            row.name, (0, row.place), (-4, 0), textcoords="offset points", ha="right", va="center", fontsize=8.5
        )
    ax.set_ylim(own["place"].max() + 0.6, -0.6)
    ax.set_yticks([])
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.axvline(0, color=style.BLACK, linewidth=0.8)
    ax.tick_params(axis="x", length=0)
    ax.grid(axis="x")
    return kinds


def _face(kind: str) -> str:
    return "white" if kind == "other" else _KINDS[kind][0]


def _kind(feature: str, predictive: dict[str, bool]) -> str:
    if is_probe(feature):
        return "probe"
    if feature not in predictive:
        return "unknown"
    return "predictive" if predictive[feature] else "other"


def _found(own: pd.DataFrame, predictive: dict[str, bool]) -> str:
    """How many of the features drawn have information of their own, where that is known."""
    if not any(f in predictive for f in own["feature"]):
        return ""
    return f": {sum(predictive.get(f, False) for f in own['feature'])} of {len(own)} truly predictive"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _draw_ranks(ax: Axes, values: np.ndarray, y: float, colour: str, hollow: bool) -> None:
    if not len(values):
        return
    low, first, median, third, high = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
    ax.hlines(y, low, high, color=colour, linewidth=1)
    ax.hlines(y, first, third, color=colour, linewidth=3.5, alpha=0.55)
    ax.plot(median, y, "o", color=colour, markerfacecolor="white" if hollow else colour, markersize=5, zorder=3)


def _draw_share(ax: Axes, share: pd.DataFrame, y: float, colour: str, hollow: bool) -> None:
    for row in share.itertuples():
        ax.hlines(y, 100 * row.ci_low, 100 * row.ci_high, color=colour, linewidth=1.6)
        face = "white" if hollow else colour
        ax.plot(100 * row.share, y, "o", color=colour, markerfacecolor=face, markersize=5.5, zorder=3)


def _legend(figure: Figure, variants: list[str]) -> None:
    handles = []
    for j, variant in enumerate(variants):
        name = "one dataset" if variant == "main" else labels.variant_name(variant)
        face = "white" if j else "#444444"
        handles.append(Line2D([], [], color="#444444", marker="o", markerfacecolor=face, label=name))
    handles.append(Line2D([], [], color="#777777", linewidth=1, linestyle=(0, (4, 2)), label="ranks at random"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
