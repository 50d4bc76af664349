"""What an autoencoder makes of images: the fixed and the mixed effects' reconstruction, and one image under every cluster."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from armed import labels
from armed.errors import DataError
from armed.plotting import style
from armed.plotting.panels import ABOVE, GAP, WIDTH, Page, Scale, bar, head, scale_of

CELLS = 8  # columns of reconstructions
CLUSTERS = 8  # columns of one cell under the effects of clusters
CELLS_UNDER = 3  # rows of these
DIFFERENCE = "Mixed − fixed"
_LEFT = 1.0  # inches: of names of rows
_LEFT_UNDER, _BETWEEN_UNDER = 0.92, 0.24
_LARGEST = 1.05  # inches: side of a panel
_HEAD, _HEAD_UNDER = 0.52, 0.24  # inches: names of columns
_BETWEEN = 0.1  # inches, between rows of another kind
_GREYS = (0.2, 99.8)  # percentiles of the originals, where black and white are
_OWN = style.ORANGE
_BESIDE = {"fontsize": 8.5, "ha": "left", "va": "center"}
_LETTERS = 12  # of a line above a panel
_PER_BYTE = 1 / 255
_PIXELS = style.PNG_DPI * _LARGEST  # of a panel's side


@style.styled
def reconstructions(
    kept: Mapping[str, Mapping[str, np.ndarray]],
    model: str,
    study: str,
    source: str,
    *,
    reference: str = "conventional",
    cells: int = CELLS,
) -> Figure:
    """Draw cells, and what is reconstructed of them by a reference, by the fixed effects and by the mixed effects.

    Parameters
    ----------
    kept : mapping of str to mapping
        By model, what `armed.jobs.latents` keeps: shown_image, shown_fixed, shown_mixed (m, H, W) bytes, shown_id,
        shown_cluster, shown_group, shown_label (m,).
    model : str
        Has random effects.
    study, source : str
    reference : str
        A model without; its row is left out where it is not in `kept`, or was shown other cells.
    cells : int
        How many, at most; the first ones.

    Returns
    -------
    Figure
        A column for each cell. All grey panels have one scale, and so have all differences.

    Raises
    ------
    DataError
        No cells were kept.
    """
    own = kept[model]
    n = min(cells, _count(own, study))
    image, fixed, mixed = (_images(own, name)[:n] for name in ("image", "fixed", "mixed"))
    rows = [("Original", image), (_row(model, "fixed effects"), fixed), (_row(model, "mixed effects"), mixed)]
    if reference in kept and np.array_equal(kept[reference]["shown_id"], own["shown_id"]):
        rows.insert(1, (_row(reference), _images(kept[reference], "mixed")[:n]))
    greys, signed = _greys(image), scale_of(mixed - fixed, signed=True)
    side = min(_LARGEST, (WIDTH - _LEFT) / n - GAP)
    step = side + GAP
    page = Page.of(_HEAD + (len(rows) + 1) * step + _BETWEEN, max(WIDTH, _LEFT + n * step))
    for row, (name, images) in enumerate(rows):
        panels = _row_of(page, _HEAD + row * step, side, name, images, greys)
        if row == 0:
            head(panels, [_who(own, i, study) for i in range(n)])
    _row_of(page, _HEAD + len(rows) * step + _BETWEEN, side, DIFFERENCE, mixed - fixed, signed)
    _bars(page, _LEFT, greys, signed)
    style.add_title(
        page.figure,
        f"{labels.study(study)}: cells and their reconstructions",
        f"{labels.source(source)}.\nTest frames of seen {labels.noun('cluster', study)}s, one of each "
        f"{labels.noun('group', study)}, and what is drawn from their latent vectors.",
    )
    return page.figure


@style.styled
def under_clusters(
    kept: Mapping[str, np.ndarray],
    model: str,
    study: str,
    source: str,
    *,
    cells: int = CELLS_UNDER,
    clusters: int = CLUSTERS,
) -> Figure:
    """Draw the same cells under the random effects of several clusters, and what these change.

    Parameters
    ----------
    kept : mapping of str to array
        As for `reconstructions`, of one model, and shown_under (m, q, H, W) bytes and levels (q,).
    model, study, source : str
    cells : int
        How many, at most: of each label in turn.
    clusters : int
        How many, at most: those of the cells first.

    Raises
    ------
    DataError
        No cells were kept, or none under other clusters.
    """
    _count(kept, study)
    if "shown_under" not in kept:
        raise DataError(f"No images of {study} under the effects of clusters were kept for {model}.")
    shown = in_turn(kept["shown_label"], cells)
    columns = chosen_clusters(kept["levels"], kept["shown_cluster"][shown], clusters)
    image, fixed = (_images(kept, name)[shown] for name in ("image", "fixed"))
    mixed = _images(kept, "under")[shown][:, columns]
    greys, signed = _greys(_images(kept, "image")), scale_of(mixed - fixed[:, None], signed=True)
    side = min(_LARGEST, (WIDTH - _LEFT_UNDER - _BETWEEN_UNDER) / (len(columns) + 1) - GAP)
    step = side + GAP
    page = Page.of(_HEAD_UNDER + len(shown) * (2 * step + _BETWEEN))
    for row, i in enumerate(shown.tolist()):
        top = _HEAD_UNDER + row * (2 * step + _BETWEEN)
        for k, (name, grey) in enumerate((("original", image), ("fixed", fixed))):
            ax = page.panel(_LEFT_UNDER, top + k * step, side)
            _show(ax, grey[row], greys)
            ax.set_ylabel(name, fontsize=8.5, labelpad=2)
        page.figure.text(0.06 / page.width, 1 - (ABOVE + top + side) / page.height, _who(kept, i, study), **_BESIDE)
        _under(page, kept, i, top, side, (mixed[row], mixed[row] - fixed[row]), columns, (greys, signed))
        if row == 0:
            head(page.figure.axes[-2 * len(columns) :: 2], [_short(kept["levels"][c]) for c in columns])
    _bars(page, _LEFT_UNDER, greys, signed)
    own = Line2D([], [], color=_OWN, linewidth=2.2, label=f"the cell's own {labels.noun('cluster', study)}")
    page.figure.legend(handles=[own], loc="outside lower right")
    style.add_title(
        page.figure,
        f"{labels.study(study)}: the same cells under the effects of other {labels.noun('cluster', study)}s",
        f"{labels.source(source)}.\n{labels.model(model)}: one latent vector, drawn under the random effects of "
        f"{_of(len(columns), len(kept['levels']))} seen {labels.noun('cluster', study)}s, and what these change.",
    )
    return page.figure


def in_turn(label: np.ndarray, n: int) -> np.ndarray:
    """Positions of at most `n` samples, of each label in turn, the first ones of each; in order."""
    turn = np.zeros(len(label), dtype=int)
    for value in np.unique(label):
        of_label = np.flatnonzero(label == value)
        turn[of_label] = np.arange(len(of_label))
    return np.sort(np.lexsort((np.arange(len(label)), turn))[:n])


def chosen_clusters(levels: Sequence[str], wanted: Sequence[str], n: int) -> list[int]:
    """Positions of at most `n` clusters in their order: those wanted first, the others as evenly spaced as can be."""
    names = [str(level) for level in levels]
    first = [i for i, name in enumerate(names) if name in set(map(str, wanted))][:n]
    others = [i for i in range(len(names)) if i not in first]
    left = min(n - len(first), len(others))
    evenly = np.unique(np.linspace(0, len(others) - 1, left).round().astype(int)) if left else []
    return sorted([*first, *(others[i] for i in evenly)])


def _under(
    page: Page, kept: Mapping, i: int, top: float, side: float, images: tuple, columns: list, scales: tuple
) -> None:
    """Panels of one cell: mixed above the difference, a column for each cluster, its own one framed."""
    for j, c in enumerate(columns):
        left = _LEFT_UNDER + side + _BETWEEN_UNDER + j * (side + GAP)
        for k, name in enumerate(("mixed", "difference")):
            ax = page.panel(left, top + k * (side + GAP), side)
            _show(ax, images[k][j], scales[k])
            if j == 0:
                ax.set_ylabel(name, fontsize=8.5, labelpad=2)
            if k == 0 and kept["levels"][c] == kept["shown_cluster"][i]:
                ax.spines[:].set(visible=True, color=_OWN, linewidth=2.2)


def _row_of(page: Page, top: float, side: float, name: str, images: np.ndarray, scale: Scale) -> list[Axes]:
    panels = [page.panel(_LEFT + j * (side + GAP), top, side) for j in range(len(images))]
    for ax, shown in zip(panels, images, strict=True):
        _show(ax, shown, scale)
    panels[0].set_ylabel(name, fontsize=8.5, rotation=0, ha="right", va="center", labelpad=4)
    return panels


def _show(ax: Axes, image: np.ndarray, scale: Scale) -> None:
    # Enlarged smoothly, as a microscope's software does, which also takes half the bytes; reduced by averaging.
    how = "bicubic" if len(image) < _PIXELS else "auto"
    ax.imshow(image, cmap=scale.colours, norm=scale.norm, interpolation=how, aspect="auto")


def _images(kept: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Shown images, 0 to 1."""
    return kept[f"shown_{name}"].astype(np.float64) * _PER_BYTE


def _count(kept: Mapping[str, np.ndarray], study: str) -> int:
    if not len(kept["shown_image"]):
        raise DataError(f"No cells of {study} were kept to be shown; run the job that makes latents with more of them.")
    return len(kept["shown_image"])


def _greys(images: np.ndarray) -> Scale:
    low, high = np.percentile(images, _GREYS)
    return Scale(matplotlib.colormaps["gray"], Normalize(low, max(high, low + _PER_BYTE)))


def _bars(page: Page, left: float, greys: Scale, signed: Scale) -> None:
    bar(page, left, 2.7, greys, "Images: brightness, 0 to 1")
    bar(page, left + 3.2, 2.7, signed, DIFFERENCE)


def _of(n: int, all_: int) -> str:
    return f"{n} of the {all_}" if n < all_ else f"all {n}"


def _row(model: str, output: str = "") -> str:
    name = textwrap.fill(labels.model(model), _LETTERS + 2, break_long_words=False)
    return f"{name}:\n{output}" if output else name


def _who(kept: Mapping[str, np.ndarray], i: int, study: str) -> str:
    """Group, label and cluster of a shown cell."""
    named = (kept["shown_group"][i], labels.class_names(study)[int(kept["shown_label"][i])], kept["shown_cluster"][i])
    return "\n".join(_short(name) for name in named)


def _short(name: str) -> str:
    return textwrap.shorten(str(name), _LETTERS, placeholder="…") if " " in str(name) else _cut(str(name))


def _cut(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
