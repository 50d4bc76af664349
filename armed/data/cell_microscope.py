"""The phase contrast microscope of the stand-in: how it makes an image, and how imaging dates differ.

In the order in which it happens:

1. debris: small particles in the medium, seen like cells; and the grain of the gel on which the cells lie;
2. phase contrast: brightness falls with the optical path less its own blurred copy (a common model of the phase ring),
   which leaves cells darker than the medium, with a bright halo around them; scattering granules add light;
3. defocus: a Gaussian blur;
4. lamp: a grey level, a gradient across the field and a darker rim;
5. camera: Gaussian noise, the same in each pixel at any image size; 8 bits.

None of the differences between dates is published; `DATES` is our choice: such that dates can be told apart by eye, that
cells can be told on all of them, and that no difference tells of the PDX or the class. Lengths are shares of the image's width.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.ndimage import gaussian_filter

from armed.data.cell_blobs import Blobs, Wave, add_blobs

HALO_WIDTHS = (0.038, 0.013)
"""S.d. of the two parts of the blurred copy."""
CHUNK = 16
"""Frames made at a time; it changes nothing in them."""


@dataclass(frozen=True)
class Microscope:
    """What an imaging date does to an image.

    Parameters
    ----------
    brightness : float
        Grey level of the medium, 0 to 1.
    contrast : float
        Log factor on all that the cell does to the light.
    halo : float
        Strength of the blurred copy, 1 = as much light as the cell takes.
    gradient_x, gradient_y : float
        Log gain across the field, left to right, top to bottom.
    rim : float
        Log gain lost in the corners.
    blur : float
        S.d. of the defocus.
    noise : float
        S.d. of the camera's noise, grey levels of 0 to 1.
    debris : float
        Mean number of particles in a field.
    grain : float
        S.d. of the gel's optical path.
    """

    brightness: float
    contrast: float
    halo: float
    gradient_x: float
    gradient_y: float
    rim: float
    blur: float
    noise: float
    debris: float
    grain: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Microscope:
        """Draw a date's microscope: normal on the scales of `DATES`; what is beyond 2 s.d. is drawn anew, evenly."""
        z = rng.standard_normal(len(fields(cls)))
        z = np.where(np.abs(z) > 2, rng.uniform(-2, 2, len(z)), z)
        values = {}
        for (name, (middle, sd, log)), d in zip(DATES.items(), z, strict=True):
            values[name] = float(middle * np.exp(sd * d) if log else middle + sd * d)
        return cls(**values)

    def deviations(self) -> np.ndarray:
        """Deviations from the middle of `DATES` in s.d., shape (n_effects,)."""
        values = {name: getattr(self, name) for name in DATES}
        return np.array(
            [(np.log(values[n] / middle) if log else values[n] - middle) / sd for n, (middle, sd, log) in DATES.items()]
        )


# Middle, s.d., whether the s.d. is that of the logarithm.
DATES = {
    "brightness": (0.47, 0.10, False),
    "contrast": (0.0, 0.25, False),
    "halo": (0.82, 0.13, False),
    "gradient_x": (0.0, 0.28, False),
    "gradient_y": (0.0, 0.28, False),
    "rim": (0.12, 0.08, False),
    "blur": (0.0042, 0.65, True),
    "noise": (0.014, 0.45, True),
    "debris": (3.5, 0.8, True),
    "grain": (0.045, 0.45, True),
}
TYPICAL = Microscope(**{name: middle for name, (middle, _, _) in DATES.items()})


def acquire(phase: np.ndarray, scatter: np.ndarray, microscope: Microscope, rng: np.random.Generator) -> np.ndarray:
    """Image a movie.

    Parameters
    ----------
    phase, scatter : array, shape (n_frames, size, size)
        See `cell_drawing.Scene`.
    microscope : Microscope
    rng : numpy Generator
        Draws debris, the gel's grain and noise.

    Returns
    -------
    uint8 array, shape (n_frames, size, size)
    """
    n_frames, size = phase.shape[:2]
    debris = draw_debris(microscope, rng, n_frames)
    gel = microscope.grain * _gel(rng, size)
    lamp = microscope.brightness * _gain(microscope, size)
    image = np.empty(phase.shape, dtype=np.uint8)
    for first in range(0, n_frames, CHUNK):
        part = slice(first, first + CHUNK)
        light = _light(phase[part] + add_blobs(debris.part(part), size), scatter[part], microscope, size) + gel
        light = gaussian_filter(light, (0, microscope.blur * size, microscope.blur * size), truncate=3.0)
        grey = lamp * (1 + light)
        grey += np.float32(microscope.noise) * rng.standard_normal(grey.shape, dtype=np.float32)
        image[part] = np.clip(np.rint(grey * 255), 0, 255)
    return image


def draw_debris(microscope: Microscope, rng: np.random.Generator, n_frames: int) -> Blobs:
    """Draw particles that drift slowly through the field."""
    n = int(min(rng.poisson(microscope.debris), 60))
    start, path = rng.uniform(0, 1, (n, 2)), Wave(rng, (n, 2), 30)
    places = start + 0.03 * path(np.arange(n_frames, dtype=float))
    width = 0.0035 * np.exp(rng.uniform(0, 1.4, n))
    weight = rng.uniform(0.25, 1.1, n) * rng.choice([1.0, -0.6], n, p=[0.7, 0.3])  # some refract, bright
    second = places + 1.6 * width[:, None] * rng.standard_normal((n, 2))  # so that not all are round
    places = np.concatenate([places, second], axis=1)
    width, weight = np.tile(width, 2), np.concatenate([weight, weight * rng.uniform(0, 0.9, n)])
    shape = places.shape[:2]
    return Blobs(places[..., 0], places[..., 1], np.broadcast_to(width, shape), np.broadcast_to(weight, shape))


def _light(phase: np.ndarray, scatter: np.ndarray, microscope: Microscope, size: int) -> np.ndarray:
    """Light relative to that of the medium, less 1."""
    wide, narrow = (gaussian_filter(phase, (0, w * size, w * size), truncate=3.0) for w in HALO_WIDTHS)
    halo = np.float32(0.65 * microscope.halo) * wide + np.float32(0.35 * microscope.halo) * narrow
    halo *= 1 + np.float32(0.9) * np.clip(1 - 3 * phase, 0, 1)  # less light through the cell, less halo on it
    light = halo - phase + np.float32(0.65) * scatter
    return np.float32(np.exp(microscope.contrast)) * light


def _gel(rng: np.random.Generator, size: int, n: int = 220) -> np.ndarray:
    """Grain of the gel, s.d. about 1, shape (size, size)."""
    place = rng.uniform(-0.05, 1.05, (2, 1, n))
    width = rng.uniform(0.010, 0.035, (1, n))
    weight = rng.choice([-1.0, 1.0], (1, n))
    return add_blobs(Blobs(place[0], place[1], width, weight), size)[0]


def _gain(microscope: Microscope, size: int) -> np.ndarray:
    at = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    x, y = at[None, :], at[:, None]
    log = microscope.gradient_x * x + microscope.gradient_y * y - 2 * microscope.rim * (x * x + y * y)
    return np.exp(log).astype(np.float32)
