"""The figure of scale: rows a CPU second and peak memory, against rows and against clusters."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from armed.plotting import style

# (what, model, stage): name, colour, marker.
LINES = {
    ("layers", "ids", "forward and backward"): ("random effects layers, by ids", style.SKY, "o"),
    ("layers", "dense Z", "forward and backward"): ("the same by a dense Z", style.GREY, "s"),
    ("stack", "conventional", "epoch"): ("training, conventional", style.BLACK, "o"),
    ("stack", "armed_no_adversary", "epoch"): ("training, ARMED without adversary", style.BLUE, "o"),
    ("stack", "armed", "epoch"): ("training, ARMED", style.VERMILLION, "o"),
    ("stack", "armed", "prediction"): ("prediction, ARMED", style.ORANGE, "^"),
}
LIMIT_GB = 8


@style.styled
def scale(table: pd.DataFrame) -> Figure:
    """Draw speed and memory against the size of the data.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `benchmarks.reliability.scale.measure`, with more than one size.
    """
    figure = style.new_figure(6.0)
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    most = table["clusters"].max()
    shared = table.loc[table["clusters"] != most, "rows"].mode()
    by = {"rows": table[table["clusters"] == most]}
    by["clusters"] = table[table["rows"] == shared.iloc[0]] if len(shared) else table.iloc[:0]
    for column, (factor, rows) in zip(axes.T, by.items(), strict=True):
        for (what, model, stage), look in LINES.items():
            own = rows[(rows["what"] == what) & (rows["model"] == model) & (rows["stage"] == stage)].sort_values(factor)
            _line(column[0], own[factor], own["rows_per_cpu_s"], *look[1:])
            if stage != "prediction":
                _line(column[1], own[factor], own["peak_mb"] / 1000, *look[1:])
        z = rows.drop_duplicates(factor).sort_values(factor)
        column[1].plot(z[factor], z["z_mb"] / 1000, color=style.GREY, linestyle=":", linewidth=1.2)
        column[1].axhline(LIMIT_GB, color=style.PURPLE, linestyle="--", linewidth=1.2)
        column[1].set_xlabel("rows" if factor == "rows" else "clusters")
        for ax in column:
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xticks(sorted(set(rows[factor])))
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
            ax.grid(axis="y")
    axes[0, 0].set_ylabel("rows a CPU second")
    axes[1, 0].set_ylabel("peak memory, GB")
    handles = [axes[0, 0].plot([], [], color=c, marker=m, markersize=4.5)[0] for _, c, m in LINES.values()]
    handles += [
        axes[0, 0].plot([], [], color=style.GREY, linestyle=":")[0],
        axes[0, 0].plot([], [], "--", color=style.PURPLE)[0],
    ]
    names = [name for name, _, _ in LINES.values()] + ["a dense Z alone", f"{LIMIT_GB} GB"]
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    style.add_title(
        figure,
        "Scale: up to a million rows and ten thousand clusters",
        f"Left: against rows, at {most:,} clusters; right: against clusters"
        + (f", at {shared.iloc[0]:,} rows." if len(shared) else ".")
        + "\nOne epoch in batches, two cores, each size in a process of its own.",
    )
    return figure


def _line(ax: Axes, x: pd.Series, y: pd.Series, colour: str, marker: str) -> None:
    ax.plot(x, y, color=colour, marker=marker, markersize=4.5, linewidth=1.6)
