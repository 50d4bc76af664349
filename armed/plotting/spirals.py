"""Figures of the simulated spirals: the data of each cluster, and what each model makes of the plane."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import expit

from armed import labels
from armed.data import spirals
from armed.data.study import StudyData
from armed.errors import DataError
from armed.plotting import style

COLUMNS = 5  # clusters beside one another
# Through white at probability 0.5, where a model does not know.
_PROBABILITY = LinearSegmentedColormap.from_list("class", [style.ORANGE, "#ffffff", style.BLUE])
_MODEL_LINE = "#a0004b"  # stands out from both classes' colours and from black


@style.styled
def data_per_cluster(
    data: StudyData, study: str, source: str, settings: Mapping, variant: str = "main", dataset: int | None = None
) -> Figure:
    """Draw the points of each seen cluster of one dataset, with the boundary of the ideal classifier.

    Parameters
    ----------
    data : StudyData
    study, source : str
    settings : mapping
        The study's ``data`` block of the config; ``degrees`` is used.
    variant : str
    dataset : int, optional
        Which simulated dataset; the first by default.

    Raises
    ------
    UnknownNameError
        If the data has no such variant.
    """
    seen = data.part("seen", variant)
    truth = cluster_truth(data, variant, dataset)
    dataset = int(truth["dataset"].iloc[0])
    seen = seen.take(seen.rows_of(dataset))
    n_rows = -(-len(truth) // COLUMNS)
    figure = style.new_figure(1.62 * n_rows + 1.1)
    grid = figure.subplots(n_rows, COLUMNS, squeeze=False).ravel()
    reach = 1.05 * np.abs(seen.X[:, :2]).max()
    for ax, row in zip(grid, truth.itertuples(), strict=False):
        chosen = seen.clusters == str(row.cluster)
        for label, colour in enumerate(style.CLASS_COLOURS):
            points = seen.X[chosen & (seen.y == label), :2]
            ax.plot(*points.T, "o", color=colour, markersize=1.7, markeredgewidth=0, alpha=0.6, rasterized=True)
        _true_boundary(ax, row.radius, settings, reach)
        balance = "" if truth["ratio"].nunique() <= 1 else f"\n{100 * row.ratio:.0f}% class 1"
        ax.set_title(f"radius {_signed(row.radius)}{balance}", loc="left", fontsize=9)
        _square(ax, reach)
    for ax in grid[len(truth) :]:
        ax.set_axis_off()
    handles = [
        Line2D([], [], color=colour, marker="o", linestyle="none", label=f"class {label}")
        for label, colour in enumerate(style.CLASS_COLOURS)
    ]
    figure.legend(handles=[*handles, _boundary_handle()], loc="outside lower center", ncols=3)
    style.add_title(
        figure,
        f"{labels.study(study)}: the data of each cluster",
        f"{labels.source(source)}, dataset {dataset}; seen clusters, ordered by radius. Features x1 and x2.",
    )
    return figure


@style.styled
def decision_boundaries(
    grids: Mapping[str, pd.DataFrame],
    data: StudyData,
    study: str,
    source: str,
    settings: Mapping,
    variant: str = "main",
) -> Figure:
    """Draw each model's probability of class 1 over the plane, for clusters from the smallest to the largest radius.

    Parameters
    ----------
    grids : mapping of str to pandas.DataFrame
        Per model the file `results/boundaries/{study}/{model}.parquet`: variant, cluster, x1, x2, fixed, mixed (logits
        on a regular grid; seed 0, fold 0).
    data : StudyData
    study, source : str
    settings : mapping
        The study's ``data`` block of the config; ``degrees`` is used.
    variant : str

    Raises
    ------
    DataError
        If no model has a grid of `variant`.
    """
    grids = {m: g[g["variant"] == variant] for m, g in grids.items()}
    models = labels.ordered_models(m for m, g in grids.items() if len(g))
    if not models:
        raise DataError(
            f"There is no grid of variant '{variant}' in boundaries/{study}; run the models' predictions first."
        )
    truth = cluster_truth(data, variant)
    truth = truth.iloc[np.unique(np.linspace(0, len(truth) - 1, COLUMNS).round().astype(int))]
    figure = style.new_figure(1.17 * len(models) + 1.35)
    axes = figure.subplots(len(models), len(truth), squeeze=False)
    for line, model in zip(axes, models, strict=True):
        for ax, row in zip(line, truth.itertuples(), strict=True):
            grid = grids[model]
            _plane(ax, grid[grid["cluster"].astype(str) == str(row.cluster)], row.radius, settings)
        line[0].set_ylabel(style.wrapped(labels.model(model)), rotation=0, ha="right", va="center", labelpad=6)
    for ax, row in zip(axes[0], truth.itertuples(), strict=True):
        ax.set_title(f"radius {_signed(row.radius)}")
    image = next(ax.images[0] for ax in axes.ravel() if ax.images)
    bar = figure.colorbar(image, ax=axes, location="bottom", fraction=0.04, aspect=45, pad=0.012)
    bar.set_label("Predicted probability of class 1")
    model_line = Line2D([], [], color=_MODEL_LINE, linewidth=1.2, linestyle=(0, (3, 1.5)), label="model's boundary")
    figure.legend(handles=[_boundary_handle(), model_line], loc="outside lower center", ncols=2)
    style.add_title(
        figure,
        f"{labels.study(study)}: decision boundaries",
        f"{labels.source(source)}. Mixed effects prediction for {len(truth)} seen clusters, from the smallest radius\n"
        "to the largest; first seed, first fold.",
    )
    return figure


def cluster_truth(data: StudyData, variant: str, dataset: int | None = None) -> pd.DataFrame:
    """Radius and class balance of the seen clusters of one dataset (the first by default), ordered by radius."""
    truth = data.truth[(data.truth["variant"] == variant) & (data.truth["part"] == "seen")]
    truth = truth[truth["dataset"] == (truth["dataset"].min() if dataset is None else dataset)]
    return truth.sort_values("radius", kind="stable").reset_index(drop=True)


def _plane(ax: Axes, grid: pd.DataFrame, radius: float, settings: Mapping) -> None:
    table = grid.pivot(index="x2", columns="x1", values="mixed")
    x1, x2 = table.columns.to_numpy(float), table.index.to_numpy(float)
    reach = max(np.abs(x1).max(), np.abs(x2).max())
    _square(ax, reach)
    if table.empty:
        return
    logits = table.to_numpy(float)
    extent = (x1.min(), x1.max(), x2.min(), x2.max())
    _true_boundary(ax, radius, settings, reach)
    ax.imshow(expit(logits), origin="lower", extent=extent, cmap=_PROBABILITY, vmin=0, vmax=1, aspect="equal")
    if logits.min() < 0 < logits.max():
        ax.contour(x1, x2, logits, levels=[0], colors=[_MODEL_LINE], linewidths=1.2, linestyles=[(0, (3, 1.5))])


def _true_boundary(ax: Axes, radius: float, settings: Mapping, reach: float) -> None:
    side, label = _bayes(float(radius), int(settings["degrees"]), float(reach))
    if label.min() < label.max():
        ax.contour(side, side, label, levels=[0.5], colors=[style.BLACK], linewidths=1.3)


@functools.lru_cache(maxsize=64)
def _bayes(radius: float, degrees: int, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (n,) and the ideal classifier's label (n, n) on a square: the same for every model's panel."""
    side = np.linspace(-reach, reach, 241)
    x1, x2 = np.meshgrid(side, side)
    points = np.column_stack([x1.ravel(), x2.ravel()])
    label = spirals.bayes_label(points, radius, degrees=degrees)
    return side, label.reshape(x1.shape).astype(float)


def _boundary_handle() -> Line2D:
    return Line2D([], [], color=style.BLACK, linewidth=1.3, label="true boundary")


def _square(ax: Axes, reach: float) -> None:
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=True, color="#bbbbbb")


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
