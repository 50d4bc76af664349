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


class Result(NamedTuple):
    """What one side of a claim is: a model on a partition."""

    model: str
    partition: str


class Claim(NamedTuple):
    """A claim of the paper: that one result is better than another.

    Attributes
    ----------
    id : str
        Name in `claims.tsv`.
    about : str
        What it is about, in few words.
    says : str
        The claim in words, without a full stop.
    better, worse : Result
    metric : str
    """

    id: str
    about: str
    says: str
    better: Result
    worse: Result
    metric: str = "auroc"

    @property
    def statistic(self) -> str:
        """What is estimated, as in `claims.tsv`; above 0 it is as claimed (below 0 where lower is better)."""
        return f"{self.metric}: {' '.join(self.better)} - {' '.join(self.worse)}"


def _models(id: str, about: str, says: str, better: str, worse: str, partition: str, metric: str = "auroc") -> Claim:
    return Claim(id, about, says, Result(better, partition), Result(worse, partition), metric)


CLAIMS: dict[str, tuple[Claim, ...]] = {
    "ad_diagnosis": (
        Claim(
            "confounding",
            "confounding by site",
            "The conventional network is worse on unseen than on seen sites: it has learnt their scanners",
            Result("conventional", "seen"),
            Result("conventional", "unseen"),
        ),
        _models(
            "armed_seen",
            "ARMED, seen sites",
            "ARMED is better than the conventional network on seen sites",
            "armed",
            "conventional",
            "seen",
        ),
        _models(
            "armed_unseen",
            "ARMED, unseen sites",
            "ARMED is better than the conventional network on unseen sites",
            "armed",
            "conventional",
            "unseen",
        ),
        _models(
            "domain_adversarial_unseen",
            "adversary alone, unseen sites",
            "An adversary alone makes the network better on unseen sites",
            "domain_adversarial",
            "conventional",
            "unseen",
        ),
        _models(
            "adversary_seen",
            "adversary within ARMED, seen sites",
            "ARMED needs its adversary: without it it is worse on seen sites",
            "armed",
            "armed_no_adversary",
            "seen",
        ),
        Claim(
            "inferred_z",
            "inferred Z",
            "Inferring the site of unseen images helps: better than the population's prediction (Z = 0)",
            Result("armed", "unseen"),
            Result("armed", "unseen_population"),
        ),
        _models(
            "randomised_z_seen",
            "randomised Z, seen sites",
            "ARMED uses its random effects: with a randomised Z it is worse on seen sites",
            "armed",
            "armed_randomized_z",
            "seen",
        ),
        _models(
            "randomised_z_unseen",
            "randomised Z, unseen sites",
            "With a randomised Z ARMED is worse on unseen sites than with the inferred one",
            "armed",
            "armed_randomized_z",
            "unseen",
        ),
        _models(
            "cluster_input_plus_seen",
            "cluster input+, seen sites",
            "Sites given to the network as an input (cluster input+) make it better on seen sites",
            "cluster_input_plus",
            "conventional",
            "seen",
        ),
        _models(
            "cluster_input_plus_unseen",
            "cluster input+, unseen sites",
            "What sites given as an input teach does not carry over: cluster input+ is worse than ARMED on unseen sites",
            "armed",
            "cluster_input_plus",
            "unseen",
        ),
        _models(
            "menet_unseen",
            "MeNet, unseen sites",
            "MeNet is worse than ARMED on unseen sites",
            "armed",
            "menet",
            "unseen",
        ),
        _models(
            "lmmnn_unseen",
            "LMMNN, unseen sites",
            "LMMNN is worse than ARMED on unseen sites",
            "armed",
            "lmmnn",
            "unseen",
        ),
        _models(
            "localisation_seen",
            "attention, seen sites",
            "ARMED looks more at the disease than the conventional network does, on seen sites",
            "armed",
            "conventional",
            "seen",
            "localisation",
        ),
        _models(
            "localisation_unseen",
            "attention, unseen sites",
            "ARMED looks more at the disease than the conventional network does, on unseen sites",
            "armed",
            "conventional",
            "unseen",
            "localisation",
        ),
    ),
}
"""By study. The last two are not numbers of the paper, which shows maps of a few subjects: only a stand-in can tell."""


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
