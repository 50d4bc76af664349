"""The stand-in of the AD study: who is scanned where, and what age and disease have done to whom.

The generator (this module, `brain_anatomy`, `brain_scanners`, `brain_standin`) is frozen before any model is fitted to its
output: it is calibrated to the marginals below only.

- Design: as in the paper, 12 seen sites, 5 with GE scanners and mostly subjects with AD, 7 with Philips or Siemens scanners
  and mostly CN subjects. "Mostly" is not stated in the paper; we take 75 to 85%, and at least two subjects of each
  diagnosis at each seen site. At unseen sites the maker says nothing of the diagnosis: each maker has as many pairs of
  AD as of CN subjects, to one. They come in pairs because the study leaves out site x diagnosis cells of one subject; so
  most unseen sites, being small, have one diagnosis, and a few have both.
- Age: N(75, 8^2) for AD, N(73, 6^2) for CN, between 55 and 95, near what is commonly reported of ADNI. Men are 55% of the
  AD and 48% of the CN subjects.
- Atrophy, as factors on the volumes that the structures have in the template (young adults), on the log scale normal given age
  and diagnosis. With a = age - 73:
  hippocampi with the adjoining amygdalae: log(0.97) - 0.006 a + log(0.775) [AD] + e1, ventricles (lateral): log(1.7) + 0.02 a +
  log(1.5) [AD] + e2. So at one age hippocampi are 22.5% smaller and ventricles 50% larger in AD: meta-analyses and
  ADNI's volumetry agree on some 20 to 25% and 40 to 60%. e1, e2: s.d. 0.135 and 0.34, correlation -0.25, not
  known exactly; we take what lets the best linear classifier of the two log factors alone have an AUROC of
  0.92 (`expected_auroc`), as volumetry has for AD against CN.
- Repeated sessions: every fifth subject has a second one 6, 12 or 24 months later. In between hippocampi lose 3.5% a year in
  AD, 0.8% in CN, ventricles gain 6% and 2.5%.
- Head size and shape: linear size 1.02 for men, 0.98 for women, s.d. 0.03, in native space only; in MNI space what an affine
  registration leaves over: 1.5% per axis. Shape: see `brain_anatomy`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from statistics import NormalDist

import numpy as np

from armed.data.brain_scanners import MAKERS, SCANNERS, SITE_SD, Scanner
from armed.errors import ConfigError, Problems, did_you_mean
from armed.reproducibility import derive_seed

STUDY = "ad_diagnosis"
GE_SHARE = 5 / 12
MAJORITY = (0.75, 0.85)
UNSEEN_SHARE = 0.38
SMALLEST_SEEN = 5
AGE = {"AD": (75.0, 8.0), "CN": (73.0, 6.0)}
AGE_RANGE = (55.0, 95.0)
MEN = {"AD": 0.55, "CN": 0.48}

# Hippocampi, ventricles.
AGE_0 = 73.0
BASE = np.log([0.97, 1.7])
PER_YEAR_OF_AGE = np.array([-0.006, 0.02])
DISEASE = np.log([0.775, 1.5])
SPREAD = np.array([0.135, 0.34])
CORRELATION = -0.25
FACTOR_RANGE = (np.array([0.46, 0.55]), np.array([1.7, 7.8]))
"""What the template can be deformed to; 1 subject in 300 would be beyond (mostly AD, the largest ventricles)."""
PER_YEAR = {"AD": np.array([-0.035, 0.06]), "CN": np.array([-0.008, 0.025])}

REPEATED_EVERY = 5
LATER_MONTHS = (6, 12, 24)
HEAD_SIZE = {"M": 1.02, "F": 0.98}
HEAD_SIZE_SD = 0.03


@dataclass(frozen=True)
class Settings:
    """Size and kind of the stand-in.

    Parameters
    ----------
    voxel_mm : float
        Voxel size in MNI space, 1 to 4 mm; not used with `native`.
    n_seen_sites, n_unseen_sites, n_subjects : int
        Of the subjects, 62% are at seen sites, the others in pairs at unseen ones.
    native : bool
        Each volume in a space, orientation and voxel size of its own, for the registration.
    """

    voxel_mm: float = 2.0
    n_seen_sites: int = 12
    n_unseen_sites: int = 30
    n_subjects: int = 170
    native: bool = False

    @classmethod
    def read(cls, settings: Mapping | Settings) -> Settings:
        """Check settings; all that is wrong is told at once.

        Raises
        ------
        ConfigError
        """
        given = asdict(settings) if isinstance(settings, Settings) else dict(settings)
        problems = Problems(ConfigError, "the settings of the stand-in volumes")
        names = [field.name for field in fields(cls)]
        for name in given.keys() - set(names):
            problems.add(f"unknown setting '{name}'; expected some of {', '.join(names)}.{did_you_mean(name, names)}")
        read = cls(**{name: value for name, value in given.items() if name in names})
        read._check(problems)
        problems.raise_if_any()
        return read

    def _check(self, problems: Problems) -> None:
        if not (_number(self.voxel_mm) and 1 <= self.voxel_mm <= 4):
            problems.add(f"voxel_mm is {self.voxel_mm!r}; expected a number of 1 to 4 mm")
        if not isinstance(self.native, bool):
            problems.add(f"native is {self.native!r}; expected true or false")
        least = {"n_seen_sites": 2, "n_unseen_sites": 0, "n_subjects": 1}
        wrong = [n for n, low in least.items() if not (_number(v := getattr(self, n)) and v == int(v) and v >= low)]
        for name in wrong:
            problems.add(f"{name} is {getattr(self, name)!r}; expected a whole number of at least {least[name]}")
        if not wrong:
            unseen = unseen_sizes(self)
            floor = max(SMALLEST_SEEN, max(unseen, default=0) + 1)
            if (self.n_subjects - sum(unseen)) * 0.88 < floor * self.n_seen_sites:
                problems.add(
                    f"n_subjects is {self.n_subjects}, which leaves {self.n_subjects - sum(unseen)} for "
                    f"{self.n_seen_sites} seen sites; each must have at least {floor}, more than any unseen site. "
                    "Take more subjects, fewer seen or more unseen sites"
                )


@dataclass(frozen=True)
class Site:
    """A site: its scanner, and how many subjects of each diagnosis it has."""

    id: str
    seen: bool
    maker: str
    scanner_name: str
    scanner: Scanner
    n: dict[str, int]


@dataclass(frozen=True)
class Session:
    """A scan: its id, months since the first one, age (years), and the factors on the template's volumes."""

    id: str
    months: int
    age: float
    hippocampi: float
    ventricles: float


@dataclass(frozen=True)
class Subject:
    """A subject; `index` numbers the subjects of a dataset, and with them their random streams."""

    index: int
    id: str
    site: str
    diagnosis: str
    sex: str
    head_size: float
    sessions: tuple[Session, ...]


def stream(purpose: str, dataset: int, index: int = 0) -> np.random.Generator:
    """Return the generator of one purpose, dataset and subject (or site)."""
    return np.random.default_rng(derive_seed(f"stand-in volumes, {purpose}", STUDY, dataset, index))


def draw(settings: Settings, dataset: int) -> tuple[list[Site], list[Subject]]:
    """Draw the sites and their subjects.

    Parameters
    ----------
    settings : Settings
    dataset : int
        Each number is another draw of everything but the sites' ids.

    Returns
    -------
    sites, subjects : list of Site, list of Subject
        Seen sites first; subjects by site.
    """
    sites = draw_sites(settings, dataset)
    who = [(site, diagnosis) for site in sites for diagnosis in ("AD", "CN") for _ in range(site.n[diagnosis])]
    return sites, [draw_subject(dataset, i, site.id, diagnosis) for i, (site, diagnosis) in enumerate(who)]


def draw_sites(settings: Settings, dataset: int) -> list[Site]:
    """Draw the sites: seen ones with the diagnosis tied to the maker, unseen ones without."""
    unseen = unseen_sizes(settings)
    n_ge = max(1, round(settings.n_seen_sites * GE_SHARE))
    makers = ["GE"] * n_ge + [("Siemens", "Philips")[i % 2] for i in range(settings.n_seen_sites - n_ge)]
    rng = stream("design", dataset)
    sizes = _seen_sizes(rng, settings.n_subjects - sum(unseen), settings.n_seen_sites)
    numbers = []
    for maker, size in zip(makers, sizes, strict=True):
        major = int(np.clip(round(rng.uniform(*MAJORITY) * size), 2, size - 2))
        numbers.append({"AD": major, "CN": size - major} if maker == "GE" else {"AD": size - major, "CN": major})
    for i, size in enumerate(unseen):
        first = ("AD", "CN")[(i // 3 + i % 3) % 2]
        n_first = size if size < 2 else 2 * math.ceil(size / 4)
        numbers.append({first: n_first, ("CN" if first == "AD" else "AD"): size - n_first})
        makers.append(("Siemens", "GE", "Philips")[i % 3])
    n = len(makers)
    # The ids of real sites have gaps. The same for all datasets, so that their models have the same clusters.
    ids = np.sort(stream("site ids", 0).choice(np.arange(2, 2 + 3 * n), n, replace=False))
    ids = stream("order of sites", 0).permutation(ids)
    sites = []
    for i, (maker, per_diagnosis) in enumerate(zip(makers, numbers, strict=True)):
        own = stream("scanner", dataset, i)
        scanner = MAKERS[maker].deviate(SITE_SD, own)
        name = str(own.choice(SCANNERS[maker]))
        sites.append(Site(f"{ids[i]:03d}", i < settings.n_seen_sites, maker, name, scanner, per_diagnosis))
    return sites


def draw_subject(dataset: int, index: int, site: str, diagnosis: str) -> Subject:
    """Draw a subject's age, sex, head size, atrophy and sessions."""
    rng = stream("subject", dataset, index)
    age = float(np.clip(rng.normal(*AGE[diagnosis]), *AGE_RANGE))
    sex = "M" if rng.random() < MEN[diagnosis] else "F"
    head = float(HEAD_SIZE[sex] * math.exp(rng.normal(0.0, HEAD_SIZE_SD)))
    logs = mean_log_factors(age, diagnosis) + np.linalg.cholesky(_covariance()) @ rng.standard_normal(2)
    later = int(rng.choice(LATER_MONTHS))
    sessions = []
    for months in (0, later) if index % REPEATED_EVERY == 2 else (0,):
        factors = np.clip(np.exp(logs + PER_YEAR[diagnosis] * months / 12), *FACTOR_RANGE)
        sessions.append(Session(f"m{months:02d}", months, age + months / 12, *map(float, factors)))
    return Subject(index, f"{site}S{index:04d}", site, diagnosis, sex, head, tuple(sessions))


def mean_log_factors(age: float | np.ndarray, diagnosis: str) -> np.ndarray:
    """Mean log factors on the volumes of hippocampi and ventricles, shape (2,) or (n, 2)."""
    return BASE + np.multiply.outer(np.subtract(age, AGE_0), PER_YEAR_OF_AGE) + DISEASE * (diagnosis == "AD")


def other_diagnosis(session: Session, diagnosis: str) -> tuple[float, float]:
    """Factors that the subject would have with the other diagnosis, all else being equal."""
    change = np.exp(-DISEASE if diagnosis == "AD" else DISEASE)
    return float(session.hippocampi * change[0]), float(session.ventricles * change[1])


def expected_auroc() -> float:
    """AUROC of the best linear classifier of the two log factors at the first session, age unknown (truncation aside).

    Within a diagnosis the log factors are normal with covariance S_d = E + var(age) b b'; the best direction is
    w = (S_AD + S_CN)^-1 m with m the difference of means, and the AUROC Phi(sqrt(m' w)).
    """
    m = mean_log_factors(AGE["AD"][0], "AD") - mean_log_factors(AGE["CN"][0], "CN")
    ages = sum(sd**2 for _, sd in AGE.values())
    both = 2 * _covariance() + ages * np.outer(PER_YEAR_OF_AGE, PER_YEAR_OF_AGE)
    return NormalDist().cdf(math.sqrt(float(m @ np.linalg.solve(both, m))))


def unseen_sizes(settings: Settings) -> list[int]:
    """Subjects of each unseen site: pairs in turn; a site that gets no pair has one subject."""
    n = settings.n_unseen_sites
    pairs = round(UNSEEN_SHARE * settings.n_subjects / 2) if n else 0
    return [max(1, 2 * len(range(i, pairs, n))) for i in range(n)]


def _seen_sizes(rng: np.random.Generator, total: int, n: int) -> list[int]:
    """Sizes that differ by up to 12% from their mean, and have the sum given."""
    shares = total / n * (1 + 0.12 * rng.permutation(np.linspace(-1, 1, n)))
    bounds = np.rint(np.concatenate([[0], np.cumsum(shares)])).astype(int)
    return [int(size) for size in np.diff(bounds)]


def _covariance() -> np.ndarray:
    return np.outer(SPREAD, SPREAD) * np.array([[1.0, CORRELATION], [CORRELATION, 1.0]])


def _number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)
