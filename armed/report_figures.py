"""Figures as the report embeds them."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from armed.plotting.catalogue import FigureSpec

LARGEST_SVG = 50_000  # bytes; figures with many points and images are smaller and faster as pixels
COLOURS, ALMOST_ALL = 64, 256  # of a picture's palette: few where that changes little
CHANGE = 2.5  # of 255, root mean square over pixels, that few colours may make


def embedded(spec: FigureSpec, results_dir: Path) -> dict:
    """Caption and embedded image of a figure; the image is None where there is no file."""
    svg, png = (results_dir / "figures" / f"{spec.name}.{kind}" for kind in ("svg", "png"))
    image = None
    if svg.is_file() and (svg.stat().st_size <= LARGEST_SVG or not png.is_file()):
        image = _embedded("image/svg+xml", svg.read_bytes())
    elif png.is_file():
        image = _embedded("image/webp", _webp(png))
    return {"name": spec.name, "caption": spec.caption, "image": image, "size": ""}


def _webp(png: Path) -> bytes:
    """The same picture in fewer bytes: in 64 colours where that is hardly seen, in 256, or lossy, whichever is smallest."""
    with Image.open(png) as opened:
        picture = opened.convert("RGB")
    # Colours as far apart as can be: those of small marks are kept, which the mean over all pixels would not tell.
    few = picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE).convert("RGB")
    # Less effort than most: half of the time for a twentieth more bytes.
    candidates = [_encoded(picture, quality=75, method=4)]
    if np.sqrt(np.square(np.subtract(few, picture, dtype=np.float32)).mean()) > CHANGE:
        few = picture.quantize(ALMOST_ALL, dither=Image.Dither.NONE).convert("RGB")
    candidates.append(_encoded(few, lossless=True, quality=50, method=1))
    return min(candidates, key=len)


def _encoded(picture: Image.Image, **how: object) -> bytes:
    written = io.BytesIO()
    picture.save(written, "WEBP", **how)
    return written.getvalue()


def _embedded(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
