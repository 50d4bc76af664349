"""Draws the subjects of the stand-in for ADNIMERGE, and keeps what is true of them; the model is told in `adni_model`.

The generator is frozen before any model is fitted to its output.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd

from armed.data.adni_format import FEATURE_NAMES, HORIZON_MONTHS
from armed.data.adni_model import (
    COLUMNS,
    FREQUENCIES,
    INDICATORS,
    INTERCEPT_SD,
    LEVEL_EFFECTS,
    LEVEL_SD,
    LEVELS,
    PREDICTIVE,
    RATE,
    SEEN_PER_SITE,
    SHIFT_SD,
    Model,
    in_units,
)
from armed.errors import DataError, Problems
from armed.files import atomic
from armed.reproducibility import derive_seed

STUDY = "mci_conversion"
N_SEEN, N_UNSEEN = 20, 35
SMALLEST_SEEN = 11
"""Subjects of the smallest seen site at scale 1; unseen sites are smaller."""
SMALLEST_SCALE = 0.25

CONVERSION_MONTHS = {6: 0.12, 12: 0.38, 18: 0.13, 24: 0.37}
"""Visit of the first Dementia diagnosis of progressive subjects; not published, we take more at the yearly visits."""
LATE_MONTHS = {36: 0.5, 48: 0.3, 60: 0.2}
LATE_SHARE = 0.2
"""Share of stable subjects who convert after month 24; not published."""

DESCRIPTION = (
    "Stand-in for ADNIMERGE. Label y of a subject of site s: Bernoulli(rate_s), log odds base_log_odds + intercept_s. "
    "Given y, continuous features in units of their s.d. are normal: shift + (y - rate) * within_sd^2 * (coef + slope) "
    "+ noise of s.d. within_sd and the correlation given. Levels of categorical features have odds raised by "
    "exp(y * (log_odds + slope))."
)


@dataclass(frozen=True, eq=False)
class Truth:
    """What the generator used, and so what is true of its table.

    Features have the names of `adni_format` (FEATURE_NAMES, LEVEL_NAMES); sites are the codes of the column SITE.

    Parameters
    ----------
    seed : int
    scale : float
        Subjects per site against the study's.
    model : dict
        What the model is, in words, and its numbers: rate, s.d. of the intercepts, base log odds a, ...
    features : DataFrame, index = the 26 continuous features
        `coef` (univariate log odds per s.d.), `slope_sd` (s.d. over sites of that slope), `multivariate` (log odds per
        s.d. given all others), `within_sd` (within class and site), `shift_sd` (over sites), `predictive` (has
        information of its own).
    indicators : DataFrame, index = the indicator features
        `log_odds` against the reference level, `log_odds_sd` over sites, `relative_risk_sd` (s.d. over the seen sites
        of `relative_risks`), `predictive`.
    sites : DataFrame, index = site
        `size` (MCI subjects with a label), `rate` (probability of progressing), `intercept` (log odds, deviation from
        the model's base log odds), `seen` (one of the largest).
    slopes, shifts : DataFrame, sites x features
        Deviation of the site's univariate slope from `coef`; shift of the feature, in s.d.
    indicator_slopes, relative_risks : DataFrame, sites x indicators
        Deviation of the site's log odds; P(progressive | level) / P(progressive | any other level), as modelled.
    correlation : DataFrame, features x features
        Within class and site.
    """

    seed: int
    scale: float
    model: dict
    features: pd.DataFrame
    indicators: pd.DataFrame
    sites: pd.DataFrame
    slopes: pd.DataFrame
    shifts: pd.DataFrame
    indicator_slopes: pd.DataFrame
    relative_risks: pd.DataFrame
    correlation: pd.DataFrame

    @property
    def predictive(self) -> list[str]:
        """Features that carry information of their own."""
        tables = (self.features, self.indicators)
        return [name for table in tables for name in table.index[table["predictive"]]]

    def to_json(self) -> str:
        """Return all as JSON: tables as ``{row: {column: value}}``."""
        values = asdict(self)
        tables = {key: value.to_dict("index") for key, value in values.items() if isinstance(value, pd.DataFrame)}
        return json.dumps(values | tables, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Truth:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        for name in (field.name for field in fields(cls) if field.type == "pd.DataFrame"):
            values[name] = pd.DataFrame.from_dict(values[name], orient="index")
        for name in ("sites", "slopes", "shifts", "indicator_slopes", "relative_risks"):
            values[name].index = values[name].index.astype("int64")
        return cls(**values)

    def save(self, path: str | Path) -> None:
        """Write ``truth.json``; it appears only when complete."""
        with atomic(path) as temporary:
            temporary.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Truth:
        """Read what `save` wrote, or raise `DataError`."""
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise DataError(
                f"{path} is no truth of a stand-in ({told}); take it away, or make the stand-in again."
            ) from error


def draw_subjects(
    seed: int, *, scale: float = 1.0, n_seen: int = N_SEEN, n_unseen: int = N_UNSEEN
) -> tuple[pd.DataFrame, Truth]:
    """Draw the MCI subjects with a label, as they really are at baseline.

    Sites of a seed have the same effects at every scale. Labels are drawn with the sites' probabilities, but so that
    their sum over the seen sites is as expected to the nearest whole (27.04%), and likewise over the unseen sites.

    Parameters
    ----------
    seed : int
        Each seed is another data set.
    scale : float
        Multiplies the number of subjects of every site; at least 0.25.
    n_seen, n_unseen : int
        Sites that are meant to be the largest (392 subjects in 20 at scale 1), and smaller ones.

    Returns
    -------
    subjects : DataFrame, index = RID (sorted)
        `SITE`, `seen`, `label` (1: progressive), `conversion_month` (NaN: never; a stable subject may have one after
        24), and without missing cells the columns of `adni_format.CATEGORICAL` (codes) and of `FEATURE_NAMES` (in the measures'
        units, rounded and limited as in the file).
    truth : Truth

    Raises
    ------
    DataError
        A scale below 0.25 or numbers of sites that cannot be.
    """
    _check(scale, n_seen, n_unseen)
    model = Model.published()
    sites, base = _draw_sites(seed, scale, n_seen, n_unseen)
    truth = _truth(seed, scale, model, sites, base)
    subjects = pd.DataFrame({"SITE": np.repeat(truth.sites.index.to_numpy(), truth.sites["size"])})
    subjects["seen"] = truth.sites["seen"].loc[subjects["SITE"]].to_numpy()
    rng = stream("labels", seed)
    rate = truth.sites["rate"].loc[subjects["SITE"]].to_numpy()
    label = np.zeros(len(subjects), dtype=np.int64)
    for part in (subjects["seen"].to_numpy(), ~subjects["seen"].to_numpy()):
        label[part] = _draw_labels(rng, rate[part])
    subjects["label"] = label
    subjects["conversion_month"] = _conversion(rng, label)
    x = latent(stream("features", seed), truth, subjects["SITE"].to_numpy(), label)
    codes = levels(stream("levels", seed), truth, subjects["SITE"].to_numpy(), label)
    _keep_levels(rng, codes, subjects["seen"].to_numpy())
    table = pd.concat([subjects, codes, pd.DataFrame(in_units(x), columns=list(COLUMNS))], axis=1)
    table.index = pd.Index(rng.choice(np.arange(2, 5 * len(table) + 2), len(table), replace=False), name="RID")
    return table.sort_index(), truth


def stream(purpose: str, seed: int) -> np.random.Generator:
    """Return the generator of one purpose of one data set."""
    return np.random.default_rng(derive_seed(f"stand-in, {purpose}", STUDY, seed))


def latent(rng: np.random.Generator, truth: Truth, sites: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Draw the continuous features on the scale of total s.d. 1.

    Parameters
    ----------
    sites : array, shape (n,)
        Site codes.
    y : array, shape (n,)
        Label; numbers below 0 or above 1 are people healthier or sicker than those with MCI.

    Returns
    -------
    array, shape (n, 26)
    """
    where = truth.sites.index.get_indexer(sites)
    S = truth.features["within_sd"].to_numpy()
    slopes = truth.features["coef"].to_numpy() + truth.slopes.to_numpy()
    noise = rng.standard_normal((len(y), len(S))) @ np.linalg.cholesky(truth.correlation.to_numpy()).T
    return truth.shifts.to_numpy()[where] + (np.asarray(y)[:, None] - RATE) * (S**2 * slopes)[where] + noise * S


def levels(rng: np.random.Generator, truth: Truth, sites: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    """Draw the categorical columns (codes) of people with labels `y`, as `latent`."""
    where = truth.sites.index.get_indexer(sites)
    drawn = {}
    for column, shares in FREQUENCIES.items():
        effects = _level_effects(truth.indicators["log_odds"], truth.indicator_slopes, column)[where]
        odds = np.log(_reference_shares(column)) + np.asarray(y)[:, None] * effects
        # The largest of log odds plus Gumbel noise is a draw from the softmax.
        drawn[column] = np.array(list(shares), dtype=object)[(odds + rng.gumbel(size=odds.shape)).argmax(axis=1)]
    return pd.DataFrame(drawn)


def _check(scale: float, n_seen: int, n_unseen: int) -> None:
    problems = Problems(DataError, "the stand-in's size")
    if not (math.isfinite(scale) and scale >= SMALLEST_SCALE):
        problems.add(
            f"scale is {scale!r}; expected a number of at least {SMALLEST_SCALE}, so that sites have sizes that differ"
        )
    for name, value in {"n_seen": n_seen, "n_unseen": n_unseen}.items():
        if not (isinstance(value, int | np.integer) and value >= 2):
            problems.add(f"{name} is {value!r}; expected an integer of at least 2")
    problems.raise_if_any()


def _draw_sites(seed: int, scale: float, n_seen: int, n_unseen: int) -> tuple[pd.DataFrame, float]:
    """Sizes, rates and intercepts; and the log odds at an intercept of 0."""
    rng = stream("sites", seed)
    n = n_seen + n_unseen
    floor = max(3, round(SMALLEST_SEEN * scale))
    # Sizes: not published; we take the quantiles of a log-normal above the smallest seen site, a uniform spread below.
    quantiles = (np.arange(n_seen) + 0.5) / n_seen
    weights = np.exp([NormalDist().inv_cdf(q) for q in rng.permutation(quantiles)])
    spare = weights / weights.sum() * (round(SEEN_PER_SITE * n_seen * scale) - floor * n_seen)
    largest = floor + _whole(spare)
    smaller = np.clip(np.round(rng.uniform(0.15, 0.95, n_unseen) * floor), 1, floor - 1).astype(np.int64)
    intercepts = rng.normal(0.0, INTERCEPT_SD, n)
    base = _base_log_odds(largest, intercepts[:n_seen])
    # Codes of real sites have gaps. The same for all seeds, so that models of several datasets have the same clusters.
    codes = stream("site codes", 0).choice(np.arange(2, 2 + 3 * n), n, replace=False)
    sites = pd.DataFrame(
        {
            "size": np.concatenate([largest, smaller]),
            "rate": 1 / (1 + np.exp(-(base + intercepts))),
            "intercept": intercepts,
            "seen": np.arange(n) < n_seen,
        },
        index=pd.Index(codes.astype(np.int64)),
    )
    return sites, base


def _whole(shares: np.ndarray) -> np.ndarray:
    """Whole numbers nearest to shares, with the same sum (largest remainders)."""
    low = np.floor(shares).astype(np.int64)
    short = round(float(shares.sum())) - int(low.sum())
    low[np.argsort(low - shares, kind="stable")[:short]] += 1
    return low


def _base_log_odds(sizes: np.ndarray, intercepts: np.ndarray) -> float:
    """The log odds at which `RATE` of all subjects of the seen sites are expected to progress."""
    low, high = -20.0, 20.0
    for _ in range(80):
        middle = (low + high) / 2
        rate = np.average(1 / (1 + np.exp(-(middle + intercepts))), weights=sizes)
        low, high = (middle, high) if rate < RATE else (low, middle)
    return (low + high) / 2


def _truth(seed: int, scale: float, model: Model, sites: pd.DataFrame, base: float) -> Truth:
    """Draw the sites' effects and put all together."""
    rng = stream("site effects", seed)
    names, n, R = list(FEATURE_NAMES.values()), len(sites), model.within_correlation
    slopes = rng.standard_normal((n, len(names))) @ np.linalg.cholesky(R).T * model.slope_sd
    shifts = rng.standard_normal((n, len(names))) * model.shift_sd
    features = {"coef": model.coef, "slope_sd": model.slope_sd, "multivariate": model.multivariate}
    features |= {"within_sd": model.within_sd, "shift_sd": model.shift_sd, "predictive": np.isin(COLUMNS, PREDICTIVE)}
    log_odds = pd.Series([LEVEL_EFFECTS.get(name, 0.0) for name in INDICATORS], index=list(INDICATORS))
    deviations = rng.normal(0.0, LEVEL_SD, (n, len(INDICATORS)))
    deviations = pd.DataFrame(deviations, sites.index, list(INDICATORS))
    risks = _relative_risks(log_odds, deviations, sites["rate"].to_numpy())
    indicators = {"log_odds": log_odds, "log_odds_sd": LEVEL_SD, "relative_risk_sd": risks[sites["seen"]].std()}
    return Truth(
        seed=int(seed),
        scale=float(scale),
        model={
            "description": DESCRIPTION,
            "rate": RATE,
            "base_log_odds": base,
            "intercept_sd": INTERCEPT_SD,
            "shift_sd": SHIFT_SD,
            "horizon_months": HORIZON_MONTHS,
            "frequencies": FREQUENCIES,
        },
        features=pd.DataFrame(features, index=names),
        indicators=pd.DataFrame(indicators | {"predictive": log_odds != 0}),
        sites=sites,
        slopes=pd.DataFrame(slopes, sites.index, names),
        shifts=pd.DataFrame(shifts, sites.index, names),
        indicator_slopes=deviations,
        relative_risks=risks,
        correlation=pd.DataFrame(R, names, names),
    )


def _reference_shares(column: str) -> np.ndarray:
    """Shares of the levels among stable subjects of the mean site, by which all subjects have `FREQUENCIES`."""
    wanted = np.array(list(FREQUENCIES[column].values()))
    effects = np.array([LEVEL_EFFECTS.get(_indicator(column, level), 0.0) for level in FREQUENCIES[column]])
    shares = wanted
    for _ in range(100):
        raised = np.exp(effects) / (shares @ np.exp(effects))
        shares = wanted / (1 - RATE + RATE * raised)
        shares /= shares.sum()
    return shares


def _level_effects(log_odds: pd.Series, deviations: pd.DataFrame, column: str) -> np.ndarray:
    """Log odds of each level of a column at each site, shape (sites, levels); 0 where a level has no feature."""
    found = np.zeros((len(deviations), len(FREQUENCIES[column])))
    for k, level in enumerate(FREQUENCIES[column]):
        if (name := _indicator(column, level)) is not None:
            found[:, k] = log_odds[name] + deviations[name].to_numpy()
    return found


def _indicator(column: str, level: str) -> str | None:
    return INDICATORS[LEVELS.index((column, level))] if (column, level) in LEVELS else None


def _relative_risks(log_odds: pd.Series, deviations: pd.DataFrame, rate: np.ndarray) -> pd.DataFrame:
    risks = {}
    for column, shares in FREQUENCIES.items():
        stable = _reference_shares(column)
        progressive = stable * np.exp(_level_effects(log_odds, deviations, column))
        progressive /= progressive.sum(axis=1, keepdims=True)
        with_level = rate[:, None] * progressive / (rate[:, None] * progressive + (1 - rate[:, None]) * stable)
        others = rate[:, None] * (1 - progressive)
        without = others / (others + (1 - rate[:, None]) * (1 - stable))
        for k, level in enumerate(shares):
            if (name := _indicator(column, level)) is not None:
                risks[name] = with_level[:, k] / without[:, k]
    return pd.DataFrame(risks, index=deviations.index)[list(INDICATORS)]


def _draw_labels(rng: np.random.Generator, rate: np.ndarray) -> np.ndarray:
    """Labels with the given probabilities and a sum within 1 of theirs: systematic sampling in random order."""
    order = rng.permutation(len(rate))
    steps = np.floor(np.concatenate([[0.0], np.cumsum(rate[order])]) + rng.uniform())
    label = np.zeros(len(rate), dtype=np.int64)
    label[order] = np.diff(steps).astype(np.int64)
    return label


def _conversion(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    n = len(label)
    months = rng.choice(list(CONVERSION_MONTHS), n, p=list(CONVERSION_MONTHS.values())).astype(float)
    late = rng.choice(list(LATE_MONTHS), n, p=list(LATE_MONTHS.values())).astype(float)
    return np.where(label == 1, months, np.where(rng.uniform(size=n) < LATE_SHARE, late, np.nan))


def _keep_levels(rng: np.random.Generator, codes: pd.DataFrame, seen: np.ndarray) -> None:
    """Give a rare level that nobody at a seen site has to one subject there, so that all 37 features exist."""
    for column, level in LEVELS:
        values = codes[column].to_numpy(dtype=object, copy=True)
        if not (values[seen] == level).any():
            reference = next(iter(FREQUENCIES[column]))
            values[rng.choice(np.flatnonzero(seen & (values == reference)))] = level
            codes[column] = values
