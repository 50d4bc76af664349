"""Contact sheets: the images of a site or a date side by side, so that a person sees at once which ones are bad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLUMNS = 6  # of slices of 192 pixels: a page's width
GAP = 8  # pixels between tiles
LINE = 15  # pixels from one line of text to the next
TICK = 6  # length of the marks at the edge of a tile
LEAST_TILE = 128  # pixels; smaller slices are shown larger by a whole factor
_BACKGROUND, _TEXT, _MARKED, _QUIET = 0, 235, 255, 150


@dataclass(frozen=True, eq=False)
class Tile:
    """One image of a sheet.

    Parameters
    ----------
    image : array of uint8, shape (size, size)
    caption : str
        Its id.
    note : str
        What stands below the caption.
    point : (float, float), optional
        Row and column that ticks at the edges point to.
    marked : bool
        Framed, to be looked at first.
    """

    image: np.ndarray
    caption: str
    note: str
    point: tuple[float, float] | None = None
    marked: bool = False


def contact_sheet(title: str, subtitle: str, tiles: Sequence[Tile], columns: int = COLUMNS) -> Image.Image:
    """Draw a sheet.

    Parameters
    ----------
    title, subtitle : str
    tiles : sequence of Tile
        Images of one size.
    columns : int
        Tiles in a row; fewer where there are fewer tiles.

    Returns
    -------
    PIL.Image.Image
        Grey, 8 bits.
    """
    size = len(tiles[0].image)
    scale = -(-LEAST_TILE // size)
    side, font = size * scale, _font(11)
    captions = [(_wrapped(tile.caption, font, side, "_"), tile.note) for tile in tiles]
    lines = max(text.count("\n") + 1 for text, _ in captions)
    columns = min(columns, len(tiles))
    width = max(columns * (side + GAP) + GAP, 420)
    subtitle = _wrapped(subtitle, font, width - 2 * GAP, " ")
    below, head = LINE * (lines + 1) + 4, 39 + LINE * (subtitle.count("\n") + 1)
    sheet = Image.new("L", (width, head + -(-len(tiles) // columns) * (side + below + GAP)), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 6), title, fill=_MARKED, font=_font(16, bold=True))
    draw.multiline_text((GAP, 30), subtitle, fill=_QUIET, font=font, spacing=3)
    for i, (tile, (caption, note)) in enumerate(zip(tiles, captions, strict=True)):
        row, column = divmod(i, columns)
        x, y = GAP + column * (side + GAP), head + row * (side + below + GAP)
        sheet.paste(Image.fromarray(np.kron(tile.image, np.ones((scale, scale), dtype=np.uint8))), (x, y))
        if tile.point is not None:
            _ticks(draw, x, y, side, [(place + 0.5) * scale for place in tile.point])
        if tile.marked:
            draw.rectangle((x - 2, y - 2, x + side + 1, y + side + 1), outline=_MARKED, width=2)
        draw.multiline_text((x, y + side + 3), caption, fill=_TEXT, font=font, spacing=3)
        draw.text((x, y + side + 3 + LINE * (caption.count("\n") + 1)), note, fill=_QUIET, font=font)
    return sheet


def _ticks(draw: ImageDraw.ImageDraw, x: int, y: int, side: int, point: Sequence[float]) -> None:
    """Marks at the left and at the lower edge, outside of what is to be looked at."""
    row, column = point
    draw.line((x, y + row, x + TICK, y + row), fill=_MARKED)
    draw.line((x + column, y + side - 1 - TICK, x + column, y + side - 1), fill=_MARKED)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int, at: str) -> str:
    """Break a text behind `at`, and where that is not enough anywhere, into lines of at most `width` pixels."""
    lines = [""]
    for part in text.replace(at, f"{at}\0").split("\0"):
        if font.getlength(lines[-1] + part) <= width:
            lines[-1] += part
            continue
        lines.append("")
        for letter in part:
            if font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return "\n".join(line for line in lines if line)


@cache
def _font(points: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, as in all figures: it comes with matplotlib."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), points)
