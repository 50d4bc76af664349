"""What a run says of a claim: its estimate, the `corrected` interval, and p against a value.

Differences are taken seed by seed and fold by fold, as in paired tests. Seen and unseen clusters are other samples, so that
both add to what is not known: the corrected resampled t of the difference, and the spread of the unseen result over clusters
drawn anew. Studies with a variant ``resampled`` are judged by it, for a conclusion is about datasets and not about one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from armed.associations import cluster_correlation, intercepts_with_balance, probe_wins, slope_sds
from armed.claims import Claim, Side
from armed.comparison import draw_by_draw
from armed.intervals import Estimate, Values, corrected_t, from_t, t_interval
from armed.reproducibility import derive_seed
from armed.results import empty
from armed.statistics import (
    GROUP,
    RESAMPLED,
    UNSEEN,
    ClusterSums,
    Settings,
    cluster_bootstrap,
    cluster_sums,
    draw_key,
    draw_values,
    estimate,
)

NORMAL = 1.96
BALANCE = ("study", "variant", "dataset", "cluster", "ratio")
"""Columns of the table of class balances: the share of class 1 in each seen cluster."""
_WHOLE = 100.0


class Quantity(NamedTuple):
    """What is estimated, on each (seed, fold), and where there are any by cluster and on draws of subjects or clusters."""

    values: Values
    sums: ClusterSums | None = None
    draws: np.ndarray | None = None

    def less(self, value: float) -> Quantity:
        """The same less a number."""
        sums = self.sums
        if sums is not None:
            sums = sums._replace(weighted=sums.weighted - value * sums.weights)
        draws = None if self.draws is None else self.draws - value
        return Quantity(self.values._replace(value=self.values.value - value), sums, draws)


@dataclass(frozen=True)
class Evidence:
    """All results that claims are held against.

    Parameters
    ----------
    metrics, cluster_metrics : DataFrame
        `metrics.tsv` and `cluster_metrics.tsv`.
    settings : Settings
        Intervals.
    draws, importance, random_effects, univariate : DataFrame, optional
        Those tables, as far as there are any.
    balance : DataFrame, optional
        Columns `BALANCE`.
    """

    metrics: pd.DataFrame
    cluster_metrics: pd.DataFrame
    settings: Settings = field(default_factory=Settings)
    draws: pd.DataFrame | None = None
    importance: pd.DataFrame = field(default_factory=lambda: empty("importance"))
    random_effects: pd.DataFrame = field(default_factory=lambda: empty("random_effects"))
    univariate: pd.DataFrame = field(default_factory=lambda: empty("univariate"))
    balance: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(BALANCE)))

    @cached_property
    def sources(self) -> dict[str, str]:
        """What data each study of the run was on."""
        return self.metrics.drop_duplicates("study").set_index("study")["source"].astype(str).to_dict()

    @cached_property
    def variants(self) -> dict[str, str]:
        """The variant that each study is judged by."""
        anew = set(self.metrics.loc[self.metrics["variant"] == RESAMPLED, "study"])
        return {study: RESAMPLED if study in anew else "main" for study in self.sources}

    @cached_property
    def _values(self) -> dict[tuple, Values]:
        judged = self.metrics["study"].map(self.variants) == self.metrics["variant"]
        groups = self.metrics[judged].groupby(GROUP, sort=False, observed=True)
        return {key: Values.of(group) for key, group in groups}

    @cached_property
    def _sums(self) -> dict[tuple, ClusterSums]:
        return cluster_sums(self.cluster_metrics, self.settings)

    @cached_property
    def _drawn(self) -> dict[tuple, np.ndarray]:
        return draw_values(self.draws)

    def estimate(self, claim: Claim, study: str, value: float = 0.0) -> Estimate | None:
        """Estimate what a claim is about in a study, with p against a value.

        Parameters
        ----------
        claim : Claim
        study : str
        value : float
            In the unit of the estimate: gains and shares in percent.

        Returns
        -------
        Estimate or None
            None where a result is absent, and of figures.
        """
        return _STATISTICS[claim.statistic](self, claim, study, value) if study in self.sources else None

    def _key(self, claim: Claim, side: Side, study: str) -> tuple:
        return (study, self.sources[study], side.model, self.variants[study], side.partition, claim.metric)

    def _anew(self, study: str) -> bool:
        return self.settings.is_resampled(study, self.variants[study])

    def _interval(self, quantity: Quantity, study: str, partition: str, value: float) -> Estimate:
        values, sums, draws = quantity.less(value)
        found = estimate(values, study, self.variants[study], partition, sums, self.settings, draws)
        return Estimate(found.mean + value, found.ci_low + value, found.ci_high + value, found.p)

    def _pair(self, claim: Claim, study: str) -> tuple[tuple, tuple] | None:
        """Keys of both sides; None where they have no (seed, fold) in common."""
        first, second = (self._key(claim, side, study) for side in (claim.first, claim.second))
        if first not in self._values or second not in self._values:
            return None
        return (first, second) if len(self._values[first].minus(self._values[second]).value) else None

    def _difference(self, claim: Claim, study: str, value: float) -> Estimate | None:
        if (keys := self._pair(claim, study)) is None:
            return None
        pairs = self._values[keys[0]].minus(self._values[keys[1]])
        unseen = [key for key in keys if key[4] in UNSEEN]
        if len(unseen) == 1 and not self._anew(study):
            return self._between_partitions(pairs, study, unseen[0], value)
        sums = None
        if all(key in self._sums for key in keys):
            sums = self._sums[keys[0]].minus(self._sums[keys[1]])
        drawn = draw_by_draw(*(self._drawn.get(draw_key(key)) for key in keys))
        return self._interval(Quantity(pairs, sums, drawn), study, claim.first.partition, value)

    def _between_partitions(self, pairs: Values, study: str, unseen: tuple, value: float) -> Estimate:
        """Difference of seen and unseen clusters of one dataset; degrees of freedom are those of the folds."""
        count, _, _ = pairs.by_seed()
        ratio = self.settings.ratio(study, int(count.max(initial=0)))
        n = len(pairs.value)
        se = float(pairs.value.std(ddof=1)) * math.sqrt(1 / n + ratio) if n > 1 else math.nan
        mean = corrected_t(pairs.value, ratio).mean
        found = from_t(mean - value, math.hypot(se, self._spread(study, unseen)), n - 1, self.settings.confidence)
        return Estimate(mean, found.ci_low + value, found.ci_high + value, found.p)

    def _spread(self, study: str, key: tuple) -> float:
        """S.d. of an unseen result over draws of clusters (or of subjects, where clusters are few); NaN where not known."""
        drawn = self._drawn.get(draw_key(key))
        if drawn is not None and np.isfinite(drawn).sum() > len(drawn) / 2:
            return float(np.nanstd(drawn, ddof=1))
        if key not in self._sums:
            return math.nan
        sums = self._sums[key]
        centre = sums.weighted.sum() / sums.weights.sum()
        drawn = cluster_bootstrap(sums, centre, derive_seed("cluster bootstrap", study, 0), self.settings)
        return (drawn.ci_high - drawn.ci_low) / (2 * NORMAL)

    def _relative_gain(self, claim: Claim, study: str, value: float) -> Estimate | None:
        """Percent by which the first is above the second, of means over all; linearised about these (delta method)."""
        if (keys := self._pair(claim, study)) is None:
            return None
        first, second = _common(*(self._values[key] for key in keys))
        above, below = (v.by_seed()[1].mean() for v in (first, second))
        if not below > 0:
            return None
        gain = above / below - 1
        values = first._replace(value=_WHOLE * (gain + (first.value - (1 + gain) * second.value) / below))
        sums = drawn = None
        if all(key in self._sums for key in keys):
            mine, theirs = (self._sums[key] for key in keys)
            rest = mine.minus(theirs._replace(weighted=(1 + gain) * theirs.weighted))
            sums = rest._replace(weighted=_WHOLE * (gain * rest.weights + rest.weighted / below))
        if all(draw_key(key) in self._drawn for key in keys):
            mine, theirs = (self._drawn[draw_key(key)] for key in keys)
            n = min(len(mine), len(theirs))
            ratio = np.divide(mine[:n], theirs[:n], out=np.full(n, np.nan), where=theirs[:n] > 0)
            drawn = _WHOLE * (ratio - 1)
        return self._interval(Quantity(values, sums, drawn), study, claim.first.partition, value)

    def _level(self, claim: Claim, study: str, value: float) -> Estimate | None:
        key = self._key(claim, claim.first, study)
        if key not in self._values or not len(self._values[key].value):
            return None
        one = Quantity(self._values[key], self._sums.get(key), self._drawn.get(draw_key(key)))
        return self._interval(one, study, claim.first.partition, value)

    def _probe_share(self, claim: Claim, study: str, value: float) -> Estimate | None:
        """Percentage of datasets in which a probe wins; of one dataset, of its fits."""
        rows = self._of(self.importance, study)
        anew = self._anew(study)
        won = [
            probe_wins(rows[rows["model"] == side.model], study, by_fold=not anew)
            for side in (claim.first, claim.second)
        ]
        first, second = (w.align(o, join="inner")[0].astype(float) for w, o in (won, won[::-1]))
        if first.empty:
            return None
        if anew:
            return _shares_of_pairs((first - second).to_numpy(), self.settings.confidence)
        seed, fold = (first.index.get_level_values(name).to_numpy() for name in ("seed", "fold"))
        pairs = Values(seed, fold, _WHOLE * (first - second).to_numpy())
        return self._interval(Quantity(pairs), study, "seen", value)

    def _balance_correlation(self, claim: Claim, study: str, value: float) -> Estimate | None:
        """Pearson's r over clusters: averaged over datasets, or of the only one."""
        effects, truth = self._of(self.random_effects, study), self._of(self.balance, study)
        effects = effects[effects["model"] == claim.first.model]
        if effects.empty or truth.empty:
            return None
        pairs = intercepts_with_balance(effects, truth)
        if not self._anew(study):
            return _of_correlation(pairs["ratio"], pairs["mean"], pairs["cluster"], self.settings.confidence)
        found = [cluster_correlation(own["ratio"], own["mean"], own["cluster"]).r for _, own in pairs.groupby("seed")]
        r = np.array([x for x in found if not math.isnan(x)])
        if not len(r):
            return None
        over = t_interval(r - value, self.settings.confidence)
        return Estimate(r.mean(), max(-1.0, over.ci_low + value), min(1.0, over.ci_high + value), over.p)

    def _slope_correlation(self, claim: Claim, study: str, value: float) -> Estimate | None:
        """Pearson's r over features; univariate models are of the dataset of ``main``, and so are the slopes."""
        effects = self.random_effects
        effects = effects[(effects["study"] == study) & (effects["variant"] == "main")]
        known = self.univariate[(self.univariate["study"] == study) & (self.univariate["kind"] == claim.features)]
        known = known[known["dataset"] == known["dataset"].min()]
        pairs = slope_sds(effects[effects["model"] == claim.first.model]).merge(known, on="feature")
        column = {"continuous": "slope_sd", "categorical": "relative_risk_sd"}[claim.features]
        return _of_correlation(pairs[column], pairs["sd"], pairs["feature"], self.settings.confidence)

    def _of(self, frame: pd.DataFrame, study: str) -> pd.DataFrame:
        return frame[(frame["study"] == study) & (frame["variant"] == self.variants[study])]


_STATISTICS: Mapping[str, Callable[[Evidence, Claim, str, float], Estimate | None]] = {
    "difference": Evidence._difference,
    "relative_gain": Evidence._relative_gain,
    "level": Evidence._level,
    "probe_share": Evidence._probe_share,
    "balance_correlation": Evidence._balance_correlation,
    "slope_correlation": Evidence._slope_correlation,
    "figure": lambda *_: None,
}


def _common(first: Values, second: Values) -> tuple[Values, Values]:
    """Both on the (seed, fold) that both have, in one order."""
    both = first.minus(second)
    return Values(both.seed, both.fold, both.value + _at(second, both)), both._replace(value=_at(second, both))


def _at(values: Values, where: Values) -> np.ndarray:
    known = dict(zip(zip(values.seed, values.fold, strict=True), values.value, strict=True))
    return np.array([known[key] for key in zip(where.seed, where.fold, strict=True)])


def _of_correlation(x: pd.Series, y: pd.Series, items: pd.Series, confidence: float) -> Estimate | None:
    found = cluster_correlation(x, y, items, confidence)
    return None if math.isnan(found.r) else Estimate(found.r, found.ci_low, found.ci_high, found.p)


def _shares_of_pairs(difference: np.ndarray, confidence: float) -> Estimate:
    """Difference of two shares of the same datasets, in percent.

    Parameters
    ----------
    difference : array, (n,)
        Of each dataset: 1 where the first alone counts, -1 where the second alone does, else 0.
    confidence : float
        Of the interval.

    Returns
    -------
    Estimate
        p by the exact sign test of the datasets in which they differ (McNemar); interval of Bonett and Price (J. Educ. Behav.
        Stat. 37, 2012), which holds for few datasets.
    """
    from scipy.stats import binomtest, norm  # slow to load, and for this alone

    n, more, less = len(difference), int((difference > 0).sum()), int((difference < 0).sum())
    p = binomtest(more, more + less).pvalue if more + less else 1.0
    high, low = (more + 1) / (n + 2), (less + 1) / (n + 2)
    half = norm.ppf((1 + confidence) / 2) * math.sqrt((high + low - (high - low) ** 2) / (n + 2))
    bounds = np.clip([high - low - half, high - low + half], -1, 1)
    return Estimate(_WHOLE * (more - less) / n, *(_WHOLE * float(b) for b in bounds), float(p))
