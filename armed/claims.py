"""What the paper claims of a study, held against a run: each claim is a difference of two results, judged by fixed rules.

The rules, written before any result was looked at:

- A claim says that one result is better than another: of two models on the same samples, or of one model on two partitions.
- The difference is taken seed by seed and fold by fold, and its interval is the `corrected` one of `armed.statistics`. Of two
  models it is that of paired tests. Seen and unseen clusters are other samples, so that both add to what is not known:
  the corrected resampled t of the difference, and the spread of the unseen result over clusters drawn anew.
- ``supported``: the difference is as claimed, and its p value after Holm's correction over the study's claims is below
  `ALPHA`. ``contradicted``: the same, the other way. ``inconclusive``: neither; a small run ends there. ``not run``: one of the
  two results is absent or has no interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from armed.comparison import draw_by_draw, holm
from armed.intervals import Estimate, Values, corrected_t, from_t
from armed.metrics import LOWER_IS_BETTER
from armed.paper_claims import CLAIMS, Claim
from armed.reproducibility import derive_seed
from armed.schemas import table
from armed.statistics import (
    GROUP,
    UNSEEN,
    ClusterSums,
    Settings,
    cluster_bootstrap,
    cluster_sums,
    draw_key,
    draw_values,
    estimate,
)

ALPHA = 0.05  # after Holm's correction
NORMAL = 1.96


class _Evidence(NamedTuple):
    """All results of a run, by the columns `GROUP`."""

    values: Mapping[tuple, Values]
    sums: Mapping[tuple, ClusterSums]
    draws: Mapping[tuple, np.ndarray]
    settings: Settings

    @classmethod
    def of(
        cls,
        metrics: pd.DataFrame,
        cluster_metrics: pd.DataFrame,
        settings: Settings,
        draws: pd.DataFrame | None,
    ) -> _Evidence:
        main = metrics[metrics["variant"] == "main"]
        values = {key: Values.of(group) for key, group in main.groupby(GROUP, sort=False, observed=True)}
        return cls(values, cluster_sums(cluster_metrics, settings), draw_values(draws), settings)

    def difference(self, study: str, source: str, claim: Claim) -> Estimate | None:
        """The better result less the worse one; None where one of them is absent."""
        keys = [
            (study, source, side.model, "main", side.partition, claim.metric) for side in (claim.better, claim.worse)
        ]
        if any(key not in self.values for key in keys):
            return None
        pairs = self.values[keys[0]].minus(self.values[keys[1]])
        if not len(pairs.value):
            return None
        unseen = [key for key in keys if key[4] in UNSEEN]
        if len(unseen) == 1:
            return self._between_partitions(pairs, study, unseen[0])
        clusters = None
        if all(key in self.sums for key in keys):
            clusters = self.sums[keys[0]].minus(self.sums[keys[1]])
        drawn = draw_by_draw(*(self.draws.get(draw_key(key)) for key in keys))
        return estimate(pairs, study, "main", claim.better.partition, clusters, self.settings, drawn)

    def _between_partitions(self, pairs: Values, study: str, unseen: tuple) -> Estimate:
        """Difference of seen and unseen clusters, by the rules above; degrees of freedom are those of the folds."""
        count, _, _ = pairs.by_seed()
        if self.settings.is_resampled(study, "main"):
            return estimate(pairs, study, "main", "seen", None, self.settings)
        ratio = self.settings.ratio(study, int(count.max(initial=0)))
        n = len(pairs.value)
        se = float(pairs.value.std(ddof=1)) * math.sqrt(1 / n + ratio) if n > 1 else math.nan
        spread = self._spread(study, unseen)
        mean = corrected_t(pairs.value, ratio).mean
        return from_t(mean, math.hypot(se, spread), n - 1, self.settings.confidence)

    def _spread(self, study: str, key: tuple) -> float:
        """S.d. of an unseen result over draws of clusters (or of subjects, where clusters are few); NaN where not known."""
        drawn = self.draws.get(draw_key(key))
        if drawn is not None and np.isfinite(drawn).sum() > len(drawn) / 2:
            return float(np.nanstd(drawn, ddof=1))
        if key not in self.sums:
            return math.nan
        sums = self.sums[key]
        centre = sums.weighted.sum() / sums.weights.sum()
        drawn = cluster_bootstrap(sums, centre, derive_seed("cluster bootstrap", study, 0), self.settings)
        return (drawn.ci_high - drawn.ci_low) / (2 * NORMAL)


def judge(
    metrics: pd.DataFrame,
    cluster_metrics: pd.DataFrame,
    settings: Settings | None = None,
    draws: pd.DataFrame | None = None,
    claims: Mapping[str, tuple[Claim, ...]] = CLAIMS,
) -> pd.DataFrame:
    """Judge the paper's claims on the studies that were run.

    Parameters
    ----------
    metrics, cluster_metrics : pandas.DataFrame
        `metrics.tsv` and `cluster_metrics.tsv`; variant ``main`` is judged.
    settings : Settings, optional
        Intervals.
    draws : pandas.DataFrame, optional
        Table `draws`, as for `armed.statistics.summarise`.
    claims : mapping of str to tuple of Claim
        By study.

    Returns
    -------
    pandas.DataFrame
        `claims.tsv`: every claim of each study that is in the metrics. `estimate` is the better result less the worse one.
    """
    evidence = _Evidence.of(metrics, cluster_metrics, settings or Settings(), draws)
    rows = []
    for study, of_study in claims.items():
        own = metrics.loc[metrics["study"] == study, "source"]
        if own.empty:
            continue
        source = str(own.iloc[0])
        found = [evidence.difference(study, source, claim) for claim in of_study]
        for claim, result, verdict in zip(of_study, found, _verdicts(of_study, found), strict=True):
            numbers = result[:3] if result is not None else (math.nan,) * 3
            rows.append((claim.id, study, source, claim.statistic, *numbers, verdict))
    return pd.DataFrame(rows, columns=list(table("claims").columns))


def _verdicts(claims: tuple[Claim, ...], found: list[Estimate | None]) -> list[str]:
    verdicts = ["not run"] * len(claims)
    tested = [i for i, result in enumerate(found) if result is not None and not math.isnan(result.p)]
    corrected = holm(np.array([found[i].p for i in tested]))
    for i, p in zip(tested, corrected, strict=True):
        gain = found[i].mean * (-1 if claims[i].metric in LOWER_IS_BETTER else 1)
        verdicts[i] = ("supported" if gain > 0 else "contradicted") if p < ALPHA else "inconclusive"
    return verdicts


def said(study: str, claim: str) -> Claim | None:
    """The claim of a study by its id; None where it is not known."""
    return next((known for known in CLAIMS.get(study, ()) if known.id == claim), None)
