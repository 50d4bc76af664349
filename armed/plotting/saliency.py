"""Where networks look: Grad-CAM of the fixed and the mixed effects over the image, and its share in the true region."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from armed import labels
from armed.errors import DataError
from armed.plotting import style
from armed.plotting.panels import GAP, WIDTH, Page, Scale, bar, head, scale_of
from armed.plotting.performance import select

PANELS = ("seen", "unseen")
CLASS_NAMES = {"ad_diagnosis": ("CN", "AD")}
SITES = 6  # columns of maps under a site's effects
SUBJECTS = 2  # of each label
_LEFT, _BETWEEN, _BETWEEN_ROWS = 0.46, 0.26, 0.1  # inches, beside and between panels
_LEFT_OF_MODELS = 0.62  # inches: of names in three lines
_LARGEST = 0.95  # inches: side of a small panel
_SMALLEST, _LARGEST_OF_MODEL = 0.82, 1.4  # inches: side of a model's panel, below which names touch
_OPAQUE = 0.85  # of the strongest colour over the image
_OUTLINE = "#4DE3C1"  # of the true region: on grey, and on both colour maps
_OUTLINE_WIDTH = 0.7


def chosen_sites(sites: Sequence[str], scanner: Sequence[str], n: int) -> list[int]:
    """Positions of at most `n` sites, as evenly over scanner makers as can be, each maker's first by name; by maker."""
    of_maker: dict[str, list[int]] = {}
    for i in np.argsort(sites, kind="stable").tolist():
        of_maker.setdefault(maker(scanner[i]), []).append(i)
    places = [(turn, m, i) for m in sorted(of_maker) for turn, i in enumerate(of_maker[m])]
    return [i for _, i in sorted((m, i) for _, m, i in sorted(places)[:n])]


def maker(scanner: str) -> str:
    """Maker of a scanner, the first word of its name; of several scanners, joined by ``;``, each maker once."""
    first = [name.split()[0] for name in str(scanner).split(";") if name.strip()]
    return "/".join(dict.fromkeys(word if len(word) <= 3 else word.capitalize() for word in first))


@style.styled
def maps(
    kept: Mapping[str, np.ndarray],
    model: str,
    study: str,
    source: str,
    *,
    sites: int = SITES,
    subjects: int = SUBJECTS,
) -> Figure:
    """Draw the maps of a few subjects: of the fixed effects, of the mixed ones under several sites, and what these change.

    Parameters
    ----------
    kept : mapping of str to array
        What `armed.jobs.saliency` keeps of a model: image, fixed (n, H, W), mixed (n, q, H, W), sites and scanner (q,), site,
        subject and label (n,), and region (n, H, W) where it is known.
    model, study, source : str
    sites : int
        How many sites, at most; as evenly over scanner makers as can be.
    subjects : int
        How many of each label, at most; the first ones.

    Raises
    ------
    DataError
        There are no subjects.
    """
    shown = _first(kept["label"], subjects, study)
    columns = chosen_sites(kept["sites"], kept["scanner"], sites)
    even = 1.0 / np.prod(kept["image"].shape[1:])  # of a map that sums to 1
    fixed, mixed = kept["fixed"][shown] / even, kept["mixed"][shown][:, columns] / even
    difference = mixed - fixed[:, None]
    of_maps, of_differences = scale_of(np.append(fixed, mixed)), scale_of(difference, signed=True)
    side = min(_LARGEST, (WIDTH - _LEFT - _BETWEEN - GAP) / (len(columns) + 4) - GAP)
    large, step = 2 * side + GAP, side + GAP
    page = Page.of(len(shown) * (large + _BETWEEN_ROWS) + 0.42)
    for row, i in enumerate(shown.tolist()):
        top, left = 0.42 + row * (large + _BETWEEN_ROWS), _LEFT
        panels = [page.panel(left + j * (large + GAP), top, large) for j in (0, 1)]
        panels[0].set_ylabel(_who(kept, i, study), fontsize=9)
        _show(panels[0], kept, i)
        _show(panels[1], kept, i, fixed[row], of_maps)
        left += 2 * (large + GAP) + _BETWEEN
        for j in range(len(columns)):
            panels += [page.panel(left + j * step, top + below, side) for below in (0, step)]
            _show(panels[-2], kept, i, mixed[row, j], of_maps)
            _show(panels[-1], kept, i, difference[row, j], of_differences)
        panels[2].set_ylabel("mixed", fontsize=8.5)
        panels[3].set_ylabel("difference", fontsize=8.5)
        if row == 0:
            names = [f"{maker(kept['scanner'][c])}\n{_site(kept['sites'][c])}".strip() for c in columns]
            head(panels[:2] + panels[2::2], ["Image", "Fixed effects", *names])
    bar(page, _LEFT, 3.3, of_maps, "Fixed, mixed: multiple of an even map")
    bar(page, WIDTH - 3.3 - 0.15, 3.3, of_differences, "Difference: mixed − fixed")
    _outline_told(page, kept)
    style.add_title(
        page.figure,
        f"{labels.study(study)}: where {labels.model(model)} looks",
        f"{labels.source(source)}.\n{_kind(kept)} for {_classes(study)[1]}: of the fixed effects, and under the random effects "
        f"of {len(columns)} of the {len(kept['sites'])} seen sites.",
    )
    return page.figure


def _kind(kept: Mapping[str, np.ndarray]) -> str:
    return str(kept.get("kind", "Grad-CAM"))


@style.styled
def models(
    kept: Mapping[str, Mapping[str, np.ndarray]], study: str, source: str, *, subjects: int = SUBJECTS
) -> Figure:
    """Draw the mixed effects map of the same subjects for each model, each under its own site's effects.

    Parameters
    ----------
    kept : mapping of str to mapping
        By model, as for `maps`; of the same subjects.
    study, source : str
    subjects : int
        How many of each label, at most; the first ones.

    Raises
    ------
    DataError
        There are no models or no subjects.
    """
    names = labels.ordered_models(kept)
    if not names:
        raise DataError(f"No model of {study} has maps; run the job that makes them.")
    first = kept[names[0]]
    shown = _first(first["label"], subjects, study)
    drawn = {name: _under_own_site(kept[name])[shown] * np.prod(first["image"].shape[1:]) for name in names}
    scale = scale_of(np.concatenate(list(drawn.values())))
    side = float(np.clip((WIDTH - _LEFT_OF_MODELS - GAP) / (len(names) + 1) - GAP, _SMALLEST, _LARGEST_OF_MODEL))
    width = max(WIDTH, _LEFT_OF_MODELS + GAP + (len(names) + 1) * (side + GAP))
    page = Page.of(len(shown) * (side + GAP) + 0.5, width)
    for row, i in enumerate(shown.tolist()):
        panels = [
            page.panel(_LEFT_OF_MODELS + j * (side + GAP), 0.5 + row * (side + GAP), side)
            for j in range(len(names) + 1)
        ]
        panels[0].set_ylabel(_who(first, i, study, "\n"), fontsize=8.5)
        _show(panels[0], first, i)
        for ax, name in zip(panels[1:], names, strict=True):
            _show(ax, first, i, drawn[name][row], scale)
        if row == 0:
            head(panels, ["Image", *(textwrap.fill(labels.model(name), 12, break_long_words=False) for name in names)])
    bar(page, _LEFT_OF_MODELS, 3.3, scale, "Mixed: multiple of an even map")
    _outline_told(page, first)
    style.add_title(
        page.figure,
        f"{labels.study(study)}: where each model looks",
        f"{labels.source(source)}.\n{_kind(next(iter(kept.values())))} for {_classes(study)[1]} "
        "of the mixed effects, each subject under the effects of its own site.",
    )
    return page.figure


@style.styled
def localisation(summary: pd.DataFrame, chances: Mapping[str, float], study: str, confidence: float = 0.95) -> Figure:
    """Draw the share of saliency in the true region for each model, with its interval and the chance level.

    Parameters
    ----------
    summary : pandas.DataFrame
        `results/summary.tsv`.
    chances : mapping of str to float
        By partition, from `armed.image_tables.chance_levels`.
    study : str
    confidence : float
        Of the intervals in `summary`.

    Raises
    ------
    DataError
        If there is no result of the study.
    """
    wanted = {"study": study, "metric": "localisation", "ci_method": "corrected", "partition": list(PANELS)}
    rows = select(summary, "summary.tsv", **wanted)
    panels = [p for p in PANELS if p in set(rows["partition"])]
    cells = [
        (model, variant)
        for model in labels.ordered_models(rows["model"].unique())
        for variant in rows.loc[rows["model"] == model, "variant"].unique()
    ]
    figure = style.new_figure(0.36 * len(cells) + 2.1)
    axes = figure.subplots(1, len(panels), sharey=True, sharex=True, squeeze=False)[0]
    for ax, partition in zip(axes, panels, strict=True):
        if partition in chances:
            ax.axvline(chances[partition], color=style.BLACK, linestyle=(0, (4, 2)), linewidth=1.2, zorder=1)
        _shares(ax, rows[rows["partition"] == partition], cells)
        ax.set_title(labels.partition(partition).capitalize(), loc="left")
        ax.set_xlabel("Share of saliency in the region")
    axes[0].set_xlim(left=0.0)
    style.name_rows(figure, [labels.model(m, v, study) for m, v in cells])
    handles = [Line2D([], [], color="#444444", marker="o", label="mean and interval")]
    if chances:
        label = "chance: the region's share of the brain"
        handles.append(Line2D([], [], color=style.BLACK, linestyle=(0, (4, 2)), linewidth=1.2, label=label))
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    counts = " x ".join(f"{int(rows[column].max())} {column[2:]}" for column in ("n_seeds", "n_folds"))
    style.add_title(
        figure,
        f"{labels.study(study)}: does each model look at the disease?",
        f"{labels.source(rows['source'].iloc[0])}.\nShare of the saliency of {_classes(study)[1]} images in the region that "
        f"the disease changes.\nMean and {confidence:.0%} interval ({counts}).",
    )
    return figure


def _classes(study: str) -> tuple[str, str]:
    return CLASS_NAMES.get(study, ("class 0", "class 1"))


def _who(kept: Mapping[str, np.ndarray], subject: int, study: str, between: str = " ") -> str:
    """Label and site of a subject."""
    known = dict(zip(kept["sites"].tolist(), kept["scanner"].tolist(), strict=True))
    own = str(kept["site"][subject])
    place = f"{_site(own)}{between}{maker(known.get(own, ''))}".strip()
    return f"{_classes(study)[int(kept['label'][subject])]}\n{place}"


def _site(name: str) -> str:
    return str(name) if str(name).lower().startswith("site") else f"site {name}"


def _first(label: np.ndarray, subjects: int, study: str) -> np.ndarray:
    """The first subjects of label 1, then those of label 0."""
    shown = np.concatenate([np.flatnonzero(label == k)[:subjects] for k in (1, 0)])
    if not len(shown):
        raise DataError(f"No maps of subjects of {study} were kept; run the job that makes them on more subjects.")
    return shown


def _under_own_site(kept: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mixed maps (n, H, W) of each subject under its own site's effects; of a site that is not known, the fixed ones."""
    position = {site: j for j, site in enumerate(kept["sites"].tolist())}
    own = [position.get(site) for site in kept["site"].tolist()]
    return np.stack([kept["fixed"][i] if j is None else kept["mixed"][i, j] for i, j in enumerate(own)])


def _show(
    ax: Axes, kept: Mapping[str, np.ndarray], i: int, values: np.ndarray | None = None, scale: Scale | None = None
) -> None:
    """A subject's image in grey, a map over it that is the more opaque the further from 0 it is, and the true region."""
    image = kept["image"][i].astype(np.float64)
    shown = np.repeat((image / max(image.max(), 1e-12))[..., None], 3, -1)
    if values is not None:
        values = np.nan_to_num(values)
        strength = _OPAQUE * np.clip(np.abs(values) / scale.norm.vmax, 0, 1)[..., None] ** 0.6
        shown = (1 - strength) * shown + strength * scale.colours(scale.norm(values))[..., :3]
    ax.imshow(np.clip(shown, 0, 1), interpolation="nearest", aspect="auto")
    if "region" in kept and kept["region"][i].any():
        ax.contour(kept["region"][i].astype(float), [0.5], colors=[_OUTLINE], linewidths=_OUTLINE_WIDTH)
    if values is not None and not values.any() and scale.norm.vmin == 0:
        ax.text(0.5, 0.03, "all 0", color="white", fontsize=8.5, ha="center", transform=ax.transAxes)


def _outline_told(page: Page, kept: Mapping[str, np.ndarray]) -> None:
    if "region" in kept:
        name = "where the disease changes the image (known of a stand-in)"
        line = Line2D([], [], color=_OUTLINE, linewidth=2, label=name)
        page.figure.legend(handles=[line], loc="outside lower left")


def _shares(ax: Axes, rows: pd.DataFrame, cells: list[tuple[str, str]]) -> None:
    for position, (model, variant) in enumerate(cells):
        cell = rows[(rows["model"] == model) & (rows["variant"] == variant)]
        if not len(cell):
            continue
        row, colour = cell.iloc[0], style.model_colour(model)
        if row["ci_low"] <= row["ci_high"]:  # false where an interval is not defined
            ax.hlines(position, row["ci_low"], row["ci_high"], color=colour, linewidth=1.6, zorder=2)
        ax.plot(row["mean"], position, "o", color=colour, markersize=5.5, zorder=3)
