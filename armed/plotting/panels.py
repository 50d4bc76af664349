"""Square panels of images at places in inches, with the colours of maps and their bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from armed.plotting import style

WIDTH = 8.4  # inches
ABOVE, BELOW = 0.78, 0.98  # inches, for the title, and for colour bars and legend
GAP = 0.035  # inches between panels
_PERCENTILE = 99.5  # of the pixels, where colours end
_TICKS = 5  # of a colour bar, at most
_MAPS, _DIFFERENCES = "inferno", "RdBu_r"


class Scale(NamedTuple):
    """How numbers become colours."""

    colours: Colormap
    norm: Normalize


class Page(NamedTuple):
    """A figure whose panels are put at places in inches: square, and as close to one another as can be."""

    figure: Figure
    width: float
    height: float

    @classmethod
    def of(cls, inches: float, width: float = WIDTH) -> Page:
        """With room above for the title, and below for colour bars and legend."""
        height = ABOVE + inches + BELOW
        figure = style.new_figure(height, width)
        figure.add_subplot().set_axis_off()  # title and legend are laid out around axes that are not at a place of their own
        return cls(figure, width, height)

    def place(self, left: float, top: float, width: float, height: float) -> Axes:
        """New axes, `top` inches below the title."""
        bottom = self.height - ABOVE - top - height
        return self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height),
        )

    def panel(self, left: float, top: float, side: float) -> Axes:
        """A square for an image."""
        ax = self.place(left, top, side, side)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        return ax


def scale_of(values: np.ndarray, *, signed: bool = False) -> Scale:
    """Colours that end where few pixels lie beyond, the same in all panels."""
    reach = float(np.nanpercentile(np.abs(values), _PERCENTILE)) or 1.0
    name = _DIFFERENCES if signed else _MAPS
    return Scale(matplotlib.colormaps[name], Normalize(-reach if signed else 0.0, reach))


def head(panels: Sequence[Axes], names: Sequence[str]) -> None:
    """Titles above the first row."""
    for ax, name in zip(panels, names, strict=True):
        ax.set_title(name, fontsize=8.5, pad=3)


def bar(page: Page, left: float, width: float, scale: Scale, name: str) -> None:
    """A colour bar below the panels."""
    ax = page.place(left, page.height - ABOVE - BELOW + 0.12, width, 0.11)
    drawn = page.figure.colorbar(ScalarMappable(scale.norm, scale.colours), cax=ax, orientation="horizontal")
    drawn.outline.set_visible(False)
    drawn.locator = MaxNLocator(_TICKS)
    drawn.set_label(name, fontsize=9)
