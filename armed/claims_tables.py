"""The ledger of the paper's claims, as readers see it: one row per test and study, and a line per claim of the paper."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from armed import claims as entries
from armed import labels
from armed.claims import Claim
from armed.tables import decimals, interval

LEDGER = (
    *("Claim of the paper", "Tested as", "Study", "Data", "Estimate", "Published", "Verdict", "Remark"),
    *("Estimated", "Where"),
)
SUMMARY = (
    "Claim of the paper",
    "Tests",
    "Supported",
    "Contradicted",
    "Inconclusive",
    "Not run",
    "Elsewhere",
    "Data",
    "Where",
)
DATA = {
    "simulated": "simulated",
    "stand-in": "on a stand-in",
    "open": "open data",
    "restricted": "the study's own data",
    "own": "own data",
}
"""What data a verdict is about, in few words."""
CAPTION = "The paper's claims. Verdicts on stand-ins are about the stand-ins, and reproduce no published number."
_VERDICTS = ("supported", "contradicted", "inconclusive", "not run")


def ledger(judged: pd.DataFrame, claims: tuple[Claim, ...] | None = None) -> pd.DataFrame:
    """Lay out the verdicts on the paper's claims.

    Parameters
    ----------
    judged : pandas.DataFrame
        `results/claims.tsv`, or some of its rows.
    claims : tuple of Claim, optional
        Those of `config/claims.yaml` by default.

    Returns
    -------
    pandas.DataFrame
        Strings, columns `LEDGER`, grouped by claim of the paper in the order of the file. `Published` is computed from
        `config/published_results.csv`. Rows of claims that the file no longer has are left out.
    """
    claims = entries.load() if claims is None else claims
    lines = []
    for claim in _by_group(claims):
        for row in judged[judged["claim"] == claim.id].itertuples():
            theirs = entries.published(claim, row.study)
            lines.append(
                {
                    "Claim of the paper": claim.group.statement,
                    "Tested as": claim.statement,
                    "Study": labels.study(row.study),
                    "Data": DATA.get(row.source, row.source),
                    "Estimate": shown(claim, row.estimate, row.ci_low, row.ci_high),
                    "Published": shown(claim, np.nan if theirs is None else theirs),
                    "Verdict": row.verdict,
                    "Remark": remark(claim, row),
                    "Estimated": estimated(claim),
                    "Where": claim.where,
                }
            )
    return pd.DataFrame(lines, columns=list(LEDGER))


def study_ledger(judged: pd.DataFrame, study: str, claims: tuple[Claim, ...] | None = None) -> pd.DataFrame:
    """Lay out the verdicts of one study; the study and its data are not repeated in each row."""
    made = ledger(judged[judged["study"] == study], claims)
    kept = ["Tested as", "Verdict", "Estimate", "Published", "Estimated", "Remark"]
    return made[kept if (made["Remark"] != "").any() else kept[:-1]]


def summary(judged: pd.DataFrame, claims: tuple[Claim, ...] | None = None) -> pd.DataFrame:
    """Count the verdicts on each claim of the paper.

    Parameters
    ----------
    judged, claims
        As for `ledger`.

    Returns
    -------
    pandas.DataFrame
        Columns `SUMMARY`, one row per claim of the paper. Counts are of the paper's studies; `Elsewhere` is of the others.
    """
    claims = entries.load() if claims is None else claims
    lines = []
    for group in entries.groups(claims):
        rows = judged[judged["claim"].isin([claim.id for claim in claims if claim.group == group])]
        apart = rows["study"].map(entries.is_elsewhere).astype(bool)
        there, elsewhere = rows[~apart], rows[apart & (rows["verdict"] != "not run")]
        counts = there["verdict"].value_counts()
        ran = there.loc[there["verdict"] != "not run", "source"]
        k, n = (elsewhere["verdict"] == "supported").sum(), len(elsewhere)
        lines.append(
            {
                "Claim of the paper": group.statement,
                "Tests": len(there),
                **{verdict.capitalize(): int(counts.get(verdict, 0)) for verdict in _VERDICTS},
                "Elsewhere": f"{k} of {n} supported" if n else "",
                "Data": ", ".join(DATA.get(source, source) for source in dict.fromkeys(ran)),
                "Where": group.where,
            }
        )
    return pd.DataFrame(lines, columns=list(SUMMARY))


def run_tables(judged: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Lay out the tables of a run that concern no single study: file name to table; none where nothing was judged."""
    return {"claims": ledger(judged), "claims_summary": summary(judged).astype(str)} if len(judged) else {}


def said(claim: str, claims: tuple[Claim, ...] | None = None) -> Claim | None:
    """The claim of an id; None where it is not known."""
    claims = entries.load() if claims is None else claims
    return next((known for known in claims if known.id == claim), None)


def shown(claim: Claim, mean: float, low: float = np.nan, high: float = np.nan) -> str:
    """Format an estimate, with its interval where there is one, in the unit of the claim."""
    if claim.unit:
        digits = 1
    elif claim.statistic.endswith("correlation"):
        digits = 2
    else:
        digits = decimals(claim.metric, [mean, low, high])
    text = interval(mean, low, high, digits, signed=claim.statistic != "level")
    return text if pd.isna(mean) else text.replace(" [", f"{claim.unit} [") if "[" in text else text + claim.unit


def estimated(claim: Claim) -> str:
    """Say what is estimated, and what of it supports the claim."""
    sides = [side for side in (claim.first, claim.second) if side]
    names, partitions = [labels.model(side.model) for side in sides], dict.fromkeys(side.partition for side in sides)
    where = ""
    if len(partitions) > 1:
        names = [f"{name} ({labels.partition(side.partition)})" for name, side in zip(names, sides, strict=True)]
    elif claim.metric:
        where = f", {labels.partition(claim.first.partition)}"
    metric, pair = labels.metric(claim.metric) + where, " less ".join(names)
    what = {
        "difference": f"{metric}: {pair}",
        "relative_gain": f"Gain in {metric}: {' over '.join(names)}",
        "level": f"{metric}: {pair}",
        "probe_share": f"Datasets with a probe among the important features: {pair}",
        "balance_correlation": f"r over clusters of intercepts with class balance: {pair}",
        "slope_correlation": f"r over {claim.features} features of s.d. of slopes with univariate models: {pair}",
        "figure": "Pictures",
    }[claim.statistic]
    return f"{what[:1].upper() if what[:2] != 'r ' else what[:1]}{what[1:]}; {claim.rule.words}{claim.unit}"


def remark(claim: Claim, row: NamedTuple) -> str:
    """Say why a claim was not judged (`row` of `claims.tsv`), or that a test is not the paper's; else nothing."""
    if claim.rule.name == "figure":
        return "a claim of pictures: see the figures"
    if row.verdict == "not run":
        if claim.needs == "truth" and row.source != "stand-in":
            return "only a stand-in knows the truth"
        return "a result is absent" if pd.isna(row.estimate) else "too few fits for an interval"
    if entries.is_elsewhere(row.study):
        return "not a study of the paper"
    return {"none": "a test of ours; the paper has none"}.get(claim.paper, "")


def _by_group(claims: tuple[Claim, ...]) -> list[Claim]:
    return [claim for group in entries.groups(claims) for claim in claims if claim.group == group]
