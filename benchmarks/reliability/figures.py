"""Figures of the page on reliability: moments of kills, outcomes of faults and attacks."""

from __future__ import annotations

from pathlib import PurePath

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from armed.plotting import style

MARKERS = {"SIGKILL": "x", "SIGTERM": "v", "SIGINT": "s"}
WHAT = {"job": "a job", "controller": "Snakemake", "all": "Snakemake and its jobs"}
GOOD = ("same results", "stopped with a sentence", "refused with a sentence", "shown as text", "harmless", "not tried")
COLOURS = dict(zip(GOOD, (style.GREEN, style.BLUE, style.BLUE, style.SKY, style.GREEN, style.GREY), strict=True))
BEYOND = style.VERMILLION  # any outcome that should not be


@style.styled
def kills(table: pd.DataFrame) -> Figure:
    """Draw when each kill came, by what was killed, with its signal and whether the run ended with the same results.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `benchmarks.reliability.kills`.
    """
    rules = sorted(set(table["rule"].fillna("").map(_rule)), key=lambda name: (name == "no job", name))
    figure = style.new_figure(1.5 + 0.27 * len(rules))
    panels = [what for what in WHAT if what in set(table["what"])]
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, what in zip(axes, panels, strict=True):
        rows = table[table["what"] == what]
        for row in rows.itertuples():
            colour = style.GREEN if row.identical else BEYOND
            place = rules.index(_rule("" if pd.isna(row.rule) else row.rule))
            ax.plot(row.after_s, place, MARKERS[row.signal], color=colour, markersize=5, markerfacecolor="none")
        ax.set_title(f"{WHAT[what]}: {len(rows)}", loc="left")
        ax.set_xlabel("seconds after the command")
        ax.set_xlim(left=0)
    style.name_rows(figure, rules)
    handles = [
        Line2D([], [], marker=m, color=style.BLACK, linestyle="", markerfacecolor="none") for m in MARKERS.values()
    ]
    figure.legend(handles, MARKERS, loc="outside lower center", ncols=len(MARKERS))
    same = int(table["identical"].sum())
    style.add_title(
        figure,
        f"{len(table)} kills at random moments: {same} ended with the same results",
        "What was killed, which jobs were at work, and when. Green: the same command afterwards ended with results that "
        "are byte for byte those of an undisturbed run; red: it did not.",
    )
    return figure


def _rule(rules: str) -> str:
    """What stands in a row of the figure."""
    names = list(dict.fromkeys(rules.split()))
    return "several" if len(names) > 1 else names[0] if names else "no job"


@style.styled
def faults(table: pd.DataFrame) -> Figure:
    """Draw the outcome of each fault.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `benchmarks.reliability.faults`.
    """
    names = [f"{row.fault}: {PurePath(row.where).name}" for row in table.itertuples()]
    title = (
        f"{len(table)} faults: {int(table['identical'].sum())} runs ended with the same results when the fault was gone"
    )
    return _outcomes(names, table["outcome"], title, "Each was made to happen in a small run; what came of it at once.")


@style.styled
def hostile(table: pd.DataFrame) -> Figure:
    """Draw the outcomes of attacks, a row for each place that reads what strangers send.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `benchmarks.reliability.hostile`.
    """
    counts = table.groupby(["where", "outcome"], sort=False).size().unstack(fill_value=0)
    figure = style.new_figure(1.6 + 0.27 * len(counts))
    ax = figure.subplots()
    left = pd.Series(0, counts.index)
    for outcome in sorted(counts, key=_place):
        ax.barh(
            range(len(counts)),
            counts[outcome],
            left=left,
            color=COLOURS.get(outcome, BEYOND),
            height=0.6,
            label=outcome,
        )
        left += counts[outcome]
    ax.set_xlabel("attacks tried")
    ax.xaxis.get_major_locator().set_params(integer=True)
    style.name_rows(figure, list(counts.index))
    _legend(figure, ax)
    title = f"{len(table)} attacks through what strangers send"
    style.add_title(figure, title, "By the place that reads it, and what came of it.")
    return figure


def _outcomes(names: list[str], outcomes: pd.Series, title: str, subtitle: str) -> Figure:
    """A row for each case, with a mark in the column of its outcome."""
    kinds = sorted(set(outcomes), key=_place)
    figure = style.new_figure(1.4 + 0.23 * len(names))
    ax = figure.subplots()
    for row, outcome in enumerate(outcomes):
        ax.plot(kinds.index(outcome), row, "o", color=COLOURS.get(outcome, BEYOND), markersize=7)
    ax.set_xticks(range(len(kinds)), [style.wrapped(kind, 14) for kind in kinds])
    ax.set_xlim(-0.5, len(kinds) - 0.5)
    ax.xaxis.tick_top()
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(axis="x", length=0)
    style.name_rows(figure, names)
    style.add_title(figure, title, subtitle)
    return figure


def _place(outcome: str) -> int:
    """Expected outcomes first, in their order."""
    return GOOD.index(outcome) if outcome in GOOD else len(GOOD)


def _legend(figure: Figure, ax: Axes) -> None:
    handles, names = ax.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
