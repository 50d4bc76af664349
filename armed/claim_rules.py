"""Verdicts on the paper's claims: a small closed set of rules, written before any result was looked at.

- `above`: ``supported`` where the estimate is clearly above the rule's value, ``contradicted`` where it is clearly below.
- `below`: the other way round.
- `at_least`: of gains that the paper tells in whole percent. ``supported`` where the estimate as told so is the value or more,
  and is clearly above 0; ``contradicted`` where it is clearly less than what is told as the value.
- `figure`: not judged.

Clearly: p is below `ALPHA` after Holm's correction over all claims judged in the study, whichever of the paper's claims they
serve: a verdict is then the same whatever other studies are run, and the more is asked of a study the more each answer needs.
``inconclusive``: neither; a small run ends there. ``not run``: a result is absent or has no interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from armed import claims as entries
from armed import registry
from armed.claim_evidence import Evidence
from armed.claims import OWN, Claim
from armed.comparison import holm
from armed.intervals import Estimate
from armed.schemas import table

ALPHA = 0.05  # after Holm's correction
ROUNDED = 0.5  # percent: from here up a number is told as the next whole one
SUPPORTED, CONTRADICTED, INCONCLUSIVE, NOT_RUN = ("supported", "contradicted", "inconclusive", "not run")


class Judged(NamedTuple):
    """A claim in a study: its estimate, and the verdict if p holds after correction."""

    claim: Claim
    study: str
    found: Estimate | None
    leaning: str

    @property
    def tested(self) -> bool:
        return self.found is not None and not math.isnan(self.found.p)


def judge(evidence: Evidence, claims: Iterable[Claim] | None = None) -> pd.DataFrame:
    """Judge the paper's claims on the studies that were run.

    Parameters
    ----------
    evidence : Evidence
        Results of the run.
    claims : iterable of Claim, optional
        Those of `config/claims.yaml` by default.

    Returns
    -------
    pandas.DataFrame
        `claims.tsv`: every claim in each of its studies, in the order of the file. Of the user's own studies those that have
        the results.
    """
    claims = entries.load() if claims is None else claims
    judged = [of for claim in claims for of in _in_studies(claim, evidence)]
    verdicts = [NOT_RUN] * len(judged)
    for study in dict.fromkeys(of.study for of in judged):
        tested = [i for i, of in enumerate(judged) if of.study == study and of.tested]
        for i, p in zip(tested, holm(np.array([judged[i].found.p for i in tested])), strict=True):
            verdicts[i] = judged[i].leaning if p < ALPHA else INCONCLUSIVE
    rows = []
    for of, verdict in zip(judged, verdicts, strict=True):
        source = evidence.sources.get(of.study) or registry.study(of.study).source
        numbers = of.found[:3] if of.found is not None else (math.nan,) * 3
        rows.append((of.claim.id, of.study, source, of.claim.estimated, *numbers, verdict))
    return pd.DataFrame(rows, columns=list(table("claims").columns))


def lean(claim: Claim, evidence: Evidence, study: str) -> Judged:
    """Estimate a claim in a study, with p against what its rule tests and the verdict that it leans to."""
    rule = claim.rule
    found = evidence.estimate(claim, study, rule.value if rule.name in ("above", "below") else 0.0)
    if found is None:
        return Judged(claim, study, None, NOT_RUN)
    if rule.name == "at_least":
        least = rule.value - ROUNDED
        if found.mean >= least:
            return Judged(claim, study, found, SUPPORTED)
        return Judged(claim, study, evidence.estimate(claim, study, least), CONTRADICTED)
    as_claimed = found.mean > rule.value if rule.name == "above" else found.mean < rule.value
    return Judged(claim, study, found, SUPPORTED if as_claimed else CONTRADICTED)


def _in_studies(claim: Claim, evidence: Evidence) -> Iterable[Judged]:
    for study in claim.studies:
        if study != OWN:
            yield lean(claim, evidence, study)
            continue
        own = (lean(claim, evidence, name) for name, source in evidence.sources.items() if source == OWN)
        yield from (judged for judged in own if judged.found is not None)
