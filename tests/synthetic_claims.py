"""Made-up results for which the verdict on a claim is known: one builder for each statistic of `config/claims.yaml`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from armed import registry, results
from armed.claim_evidence import BALANCE, Evidence
from armed.claims import OWN, Claim, Side
from armed.statistics import RESAMPLED, UNSEEN, Settings

SEEDS, FOLDS, CLUSTERS, DRAWS = 12, 3, 20, 200
OWN_STUDY = "clinic"
SETTINGS = Settings(
    test_to_train={"ad_diagnosis": 0.25, "live_cell": 0.25},
    random_splits={"ad_diagnosis", "live_cell"},
    dataset_per_seed={"spirals_inverted", "spirals_confounded"},
)
SUPPORTED, CONTRADICTED, INCONCLUSIVE, NOT_RUN = OUTCOMES = ("supported", "contradicted", "inconclusive", "not run")
_BASES = {"mse": 0.002, "davies_bouldin": 10.0, "calinski_harabasz": 100.0, "probe_rank": 10.0}
_OPPOSITE = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}


def named(study: str) -> str:
    """Id of a study that a claim lists."""
    return OWN_STUDY if study == OWN else study


def evidence_for(claim: Claim, study: str, outcome: str) -> Evidence:
    """Results of one study that give a claim the verdict `outcome`; of ``not run`` one side is absent."""
    return _BUILDERS[claim.statistic](claim, named(study), outcome)


def evidence(metrics: pd.DataFrame, **more: pd.DataFrame) -> Evidence:
    """Evidence of metrics alone, or with other tables."""
    clusters = more.pop("cluster_metrics", results.empty("cluster_metrics"))
    return Evidence(metrics, clusters, SETTINGS, **more)


def variant_of(study: str) -> str:
    known = registry.STUDIES.get(study)
    return RESAMPLED if known and RESAMPLED in known.data_variants else "main"


def rows(
    study: str, side: Side, metric: str, level: float, noise: float, rng: np.random.Generator, variant: str = "main"
) -> pd.DataFrame:
    """Rows of metrics.tsv that scatter about a level."""
    source = registry.STUDIES[study].source if study in registry.STUDIES else OWN
    found = [
        (study, source, seed, fold, side.model, variant, side.partition, metric, level + rng.normal(0, noise), 60, "")
        for seed in range(SEEDS)
        for fold in range(FOLDS)
    ]
    return pd.DataFrame(found, columns=list(results.table("metrics").columns))


def _target(claim: Claim, outcome: str, step: float) -> float:
    """Estimate that the rule of a claim takes for an outcome."""
    away = step if (outcome != CONTRADICTED) == (claim.rule.name != "below") else -step
    return claim.rule.value + away


def _of_metrics(claim: Claim, study: str, outcome: str) -> Evidence:
    base = _BASES.get(claim.metric, 0.6)
    if claim.statistic == "relative_gain":
        levels = [base * (1 + _target(claim, outcome, 4.0) / 100), base]
    elif claim.statistic == "level":
        levels = [_target(claim, outcome, 0.3)]
    else:
        levels = [base + _target(claim, outcome, base / 10), base]
    noise = base * (2.0 if outcome == INCONCLUSIVE else 0.001)
    sides = [side for side in (claim.first, claim.second) if side]
    if outcome == NOT_RUN:
        sides, levels = sides[1:], levels[1:]
    rng = np.random.default_rng(0)
    variant = variant_of(study)
    parts = [rows(study, s, claim.metric, v, noise, rng, variant) for s, v in zip(sides, levels, strict=True)]
    if variant == RESAMPLED:  # what `main` says must not count
        main = dict(zip(sides, levels[::-1], strict=True))
        parts += [rows(study, side, claim.metric, level, noise, rng) for side, level in main.items()]
    parts.append(rows(study, Side("mixedlm", "seen"), "brier", 0.2, 0.01, rng))  # the study was run
    metrics = pd.concat(parts, ignore_index=True)
    return evidence(metrics, **_unseen(metrics, noise, rng))


def _unseen(metrics: pd.DataFrame, noise: float, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """What varies between unseen clusters: draws of subjects for images, else values of single clusters."""
    unseen = metrics[metrics["partition"].isin(UNSEEN) & (metrics["variant"] == "main")]
    if set(unseen["study"]) & set(registry.IMAGES):
        return {"draws": _draws(unseen, noise, rng)}
    if unseen.empty:
        return {}
    parts = [
        unseen.assign(cluster=f"c{c}", n=5, value=unseen["value"] + rng.normal(0, noise, len(unseen)))
        for c in range(CLUSTERS)
    ]
    return {"cluster_metrics": pd.concat(parts, ignore_index=True)}


def _draws(unseen: pd.DataFrame, noise: float, rng: np.random.Generator) -> pd.DataFrame:
    columns = ["study", "model", "variant", "partition", "metric"]
    common, parts = rng.normal(0, noise, DRAWS), []
    for key, own in unseen.groupby(columns):
        value = own["value"].mean() + common + rng.normal(0, noise, DRAWS)
        parts.append(
            pd.DataFrame({"draw": np.arange(DRAWS), "value": value}).assign(**dict(zip(columns, key, strict=True)))
        )
    return pd.concat(parts, ignore_index=True)


def _was_run(study: str) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    kinds = {"main", variant_of(study)}
    return pd.concat([rows(study, Side("mixedlm", "seen"), "brier", 0.2, 0.01, rng, v) for v in sorted(kinds)])


def _of_probes(claim: Claim, study: str, outcome: str) -> Evidence:
    """A probe is above all real features, or below: of one model always, of the other never; or by turns."""
    wins = {SUPPORTED: (0, 1), CONTRADICTED: (1, 0)}.get(outcome)
    if claim.rule.name == "above" and wins:
        wins = wins[::-1]
    parts = []
    for i, side in enumerate((claim.first, claim.second)):
        if outcome == NOT_RUN and i:
            continue
        for seed in range(SEEDS):
            won = wins[i] if wins else (seed + i) % 2
            parts.append(importance(study, side.model, seed, bool(won), variant_of(study)))
    return evidence(_was_run(study), importance=pd.concat(parts, ignore_index=True))


def importance(study: str, model: str, seed: int, won: bool, variant: str, n_features: int = 12) -> pd.DataFrame:
    """Importance of real features from 1 on, and of a probe above or below all of them."""
    features = [f"x{j}" for j in range(n_features)] + ["probe1"]
    values = np.append(np.arange(1.0, n_features + 1), n_features + 9.0 if won else 0.5)
    frame = pd.DataFrame({"feature": features, "importance": values, "rank": 1})
    folds = [frame.assign(study=study, seed=seed, fold=fold, model=model, variant=variant) for fold in range(FOLDS)]
    return pd.concat(folds, ignore_index=True)


def _of_balance(claim: Claim, study: str, outcome: str) -> Evidence:
    """Intercepts that rise or fall with the class balance; in every second dataset the other way where nothing is shown."""
    variant, rng = variant_of(study), np.random.default_rng(0)
    anew = variant == RESAMPLED or study in SETTINGS.dataset_per_seed
    sign = {CONTRADICTED: -1.0}.get(outcome, 1.0) * (-1 if claim.rule.name == "below" else 1)
    names = [f"c{c}" for c in range(CLUSTERS)]
    ratio = np.linspace(0.1, 0.9, CLUSTERS)
    effects = []
    for seed in range(SEEDS):
        turned = sign * (-1 if outcome == INCONCLUSIVE and seed % 2 else 1)
        mean = turned * ratio + rng.normal(0, 0.02, CLUSTERS)
        effects.append(pd.DataFrame({"cluster": names, "mean": mean, "seed": seed, "fold": 0}))
    told = pd.concat(effects, ignore_index=True).assign(
        study=study, model=claim.first.model, variant=variant, effect="intercept", feature="", sd=0.1
    )
    datasets = range(SEEDS) if anew else [0]
    balance = pd.DataFrame({"cluster": names, "ratio": ratio}).assign(study=study, variant=variant)
    balance = pd.concat([balance.assign(dataset=d) for d in datasets], ignore_index=True)[list(BALANCE)]
    if outcome == NOT_RUN:
        told = told.iloc[:0]
    return evidence(_was_run(study), random_effects=told, balance=balance)


def _of_slopes(claim: Claim, study: str, outcome: str) -> Evidence:
    """Slopes that vary the more (or the less) between clusters, the more the univariate models say; or by turns."""
    n = 16
    known = np.linspace(0.1, 0.9, n)
    sds = {CONTRADICTED: known[::-1], INCONCLUSIVE: 0.5 + 0.2 * (-1.0) ** np.arange(n)}.get(outcome, known)
    if claim.rule.name == "below":
        sds = sds[::-1]
    parts = [
        pd.DataFrame({"feature": [f"x{j}" for j in range(n)], "mean": s * sds, "cluster": f"c{s:g}"})
        for s in (-1.0, 1.0)
    ]
    told = pd.concat(parts, ignore_index=True).assign(
        study=study, seed=0, fold=0, model=claim.first.model, variant="main", effect="slope", sd=0.1
    )
    one = {"continuous": "slope_sd", "categorical": "relative_risk_sd"}[claim.features]
    univariate = pd.DataFrame({"feature": [f"x{j}" for j in range(n)], one: known}).assign(
        study=study, source="stand-in", dataset=0, kind=claim.features, n=100, predictive=1, note=""
    )
    univariate = univariate.reindex(columns=list(results.table("univariate").columns))
    if outcome == NOT_RUN:
        univariate = univariate.iloc[:0]
    return evidence(_was_run(study), random_effects=told, univariate=univariate)


_BUILDERS = {
    "difference": _of_metrics,
    "relative_gain": _of_metrics,
    "level": _of_metrics,
    "probe_share": _of_probes,
    "balance_correlation": _of_balance,
    "slope_correlation": _of_slopes,
    "figure": lambda claim, study, outcome: evidence(_was_run(study)),
}
"""Without a builder for its statistic a claim cannot be tested, and its tests fail."""


AD = "ad_diagnosis"
AD_PUBLISHED = {
    ("conventional", "seen"): 0.70,
    ("conventional", "unseen"): 0.60,
    ("cluster_input", "unseen"): 0.58,
    ("cluster_input_plus", "seen"): 0.90,
    ("cluster_input_plus", "unseen"): 0.53,
    ("domain_adversarial", "seen"): 0.82,
    ("domain_adversarial", "unseen"): 0.66,
    ("menet", "seen"): 0.92,
    ("menet", "unseen"): 0.52,
    ("lmmnn", "seen"): 0.93,
    ("lmmnn", "unseen"): 0.53,
    ("armed", "seen"): 0.90,
    ("armed", "unseen"): 0.66,
    ("armed", "unseen_population"): 0.60,
    ("armed_no_adversary", "seen"): 0.80,
    ("armed_no_adversary", "unseen"): 0.61,
    ("armed_randomized_z", "seen"): 0.58,
    ("armed_randomized_z", "unseen"): 0.55,
}
"""AUROC of the models of Table IV, such that each of the claims holds."""
AD_LOOKS = {(model, p): level for model, level in (("conventional", 0.1), ("armed", 0.2)) for p in ("seen", "unseen")}
AD_SEEDS, AD_FOLDS, AD_DRAWS = 2, 3, 2000  # with fewer draws no p can be small enough for so many claims


def ad_run(
    levels: dict = AD_PUBLISHED, looks: dict = AD_LOOKS, noise: float = 0.004, spread: float = 0.01
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """metrics, cluster_metrics and draws; unseen AUROC varies over draws of clusters alike for all models, but for `noise`."""
    rng = np.random.default_rng(0)
    parts = [
        rows(AD, Side(*key), metric, level, noise, rng)
        for metric, all_levels in (("auroc", levels), ("localisation", looks))
        for key, level in all_levels.items()
    ]
    metrics = pd.concat(parts, ignore_index=True)
    metrics = metrics[(metrics["seed"] < AD_SEEDS) & (metrics["fold"] < AD_FOLDS)].reset_index(drop=True)
    localised = metrics.query("metric == 'localisation' and partition == 'unseen'")
    clusters = [
        localised.assign(cluster=f"site {c}", value=localised["value"] + rng.normal(0, noise), n=3) for c in range(30)
    ]
    common, draws = rng.normal(0, spread, AD_DRAWS), []
    for (model, partition), level in levels.items():
        if partition != "seen":
            told = {"study": AD, "model": model, "variant": "main", "partition": partition, "metric": "auroc"}
            value = level + common + rng.normal(0, noise, AD_DRAWS)
            draws.append(pd.DataFrame({"draw": np.arange(AD_DRAWS), "value": value}).assign(**told))
    return metrics, pd.concat(clusters, ignore_index=True), pd.concat(draws, ignore_index=True)


def ad_evidence(**changed: object) -> Evidence:
    metrics, cluster_metrics, draws = ad_run(**changed)
    return Evidence(metrics, cluster_metrics, SETTINGS, draws)


def swapped(levels: dict) -> dict:
    """Each level mirrored at the middle: what was better is worse."""
    return {key: 1.4 - level for key, level in levels.items()}
