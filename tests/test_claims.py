"""The paper's claims, held against made-up results that bear them out, go against them, or say too little."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from armed import claims, results
from armed.clinical_tables import claims_table
from armed.findings import findings
from armed.statistics import Settings

STUDY = "ad_diagnosis"
SETTINGS = Settings(test_to_train={STUDY: 0.25}, random_splits={STUDY})
CLAIMS = {claim.id: claim for claim in claims.CLAIMS[STUDY]}
SEEDS, FOLDS, CLUSTERS, DRAWS = 2, 3, 30, 400
AS_PUBLISHED = {
    ("conventional", "seen"): 0.70,
    ("conventional", "unseen"): 0.60,
    ("cluster_input_plus", "seen"): 0.90,
    ("cluster_input_plus", "unseen"): 0.53,
    ("domain_adversarial", "seen"): 0.82,
    ("domain_adversarial", "unseen"): 0.66,
    ("menet", "unseen"): 0.52,
    ("lmmnn", "unseen"): 0.53,
    ("armed", "seen"): 0.90,
    ("armed", "unseen"): 0.66,
    ("armed", "unseen_population"): 0.60,
    ("armed_no_adversary", "seen"): 0.80,
    ("armed_randomized_z", "seen"): 0.58,
    ("armed_randomized_z", "unseen"): 0.55,
}
LOOKS = {
    ("conventional", "seen"): 0.1,
    ("conventional", "unseen"): 0.1,
    ("armed", "seen"): 0.2,
    ("armed", "unseen"): 0.2,
}


def rows(levels, metric, noise, rng):
    """Rows of metrics.tsv that scatter about the levels."""
    found = []
    for (model, partition), level in levels.items():
        for seed in range(SEEDS):
            for fold in range(FOLDS):
                value = level + rng.normal(0, noise)
                found.append((STUDY, "stand-in", seed, fold, model, "main", partition, metric, value, 30, ""))
    return pd.DataFrame(found, columns=list(results.table("metrics").columns))


def run(levels=AS_PUBLISHED, looks=LOOKS, noise=0.004, spread=0.01):
    """metrics, cluster_metrics and draws; unseen AUROC varies over draws of clusters alike for all models, but for `noise`."""
    rng = np.random.default_rng(0)
    metrics = pd.concat([rows(levels, "auroc", noise, rng), rows(looks, "localisation", noise, rng)])
    localised = metrics.query("metric == 'localisation' and partition == 'unseen'")
    clusters = [
        localised.assign(cluster=f"site {c}", value=localised["value"] + rng.normal(0, noise), n=3)
        for c in range(CLUSTERS)
    ]
    common = rng.normal(0, spread, DRAWS)
    draws = []
    for (model, partition), level in levels.items():
        if partition != "seen":
            value = level + common + rng.normal(0, noise, DRAWS)
            named = {"study": STUDY, "model": model, "variant": "main", "partition": partition, "metric": "auroc"}
            draws.append(pd.DataFrame({"draw": np.arange(DRAWS), "value": value}).assign(**named))
    return metrics, pd.concat(clusters), pd.concat(draws)


def judged(**changed) -> pd.DataFrame:
    metrics, cluster_metrics, draws = run(**changed)
    table = claims.judge(metrics, cluster_metrics, SETTINGS, draws)
    return results.validate("claims", table).set_index("claim")


def swapped(levels):
    """Each level mirrored at the middle: what was better is worse."""
    return {key: 1.4 - level for key, level in levels.items()}


class TestVerdicts:
    def test_results_as_published_support_every_claim(self):
        table = judged()
        assert list(table.index) == list(CLAIMS) and set(table["verdict"]) == {"supported"}
        assert (table["ci_low"] > 0).all() and (table["ci_low"] < table["estimate"]).all()

    def test_the_opposite_contradicts_them(self):
        table = judged(levels=swapped(AS_PUBLISHED), looks=swapped(LOOKS))
        assert set(table["verdict"]) == {"contradicted"} and (table["ci_high"] < 0).all()

    def test_a_run_that_scatters_tells_nothing(self):
        assert set(judged(noise=0.3, spread=0.3)["verdict"]) == {"inconclusive"}

    def test_absent_results_are_not_run(self):
        levels = {
            key: level for key, level in AS_PUBLISHED.items() if key[0] != "menet" and key[1] != "unseen_population"
        }
        table = judged(levels=levels)
        assert set(table.index[table["verdict"] == "not run"]) == {"menet_unseen", "inferred_z"}
        assert table.loc["menet_unseen", ["estimate", "ci_low", "ci_high"]].isna().all()

    def test_one_split_has_no_interval_on_seen_sites(self):
        metrics, cluster_metrics, draws = run()
        one = metrics[(metrics["seed"] == 0) & (metrics["fold"] == 0)]
        table = claims.judge(one, cluster_metrics, SETTINGS, draws).set_index("claim")
        assert table.loc["armed_seen", "verdict"] == "not run" and np.isnan(table.loc["armed_seen", "ci_low"])
        assert table.loc["confounding", "verdict"] == "not run"

    def test_verdicts_are_corrected_for_the_number_of_claims(self):
        """Alone a difference is clear whose p is 0.02; among fourteen it is not."""
        two = (CLAIMS["armed_seen"], CLAIMS["adversary_seen"])
        found = [claims.Estimate(0.1, 0.01, 0.19, 0.02), claims.Estimate(0.1, -0.1, 0.3, 0.3)]
        assert claims._verdicts(two[:1], found[:1]) == ["supported"]
        assert claims._verdicts(two, found) == ["supported", "inconclusive"]
        assert claims._verdicts(two + two[:1], [*found, found[1]]) == ["inconclusive"] * 3

    def test_studies_without_claims_or_results_have_no_rows(self):
        metrics, cluster_metrics, draws = run()
        assert claims.judge(metrics.assign(study="heart"), cluster_metrics, SETTINGS, draws).empty


class TestDifferences:
    def test_of_two_models_is_that_of_paired_tests(self):
        from armed.comparison import paired_tests

        metrics, cluster_metrics, draws = run(noise=0.02)
        tests = paired_tests(metrics, cluster_metrics, SETTINGS, draws=draws).set_index(
            ["model", "partition", "metric"]
        )
        table = judged(noise=0.02)
        for claim in ("armed_seen", "armed_unseen", "localisation_seen", "localisation_unseen"):
            known = CLAIMS[claim]
            test = tests.loc[(*known.better, known.metric)]
            np.testing.assert_allclose(
                table.loc[claim, ["estimate", "ci_low", "ci_high"]].astype(float),
                test[["difference", "ci_low", "ci_high"]].astype(float),
            )

    def test_seen_against_unseen_by_hand(self):
        """Both the splits and the unseen clusters that were met add to the standard error."""
        metrics, _, draws = run(noise=0.02, spread=0.03)
        own = metrics.query("model == 'conventional' and metric == 'auroc'").pivot_table(
            index=["seed", "fold"], columns="partition", values="value"
        )
        gap = own["seen"] - own["unseen"]
        drawn = draws.query("model == 'conventional' and partition == 'unseen'")["value"]
        n = len(gap)
        se = np.sqrt((1 / n + 0.25) * gap.var(ddof=1) + drawn.var(ddof=1))
        half = stats.t.ppf(0.975, n - 1) * se
        row = judged(noise=0.02, spread=0.03).loc["confounding"]
        assert row["estimate"] == pytest.approx(gap.mean())
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((gap.mean() - half, gap.mean() + half))

    def test_seen_against_unseen_without_draws_of_clusters(self):
        """Where sites are large, the spread is that of their own metrics; where there is nothing, there is no interval."""
        metrics, _, _ = run()
        unseen = metrics.query("metric == 'auroc' and partition == 'unseen'")
        rng = np.random.default_rng(1)
        by_cluster = pd.concat(
            [unseen.assign(cluster=f"s{c}", value=rng.normal(0.6, 0.1, len(unseen))) for c in range(30)]
        )
        table = claims.judge(metrics, by_cluster, SETTINGS).set_index("claim")
        wide = table.loc["confounding", "ci_high"] - table.loc["confounding", "ci_low"]
        none = claims.judge(metrics, by_cluster.iloc[:0], SETTINGS).set_index("claim")
        assert wide > 0.01 and none.loc["confounding", "verdict"] == "not run"


class TestShown:
    @staticmethod
    def said(table):
        frames = {name: results.empty(name) for name in ("summary", "comparison", "paired_tests", "deconfounding")}
        config = {"studies": {STUDY: {"data": {}}}, "statistics": {"confidence": 0.95}}
        return {f.about: f.text for f in findings(STUDY, frames | {"claims": table.reset_index()}, config)}

    def test_findings_follow_the_verdicts(self):
        told = self.said(judged())
        assert told["Claims of the paper"].startswith("Of 14: 14 supported (")
        assert CLAIMS["confounding"].says + " (AUROC +0.1" in told["Claims supported"]
        assert "Claims contradicted" not in told
        told = self.said(judged(levels=swapped(AS_PUBLISHED)))
        assert told["Claims of the paper"].startswith("Of 14: 2 supported and 12 contradicted")
        assert CLAIMS["localisation_seen"].says in told["Claims supported"]

    def test_what_is_not_settled_is_told_in_few_words(self):
        told = self.said(judged(noise=0.3, spread=0.3))["Claims inconclusive"]
        assert told.startswith("confounding by site (AUROC ") and CLAIMS["confounding"].says not in told

    def test_the_table_has_the_papers_difference_beside_ours(self):
        metrics, cluster_metrics, draws = run()
        comparison = results.empty("comparison")
        published = {"conventional": (0.703, 0.603), "armed": (0.9, 0.645)}
        lines = [
            {"study": STUDY, "model": model, "partition": partition, "metric": "auroc", "published": value}
            for model, values in published.items()
            for partition, value in zip(("seen", "unseen"), values, strict=True)
        ]
        comparison = pd.DataFrame(lines).reindex(columns=comparison.columns)
        table = claims_table(claims.judge(metrics, cluster_metrics, SETTINGS, draws), comparison, STUDY)
        shown = table.set_index("Claim")
        assert shown.loc[CLAIMS["confounding"].says, "Paper"] == "+0.100"
        assert shown.loc[CLAIMS["armed_unseen"].says, "Paper"] == "+0.042"
        assert shown.loc[CLAIMS["inferred_z"].says, "Paper"] == "–"  # not published
        assert len(shown) == 14 and set(shown["Verdict"]) == {"supported"}


LIVE_CELLS = {
    "auroc": {
        ("conventional", "seen"): 0.817,
        ("conventional", "unseen"): 0.773,
        ("armed", "seen"): 0.869,
        ("armed", "unseen"): 0.809,
        ("armed", "unseen_population"): 0.779,
        ("armed_no_adversary", "seen"): 0.876,
        ("armed_randomized_z", "seen"): 0.732,
        ("armed_randomized_z", "unseen"): 0.712,
    },
    "mse": {
        ("conventional", "seen"): 0.0019,
        ("conventional", "unseen"): 0.0026,
        ("armed", "seen"): 0.0012,
        ("armed", "seen_population"): 0.0018,
        ("armed", "unseen"): 0.0020,
        ("armed", "unseen_population"): 0.0023,
        ("armed_randomized_z", "seen"): 0.0018,
        ("armed_randomized_z", "unseen"): 0.0024,
    },
    "cluster_probe_accuracy": {
        (model, "latents"): v for model, v in {"conventional": 0.8, "domain_adversarial": 0.2, "armed": 0.25}.items()
    },
    "davies_bouldin": {
        (model, "latents"): v for model, v in {"conventional": 8.9, "domain_adversarial": 43.0, "armed": 40.0}.items()
    },
    "calinski_harabasz": {
        (model, "latents"): v for model, v in {"conventional": 545.9, "domain_adversarial": 20.4, "armed": 20.0}.items()
    },
}


class TestLiveCells:
    """Claims on latents and reconstructions: one network per split, latents without values of single clusters."""

    SETTINGS = Settings(test_to_train={"live_cell": 0.25}, random_splits={"live_cell"})

    def judged(self, sign=1, n_seeds=12):
        rng = np.random.default_rng(0)
        metrics, clusters = [], []
        for metric, levels in LIVE_CELLS.items():
            middle = np.mean(list(levels.values()))
            for (model, partition), level in levels.items():
                level = middle + sign * (level - middle)
                for seed in range(n_seeds):
                    row = ("live_cell", "stand-in", seed, 0, model, "main", partition, metric)
                    metrics.append((*row, level * (1 + rng.normal(0, 1e-4)), 60, ""))
                    if partition.startswith("unseen"):
                        clusters += [(*row, level * (1 + rng.normal(0, 1e-3)), 5, "", f"d{c}") for c in range(12)]
        columns = list(results.table("metrics").columns)
        frames = pd.DataFrame(metrics, columns=columns), pd.DataFrame(clusters, columns=[*columns, "cluster"])
        return claims.judge(*frames, self.SETTINGS).set_index("claim")

    def test_results_as_claimed_support_every_claim(self):
        table = self.judged()
        assert list(table.index) == [claim.id for claim in claims.CLAIMS["live_cell"]]
        assert set(table["verdict"]) == {"supported"}

    def test_the_opposite_contradicts_them(self):
        assert set(self.judged(sign=-1)["verdict"]) == {"contradicted"}

    def test_less_of_the_date_is_a_higher_or_lower_index(self):
        table = self.judged()
        assert table.loc["armed_davies_bouldin", "estimate"] > 0 > table.loc["armed_calinski_harabasz", "estimate"]
        assert table.loc["armed_probe", "estimate"] == pytest.approx(-0.55, abs=0.01)

    def test_latents_are_compared_split_by_split(self):
        """Corrected resampled t of the differences: no draws, no clusters."""
        row = self.judged(n_seeds=3).loc["armed_probe"]
        assert row["ci_low"] < row["estimate"] < row["ci_high"] < 0

    def test_one_split_tells_nothing(self):
        table = self.judged(n_seeds=1)
        assert table.loc["armed_probe", "verdict"] == "not run" == table.loc["mixed_reconstruction", "verdict"]
