"""The figure of training on images: images per second of each network, plain loop and library."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from armed import labels
from armed.plotting import style
from benchmarks.image_cases import ENGINES, METHODS, SIZES

NAMES = {
    ("plain", "float32"): "plain PyTorch loop, float32",
    ("library", "float32"): "this library, float32",
    ("library", "mixed"): "this library, bfloat16 where it can",
}
COLOURS = dict(zip(ENGINES, (style.BLACK, style.SKY, style.VERMILLION), strict=True))
TITLES = {
    "ad_diagnosis": "Speed of training on images: diagnosis of Alzheimer's dementia",
    "live_cell": "Speed of training on images: autoencoder-classifiers of live cells",
}
WIDTHS = {"default": "quarter width", "paper": "full width (the paper's)", "tiny": "tiny, to test"}
DEVICES = {"cpu": "CPU", "cuda": "GPU"}


@style.styled
def speed(study: str, table: pd.DataFrame) -> Figure:
    """Draw images per second in training, a panel for each size and device; beside the marks, times the plain loop.

    Parameters
    ----------
    study : str
        One of `benchmarks.image_cases.STUDIES`.
    table : pandas.DataFrame
        Its table `benchmark_images`.
    """
    panels = list(table[["size", "device"]].drop_duplicates().itertuples(index=False, name=None))
    methods = [m for m in METHODS[study] if m in set(table["method"])]
    figure = style.new_figure(1.5 + 0.36 * len(methods) * -(-len(panels) // 2) + 0.6)
    columns = min(2, len(panels))
    axes = figure.subplots(-(-len(panels) // columns), columns, sharey=True, squeeze=False).flat
    for ax, (size, device) in zip(axes, panels, strict=False):
        _panel(ax, table[(table["size"] == size) & (table["device"] == device)], methods)
        threads = table.loc[table["device"] == device, "threads"].iloc[0]
        where = f"{threads} threads" if device == "cpu" else "one"
        pixels = SIZES[study][size].pixels
        ax.set_title(f"{pixels} px, {WIDTHS[size]}\n{DEVICES[device]}, {where}", loc="left")
    for ax in list(axes)[len(panels) :]:
        ax.set_axis_off()
    handles = [figure.axes[0].plot([], [], "o", color=COLOURS[e], markersize=5)[0] for e in ENGINES]
    figure.legend(handles, [NAMES[e] for e in ENGINES], loc="outside lower center", ncols=3)
    style.add_title(
        figure,
        TITLES[study],
        "Images per second in training steps; median and range of repeats taken in turn.\n"
        "Numbers: times as fast as the plain loop of the same network in the same run.",
    )
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, methods: list[str]) -> None:
    place = {m: i for i, m in enumerate(methods)}
    for offset, engine in zip((-0.24, 0.0, 0.24), ENGINES, strict=True):
        own = rows[(rows["engine"] == engine[0]) & (rows["precision"] == engine[1])]
        y = own["method"].map(place).to_numpy(float) + offset
        x = own["images_per_s"].to_numpy()
        spread = np.array([x - own["images_low"], own["images_high"] - x])
        ax.errorbar(x, y, xerr=spread, fmt="o", color=COLOURS[engine], markersize=4.5, elinewidth=1.2)
        if engine[0] != "plain":
            for at, level, ratio in zip(own["images_high"], y, own["ratio"], strict=True):
                ax.annotate(f"{ratio:.1f}x", (at, level), (5, 0), textcoords="offset points", va="center", fontsize=7)
    ax.set_yticks(range(len(methods)), [_name(m) for m in methods])
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.set_xlim(0, 1.18 * rows["images_high"].max())
    ax.set_xlabel("images per second")
    ax.grid(axis="x")


def _name(method: str) -> str:
    return "Z-predictor" if method == "cluster_inference" else labels.model(method)
