"""Estimates behind the verdicts on claims, each by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_claims import (
    AD,
    AD_LOOKS,
    AD_PUBLISHED,
    SEEDS,
    SETTINGS,
    SUPPORTED,
    ad_evidence,
    ad_run,
    evidence,
    evidence_for,
    importance,
    rows,
    swapped,
)

from armed import claims, results
from armed.associations import cluster_correlation
from armed.claim_evidence import Evidence
from armed.claim_rules import judge
from armed.claims import Side
from armed.comparison import paired_tests
from armed.intervals import corrected_t, t_interval

CLAIMS = {claim.id: claim for claim in claims.load()}
OF_AD = [c.id for c in CLAIMS.values() if AD in c.studies and c.rule.name != "figure"]


def judged(of: Evidence) -> pd.DataFrame:
    table = results.validate("claims", judge(of)).query("study == @AD").set_index("claim")
    return table.loc[OF_AD]


class TestWholeStudy:
    def test_results_as_published_support_every_claim(self):
        assert set(judged(ad_evidence())["verdict"]) == {"supported"}

    def test_the_opposite_contradicts_them(self):
        table = judged(ad_evidence(levels=swapped(AD_PUBLISHED), looks=swapped(AD_LOOKS)))
        assert set(table["verdict"]) == {"contradicted"}

    def test_a_run_that_scatters_tells_nothing(self):
        assert set(judged(ad_evidence(noise=0.3, spread=0.3))["verdict"]) == {"inconclusive"}

    def test_absent_results_are_not_run(self):
        levels = {k: v for k, v in AD_PUBLISHED.items() if k[0] != "menet" and k[1] != "unseen_population"}
        table = judged(ad_evidence(levels=levels))
        absent = {"menet_seen", "menet_unseen", "menet_carries_nothing", "inferred_z"}
        assert set(table.index[table["verdict"] == "not run"]) == absent


class TestDifferences:
    def test_of_two_models_is_that_of_paired_tests(self):
        metrics, cluster_metrics, draws = ad_run(noise=0.02)
        tests = paired_tests(metrics, cluster_metrics, SETTINGS, draws=draws).set_index(
            ["model", "partition", "metric"]
        )
        of = Evidence(metrics, cluster_metrics, SETTINGS, draws)
        for id in ("localisation_seen", "localisation_unseen", "menet_carries_nothing", "lmmnn_seen"):
            claim, found = CLAIMS[id], of.estimate(CLAIMS[id], AD)
            test = tests.loc[(*claim.first, claim.metric)]
            np.testing.assert_allclose(found, test[["difference", "ci_low", "ci_high", "p"]].astype(float))

    def test_seen_against_unseen_by_hand(self):
        """Both the splits and the unseen clusters that were met add to the standard error."""
        metrics, _, draws = ad_run(noise=0.02, spread=0.03)
        own = metrics.query("model == 'conventional' and metric == 'auroc'").pivot_table(
            index=["seed", "fold"], columns="partition", values="value"
        )
        gap = own["seen"] - own["unseen"]
        drawn = draws.query("model == 'conventional' and partition == 'unseen'")["value"]
        n = len(gap)
        se = np.sqrt((1 / n + 0.25) * gap.var(ddof=1) + drawn.var(ddof=1))
        half = stats.t.ppf(0.975, n - 1) * se
        found = ad_evidence(noise=0.02, spread=0.03).estimate(CLAIMS["confounding"], AD)
        assert found[:3] == pytest.approx((gap.mean(), gap.mean() - half, gap.mean() + half))

    def test_seen_against_unseen_without_draws_of_clusters(self):
        """Where sites are large, the spread is that of their own metrics; where there is nothing, there is no interval."""
        metrics, _, _ = ad_run()
        unseen = metrics.query("metric == 'auroc' and partition == 'unseen'")
        rng = np.random.default_rng(1)
        by_cluster = pd.concat(
            [unseen.assign(cluster=f"s{c}", value=rng.normal(0.6, 0.1, len(unseen))) for c in range(30)]
        )
        some = Evidence(metrics, by_cluster, SETTINGS).estimate(CLAIMS["confounding"], AD)
        none = Evidence(metrics, by_cluster.iloc[:0], SETTINGS).estimate(CLAIMS["confounding"], AD)
        assert some.ci_high - some.ci_low > 0.01 and np.isnan(none.p)

    def test_of_datasets_anew_seen_and_unseen_are_compared_dataset_by_dataset(self):
        claim = CLAIMS["confounding"]
        of = evidence_for(claim, "mci_conversion", SUPPORTED)
        own = of.metrics.query("variant == 'resampled' and metric == 'auroc'")
        wide = own.groupby(["seed", "partition"])["value"].mean().unstack()
        found = of.estimate(claim, "mci_conversion")
        assert found == pytest.approx(t_interval((wide["seen"] - wide["unseen"]).to_numpy()))

    def test_latents_are_compared_split_by_split(self):
        """Corrected resampled t of the differences: no draws, no clusters."""
        claim = CLAIMS["armed_probe"]
        of = evidence_for(claim, "live_cell", SUPPORTED)
        wide = of.metrics.query("metric == 'cluster_probe_accuracy'").pivot_table(
            index=["seed", "fold"], columns="model", values="value"
        )
        by_hand = corrected_t((wide["armed"] - wide["conventional"]).to_numpy(), 0.25)
        assert of.estimate(claim, "live_cell") == pytest.approx(by_hand)


class TestGains:
    CLAIM = CLAIMS["gain_seen"]

    @pytest.fixture
    def of(self):
        rng = np.random.default_rng(4)
        parts = [
            rows("live_cell", Side(m, "seen"), "auroc", v, 0.02, rng)
            for m, v in (("armed", 0.8), ("conventional", 0.7))
        ]
        return evidence(pd.concat(parts, ignore_index=True))

    def test_by_hand(self, of):
        """The delta method: spread of first - (1 + gain) second, divided by the mean of the second."""
        wide = of.metrics.pivot_table(index=["seed", "fold"], columns="model", values="value")
        first, second = wide["armed"], wide["conventional"]
        gain = first.mean() / second.mean() - 1
        by_hand = corrected_t(100 * (first - (1 + gain) * second).to_numpy() / second.mean(), 0.25)
        found = of.estimate(self.CLAIM, "live_cell")
        assert found.mean == pytest.approx(100 * gain)
        half = (by_hand.ci_high - by_hand.ci_low) / 2
        assert (found.ci_low, found.ci_high) == pytest.approx((100 * gain - half, 100 * gain + half))

    def test_it_holds_as_often_as_said(self):
        """95% intervals of independent pairs hold the true gain in about 95% of 400 runs."""
        rng, held = np.random.default_rng(11), 0
        claim = self.CLAIM
        for _ in range(400):
            common = rng.normal(0, 0.03, SEEDS)
            parts = []
            for model, level in (("armed", 0.77), ("conventional", 0.7)):
                one = rows("spirals_confounded", Side(model, "seen"), "auroc", level, 0.0, rng)
                one = one[one["fold"] == 0]
                parts.append(one.assign(value=level + common + rng.normal(0, 0.03, SEEDS)))
            found = evidence(pd.concat(parts, ignore_index=True)).estimate(claim, "spirals_confounded")
            held += found.ci_low < 10 < found.ci_high
        assert 0.92 < held / 400 < 0.98

    def test_p_is_against_the_value(self, of):
        found = {value: of.estimate(self.CLAIM, "live_cell", value) for value in (0.0, 14.0, 30.0)}
        assert found[14.0].p > 0.5 and found[0.0].p < 1e-4 and found[30.0].p < 1e-4
        np.testing.assert_allclose([f[:3] for f in found.values()], [found[0.0][:3]] * 3)

    def test_over_draws_and_over_clusters_it_is_the_ratio_of_what_was_drawn(self):
        """On unseen clusters that move both models alike the gain is surer than either of the two."""
        for study in ("ad_diagnosis", "live_cell"):
            claim = CLAIMS["gain_unseen"]
            of = evidence_for(claim, study, SUPPORTED)
            found = of.estimate(claim, study)
            assert found.mean == pytest.approx(4.0, abs=0.2)
            assert found.ci_low < found.mean < found.ci_high and found.ci_high - found.ci_low < 2

    def test_only_common_fits_count(self, of):
        fewer = of.metrics[~((of.metrics["model"] == "armed") & (of.metrics["seed"] > 5))]
        both = of.metrics[of.metrics["seed"] <= 5]
        found = evidence(fewer).estimate(self.CLAIM, "live_cell")
        assert found == pytest.approx(evidence(both).estimate(self.CLAIM, "live_cell"))


class TestShares:
    CLAIM = CLAIMS["probes"]

    def of(self, pairs: list[tuple[bool, bool]], study: str = "mci_probes", variant: str = "resampled") -> Evidence:
        parts = [
            importance(study, model, seed, won, variant)
            for seed, both in enumerate(pairs)
            for model, won in zip(("armed", "conventional"), both, strict=True)
        ]
        rng = np.random.default_rng(0)
        metrics = rows(study, Side("armed", "seen"), "auroc", 0.8, 0.1, rng, variant)
        return evidence(metrics, importance=pd.concat(parts, ignore_index=True))

    def test_of_datasets_by_hand(self):
        """Of 12 datasets ARMED alone takes the probe in 1, the conventional network alone in 8."""
        pairs = [(True, False)] + [(False, True)] * 8 + [(True, True)] + [(False, False)] * 2
        found = self.of(pairs).estimate(self.CLAIM, "mci_probes")
        assert found.mean == pytest.approx(100 * (1 - 8) / 12)
        assert found.p == pytest.approx(2 * sum(stats.binom.pmf(k, 9, 0.5) for k in (0, 1)))
        high, low = 2 / 14, 9 / 14
        half = 1.959964 * np.sqrt((high + low - (high - low) ** 2) / 14)
        assert (found.ci_low, found.ci_high) == pytest.approx((100 * (high - low - half), 100 * (high - low + half)))

    def test_few_datasets_tell_nothing_however_clear(self):
        found = self.of([(False, True)] * 5).estimate(self.CLAIM, "mci_probes")
        assert found.mean == -100 and found.p == pytest.approx(2 / 2**5)
        assert self.of([(True, True)] * 5).estimate(self.CLAIM, "mci_probes")[::3] == (0.0, 1.0)

    def test_of_one_dataset_fits_are_compared_as_other_metrics_are(self):
        pairs = [(False, True)] * 6 + [(False, False)] * 6
        found = self.of(pairs, variant="main").estimate(self.CLAIM, "mci_probes")
        won = np.repeat([-100.0] * 6 + [0.0] * 6, 3)
        assert found == pytest.approx(corrected_t(won, 1 / 2))

    def test_spirals_are_told_by_their_weakest_feature(self):
        """A probe among the ten most important of three features says nothing."""
        pairs = [(False, True)] * SEEDS
        of = self.of(pairs, "spirals_confounded", "main")
        assert of.estimate(self.CLAIM, "spirals_confounded").mean == -100


class TestCorrelations:
    def test_intercepts_of_datasets_are_correlated_one_by_one(self):
        claim = CLAIMS["intercepts_follow_balance"]
        of = evidence_for(claim, "spirals_confounded", SUPPORTED)
        known = of.balance.query("dataset == 0").set_index("cluster")["ratio"]
        r = [np.corrcoef(known.loc[own["cluster"]], own["mean"])[0, 1] for _, own in of.random_effects.groupby("seed")]
        found, by_hand = of.estimate(claim, "spirals_confounded"), t_interval(np.array(r))
        assert found.mean == pytest.approx(np.mean(r)) and found.p == pytest.approx(by_hand.p)
        assert found.ci_high <= 1

    def test_of_one_dataset_n_is_the_number_of_clusters(self):
        claim = CLAIMS["intercepts_follow_balance"]
        of = evidence_for(claim._replace(studies=("heart",)), "heart", SUPPORTED)
        means = of.random_effects.groupby("cluster")["mean"].mean()
        known = of.balance.set_index("cluster")["ratio"]
        by_hand = cluster_correlation(known, means.loc[known.index], known.index)
        assert of.estimate(claim, "heart") == pytest.approx(by_hand[:4])

    def test_slopes_beside_univariate_models(self):
        claim = CLAIMS["slopes_univariate"]
        of = evidence_for(claim, "mci_conversion", SUPPORTED)
        noisy = of.univariate.assign(slope_sd=of.univariate["slope_sd"] + np.random.default_rng(2).normal(0, 0.2, 16))
        of = evidence(of.metrics, random_effects=of.random_effects, univariate=noisy)
        sds = of.random_effects.groupby("feature")["mean"].std()
        result = stats.pearsonr(noisy.set_index("feature")["slope_sd"], sds.loc[noisy["feature"]])
        found, bounds = of.estimate(claim, "mci_conversion"), result.confidence_interval(0.95)
        assert found == pytest.approx((result.statistic, bounds.low, bounds.high, result.pvalue))

    def test_models_without_random_effects_have_none(self):
        claim = CLAIMS["intercepts_follow_balance"]._replace(first=Side("conventional"))
        of = evidence_for(CLAIMS["intercepts_follow_balance"], "spirals_confounded", SUPPORTED)
        assert of.estimate(claim, "spirals_confounded") is None
