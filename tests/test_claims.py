"""The file of claims: it is checked as a whole, and holds what the paper's printed numbers say."""

from __future__ import annotations

import copy

import pytest
import yaml
from jsonschema import Draft202012Validator

from armed import claims
from armed.config_checks import parse_yaml
from armed.errors import ConfigError

CLAIMS = claims.load()
READ = parse_yaml(claims.CLAIMS.read_text(encoding="utf-8"))


def entry(id: str, read: dict) -> dict:
    return next(e for e in read["claims"] if e["id"] == id)


@pytest.fixture
def read() -> dict:
    return copy.deepcopy(READ)


class TestFile:
    def test_the_schema_is_one(self):
        Draft202012Validator.check_schema(claims.schema(("seen",)))

    def test_each_claim_of_the_paper_is_tested(self):
        assert [group.id for group in claims.groups(CLAIMS)] == list(READ["groups"]) and len(READ["groups"]) >= 8

    def test_sentences_have_no_full_stop_and_differ(self):
        said = [c.statement for c in CLAIMS] + [g.statement for g in claims.groups(CLAIMS)]
        assert not [s for s in said if s.endswith(".")]
        within = [(c.statement, study, c.metric) for c in CLAIMS for study in c.studies]
        assert len(within) == len(set(within)), "two claims of a study say the same"

    def test_no_two_tests_of_a_study_are_the_same(self):
        keys = [(c.statistic, c.metric, c.first, c.second, c.features, c.rule, s) for c in CLAIMS for s in c.studies]
        tests = [key for key in keys if key[0] != "figure"]
        assert len(tests) == len(set(tests))

    def test_a_copy_elsewhere_can_be_read(self, tmp_path):
        path = tmp_path / "claims.yaml"
        path.write_bytes(claims.CLAIMS.read_bytes())
        assert claims.load(path) == CLAIMS


class TestProblems:
    def test_all_are_told_at_once_with_the_nearest_name(self, read, tmp_path):
        first, second, *_ = read["claims"]
        first["statistic"] = "probe_shares"
        first["group"] = "association"
        second["first"]["model"] = "armd"
        second["rule"] = {"name": "above", "valu": 0}
        del second["where"]
        path = tmp_path / "claims.yaml"
        path.write_text(yaml.safe_dump(read))
        with pytest.raises(ConfigError) as raised:
            claims.load(path)
        text = str(raised.value)
        assert "5 problems with" in text
        assert "claims[0].statistic is 'probe_shares'" in text and "Did you mean 'probe_share'?" in text
        assert "claims[0].group is 'association'" in text and "Did you mean 'associations'?" in text
        assert "claims[1].first.model is 'armd'" in text and "Did you mean 'armed'?" in text
        assert "claims[1].rule.valu is an unknown key. Did you mean 'value'?" in text
        assert "claims[1].where is missing" in text

    @pytest.mark.parametrize(
        ("id", "changes", "told"),
        [
            ("gain_seen", {"metric": None}, "claim 'gain_seen': statistic relative_gain needs the key 'metric'"),
            (
                "gain_seen",
                {"metric": "mse"},
                "relative_gain is of accuracy, auroc, auprc, balanced_accuracy, not of mse",
            ),
            ("gain_seen", {"features": "continuous"}, "statistic relative_gain takes no key 'features'; leave it out"),
            ("gain_seen", {"rule": {"name": "above"}}, "rule above needs a value"),
            ("gain_seen", {"rule": {"name": "figure"}}, "rule figure does not fit statistic relative_gain"),
            ("gain_seen", {"first": {"model": "armed"}}, "first needs a partition"),
            ("gain_seen", {"second": {"model": "armed", "partition": "seen"}}, "first and second are the same"),
            (
                "gain_seen",
                {"second": {"model": "conventional", "partition": "unseen"}},
                "relative_gain compares two models on one partition",
            ),
            (
                "confounding",
                {"rule": {"name": "at_least", "value": 5}},
                "at_least is for relative_gain, not for difference",
            ),
            ("probes", {"rule": {"name": "below", "value": 5}}, "probe_share is tested against 0 alone"),
            ("probes", {"first": {"model": "armed", "partition": "seen"}}, "first has a partition"),
            ("menet_seen", {"studies": ["live_cell"]}, "model 'menet' is not run in live_cell"),
            ("cluster_maps", {"rule": {"name": "figure", "value": 0}}, "rule figure takes no value"),
        ],
    )
    def test_what_no_schema_can_say(self, read, id, changes, told):
        entry(id, read).update(changes)
        for key in [key for key, value in changes.items() if value is None]:
            del entry(id, read)[key]
        found = claims.find_problems(read)
        assert any(told in sentence for sentence in found), found

    def test_names_that_stand_twice_and_groups_that_stand_alone(self, read):
        read["claims"].append(copy.deepcopy(entry("gain_seen", read)))
        read["groups"]["speed"] = {"statement": "ARMED is fast", "where": "Nowhere"}
        told = claims.find_problems(read)
        assert told[0] == "claims: 'gain_seen' names 2 claims; give each its own"
        assert told[-1] == "groups.speed has no claim that tests it"

    def test_files_that_are_no_yaml_or_not_there(self, tmp_path):
        broken = tmp_path / "broken.yaml"
        broken.write_text("claims: [", encoding="utf-8")
        for path in (broken, tmp_path / "absent.yaml"):
            with pytest.raises(ConfigError, match=path.name):
                claims.load(path)

    @pytest.mark.parametrize("document", [None, [], {"claims": []}, {"groups": [], "claims": {}}])
    def test_files_of_another_form(self, document):
        assert claims.find_problems(document)


class TestPublished:
    """What the printed numbers say is computed, not typed."""

    @pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.id)
    def test_the_entry_says_whether_the_paper_has_numbers(self, claim):
        told = [claims.published(claim, study) for study in claim.studies]
        assert any(number is not None for number in told) == (claim.paper == "numbers")

    def test_gains_of_the_studies(self):
        seen, unseen = (next(c for c in CLAIMS if c.id == f"gain_{p}") for p in ("seen", "unseen"))
        studies = ("mci_conversion", "ad_diagnosis", "live_cell")
        assert [round(claims.published(seen, s), 2) for s in studies] == [4.75, 28.02, 6.36]
        assert [round(claims.published(unseen, s), 2) for s in studies] == [3.85, 6.97, 2.07]

    @pytest.mark.parametrize("id", ["gain_seen_size", "gain_unseen_size"])
    def test_the_least_gain_claimed_is_the_least_of_the_tables(self, id):
        """The most of unseen clusters is not: the tables have 7%, the abstract 9%."""
        claim = next(c for c in CLAIMS if c.id == id)
        assert round(min(claims.published(claim, s) for s in claim.studies)) == claim.rule.value

    def test_reruns_of_the_authors_code_are_not_the_papers(self):
        claim = next(c for c in CLAIMS if c.id == "gain_seen_spirals")
        assert claims.published(claim, "spirals_inverted") is None
        assert claims.published(claim, "spirals_radius") == pytest.approx(100 * (0.7878 / 0.7636 - 1))

    def test_differences_and_levels(self):
        gap = next(c for c in CLAIMS if c.id == "confounding")
        assert claims.published(gap, "ad_diagnosis") == pytest.approx(0.703 - 0.603)
        level = gap._replace(statistic="level", second=None)
        assert claims.published(level, "ad_diagnosis") == 0.703
