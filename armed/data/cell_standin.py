"""Writes the stand-in of the live-cell study: movies of single cells as PNG images, and their truth.

The model is told in `cell_model` (which cells), `cell_motion` and `cell_drawing` (the cell) and `cell_microscope` (its
image). ::

    <high|low>/<pdx>/<date>_<pdxs>/<cell>/frame_0000.png      8-bit grey, square
    truth.json
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed, parallel_config
from PIL import Image
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from armed.data.cell_drawing import draw_scene
from armed.data.cell_microscope import CHUNK, Microscope, acquire
from armed.data.cell_model import STUDY, Cell, Date, Pdx, Settings, draw, expected_auroc, stream
from armed.data.cell_motion import move
from armed.files import atomic

DESCRIPTION = (
    "Stand-in for live-cell phase contrast movies of melanoma cells: drawn bodies with protrusions, blebs and granules, "
    "imaged by the date's microscope. phenotype: the cell's state on the metastatic axis, higher = more metastatic (label 1 "
    "is low efficiency); protrusion, bleb, roundness, scatter and speed follow it. Microscopes are drawn alike for seen and "
    "unseen dates; seen dates are mostly of one class, and at unseen ones what the microscope tells of the class at seen ones "
    "is worth little. Seen: at least two PDX that day."
)


def write(folder: str | Path, settings: Mapping | Settings, *, number: int = 0, processes: int = 1) -> None:
    """Write the stand-in's tree.

    Parameters
    ----------
    folder : path
        Made or replaced; it appears only when complete.
    settings : mapping or Settings
        See `cell_model.Settings`.
    number : int
        Each number is another draw. The same settings and number give the same bytes.
    processes : int
        Movies are made by so many processes; this changes nothing in them.

    Raises
    ------
    ConfigError
        All that is wrong with the settings.
    """
    settings = Settings.read(settings)
    pdxs, dates, cells = draw(settings, number)
    microscopes = {date.id: date.microscope for date in dates}
    with atomic(folder, folder=True) as tree:
        make = partial(_write_movie, tree, settings, number)
        work = [(cell, microscopes[cell.date]) for cell in cells]
        for _ in tqdm(_mapped(make, work, processes), total=len(work), desc="movies", disable=None):
            pass
        truth = json.dumps(_truth(settings, number, pdxs, dates, cells), indent=1, allow_nan=False)
        (tree / "truth.json").write_text(truth + "\n", encoding="utf-8")


def make_movie(settings: Settings, number: int, cell: Cell, microscope: Microscope) -> np.ndarray:
    """Make the movie of a cell; its first frames do not depend on how many follow.

    Returns
    -------
    uint8 array, shape (frames, image_size, image_size)
    """
    motion = move(cell, stream("motion", number, cell.index), settings.frames)
    phase, scatter = np.empty((2, settings.frames, settings.image_size, settings.image_size), dtype=np.float32)
    for first in range(0, settings.frames, CHUNK):
        part = slice(first, first + CHUNK)
        scene = draw_scene(motion.part(part), settings.image_size, cell.texture)
        phase[part], scatter[part] = scene.phase, scene.scatter
    return acquire(phase, scatter, microscope, stream("image", number, cell.index))


def frame_name(frame: int) -> str:
    """File name of a frame, counted from 0."""
    return f"frame_{frame:04d}.png"


def _mapped(make, work: list, processes: int) -> Iterator:
    # A thread each: movies are small, and sums in another order would give other bytes.
    if processes <= 1:
        with threadpool_limits(1):
            yield from map(make, work)
        return
    with parallel_config("loky", inner_max_num_threads=1):
        yield from Parallel(processes, return_as="generator")(delayed(make)(item) for item in work)


def _write_movie(tree: Path, settings: Settings, number: int, work: tuple[Cell, Microscope]) -> None:
    cell, microscope = work
    folder = tree / cell.path
    folder.mkdir(parents=True)
    for frame, image in enumerate(make_movie(settings, number, cell, microscope)):
        Image.fromarray(image).save(folder / frame_name(frame), compress_level=4)


def _truth(settings: Settings, number: int, pdxs: list[Pdx], dates: list[Date], cells: list[Cell]) -> dict:
    return {
        "study": STUDY,
        "description": DESCRIPTION,
        "settings": asdict(settings),
        "number": int(number),
        "auroc_of_phenotype": expected_auroc(),
        "dates": {d.id: {"seen": d.seen, "n": d.n} | asdict(d.microscope) for d in dates},
        "groups": {p.id: {k: v for k, v in asdict(p).items() if k != "id"} for p in pdxs},
        "cells": {c.key: {k: v for k, v in asdict(c).items() if k not in ("id", "folder")} for c in cells},
    }
