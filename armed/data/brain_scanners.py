"""Scanners of the stand-in volumes: what a site's scanner does to the image of a brain, and how scanners differ.

A T1-weighted image is made from the template's intensities t (0 background, 1 brightest; cerebrospinal fluid near 0.28,
grey matter near 0.66, white matter near 0.87) in the order in which a scanner makes it:

1. contrast: a monotone curve gives each tissue its signal, white matter being 1;
2. bias field: exp of a low polynomial in the place (a centre brighter or darker than the rim, gradients along y and z);
3. noise: the magnitude of signal plus complex Gaussian noise (Rician), before the reconstruction filter, which colours it;
4. reconstruction filter: ``image + k (G image - image)`` with G Gaussian: k > 0 blurs, k < 0 enhances edges;
5. intensity scale: arbitrary units, gone after a scaling by percentiles.

Makers differ by `MAKERS`; a site deviates from its maker by `SITE_SD`, a session from its site by `SESSION_SD`. None of
these numbers is published; we take differences such that makers can be told by their contrast and texture, yet overlap,
and that sites of one maker differ by about half of what makers do, because vendors' T1 sequences (IR-SPGR, MPRAGE, TFE)
differ in just these ways and multi-site harmonisation studies find vendor, then site, the largest nuisance effects.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter

FILTER_MM = 1.7
"""S.d. of G, mm."""


@dataclass(frozen=True)
class Scanner:
    """What one scanner does to an image.

    Parameters
    ----------
    csf, gm : float
        Signal of cerebrospinal fluid and of grey matter; white matter has 1.
    filter : float
        k of the reconstruction filter: above 0 blurred, below 0 edges enhanced.
    noise : float
        S.d. of the noise before the filter, relative to white matter.
    bias_rim, bias_y, bias_z : float
        Log gain at the rim of the head against its centre; at 100 mm to the front and to the top.
    scale : float
        Log of the intensity of white matter, arbitrary units.
    """

    csf: float
    gm: float
    filter: float
    noise: float
    bias_rim: float
    bias_y: float
    bias_z: float
    scale: float

    def deviate(self, sd: Scanner, rng: np.random.Generator) -> Scanner:
        """Return a scanner that deviates from this one by normal draws."""
        names = [field.name for field in fields(Scanner)]
        draws = rng.standard_normal(len(names))
        values = {n: getattr(self, n) + getattr(sd, n) * float(d) for n, d in zip(names, draws, strict=True)}
        values["noise"] = max(values["noise"], 0.005)
        values["csf"] = float(np.clip(values["csf"], 0.05, 0.5))
        values["gm"] = float(np.clip(values["gm"], values["csf"] + 0.1, 0.95))
        values["filter"] = float(np.clip(values["filter"], -0.8, 0.9))
        return Scanner(**values)


# fmt: off
MAKERS = {
    #                   csf    gm   filter  noise   rim    y      z    scale
    "GE":      Scanner(0.24, 0.685, -0.22, 0.034,  0.05,  0.00, -0.03, 7.8),
    "Philips": Scanner(0.33, 0.735,  0.18, 0.028, -0.04,  0.03,  0.02, 6.6),
    "Siemens": Scanner(0.29, 0.705,  0.02, 0.023,  0.00, -0.02,  0.00, 5.8),
}
SITE_SD = Scanner(     0.022, 0.015, 0.11, 0.004,  0.04,  0.04,  0.04, 0.4)
SESSION_SD = Scanner(  0.006, 0.004, 0.03, 0.001,  0.01,  0.01,  0.01, 0.1)
# fmt: on

SCANNERS = {
    "GE": ("GE Signa HDxt", "GE Discovery MR750", "GE Signa Premier"),
    "Philips": ("Philips Achieva", "Philips Ingenia", "Philips Intera"),
    "Siemens": ("Siemens TrioTim", "Siemens Prisma", "Siemens Verio", "Siemens Skyra"),
}
"""Names of scanners as they stand in a subject table; the name says the maker, nothing else."""


def acquire(
    anatomy: np.ndarray, brain: np.ndarray, place: np.ndarray, scanner: Scanner, voxel: np.ndarray, rng
) -> np.ndarray:
    """Image a brain.

    Parameters
    ----------
    anatomy : array, shape (I, J, K)
        Template intensities 0..1, continued beyond the brain.
    brain : bool array, shape (I, J, K)
    place : array, shape (n, 3)
        Of each brain voxel in the order of ``anatomy[brain]``: mm from the middle of the head, to the right, front and top.
    scanner : Scanner
    voxel : array, shape (3,)
        Size of a voxel, mm.
    rng : numpy Generator
        Draws the noise.

    Returns
    -------
    int16 array, shape (I, J, K)
        0 outside of the brain, at least 1 inside.
    """
    signal = np.interp(anatomy, *contrast_curve(scanner)).astype(np.float32)
    signal[brain] *= _gain(place, scanner)
    real = signal + scanner.noise * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = scanner.noise * rng.standard_normal(signal.shape, dtype=np.float32)
    image = np.sqrt(real * real + imaginary * imaginary)
    smooth = gaussian_filter(image, FILTER_MM / np.asarray(voxel), truncate=3.0)
    image += scanner.filter * (smooth - image)
    image *= np.float32(np.exp(scanner.scale))
    return np.where(brain, np.clip(np.rint(image), 1, 32767), 0).astype(np.int16)


def contrast_curve(scanner: Scanner) -> tuple[np.ndarray, np.ndarray]:
    """Return template intensities (512,), 0 to 1, and their signals; white matter has 1."""
    knots = PchipInterpolator([0.0, 0.28, 0.66, 0.87, 1.0], [0.0, scanner.csf, scanner.gm, 1.0, 1.07])
    t = np.linspace(0.0, 1.0, 512)
    return t, knots(t)


def _gain(place: np.ndarray, scanner: Scanner) -> np.ndarray:
    """exp of the bias field, shape (n,)."""
    x, y, z = place.T / np.float32(100.0)
    log = scanner.bias_rim * ((x * x + y * y + z * z) / np.float32(0.5) - np.float32(0.5))
    log += scanner.bias_y * y + scanner.bias_z * z
    return np.exp(log.astype(np.float32))
