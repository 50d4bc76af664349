"""Where samples lie in a latent space: its first two principal components, coloured by cluster and by group, for each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from armed import labels
from armed.errors import DataError
from armed.latents import separation, standardised
from armed.plotting import style

POINTS = 600  # of a panel, at most
LEGEND = 12  # names in one column of a legend
_WIDTH, _HEIGHT = 8.4, 2.0  # inches: of the figure, and of a row of panels
_AREA, _SIZES = 3600, (8, 24)  # square points: of all marks of a panel, and of one
_MARKERS = ("o", "^")  # of labels 0 and 1
_COLOURS = (style.BLUE, style.ORANGE, style.GREEN, style.VERMILLION, style.SKY, style.PURPLE, style.BLACK, style.BROWN)
_MANY = "turbo"  # where there are more


@style.styled
def maps(
    kept: Mapping[str, Mapping[str, np.ndarray]],
    study: str,
    source: str,
    *,
    partition: str = "seen",
    points: int = POINTS,
) -> Figure:
    """Draw the first two principal components of each model's latents, once coloured by cluster and once by group.

    Parameters
    ----------
    kept : mapping of str to mapping
        By model, what `armed.jobs.latents` keeps: latent (n, L), seed, fold, partition, cluster, group, label (n,). The first
        seed and fold are drawn.
    study, source, partition : str
    points : int
        At most, in a panel: every k-th sample.

    Returns
    -------
    Figure
        A column for each model, with the Davies-Bouldin index by cluster of what is drawn. UMAP, as in the paper, is not used:
        distances between its islands mean nothing, its maps differ between machines, and it needs a compiler (numba).

    Raises
    ------
    DataError
        No model has latents.
    """
    found = {m: _first_fit(kept[m], partition) for m in labels.ordered_models(kept)}
    found = {m: own for m, own in found.items() if len(own["latent"])}
    if not found:
        raise DataError(f"No model of {study} has latents; run the job that makes them.")
    figure = style.new_figure(2 * _HEIGHT + 1.25, _WIDTH)
    grid = figure.subplots(2, len(found), squeeze=False, sharex="col", sharey="col")
    colours = {
        kind: _colours(sorted({str(v) for own in found.values() for v in own[kind]})) for kind in ("cluster", "group")
    }
    for column, (model, own) in enumerate(found.items()):
        scores, shares = components(own["latent"])
        db = separation(own["latent"], own["cluster"])["davies_bouldin"].value
        drawn = slice(None, None, -(-len(scores) // points))
        for row, kind in enumerate(("cluster", "group")):
            _scatter(grid[row, column], scores[drawn], own[kind][drawn], own["label"][drawn], colours[kind])
        grid[0, column].set_title(f"{style.wrapped(labels.model(model), 16)}\nDB {_number(db)}", loc="left", fontsize=9)
        grid[1, column].set_xlabel(f"PC1 ({shares[0]:.0%})")
        for ax in grid[:, column]:
            ax.set_ylabel(f"PC2 ({shares[1]:.0%})")
    for row, kind in enumerate(("cluster", "group")):
        _legend(grid[row, -1], labels.noun(kind, study), colours[kind])
    _classes(figure, study)
    cluster, group = (labels.noun(kind, study) for kind in ("cluster", "group"))
    style.add_title(
        figure,
        f"{labels.study(study)}: latent vectors by {cluster} and by {group}",
        f"{labels.source(source)}.\nFirst two principal components of the standardised latents ({labels.partition(partition)}, "
        f"test frames of one fit).\nDB: Davies-Bouldin index by {cluster}; the higher, the less they stand apart.",
    )
    return figure


def components(latent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of standardised latents.

    Parameters
    ----------
    latent : array, (n, L)

    Returns
    -------
    scores : array, (n, 2)
        0 in components that are not there. Signs are those that make the largest loading of a component positive.
    shares : array, (2,)
        Of the variance of all dimensions.
    """
    Z = standardised(latent)
    scores, shares = np.zeros((len(Z), 2)), np.zeros(2)
    if Z.shape[1]:
        U, s, V = np.linalg.svd(Z, full_matrices=False)
        n = min(2, len(s))
        signs = np.sign(V[np.arange(n), np.abs(V[:n]).argmax(1)])
        scores[:, :n] = U[:, :n] * s[:n] * signs
        shares[:n] = s[:n] ** 2 / (s**2).sum()
    return scores, shares


def _first_fit(kept: Mapping[str, np.ndarray], partition: str) -> dict[str, np.ndarray]:
    names = ("latent", "cluster", "group", "label")
    rows = (kept["partition"] == partition) & np.isfinite(kept["latent"]).all(1)
    if rows.any():
        seed, fold = min(zip(kept["seed"][rows].tolist(), kept["fold"][rows].tolist(), strict=True))
        rows &= (kept["seed"] == seed) & (kept["fold"] == fold)
    return {name: kept[name][rows] for name in names}


def _colours(names: Sequence[str]) -> dict[str, str]:
    if len(names) <= len(_COLOURS):
        return dict(zip(names, _COLOURS, strict=False))
    shades = matplotlib.colormaps[_MANY](np.linspace(0.03, 0.97, len(names)))
    return {name: to_hex(shade) for name, shade in zip(names, shades, strict=True)}


def _scatter(ax: Axes, scores: np.ndarray, names: np.ndarray, label: np.ndarray, colours: Mapping[str, str]) -> None:
    size = np.clip(_AREA / max(len(scores), 1), *_SIZES)
    shade = np.array([colours[str(name)] for name in names])
    for k, marker in enumerate(_MARKERS):
        of_class = label == k
        ax.scatter(
            *scores[of_class].T,
            c=shade[of_class],
            marker=marker,
            s=size,
            alpha=0.75,
            linewidths=0,
            rasterized=True,
        )
    ax.set(xticks=[], yticks=[])
    ax.margins(0.06)


def _legend(ax: Axes, title: str, colours: Mapping[str, str]) -> None:
    handles = [
        Line2D([], [], color=shade, marker="s", linestyle="none", markersize=5, label=name)
        for name, shade in colours.items()
    ]
    ax.legend(
        handles=handles,
        title=title[:1].upper() + title[1:],
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        fontsize=8.5,
        title_fontsize=9,
        ncols=-(-len(handles) // LEGEND),
        handletextpad=0.1,
        columnspacing=0.6,
        alignment="left",
    )


def _classes(figure: Figure, study: str) -> None:
    handles = [
        Line2D([], [], color="#444444", marker=marker, linestyle="none", markersize=5, label=name)
        for marker, name in zip(_MARKERS, labels.class_names(study, in_full=True), strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=2)


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "–"
