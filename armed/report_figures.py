"""Figures as the report embeds them: drawings in as few bytes as look the same, pictures where a drawing would be large."""

from __future__ import annotations

import base64
import io
import itertools
import math
import re
import string
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
from markupsafe import Markup
from PIL import Image

from armed.plotting.catalogue import FigureSpec

LARGEST_DRAWING = 400_000  # bytes in the page; one that needs more becomes a picture
DECIMALS = 2  # of coordinates, in points: a fiftieth of a pixel at twice the width of the page
STRAIGHT = 0.2  # points that a line may pass by those it leaves out: less than half of such a pixel; a line has five times that
LEFT_OUT = 40  # points left out in a row, at most, which bounds the search
FEW_COLOURS, COLOURS = 64, 256  # of a picture: few where that changes little
CHANGE = 2.5  # of 255, root mean square over pixels, that few colours may make

_UNQUOTED = "".join(c for c in string.printable if c not in '"#%&' and c not in string.whitespace) + " "
_TAG = re.compile(r"<[^>]*>")
_COORDINATES = re.compile(r'(?<=\s)(x|y|width|height|transform|points)="([^"]*)"')
_PATH = re.compile(r'(?<=\sd=")[^"]*')
_LINES = re.compile(r"([ML])\s*(-?[\d.]+)\s+(-?[\d.]+)\s*|(z)\s*")
_FRACTION = re.compile(r"-?\d+\.\d+")
_PNG = re.compile(r'data:image/png;base64,([^"]+)')
_VIEW_BOX = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')
_NOT_DRAWN = re.compile(
    r'<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|\stransform="rotate\(-?0 [^"]*\)"', re.DOTALL
)


def embedded(spec: FigureSpec, results_dir: Path) -> dict:
    """Make what the report's template shows of a figure.

    Parameters
    ----------
    spec : FigureSpec
    results_dir : Path
        Its `figures/` hold the figure as svg and png.

    Returns
    -------
    dict
        ``name``, ``caption``; ``image``: the data URI of the drawing, or of a picture of it where the drawing has more than
        `LARGEST_DRAWING` bytes, None where there is no file; ``width`` and ``height``, whose ratio keeps its place on the page.
    """
    svg, png = (Path(results_dir) / "figures" / f"{spec.name}.{kind}" for kind in ("svg", "png"))
    image, size = None, (0, 0)
    if svg.is_file():
        text = svg.read_text(encoding="utf-8")
        image, size = drawing(text), _size(text)
    if png.is_file() and (image is None or len(image) > LARGEST_DRAWING):
        with Image.open(png) as opened:
            image, size = _data_uri("image/webp", smallest(opened.convert("RGB"))), opened.size
    # A data URI has no double quote and no ampersand, so that nothing in it needs escaping in an attribute of double quotes.
    safe = image and Markup(image)
    return {"name": spec.name, "caption": spec.caption, "image": safe, "width": size[0], "height": size[1]}


def drawing(svg: str) -> str:
    """Return the data URI of an SVG, with what is not drawn left out, short coordinates, and its images in fewer bytes."""
    svg = _NOT_DRAWN.sub("", svg)
    svg = _PNG.sub(lambda found: _smaller_image(found[1]), svg)
    svg = _COORDINATES.sub(lambda found: f'{found[1]}="{_FRACTION.sub(_rounded, found[2])}"', svg)
    svg = _PATH.sub(_shorter_path, svg)
    svg = _without_repetition(re.sub(r"\s*\n\s*", " ", svg).strip())
    # Single quotes for double ones, in tags alone: those need no quoting in a URI.
    swapped = str.maketrans({"'": '"', '"': "'"})
    svg = _TAG.sub(lambda tag: tag[0].translate(swapped), svg)
    return "data:image/svg+xml," + quote(svg, safe=_UNQUOTED)


def _without_repetition(svg: str) -> str:
    """Return an SVG without names that nothing refers to, spaces between tags and in styles, and the font of every text."""
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r'\sid="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r'(?<=\sstyle=")[^"]*', lambda found: re.sub(r"(?<=[;:])\s+", "", found[0]), svg)
    svg = re.sub(r"<g>(\s*)</g>", "", re.sub(r">\s+<(?!/?tspan)", "><", svg))
    fonts = set(re.findall(r"font-family:([^;\"]*)", svg))
    if len(fonts) == 1:
        svg = re.sub(r";?font-family:[^;\"]*", "", svg)
        svg = svg.replace("<svg ", f'<svg font-family="{fonts.pop()}" ', 1)
    return svg


def smallest(picture: Image.Image) -> bytes:
    """Return a picture as WebP, in few colours where that is hardly seen, in more, or lossy, whichever is smallest."""
    how = Image.Quantize.FASTOCTREE if picture.mode == "RGBA" else Image.Quantize.MAXCOVERAGE
    # Of opaque pictures colours as far apart as can be: those of small marks are kept, which the mean over all pixels
    # would not tell.
    few = picture.quantize(FEW_COLOURS, how, kmeans=1, dither=Image.Dither.NONE).convert(picture.mode)
    # Less effort than most: half of the time for a twentieth more bytes.
    candidates = [_webp(picture, quality=75, method=4)]
    if np.sqrt(np.square(np.subtract(few, picture, dtype=np.float32)).mean()) > CHANGE:
        few = picture.quantize(COLOURS, dither=Image.Dither.NONE).convert(picture.mode)
    candidates.append(_webp(few, lossless=True, quality=50, method=1))
    return min(candidates, key=len)


def _smaller_image(encoded: str) -> str:
    """Data URI of an image in a drawing, from its PNG in base64."""
    png = base64.b64decode(encoded)
    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGBA")
    if picture.getextrema()[3] == (255, 255):
        picture = picture.convert("RGB")
    found = smallest(picture)
    return _data_uri("image/webp", found) if len(found) < len(png) else _data_uri("image/png", png)


def _size(svg: str) -> tuple[int, int]:
    """Width and height of a drawing in points."""
    found = _VIEW_BOX.search(svg)
    return (round(float(found[1])), round(float(found[2]))) if found else (0, 0)


def _shorter_path(found: re.Match) -> str:
    """Path data with short coordinates, of straight lines relative to the point before."""
    path = found[0].strip()
    if _LINES.sub("", path):  # curves too
        return re.sub(r"\s+", " ", _FRACTION.sub(_rounded, path))
    unit, made, at = 10**DECIMALS, [], (0, 0)
    for command, x, y in _needed([(c, float(x or 0), float(y or 0)) for c, x, y, _ in _LINES.findall(path)]):
        if not command:
            made.append("z")
            continue
        to = round(x * unit), round(y * unit)
        dx, dy = (to[0] - at[0], to[1] - at[1]) if command == "L" else to
        made.append(f"{'l' if command == 'L' else 'M'}{dx / unit:g} {dy / unit:g}")
        at = to
    return "".join(made)


def _needed(path: list[tuple[str, float, float]]) -> Iterator[tuple[str, float, float]]:
    """Commands of a path of straight lines, less the points that a line between two kept passes by `STRAIGHT` or less."""
    kept, between = None, []
    for here, after in itertools.pairwise([*path, ("", 0.0, 0.0)]):
        between.append(here)
        goes_on = kept is not None and here[0] == after[0] == "L" and len(between) <= LEFT_OUT
        if not (goes_on and all(_distance(point, kept, after) <= STRAIGHT for point in between)):
            yield here
            kept, between = here, []


def _distance(point: tuple, begin: tuple, end: tuple) -> float:
    """Distance of a point from the line between two others, not beyond them."""
    (_, x, y), (_, x0, y0), (_, x1, y1) = point, begin, end
    dx, dy = x1 - x0, y1 - y0
    length = dx * dx + dy * dy
    along = min(max(((x - x0) * dx + (y - y0) * dy) / length, 0.0), 1.0) if length else 0.0
    return math.hypot(x - x0 - along * dx, y - y0 - along * dy)


def _rounded(found: re.Match) -> str:
    return f"{round(float(found[0]), DECIMALS) + 0.0:g}"


def _webp(picture: Image.Image, **how: object) -> bytes:
    written = io.BytesIO()
    picture.save(written, "WEBP", **how)
    return written.getvalue()


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
