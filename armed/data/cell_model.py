"""The stand-in of the live-cell study: which tumours, which imaging dates, which cells, and what state each cell is in.

The generator (this module, `cell_motion`, `cell_drawing`, `cell_microscope`, `cell_standin`) is frozen before any model is
fitted to its output: it is calibrated to the numbers below only.

- Design: 7 patient-derived xenografts (PDX), 3 of high and 4 of low metastatic efficiency, as in the paper. Seen dates have
  two or three of them, always of both classes, never all; unseen dates have one, which is what makes them unseen. How many
  PDX and cells of which class a date has is not stated in the paper; we let seen dates be mostly high and mostly low in
  turn, the majority being 60 to 78% of a date's cells, because then the date alone tells the class by an AUROC of 0.7, and
  whatever differs between dates (brightness, blur) is a shortcut there. Unseen dates are of either class in turn. Their
  microscopes are drawn alike, and handed out such that the linear shortcut of the seen dates is worth little there: with
  eight dates of ten effects each chance alone would often make it right, or wrong, at most of them (AUROC 0.5, s.d. 0.2).
- State: each cell has a place on the metastatic axis, `phenotype`, higher = more metastatic: +-0.906 for the class, a PDX's
  deviation (s.d. 0.39 within a class), and the cell's own (s.d. 0.92). The s.d. within a class is 1, so that the phenotype
  alone has an AUROC of Phi(1.812 / sqrt 2) = 0.90. The paper's best is 0.88 on seen dates; who reads the state itself does
  better.
- Expression: five traits follow the phenotype, each with a deviation of its own (`FOLLOWS`, `TRAIT_SD`), so that none tells
  it alone: longer and more frequent protrusions, fewer blebs, a less round body, more light scattering granules, faster
  granules. Pseudopodial extensions and light scattering are what an interpretable network found in such cells (Zaritsky et
  al., Cell Systems 2021); the rest is our choice. Protrusions and blebs come and go, and speed shows between frames only:
  all five traits have an AUROC of 0.89; area, elongation, compactness, spread and scattering of the cell as drawn (no
  microscope) 0.85 in one frame, 0.87 with the motion between two.
- PDX individuality: size, elongation, number and contrast of granules differ between PDX as much as between the cells of
  one (`PDX_TRAIT_SD`, `CELL_TRAIT_SD`): a PDX can be guessed, not read off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date as calendar_date
from datetime import timedelta
from statistics import NormalDist

import numpy as np

from armed.data.cell_microscope import Microscope
from armed.errors import ConfigError, Problems, did_you_mean
from armed.reproducibility import derive_seed

STUDY = "live_cell"
PDX = {"P1": "low", "P2": "high", "P3": "low", "P4": "low", "P5": "high", "P6": "high", "P7": "low"}
"""Names of the PDX and their metastatic efficiency."""
CLASSES = ("high", "low")
MAJORITY = (0.60, 0.78)
"""Share of a seen date's cells that are of its commoner class."""
FEWEST_PER_DATE = 6
ORDERS = 50
"""Of so many random orders of the unseen dates' microscopes one is taken."""

CLASS_MEAN = {"high": 0.906, "low": -0.906}
PDX_SD = 0.39
CELL_SD = math.sqrt(1 - PDX_SD**2)

FOLLOWS = {"protrusion": 0.75, "bleb": -0.65, "roundness": -0.45, "scatter": 0.6, "speed": 0.65}
"""Slope of each trait on the phenotype."""
TRAIT_SD = 0.6

RADIUS = 0.165
"""Mean radius of a cell's body, as a share of the image's width."""
PDX_TRAIT_SD = {"size": 0.09, "elongation": 0.09, "granularity": 0.25, "texture": 0.20}
CELL_TRAIT_SD = {"size": 0.10, "elongation": 0.09, "granularity": 0.25, "texture": 0.20}
FIRST_DATE = calendar_date(2001, 1, 8)
"""Dates and names are made up."""


@dataclass(frozen=True)
class Settings:
    """Size of the stand-in.

    Parameters
    ----------
    image_size : int
        Width and height of the frames, 32 to 256 pixels.
    n_seen_cells, n_unseen_cells : int
        Cells at all seen and at all unseen dates.
    n_seen_dates, n_unseen_dates : int
    frames : int
        Frames of each cell.
    """

    image_size: int = 64
    n_seen_cells: int = 112
    n_unseen_cells: int = 64
    n_seen_dates: int = 8
    n_unseen_dates: int = 8
    frames: int = 12

    @classmethod
    def read(cls, settings: Mapping | Settings) -> Settings:
        """Check settings; all that is wrong is told at once.

        Raises
        ------
        ConfigError
        """
        given = asdict(settings) if isinstance(settings, Settings) else dict(settings)
        problems = Problems(ConfigError, "the settings of the stand-in movies")
        names = [field.name for field in fields(cls)]
        for name in given.keys() - set(names):
            problems.add(f"unknown setting '{name}'; expected some of {', '.join(names)}.{did_you_mean(name, names)}")
        read = cls(**{name: value for name, value in given.items() if name in names})
        read._check(problems)
        problems.raise_if_any()
        return read

    def _check(self, problems: Problems) -> None:
        least = {"image_size": 32, "n_seen_dates": 2, "n_unseen_dates": 0, "frames": 1}
        least |= {"n_seen_cells": 1, "n_unseen_cells": 0}
        wrong = [n for n, low in least.items() if not (_whole(v := getattr(self, n)) and v >= low)]
        for name in wrong:
            problems.add(f"{name} is {getattr(self, name)!r}; expected a whole number of at least {least[name]}")
        if "image_size" not in wrong and self.image_size > 256:
            problems.add(f"image_size is {self.image_size}; expected 32 to 256 pixels")
        if (
            not {"n_seen_cells", "n_seen_dates"} & set(wrong)
            and self.n_seen_cells < FEWEST_PER_DATE * self.n_seen_dates
        ):
            problems.add(
                f"n_seen_cells is {self.n_seen_cells} for {self.n_seen_dates} seen dates; expected at least "
                f"{FEWEST_PER_DATE} a date. Take more cells or fewer dates"
            )
        if not {"n_unseen_cells", "n_unseen_dates"} & set(wrong) and (
            self.n_unseen_cells < self.n_unseen_dates or (self.n_unseen_cells > 0 and not self.n_unseen_dates)
        ):
            problems.add(
                f"n_unseen_cells is {self.n_unseen_cells} for {self.n_unseen_dates} unseen dates; expected at least "
                "one a date, and none without dates"
            )


@dataclass(frozen=True)
class Pdx:
    """A PDX: its class, its deviation on the metastatic axis, and how its cells differ from others' (log factors)."""

    id: str
    efficiency: str
    deviation: float
    size: float
    elongation: float
    granularity: float
    texture: float


@dataclass(frozen=True)
class Date:
    """An imaging date: its microscope, and how many cells of which PDX it has."""

    id: str
    seen: bool
    microscope: Microscope
    n: dict[str, int]

    @property
    def folder(self) -> str:
        return "_".join([self.id, *sorted(self.n)])


@dataclass(frozen=True)
class Cell:
    """A cell; `index` numbers the cells of a data set, and with them their random streams.

    `protrusion`, `bleb`, `roundness`, `scatter`, `speed` are traits about 0, higher = more; `radius` is a share of the
    image's width, `elongation` the log of the square root of length by width, `granularity` and `texture` log factors on
    the number and contrast of granules.
    """

    index: int
    id: str
    pdx: str
    date: str
    folder: str
    efficiency: str
    phenotype: float
    protrusion: float
    bleb: float
    roundness: float
    scatter: float
    speed: float
    radius: float
    elongation: float
    granularity: float
    texture: float

    @property
    def key(self) -> str:
        return f"{self.pdx}/{self.date}/{self.id}"

    @property
    def path(self) -> str:
        """Folder of the cell's frames in the tree."""
        return f"{self.efficiency}/{self.pdx}/{self.folder}/{self.id}"


def stream(purpose: str, number: int, index: int = 0) -> np.random.Generator:
    """Return the generator of one purpose, data set and cell (or date, or PDX)."""
    return np.random.default_rng(derive_seed(f"stand-in movies, {purpose}", STUDY, number, index))


def draw(settings: Settings, number: int) -> tuple[list[Pdx], list[Date], list[Cell]]:
    """Draw PDX, dates and cells.

    Parameters
    ----------
    settings : Settings
    number : int
        Each number is another draw of everything but names and dates.

    Returns
    -------
    list of Pdx, list of Date, list of Cell
        Seen dates first; cells by date, then PDX.
    """
    pdxs = draw_pdxs(number)
    by_id = {pdx.id: pdx for pdx in pdxs}
    dates = draw_dates(settings, number)
    who = [(by_id[p], date, i) for date in dates for p in sorted(date.n) for i in range(date.n[p])]
    return pdxs, dates, [draw_cell(number, index, *place) for index, place in enumerate(who)]


def draw_pdxs(number: int) -> list[Pdx]:
    """Draw the PDX; their deviations on the metastatic axis have mean 0 and s.d. `PDX_SD` within each class."""
    rng = stream("PDX", number)
    deviations = {}
    for efficiency in CLASSES:
        names = [name for name, found in PDX.items() if found == efficiency]
        deviations |= zip(names, _spread(rng, PDX_SD, len(names)), strict=True)
    traits = {name: _spread(rng, sd, len(PDX)) for name, sd in PDX_TRAIT_SD.items()}
    return [
        Pdx(name, efficiency, float(deviations[name]), **{trait: float(v[i]) for trait, v in traits.items()})
        for i, (name, efficiency) in enumerate(PDX.items())
    ]


def draw_dates(settings: Settings, number: int) -> list[Date]:
    """Draw the dates: seen ones with the class tied to the date, unseen ones of one PDX each."""
    rng = stream("design", number)
    queue = {c: list(rng.permutation([p for p, found in PDX.items() if found == c])) for c in CLASSES}

    def take(efficiency: str) -> str:
        queue[efficiency].append(queue[efficiency].pop(0))  # in turn, so that each comes on several dates
        return str(queue[efficiency][-1])

    sizes = _sizes(rng, settings.n_seen_cells, settings.n_seen_dates)
    plans = []
    for i, size in enumerate(sizes):
        major, minor = CLASSES[:: 1 if i % 2 == 0 else -1]
        names = [take(major) for _ in range(1 + (i // 2) % 2)]
        n_major = int(np.clip(round(rng.uniform(*MAJORITY) * size), 2 * len(names), size - 2))
        plans.append(dict(zip(names, _even(n_major, len(names)), strict=True)) | {take(minor): size - n_major})
    unseen = _even(settings.n_unseen_cells, settings.n_unseen_dates)
    plans += [{take(CLASSES[i % 2]): size} for i, size in enumerate(unseen)]
    # The same for all data sets, so that their models have the same clusters.
    days = stream("calendar", 0).permutation(np.arange(len(plans)))
    names = [(FIRST_DATE + timedelta(days=int(9 * day + day % 4))).strftime("%Y%m%d") for day in days]
    microscopes = [Microscope.draw(stream("microscope", number, i)) for i in range(len(plans))]
    n_seen = settings.n_seen_dates
    microscopes[n_seen:] = _handed_out(microscopes, [_high_share(plan) for plan in plans], n_seen, rng)
    return [
        Date(name, i < n_seen, microscope, plan)
        for i, (name, microscope, plan) in enumerate(zip(names, microscopes, plans, strict=True))
    ]


def draw_cell(number: int, index: int, pdx: Pdx, date: Date, place: int) -> Cell:
    """Draw the state of the cell that has that place (from 0) among its PDX' cells of the date."""
    rng = stream("cell", number, index)
    phenotype = CLASS_MEAN[pdx.efficiency] + pdx.deviation + CELL_SD * rng.standard_normal()
    traits = {name: float(slope * phenotype + TRAIT_SD * rng.standard_normal()) for name, slope in FOLLOWS.items()}
    own = {name: getattr(pdx, name) + sd * rng.standard_normal() for name, sd in CELL_TRAIT_SD.items()}
    return Cell(
        index=index,
        id=f"cell_{place + 1:03d}",
        pdx=pdx.id,
        date=date.id,
        folder=date.folder,
        efficiency=pdx.efficiency,
        phenotype=float(phenotype),
        **traits,
        radius=float(RADIUS * np.exp(np.clip(own["size"], -0.3, 0.3))),
        elongation=float(np.clip(0.15 - 0.06 * traits["roundness"] + own["elongation"], 0.0, 0.42)),
        granularity=float(own["granularity"]),
        texture=float(own["texture"]),
    )


def expected_auroc() -> float:
    """AUROC of the phenotype alone, over cells of all PDX."""
    return NormalDist().cdf((CLASS_MEAN["high"] - CLASS_MEAN["low"]) / math.sqrt(2 * (PDX_SD**2 + CELL_SD**2)))


def _high_share(plan: Mapping[str, int]) -> float:
    return sum(n for pdx, n in plan.items() if PDX[pdx] == "high") / sum(plan.values())


def _handed_out(microscopes: list, high: list[float], n_seen: int, rng: np.random.Generator) -> list[Microscope]:
    """Order the unseen dates' microscopes: of some random orders that in which the seen dates' shortcut tells least.

    The shortcut is the ridge regression (penalty 1) of a seen date's share of high cells on its microscope's deviations.
    """
    z = np.array([microscope.deviations() for microscope in microscopes])
    seen, share = z[:n_seen], np.array(high)
    score = z[n_seen:] @ seen.T @ np.linalg.solve(seen @ seen.T + np.eye(n_seen), share[:n_seen] - 0.5)
    sign = share[n_seen:] - 0.5
    orders = [rng.permutation(len(score)) for _ in range(ORDERS)]
    best = min(orders, key=lambda order: abs(float(sign @ score[order])))
    return [microscopes[n_seen + i] for i in best]


def _spread(rng: np.random.Generator, sd: float, n: int) -> np.ndarray:
    """Values of mean 0 and that s.d., evenly apart, in any order: the PDX differ as much in each data set."""
    steps = np.linspace(-1, 1, n)
    return rng.permutation(sd * steps / steps.std())


def _even(total: int, n: int) -> list[int]:
    return [total // n + (i < total % n) for i in range(n)] if n else []


def _sizes(rng: np.random.Generator, total: int, n: int) -> list[int]:
    """Sizes that differ by up to 15% from their mean, and have the sum given."""
    mean = total / n
    spread = min(0.15, 1 - FEWEST_PER_DATE / mean)
    shares = mean * (1 + spread * rng.permutation(np.linspace(-1, 1, n)))
    return [int(size) for size in np.diff(np.rint(np.concatenate([[0], np.cumsum(shares)])).astype(int))]


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
