"""Small trees of movies of cells that are noise, for tests of what is read from such trees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 16


def pixels(seed: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(20, 200, size=(size, size), dtype=np.uint8)


def put_png(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


class Tree:
    """A tree of movies; every image has pixels of its own."""

    def __init__(self, root: Path, size: int = SIZE) -> None:
        self.root, self.size, self.n = root, size, 0
        root.mkdir(parents=True, exist_ok=True)

    def add(self, label: str, pdx: str, date: str, cell: str, frames=(0, 1, 2), name: str = "{}.png") -> Path:
        """Add a cell; `date` is the name of the folder, such as 20200101_A_B."""
        folder = self.root / label / pdx / date / cell
        folder.mkdir(parents=True, exist_ok=True)
        for frame in frames:
            self.n += 1
            put_png(folder / name.format(frame), pixels(self.n, self.size))
        return folder

    def fill(self, cells: int = 2, frames=(0, 1, 2)) -> Tree:
        """Two PDX of each class, on three dates of two PDX each and two of one."""
        for date, pdxs in {
            "20200101": ("A", "C"),
            "20200102": ("B", "D"),
            "20200103": ("A", "D"),
            "20200201": ("B",),
            "20200202": ("C",),
        }.items():
            for pdx in pdxs:
                for cell in range(cells):
                    self.add("high" if pdx in "AB" else "low", pdx, f"{date}_{'_'.join(pdxs)}", f"cell{cell}", frames)
        return self

    def tell(self) -> Tree:
        """Write the truth of a stand-in."""
        cells = sorted(
            {(p.parts[-4], p.parts[-3].partition("_")[0], p.parts[-2]) for p in self.root.glob("*/*/*/*/*.png")}
        )
        truth = {"cells": {"/".join(cell): {"phenotype": i / 10} for i, cell in enumerate(cells)}}
        (self.root / "truth.json").write_text(json.dumps(truth))
        return self
