"""The benchmark's two figures: speed-up over the plain loop, and cost against the size of the problem."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from armed import labels
from armed.errors import DataError
from armed.plotting import style
from benchmarks.cases import METHODS, STACKS

ENGINES = {
    "plain": "plain PyTorch loop",
    "sklearn": "ArmedClassifier, one at a time",
    "mlp_classifier": "scikit-learn's MLPClassifier",
    "eager": "stack, eager",
    "compiled": "stack, compiled",
}
COLOURS = {
    "plain": style.BLACK,
    "sklearn": style.PURPLE,
    "mlp_classifier": style.GREY,
    "eager": style.SKY,
    "compiled": style.VERMILLION,
}
MARKERS = {"plain": "s", "sklearn": "D", "mlp_classifier": "^", "eager": "o", "compiled": "o"}
TOLD = 1000  # the stack whose speed-up is written as a number
FACTORS = {
    "samples": "samples",
    "clusters": "clusters (of 10 000 samples)",
    "features": "features",
    "units": "units in each hidden layer",
    "replicas": "models in the stack",
}


@style.styled
def speed(comparison: pd.DataFrame) -> Figure:
    """Draw how many times less CPU a model takes than in the plain loop, by stack size, a panel for each method.

    Parameters
    ----------
    comparison : pandas.DataFrame
        Table `benchmark`.

    Raises
    ------
    DataError
        If there is nothing to draw.
    """
    methods = [m for m in METHODS if m in set(comparison["method"])]
    if not methods:
        raise DataError("The table benchmark has no rows, so that there is no speed to draw; run `make benchmark`.")
    figure = style.new_figure(3.6)
    axes = figure.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    for ax, method in zip(axes, methods, strict=True):
        rows = comparison[comparison["method"] == method]
        _log_axes(ax, rows["replicas"])
        ax.axhline(1, color=style.BLACK, linewidth=1, linestyle=":")
        for engine, own in rows.groupby("engine"):
            _line(ax, engine, own["replicas"], own["ratio"])
            if engine in STACKS:
                told = own[own["replicas"] == TOLD] if TOLD in set(own["replicas"]) else own
                _tell(ax, told.iloc[-1], above=engine == "compiled")
        ax.set_title(labels.model(method), loc="left")
        ax.set_xlabel("models trained together")
    axes[0].set_ylabel("times less CPU per model")
    axes[0].margins(y=0.12)
    _legend(figure, [e for e in ENGINES if e in set(comparison["engine"])])
    style.add_title(
        figure,
        "Speed of replica stacks",
        "CPU seconds per trained model of a plain PyTorch loop (dotted line) over those of each way of training.\n"
        "Authors' spirals: 9000 training samples, batches of 32, 10 epochs; one thread. Medians of one run.",
    )
    return figure


@style.styled
def cost(scaling: pd.DataFrame) -> Figure:
    """Draw CPU seconds per model against each factor, with a line of slope 1, and memory against the stack's size.

    Parameters
    ----------
    scaling : pandas.DataFrame
        Table `benchmark_scaling`.

    Raises
    ------
    DataError
        If no factor was measured at two levels.
    """
    rows = scaling[scaling["method"] == "armed"]
    factors = [f for f in FACTORS if rows.loc[rows["factor"] == f, "level"].nunique() > 1]
    if not factors:
        raise DataError("The table benchmark_scaling has no factor at two levels for armed; run `make benchmark`.")
    n_rows = -(-(len(factors) + 1) // 3)
    figure = style.new_figure(2.35 * n_rows + 1.3)
    axes = figure.subplots(n_rows, 3, squeeze=False).flat
    for ax, factor in zip(axes, factors, strict=False):
        _cost(ax, rows[rows["factor"] == factor].sort_values("level"), factor)
    _memory(axes[len(factors)], rows[rows["factor"] == "replicas"].sort_values("level"))
    for spare in axes[len(factors) + 1 :]:
        spare.set_axis_off()
    _legend(figure, [e for e in ENGINES if e in set(rows["engine"])])
    style.add_title(
        figure,
        "Cost of training ARMED",
        "CPU seconds for one model's whole training, median and range; all else as in the authors' spirals.\n"
        "Grey: growth in proportion (slope 1). Stacks of 256 models, except where their size is varied.",
    )
    return figure


def _cost(ax: Axes, rows: pd.DataFrame, factor: str) -> None:
    """CPU seconds against one factor. The guides start at the first level: what stays below grows less than in proportion."""
    _log_axes(ax, rows["level"])
    for engine, own in rows.groupby("engine"):
        _line(ax, engine, own["level"], own["cpu_s_per_model"], own["cpu_low"], own["cpu_high"])
    ax.autoscale_view()
    bottom, top = ax.get_ylim()
    if factor != "replicas":
        for _, own in rows.groupby("engine"):
            x = own["level"].to_numpy(float)
            ax.plot(
                x, own["cpu_s_per_model"].iloc[0] * x / x[0], color="#b5b5b5", linewidth=1, linestyle="--", zorder=1
            )
    ax.set_ylim(bottom, top)
    # A range of less than a decade or two has too few powers of ten to read from.
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if top < 50 * bottom else (1,)))
    ax.set_xlabel(FACTORS[factor])
    ax.set_ylabel("CPU s per model")


def _memory(ax: Axes, rows: pd.DataFrame) -> None:
    _log_axes(ax, rows["level"])
    ax.set_yscale("linear")
    for engine, own in rows.groupby("engine"):
        _line(ax, engine, own["level"], own["peak_mb"])
    ax.set_ylim(bottom=0)
    ax.set_xlabel(FACTORS["replicas"])
    ax.set_ylabel("peak memory, MB")


def _line(ax: Axes, engine: str, x: pd.Series, y: pd.Series, low=None, high=None) -> None:
    spread = None if low is None else np.array([y - low, high - y])
    mark = {"color": COLOURS[engine], "marker": MARKERS[engine], "markersize": 4.5}
    ax.errorbar(x, y, spread, linewidth=1.6, elinewidth=1.2, zorder=3, **mark)


def _tell(ax: Axes, row: pd.Series, above: bool) -> None:
    """Write the speed-up of the largest stack beside its mark."""
    offset = (0, 6) if above else (0, -13)
    ax.annotate(
        f"{row['ratio']:.0f}x",
        (row["replicas"], row["ratio"]),
        offset,
        textcoords="offset points",
        ha="center",
        color=COLOURS[row["engine"]],
    )


def _log_axes(ax: Axes, levels: pd.Series) -> None:
    levels = sorted(set(levels))
    powers = [v for v in levels if v in (1, 10, 100, 1_000, 10_000, 100_000)]
    ax.set_xscale("log")
    ax.set_yscale("log")
    told = powers if len(powers) > 2 else levels
    ax.set_xticks(told, [_short(v) for v in told])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.margins(x=0.12)
    ax.grid(axis="y")


def _short(level: int) -> str:
    return f"{level // 1000}k" if level >= 1000 and level % 1000 == 0 else str(level)


def _legend(figure: Figure, engines: list[str]) -> None:
    handles = [
        figure.axes[0].plot([], [], color=COLOURS[e], marker=MARKERS[e], markersize=4.5, linewidth=1.6)[0]
        for e in engines
    ]
    figure.legend(handles, [ENGINES[e] for e in engines], loc="outside lower center", ncols=3)
