"""One look for all figures: colours, titles that tell the source, and files that come out the same each time."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from armed.files import atomic

# Okabe & Ito's palette, safe for the common kinds of colour blindness.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#7A7A7A"
BROWN = "#6B3E00"  # not theirs: their yellow is too light for lines on white

# Two methods of one family may share a colour: every figure names its models in words beside them.
MODEL_COLOURS = {
    "conventional": BLACK,
    "cluster_input": ORANGE,
    "cluster_input_plus": BROWN,
    "mldg": ORANGE,
    "domain_adversarial": GREEN,
    "menet": PURPLE,
    "lmmnn": PURPLE,
    "mixedlm": GREY,
    "mixed_logit": GREY,
    "logistic_regression": GREY,
    "gradient_boosting": BROWN,
    "gpboost": BROWN,
    "armed": VERMILLION,
    "armed_no_adversary": BLUE,
    "armed_randomized_z": SKY,
    "oracle": GREEN,
}
CLASS_COLOURS = (ORANGE, BLUE)
# The second and third of a family, where lines lie over one another.
_DASHED = ("mldg", "lmmnn", "mixed_logit", "gpboost")
_DOTTED = ("logistic_regression",)

WIDTH = 7.2  # inches: a page's text width, and readable in a browser without zooming
_DIGITS = 9  # of a figure's width and height
PNG_DPI = 150
_CHARACTERS = 14.2  # of a subtitle in an inch

RC = {
    "font.family": "sans-serif",
    # The first comes with matplotlib, so that figures are laid out the same on every machine; the second, as wide, is on most.
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "text.parse_math": False,  # names are text: a "$" in one is no formula, and "$\\frac{" would end the drawing
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "figure.facecolor": "white",
    "svg.fonttype": "none",  # text as text, which can be searched and edited; outlines take four times the bytes
    "svg.hashsalt": "armed",  # element ids do not change between runs
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw with the project's settings and leave matplotlib's global settings as they were."""

    @functools.wraps(draw)
    def wrapped(*args, **kwargs) -> Figure:
        with matplotlib.rc_context(RC):
            return draw(*args, **kwargs)

    return wrapped


def model_colour(model: str) -> str:
    """Colour of a model, the same in all figures; models a user added are green."""
    return MODEL_COLOURS.get(model, GREEN)


def model_line(model: str) -> object:
    """Line style of a model, so that with its colour it is told from all others."""
    if model in _DOTTED:
        return (0, (1, 1.2))
    return (0, (3, 1.3)) if model in _DASHED else "-"


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Make an empty figure of `width` x `height` inches that no global state knows."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def add_title(figure: Figure, title: str, subtitle: str) -> None:
    """Put a bold title and a plain subtitle, left aligned, in a strip above everything else; too long lines are broken."""
    width, height = figure.get_size_inches()
    lines, longest = subtitle.split("\n"), int(_CHARACTERS * width)
    if max(map(len, lines)) > longest:
        lines = textwrap.wrap(" ".join(lines), longest)
    inches = 0.36 + 0.175 * len(lines)
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - inches / height))
    figure.text(0.012, 1 - 0.08 / height, title, fontsize=11, fontweight="bold", va="top")
    figure.text(0.012, 1 - 0.31 / height, "\n".join(lines), fontsize=9, color="#444444", va="top", linespacing=1.3)


def name_rows(figure: Figure, names: list[str]) -> None:
    """Name the rows of panels that stand side by side, the first on top, every second row on a light band."""
    for i, ax in enumerate(figure.axes):
        if i == 0:
            ax.set_yticks(range(len(names)), names)
            ax.set_ylim(len(names) - 0.45, -0.55)
        _band(ax, len(names))


def _band(ax: Axes, n_rows: int) -> None:
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    for position in range(1, n_rows, 2):
        ax.axhspan(position - 0.5, position + 0.5, color="#f4f4f4", zorder=0, linewidth=0)


def wrapped(name: str, width: int = 20) -> str:
    """Break a long name into two lines at the space nearest the middle."""
    if len(name) <= width or " " not in name:
        return name
    cut = min((i for i, c in enumerate(name) if c == " "), key=lambda i: abs(i - len(name) / 2))
    return f"{name[:cut]}\n{name[cut + 1 :]}"


def counts(rows: pd.DataFrame) -> str:
    """Seeds and folds behind rows of `summary.tsv`, the most that any has."""
    most = {name: int(rows[f"n_{name}"].max()) for name in ("seeds", "folds")}
    return " x ".join(f"{n} {name if n != 1 else name[:-1]}" for name, n in most.items())


def small_multiples(
    n: int, columns: int, height: float, extra: float = 0.0, width: float = WIDTH
) -> tuple[Figure, list[Axes]]:
    """Make `n` panels in rows of `columns`, each `height` inches, and with `extra` inches a wide one at the end."""
    n_rows = -(-n // columns)
    figure = new_figure(height * n_rows + extra + 1.15, width)
    if not extra:
        grid, wide = figure.add_gridspec(n_rows, columns), []
    else:
        above, below = figure.add_gridspec(2, 1, height_ratios=[height * n_rows, extra])
        grid, wide = above.subgridspec(n_rows, columns), [below]
    places = [grid[divmod(i, columns)] for i in range(n)] + wide
    return figure, [figure.add_subplot(place) for place in places]


def save(figure: Figure, path_stem: Path) -> tuple[Path, Path]:
    """Write ``<stem>.svg`` and ``<stem>.png``: only when complete, and byte for byte the same for the same figure.

    Parameters
    ----------
    figure : Figure
        Its axes are fixed where they are drawn, and its dpi becomes `PNG_DPI`.
    path_stem : Path
        Path without suffix. Its folder is made where it does not exist.

    Returns
    -------
    tuple of Path
        The SVG's and the PNG's path.
    """
    path_stem = Path(path_stem)
    # No dates and no version of the library in the files: two runs can be compared byte by byte.
    metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
    written = []
    with matplotlib.rc_context(RC):
        _fix_layout(figure)
        for kind in ("svg", "png"):
            target = path_stem.with_name(f"{path_stem.name}.{kind}")
            with atomic(target) as part:
                figure.savefig(part, format=kind, dpi=PNG_DPI, metadata=metadata[kind])
            written.append(target)
    return tuple(written)


def _fix_layout(figure: Figure) -> None:
    """Place the axes for good, and round: the solver's last digit depends on where its variables lie in memory."""
    if figure.get_layout_engine() is None:
        return
    figure.set_dpi(PNG_DPI)  # the widths of words depend on it
    for _ in range(2):  # only the first draw tells where axes of a fixed aspect end, and how many ticks there are
        figure.draw_without_rendering()
    for ax in figure.axes:
        bounds = ax.get_position(original=True).bounds
        ax.set_position([round(value, _DIGITS) for value in bounds], which="original")
    figure.set_layout_engine("none")
