"""The numbers of the stand-in for ADNIMERGE: effects, correlations, units and frequencies, with where each is from.

The generator (this module, `adni_standin`, `adni_visits`) is frozen before any model is fitted to its output: it is
calibrated to published marginals only, and checked by plain univariate logistic regression alone.

The model is retrospective, so that every univariate effect is exact by construction. Subject i of site s has the label
``y ~ Bernoulli(pi_s)``, ``logit(pi_s) = a + u_s``. Given the label, the 26 continuous features, on a scale of
total s.d. 1, are jointly normal:

    x_j = h_sj + (y - p) * D_sj + w_j,    w ~ N(0, S R S),    D_sj = S_j^2 * (beta_j + b_sj)

with p the share of progressive subjects, h the site's shift (the scanner, the rater, the laboratory), S the within-class
s.d. and R the within-class correlation. Then within each site the log odds of y are linear in x_j alone, with the slope
``D_sj / S_j^2 = beta_j + b_sj``. With tau the s.d. of b_sj and eta that of the shift, S_j solves
``S^2 + p (1 - p) S^4 (beta^2 + tau^2) + eta^2 = 1``. All features together have the slopes ``(S R S)^-1 E[D]``. (x is centred
at p, not pi_s: a site with more progressive subjects has sicker ones on average, as case mix does. Where a site shifts,
the intercept of its model of y given x_j shifts by -(beta_j + b_sj) * h_sj.)

What the numbers are and where from:

- beta, tau: `coef` and `random_slope_sd` of ``config/univariate_mci.csv``, the authors' univariate mixed fits. Taken as true.
- p = 0.2704 over the seen sites, 392 subjects in 20 of them: the paper. The other sites: not known; we take 35, each
  smaller than every seen one.
- Site intercepts: not published; we take u_s ~ N(0, 0.8^2), which gives rates from about 5 to 65%, as rates of sites with
  tens of subjects are said to differ widely.
- Correlation of the site slopes of two features: not known; we take R, because two measures of nearly the same
  thing (TAU and PTAU) cannot have unrelated slopes. Slopes, intercepts and shifts are independent of one another: a
  scanner does not know who will progress, and case mix is there already (above).
- Shifts: not published; we take s.d. 0.3 in what a scanner or an assay measures, 0.1 in what a rater does, 0 in what the
  subject brings.
- R: not published; we take the factors in `LOADINGS` (memory, function, atrophy, head size, age, tau, amyloid, what two
  versions of one test share, and overall sickness), of signs and sizes as commonly found, and then let the features outside
  of `PREDICTIVE` carry no information of their own: their class difference is exactly what the predictive ones imply. For
  that their correlations with the predictive ones change by at most 0.11 (see `within_correlation`). At a single site the
  slopes given all others deviate from that, as b_sj does, for every feature.
- Categorical features: independent of the continuous ones and of one another given label and site; P(level | y, s) is
  proportional to ``q_l exp(y (theta_l + c_sl))``, so theta_l + c_sl is the site's log odds against the reference level.
  c ~ N(0, 0.3^2): not known, we take what lets the relative risks of sites differ about as much as slopes do.
  Frequencies: not known exactly; we take those of `FREQUENCIES`, near what is generally known of ADNI's MCI subjects.
  theta: 0.7 per copy of APOE4, the usual size; 0 for all others.
- Units (`UNITS`): the scale of each measure is linear in x, else its effect would not stay exact, so that nothing is skewed
  as some real ones are; means and s.d. are near those generally known of ADNI's MCI subjects, moved where a limit of the
  scale would cut off more than a few percent (FAQ, RAVLT % forgetting, MMSE). Rounding and limits make the univariate
  coefficients smaller by 3.5% (MMSE), 3% (CDR-SB), 2% (FAQ, ADASQ4), at most 1.1% (all others), as measured on 600 000
  subjects.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from armed.data.adni_format import DETECTION_LIMITS, FEATURE_NAMES, LEVEL_NAMES
from armed.errors import DataError, Problems
from armed.reproducibility import ROOT

PUBLISHED_EFFECTS = ROOT / "config" / "univariate_mci.csv"

RATE = 0.2704
SEEN_PER_SITE = 392 / 20
INTERCEPT_SD = 0.8
LEVEL_SD = 0.3
SHIFT_SD = {"demographic": 0.0, "test": 0.1, "biomarker": 0.3}

PREDICTIVE = ("ADAS13", "RAVLT_immediate", "FAQ", "mPACCtrailsB", "Hippocampus", "FDG", "PTAU", "ABETA")
"""Continuous features with information of their own; those of `LEVEL_EFFECTS` beside them."""

_FACTORS = ("sickness", "memory", "function", "atrophy", "size", "age", "tau", "amyloid", "ADAS", "mPACC")
# fmt: off
LOADINGS: dict[str, tuple[float, ...]] = {
    #                         sick  memory funct atroph size   age    tau  amyl  ADAS mPACC
    "PTEDUCAT":              (-0.10, 0.00, -0.30, 0.00, 0.15, 0.00, 0.00, 0.00, 0.0, 0.00),
    "AGE":                   (0.00, 0.00, 0.00, 0.00, 0.00, 0.70, 0.00, 0.00, 0.0, 0.00),
    "CDRSB":                 (0.40, 0.00, 0.45, 0.00, 0.00, 0.00, 0.00, 0.00, 0.0, 0.00),
    "ADAS11":                (0.60, 0.35, 0.10, 0.00, 0.00, 0.00, 0.00, 0.00, 0.6, 0.00),
    "ADAS13":                (0.65, 0.45, 0.10, 0.00, 0.00, 0.00, 0.00, 0.00, 0.5, 0.00),
    "ADASQ4":                (0.55, 0.60, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.1, 0.00),
    "MMSE":                  (-0.40, -0.20, -0.20, 0.00, 0.00, 0.00, 0.00, 0.00, 0.0, 0.00),
    "RAVLT_immediate":       (-0.50, -0.55, -0.15, 0.00, 0.00, -0.10, 0.00, 0.00, 0.0, 0.00),
    "RAVLT_learning":        (-0.30, -0.50, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.0, 0.00),
    "RAVLT_forgetting":      (0.10, 0.40, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.0, 0.00),
    "RAVLT_perc_forgetting": (0.30, 0.60, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.0, 0.00),
    "TRABSCOR":              (0.35, 0.00, 0.45, 0.00, 0.00, 0.15, 0.00, 0.00, 0.0, 0.00),
    "FAQ":                   (0.45, 0.00, 0.45, 0.00, 0.00, 0.00, 0.00, 0.00, 0.0, 0.00),
    "mPACCdigit":            (-0.60, -0.45, -0.35, 0.00, 0.00, 0.00, 0.00, 0.00, 0.0, 0.45),
    "mPACCtrailsB":          (-0.60, -0.45, -0.35, 0.00, 0.00, 0.00, 0.00, 0.00, 0.0, 0.45),
    "Ventricles":            (0.00, 0.00, 0.00, 0.30, 0.35, 0.40, 0.00, 0.00, 0.0, 0.00),
    "Hippocampus":           (-0.15, -0.15, 0.00, -0.60, 0.30, -0.30, 0.00, 0.00, 0.0, 0.00),
    "WholeBrain":            (0.00, 0.00, 0.00, -0.30, 0.80, -0.30, 0.00, 0.00, 0.0, 0.00),
    "Entorhinal":            (-0.15, -0.10, 0.00, -0.60, 0.30, 0.00, 0.00, 0.00, 0.0, 0.00),
    "Fusiform":              (-0.10, 0.00, 0.00, -0.60, 0.50, -0.15, 0.00, 0.00, 0.0, 0.00),
    "MidTemp":               (-0.15, 0.00, 0.00, -0.65, 0.50, -0.15, 0.00, 0.00, 0.0, 0.00),
    "ICV":                   (0.00, 0.00, 0.00, 0.00, 0.90, 0.00, 0.00, 0.00, 0.0, 0.00),
    "FDG":                   (-0.35, 0.00, -0.20, -0.40, 0.00, -0.15, 0.00, 0.00, 0.0, 0.00),
    "PTAU":                  (0.20, 0.10, 0.00, 0.00, 0.00, 0.00, 0.90, 0.30, 0.0, 0.00),
    "TAU":                   (0.20, 0.10, 0.00, 0.00, 0.00, 0.00, 0.90, 0.28, 0.0, 0.00),
    "ABETA":                 (-0.20, -0.10, 0.00, 0.00, 0.00, 0.00, 0.00, -0.70, 0.0, 0.00),
}
"""Loadings of each feature within a class; what the squares leave of 1 is the feature's own variance."""

UNITS: dict[str, tuple[float, float, float, float, float]] = {
    #                         mean      s.d.    step   least    most
    "PTEDUCAT":              (15.5,     2.6,    1,     6,       20),
    "AGE":                   (73.0,     7.3,    0.1,   55,      95),
    "CDRSB":                 (1.7,      0.85,   0.5,   0,       18),
    "ADAS11":                (10.5,     4.5,    1,     0,       70),
    "ADAS13":                (17.0,     6.6,    1,     0,       85),
    "ADASQ4":                (5.3,      2.3,    1,     0,       10),
    "MMSE":                  (27.0,     1.7,    1,     0,       30),
    "RAVLT_immediate":       (34.0,     10.5,   1,     0,       75),
    "RAVLT_learning":        (4.3,      2.5,    1,     -5,      14),
    "RAVLT_forgetting":      (4.6,      2.4,    1,     -12,     15),
    "RAVLT_perc_forgetting": (54.0,     22.0,   1e-4,  -100,    100),
    "TRABSCOR":              (120.0,    45.0,   1,     20,      300),
    "FAQ":                   (5.0,      2.5,    1,     0,       30),
    "mPACCdigit":            (-5.5,     3.6,    1e-4,  -30,     10),
    "mPACCtrailsB":          (-5.2,     3.6,    1e-4,  -30,     10),
    "Ventricles":            (42e3,     17e3,   1,     4e3,     16e4),
    "Hippocampus":           (6800.0,   1080.0, 1,     2000,    12e3),
    "WholeBrain":            (1.03e6,   1.05e5, 1,     6e5,     1.6e6),
    "Entorhinal":            (3500.0,   720.0,  1,     800,     7e3),
    "Fusiform":              (17200.0,  2600.0, 1,     6e3,     3e4),
    "MidTemp":               (19400.0,  2900.0, 1,     7e3,     34e3),
    "ICV":                   (1.535e6,  1.6e5,  1,     9e5,     2.3e6),
    "FDG":                   (1.23,     0.13,   1e-5,  0.6,     1.8),
    "PTAU":                  (28.5,     10.5,   0.01,  8,       120),
    "TAU":                   (300.0,    108.0,  0.1,   80,      1300),
    "ABETA":                 (950.0,    370.0,  0.1,   200,     1700),
}
"""Mean and s.d. in the measure's units, step of rounding, and limits of the scale or of the assay."""

FREQUENCIES: dict[str, dict[str, float]] = {
    "APOE4": {"0": 0.50, "1": 0.39, "2": 0.11},
    "PTGENDER": {"Male": 0.59, "Female": 0.41},
    "PTETHCAT": {"Not Hisp/Latino": 0.96, "Hisp/Latino": 0.033, "Unknown": 0.007},
    "PTRACCAT": {"White": 0.927, "Asian": 0.018, "Black": 0.036, "More than one": 0.009, "Am Indian/Alaskan": 0.005,
                 "Unknown": 0.005},
    "PTMARRY": {"Married": 0.78, "Divorced": 0.085, "Never married": 0.027, "Widowed": 0.105, "Unknown": 0.003},
}
"""Shares of the levels; Hawaiian/Other PI is absent, as in the paper's 37 features."""
# fmt: on
LEVEL_EFFECTS = {"ApoE4 1": 0.7, "ApoE4 2": 1.4}
"""Log odds of indicator features against their reference level; 0 for all others."""

COLUMNS = tuple(FEATURE_NAMES)
LEVELS = tuple((column, level) for column, level in LEVEL_NAMES if level in FREQUENCIES[column])
INDICATORS = tuple(LEVEL_NAMES[key] for key in LEVELS)


def kind(column: str) -> str:
    """Return ``"demographic"``, ``"test"`` or ``"biomarker"``."""
    if column in ("PTEDUCAT", "AGE"):
        return "demographic"
    return "biomarker" if COLUMNS.index(column) >= COLUMNS.index("Ventricles") else "test"


@dataclass(frozen=True, eq=False)
class Model:
    """The continuous features given the label, in the order of `FEATURE_NAMES`; see the module.

    Parameters
    ----------
    coef, slope_sd : array, shape (26,)
        beta and tau: univariate log odds per s.d., s.d. of the site slopes.
    """

    coef: np.ndarray
    slope_sd: np.ndarray

    @classmethod
    def published(cls, path: str | Path = PUBLISHED_EFFECTS) -> Model:
        """Read the published effects.

        Raises
        ------
        DataError
            The file lacks a column or feature, or an s.d. is negative.
        """
        table = pd.read_csv(path)
        problems = Problems(DataError, str(path))
        for column in {"feature", "coef", "random_slope_sd"} - set(table):
            problems.add(f"no column '{column}'; expected feature, coef and random_slope_sd")
        problems.raise_if_any()
        table = table.drop_duplicates("feature").set_index("feature").reindex(FEATURE_NAMES.values())
        for name, row in table[["coef", "random_slope_sd"]].iterrows():
            if not (np.isfinite(row).all() and row["random_slope_sd"] >= 0):
                problems.add(f"feature '{name}' is missing or has no finite coef and random_slope_sd of at least 0")
        problems.raise_if_any()
        return cls(table["coef"].to_numpy(float), table["random_slope_sd"].to_numpy(float))

    @cached_property
    def shift_sd(self) -> np.ndarray:
        """S.d. over sites of the shifts (eta), shape (26,)."""
        return np.array([SHIFT_SD[kind(column)] for column in COLUMNS])

    @cached_property
    def within_sd(self) -> np.ndarray:
        """S.d. within class and site (S), shape (26,)."""
        quadratic = RATE * (1 - RATE) * (self.coef**2 + self.slope_sd**2)
        rest = 1 - self.shift_sd**2
        # The root of quadratic * v^2 + v = rest, in a form that holds at quadratic = 0.
        return np.sqrt(2 * rest / (1 + np.sqrt(1 + 4 * quadratic * rest)))

    @cached_property
    def within_correlation(self) -> np.ndarray:
        """R, shape (26, 26): that of the factors, but for what makes the features outside of `PREDICTIVE` redundant.

        With d = beta S the standardised class differences, a feature j is redundant given the predictive ones if its
        regression on them, B_j, fulfils ``B_j d = d_j``. The change of B_j that is least in the metric of their
        correlation is taken; the residual correlations stay those of the factors.
        """
        loadings = np.array([LOADINGS[column] for column in COLUMNS])
        R = loadings @ loadings.T
        np.fill_diagonal(R, 1.0)
        own = np.isin(COLUMNS, PREDICTIVE)
        d = self.coef * self.within_sd
        inside, across = R[np.ix_(own, own)], R[np.ix_(~own, own)]
        regression = np.linalg.solve(inside, across.T).T
        residual = R[np.ix_(~own, ~own)] - regression @ across.T
        weights = np.linalg.solve(inside, d[own])
        regression += np.outer(d[~own] - regression @ d[own], weights) / (d[own] @ weights)
        explained = regression @ inside @ regression.T
        left = 1 - np.diag(explained)
        if (left <= 0).any():
            raise DataError(
                f"With these effects {', '.join(np.array(COLUMNS)[~own][left <= 0])} cannot depend on "
                f"{', '.join(PREDICTIVE)} alone; the stand-in is made for the published effects."
            )
        scale = np.sqrt(left / np.diag(residual))
        R[np.ix_(~own, own)] = regression @ inside
        R[np.ix_(own, ~own)] = R[np.ix_(~own, own)].T
        R[np.ix_(~own, ~own)] = explained + residual * np.outer(scale, scale)
        return R

    @cached_property
    def multivariate(self) -> np.ndarray:
        """Log odds per s.d. of all continuous features together, shape (26,); exactly 0 for the redundant."""
        found = np.linalg.solve(self.within_correlation, self.coef * self.within_sd) / self.within_sd
        return np.where(np.isin(COLUMNS, PREDICTIVE), found, 0.0)


def in_units(x: np.ndarray) -> np.ndarray:
    """Turn features of s.d. 1 into the measures' units, rounded and limited as in the file.

    Parameters
    ----------
    x : array, shape (n, 26)

    Returns
    -------
    array, shape (n, 26)
    """
    mean, sd, step, low, high = np.array([UNITS[column] for column in COLUMNS]).T
    return np.round(np.clip(np.round((mean + sd * x) / step) * step, low, high), 5)


for _column, (_low, _high) in DETECTION_LIMITS.items():
    assert UNITS[_column][3:] == (float(_low[1:]), float(_high[1:]))
