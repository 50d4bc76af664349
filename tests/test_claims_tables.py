"""The ledger of claims, its count by claim of the paper, and what findings say of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_claims import AD, AD_LOOKS, AD_PUBLISHED, ad_evidence, swapped

from armed import claims, claims_tables, results
from armed.claim_rules import judge
from armed.findings import findings

CLAIMS = claims.load()
OF_AD = [claim for claim in CLAIMS if AD in claim.studies]


@pytest.fixture(scope="module")
def judged() -> pd.DataFrame:
    return judge(ad_evidence())


@pytest.fixture(scope="module")
def opposite() -> pd.DataFrame:
    return judge(ad_evidence(levels=swapped(AD_PUBLISHED), looks=AD_LOOKS))


def row(table: pd.DataFrame, id: str, study: str = "AD diagnosis from MRI") -> pd.Series:
    statement = claims_tables.said(id).statement
    return table[(table["Tested as"] == statement) & (table["Study"] == study)].iloc[0]


class TestLedger:
    def test_one_row_per_claim_and_study_grouped_by_claim_of_the_paper(self, judged):
        table = claims_tables.ledger(judged)
        assert tuple(table) == claims_tables.LEDGER and len(table) == len(judged)
        found = table["Claim of the paper"].drop_duplicates().tolist()
        assert found == [group.statement for group in claims.groups(CLAIMS)]
        assert table.map(lambda cell: isinstance(cell, str)).all(axis=None)

    def test_the_papers_number_stands_beside_ours_in_one_unit(self, judged):
        table = claims_tables.ledger(judged)
        gain = row(table, "gain_seen")
        assert gain["Published"] == "+28.0%" and gain["Estimate"].startswith("+2") and "% [" in gain["Estimate"]
        assert row(table, "confounding")["Published"] == "+0.100"
        assert row(table, "confounding")["Estimate"].startswith("+0.")
        assert row(table, "inferred_z")["Published"] == "–"

    def test_a_stand_ins_verdict_is_about_the_stand_in(self, judged):
        table = claims_tables.ledger(judged)
        assert set(table.loc[table["Study"] == "AD diagnosis from MRI", "Data"]) == {"on a stand-in"}
        assert set(claims_tables.ledger(judged.assign(source="restricted"))["Data"]) == {"the study's own data"}

    def test_it_says_why_a_claim_was_not_judged(self, judged):
        table = claims_tables.ledger(judged)
        assert row(table, "cluster_maps")["Remark"] == "a claim of pictures: see the figures"
        assert row(table, "gain_seen", "Live-cell images")["Remark"] == "a result is absent"
        assert row(table, "inferred_z")["Remark"] == "a test of ours; the paper has none"
        real = judged.assign(source="restricted", verdict="not run", estimate=np.nan)
        assert row(claims_tables.ledger(real), "localisation_seen")["Remark"] == "only a stand-in knows the truth"
        few = judged.assign(verdict="not run", ci_low=np.nan, ci_high=np.nan)
        assert row(claims_tables.ledger(few), "gain_seen")["Remark"] == "too few fits for an interval"

    def test_what_is_estimated_is_told_with_the_rule(self, judged):
        table = claims_tables.ledger(judged)
        told = {id: row(table, id)["Estimated"] for id in ("gain_seen_size", "confounding", "cluster_maps")}
        assert told["gain_seen_size"] == "Gain in AUROC, seen clusters: ARMED over Conventional; at least 5%"
        assert told["confounding"] == "AUROC: Conventional (seen clusters) less Conventional (unseen clusters); above 0"
        assert told["cluster_maps"] == "Pictures; not judged"

    def test_of_a_study_it_leaves_out_what_is_the_same_in_all_rows(self, judged):
        table = claims_tables.study_ledger(judged, AD)
        assert list(table["Tested as"]) == [c.statement for c in OF_AD]
        assert not {"Study", "Data"} & set(table) and claims_tables.study_ledger(judged, "nowhere").empty

    def test_every_claim_can_be_shown(self):
        for claim in CLAIMS:
            assert claims_tables.shown(claim, 0.5, 0.25, 0.75).count("[") == 1
            assert claims_tables.shown(claim, np.nan) == "–" and claims_tables.estimated(claim)

    def test_claims_that_the_file_no_longer_has_are_left_out(self, judged):
        other = judged.assign(claim="of old")
        assert claims_tables.ledger(other).empty and claims_tables.summary(other)["Tests"].sum() == 0


class TestSummary:
    def test_counts_by_claim_of_the_paper(self, judged, opposite):
        table = claims_tables.summary(judged).set_index("Claim of the paper")
        assert table["Tests"].sum() == (judged["study"] != "heart").sum()
        verdicts = ["Supported", "Contradicted", "Inconclusive", "Not run"]
        assert (table[verdicts].sum(axis=1) == table["Tests"]).all()
        seen = next(g.statement for g in claims.groups(CLAIMS) if g.id == "seen")
        assert table.loc[seen, "Supported"] == 2 and table.loc[seen, "Data"] == "on a stand-in"
        assert claims_tables.summary(opposite).set_index("Claim of the paper").loc[seen, "Contradicted"] == 2

    def test_studies_that_the_paper_does_not_have_are_counted_apart(self, judged):
        """Beside the paper's studies a gain on other data, and one on the user's."""
        more = judged.assign(verdict=judged["verdict"].mask(judged["study"] == "heart", "supported"))
        own = more[(more["claim"] == "gain_seen") & (more["study"] == "heart")]
        more = pd.concat([more, own.assign(study="clinic", source="own", verdict="contradicted")])
        table = claims_tables.summary(more).set_index("Claim of the paper")
        seen = next(g.statement for g in claims.groups(CLAIMS) if g.id == "seen")
        assert table.loc[seen, "Elsewhere"] == "1 of 2 supported"
        pd.testing.assert_frame_equal(
            table.drop(columns="Elsewhere"),
            claims_tables.summary(judged).set_index("Claim of the paper").drop(columns="Elsewhere"),
        )
        told = claims_tables.ledger(more)
        assert set(told.loc[told["Study"] == "clinic", "Remark"]) == {"not a study of the paper"}

    def test_tables_of_a_run(self, judged):
        assert set(claims_tables.run_tables(judged)) == {"claims", "claims_summary"}
        assert claims_tables.run_tables(judged.iloc[:0]) == {}


class TestFindings:
    @staticmethod
    def said(table):
        frames = {name: results.empty(name) for name in ("summary", "comparison", "paired_tests", "deconfounding")}
        config = {"studies": {AD: {"data": {}}}, "statistics": {"confidence": 0.95}}
        return {f.about: f.text for f in findings(AD, frames | {"claims": table}, config)}

    def test_they_follow_the_verdicts(self, judged, opposite):
        told, n = self.said(judged), len(OF_AD)
        assert told["Claims of the paper"].startswith(f"Of {n}: {n - 1} supported and 1 not run (")
        assert claims_tables.said("confounding").statement + " (AUROC +0." in told["Claims supported"]
        assert "Claims contradicted" not in told and "AUROC +2" in told["Claims supported"]
        told = self.said(opposite)
        assert told["Claims of the paper"].startswith(f"Of {n}: 2 supported, {n - 3} contradicted and 1 not run")
        assert claims_tables.said("localisation_seen").statement in told["Claims supported"]

    def test_what_is_not_settled_is_told_in_few_words(self):
        told = self.said(judge(ad_evidence(noise=0.3, spread=0.3)))["Claims inconclusive"]
        confounding = claims_tables.said("confounding")
        assert f"{confounding.about} (AUROC " in told and confounding.statement not in told
