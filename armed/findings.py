"""Sentences about what a run found, made from the tables alone: other results give other sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from armed import claims_tables, clinical_tables, labels, registry, tables
from armed.claims import is_elsewhere
from armed.metrics import LOWER_IS_BETTER
from armed.plotting.catalogue import headline_metric, is_null_check
from armed.statistics import RESAMPLED

ALPHA = 0.05  # after Holm's correction
_NULL_ACCURACY = 0.5
_NULL_TOPIC = "Null check on unseen clusters"
_VERDICTS = ("supported", "contradicted", "inconclusive", "not run")
_PROBE_UNITS = {"fold": "each trained model", "dataset": "importance averaged over a dataset's folds"}


class Finding(NamedTuple):
    """A finding: what it is about, and the sentences; plain text, without markup."""

    about: str
    text: str


def findings(study: str, results: Mapping[str, pd.DataFrame], config: Mapping) -> list[Finding]:
    """Say what a run found in one study.

    Parameters
    ----------
    study : str
    results : mapping of str to pandas.DataFrame
        Tables ``summary``, ``comparison``, ``paired_tests``, ``deconfounding`` (`armed.results`); may be empty. Where they
        are there, ``sensitivity`` and ``claims`` too.
    config : mapping
        The whole configuration.

    Returns
    -------
    list of Finding
        In the order of the report.
    """
    metric = headline_metric(study)
    mine = {name: frame[frame["study"] == study] for name, frame in results.items() if "study" in frame}
    null = is_null_check(config["studies"][study])
    found = _data(mine["summary"], study)
    if "claims" in mine:
        found += _claims(mine["claims"])
    # Where nothing can be known about unseen clusters, a ranking of models there would rank noise.
    for partition in ("seen",) if null else ("seen", "unseen", "deconfounded", "deconfounded_fixed"):
        for variant in labels.data_variants(study):
            if variant == registry.REFERENCE_PROTOCOL:
                continue  # another way of training on the same data: in the tables
            found += _ranking(mine["summary"], mine["paired_tests"], metric, partition, variant)
    found += _armed(mine["paired_tests"], metric)
    if null:
        found += _null_check(mine["summary"], metric)
    found += _probes(mine["deconfounding"], study)
    found += _truth(mine["summary"])
    if "sensitivity" in mine:
        found += _recovery(mine["sensitivity"], config["statistics"]["confidence"])
    return found + _published(mine["comparison"], study)


def _data(summary: pd.DataFrame, study: str) -> list[Finding]:
    """What a stand-in's results are not about."""
    if "stand-in" not in set(summary["source"]):
        return []
    text = (
        "Simulated in place of data that were not available. What follows tells how methods do on such data, and nothing "
        f"about {'cells' if study in registry.AUTOENCODED else 'patients'}; it reproduces no published number."
    )
    return [Finding("Stand-in data", text)]


def _claims(judged: pd.DataFrame) -> list[Finding]:
    """The paper's claims by verdict; the rules are those of `armed.claim_rules`."""
    if judged.empty:
        return []
    counts = judged["verdict"].value_counts()
    counted = _listed([f"{counts.get(verdict, 0)} {verdict}" for verdict in _VERDICTS if counts.get(verdict, 0)])
    text = f"Of {len(judged)}: {counted} (corrected intervals; Holm over all of them, {ALPHA:g})."
    elsewhere = bool(judged["study"].map(is_elsewhere).all())
    found = [Finding("Claims of the paper" + ", on data that it does not have" * elsewhere, text)]
    for verdict in _VERDICTS:
        rows = judged[judged["verdict"] == verdict]
        # What is settled in full, what is not in few words: the table of claims has the rest.
        settled = verdict in _VERDICTS[:2]
        told = [_said(r, settled) for r in rows.itertuples()]
        if told:
            found.append(Finding(f"Claims {verdict}", f"{'; '.join(told)}."))
    return found


def _said(row: NamedTuple, in_full: bool) -> str:
    known = claims_tables.said(row.claim)
    if known is None:
        return str(row.claim)
    text = known.statement if in_full else known.about
    if pd.isna(row.estimate):
        return text
    metric = f"{labels.metric(known.metric)} " if known.metric else ""
    return f"{text} ({metric}{claims_tables.shown(known, row.estimate, row.ci_low, row.ci_high)})"


def _ranking(summary: pd.DataFrame, tests: pd.DataFrame, metric: str, partition: str, variant: str) -> list[Finding]:
    """Best model of one partition, and which models differ from their reference after correction."""
    rows = _rows(summary, partition, metric, variant)
    rows = rows[rows["ci_method"] == "corrected"].dropna(subset=["mean"])
    if rows.empty:
        return []
    lower = metric in LOWER_IS_BETTER
    best = rows.loc[rows["mean"].idxmin() if lower else rows["mean"].idxmax()]
    text = (
        f"{labels.model(best['model'])} has the {'lowest' if lower else 'highest'} {labels.metric(metric)}, "
        f"{tables.interval(best['mean'], best['ci_low'], best['ci_high'])}."
    )
    pairs = _rows(tests, partition, metric, variant)
    for reference, of_reference in pairs.groupby("reference", sort=False):
        text += " " + _against(of_reference, reference, lower)
    return [Finding(_where(partition, variant), text)]


def _against(pairs: pd.DataFrame, reference: str, lower: bool) -> str:
    clear = pairs[pairs["p_holm"] < ALPHA]
    gain = clear["difference"] * (-1 if lower else 1)
    better = clear[gain > 0].sort_values("difference", ascending=lower)
    worse = clear[gain < 0].sort_values("difference", ascending=not lower)
    name = labels.model(reference)
    parts = []
    if len(better):
        parts.append(f"better than {name}: {_differences(better)}")
    if len(worse):
        parts.append(f"worse: {_differences(worse)}" if parts else f"worse than {name}: {_differences(worse)}")
    if not parts:
        return f"Paired tests (Holm) show no model to differ from {name}."
    rest = len(pairs) - len(clear)
    parts += [f"no difference shown for {rest} other{'s' if rest > 1 else ''}"] if rest else []
    return f"By paired tests (Holm, {ALPHA:g}), {'; '.join(parts)}."


def _differences(pairs: pd.DataFrame) -> str:
    return _listed(
        [
            f"{labels.model(m)} ({tables.number(d, signed=True)})"
            for m, d in zip(pairs["model"], pairs["difference"], strict=True)
        ]
    )


def _null_check(summary: pd.DataFrame, metric: str) -> list[Finding]:
    rows = _rows(summary, "unseen", metric, "main")
    rows = rows[rows["ci_method"] == "corrected"].dropna(subset=["ci_low", "ci_high"])
    if rows.empty:
        return []
    misses = rows[(rows["ci_low"] > _NULL_ACCURACY) | (rows["ci_high"] < _NULL_ACCURACY)]
    text = (
        f"Nothing can be known about these; the intervals of {len(rows) - len(misses)} of "
        f"{len(rows)} models hold {_NULL_ACCURACY:g}"
    )
    if misses.empty:
        return [Finding(_NULL_TOPIC, text + ".")]
    names = [f"{labels.model(r.model)} {tables.interval(r.mean, r.ci_low, r.ci_high)}" for r in misses.itertuples()]
    return [Finding(_NULL_TOPIC, f"{text}; not those of {_listed(names)}.")]


def _armed(tests: pd.DataFrame, metric: str) -> list[Finding]:
    """ARMED against its references, wherever both were scored: the question of the paper, answered either way."""
    rows = tests[(tests["model"] == "armed") & (tests["metric"] == metric)].dropna(subset=["difference", "p_holm"])
    if rows.empty:
        return []
    names = []
    for r in rows.itertuples():
        where, p = _where(r.partition, r.variant), tables.p_value(r.p_holm)
        difference = tables.interval(r.difference, r.ci_low, r.ci_high, signed=True)
        names.append(f"{where[:1].lower()}{where[1:]} {difference}, p {p if p.startswith('<') else f'= {p}'}")
    about = f"ARMED against {_listed([labels.model(m) for m in rows['reference'].unique()])}"
    better = ", lower is better" if metric in LOWER_IS_BETTER else ""
    return [Finding(about, f"Difference in {labels.metric(metric)} (p after Holm{better}): {'; '.join(names)}.")]


def _probes(shares: pd.DataFrame, study: str) -> list[Finding]:
    """How often a probe is taken for a real feature; models that use another's weights are not told twice."""
    shares = shares[~shares["model"].isin(registry.WITHOUT_FITS)]
    if (anew := shares["variant"] == RESAMPLED).any():
        shares = shares[anew]  # seeds of one dataset say nothing of another
    found = []
    for unit, about in _PROBE_UNITS.items():
        rows = shares[shares["unit"] == unit].sort_values("share", kind="stable")
        some, none = rows[rows["share"] > 0], rows[rows["share"] == 0]
        names = [
            f"{labels.model(r.model, r.variant, study)} {tables.percent(r.share, r.ci_low, r.ci_high)}"
            for r in some.itertuples()
        ]
        if anew.any():
            about = f"{about}, {labels.variant_name(RESAMPLED)}"
        parts = [_listed(names)] if names else []
        if len(none):
            never = _listed([labels.model(m, v, study) for m, v in zip(none["model"], none["variant"], strict=True)])
            parts.append(f"never: {never}")
        if parts:
            text = f"Share in which a probe {labels.probe_criterion(study)}: {'; '.join(parts)}."
            found.append(Finding(f"Probes, {about} (lower is better)", text))
    return found


def _truth(summary: pd.DataFrame) -> list[Finding]:
    """How far the models' importance tells which features a stand-in's generator made predictive."""
    rows = _rows(summary, "seen", "feature_recovery", "main")
    rows = rows[(rows["ci_method"] == "corrected") & ~rows["model"].isin(registry.WITHOUT_FITS)].dropna(subset="mean")
    if rows.empty:
        return []
    rows = rows.sort_values("mean", ascending=False, kind="stable")
    names = [f"{labels.model(r.model)} {tables.interval(r.mean, r.ci_low, r.ci_high, 2)}" for r in rows.itertuples()]
    text = f"AUROC of importance as a detector of the truly predictive features (0.5: none): {_listed(names)}."
    return [Finding("Truth of the stand-in", text)]


def _recovery(sensitivity: pd.DataFrame, confidence: float) -> list[Finding]:
    """How well slopes and intercepts are recovered, from the study's number of subjects to the largest."""
    rows = sensitivity[sensitivity["factor"] == "subjects"].dropna(subset="value")
    found = []
    for metric in clinical_tables.RECOVERY_METRICS:
        names = []
        own = rows[rows["metric"] == metric]
        for model in labels.ordered_models(own["model"].unique()):
            by_level = own[own["model"] == model].groupby("level")["value"]
            told = [
                f"{tables.interval(*clinical_tables.mean_interval(values.to_numpy(), confidence), 2)} (x{level})"
                for level, values in sorted(by_level, key=lambda pair: float(pair[0]))
            ]
            names.append(f"{labels.model(model)} {', '.join(told)}")
        if names:
            about = labels.metric(metric)
            found.append(Finding(f"Recovery by number of subjects, {about}", f"{'; '.join(names)}."))
    return found


def _published(comparison: pd.DataFrame, study: str) -> list[Finding]:
    rows = comparison[comparison["ci_method"] == "corrected"]
    found = []
    for table, of_table in rows.groupby("table", sort=False):
        judged = of_table[of_table["verdict"] != "not comparable"]
        about = f"Beside the {labels.published(table)}"
        if judged.empty:
            found.append(Finding(about, "None of its numbers can be compared with results on these data."))
            continue
        differs = judged[judged["verdict"] == "differs"]
        text = f"{len(judged) - len(differs)} of {len(judged)} numbers agree with ours"
        names = [
            f"{labels.model(r.model, r.variant, study)} (theirs {tables.number(r.published)}, ours "
            f"{tables.interval(r.mean, r.ci_low, r.ci_high)})"
            for r in differs.itertuples()
        ]
        found.append(Finding(about, f"{text}; different: {_listed(names)}." if names else f"{text}."))
    return found


def _rows(frame: pd.DataFrame, partition: str, metric: str, variant: str) -> pd.DataFrame:
    keep = (frame["partition"] == partition) & (frame["metric"] == metric) & (frame["variant"] == variant)
    return frame[keep]


def _where(partition: str, variant: str) -> str:
    name = labels.partition(partition)
    name = name.replace("deconfounded", "test data without the confounding")
    name = name[:1].upper() + name[1:]
    return name if variant == "main" else f"{name}, {labels.variant_name(variant)}"


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
