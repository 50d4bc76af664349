"""The design and the marginals of the stand-in of the AD study."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from armed.data import brain_model as model
from armed.data.brain_model import Settings, draw, draw_subject, expected_auroc
from armed.errors import ConfigError


@pytest.fixture(scope="module")
def drawn():
    return draw(Settings(), 0)


@pytest.fixture(scope="module")
def many():
    """First sessions of 3000 subjects per diagnosis: age and log factors (n, 2)."""
    found = {}
    for diagnosis, first in {"AD": 0, "CN": 3000}.items():
        subjects = [draw_subject(1, i, "001", diagnosis) for i in range(first, first + 3000)]
        ages = np.array([s.sessions[0].age for s in subjects])
        logs = np.log([(s.sessions[0].hippocampi, s.sessions[0].ventricles) for s in subjects])
        found[diagnosis] = (ages, logs)
    return found


class TestDesign:
    def test_seen_sites_tie_the_diagnosis_to_the_maker(self, drawn):
        seen = [site for site in drawn[0] if site.seen]
        assert [site.maker for site in seen].count("GE") == 5 and len(seen) == 12
        assert {site.maker for site in seen} == {"GE", "Philips", "Siemens"}
        for site in seen:
            assert min(site.n.values()) >= 2
            assert 0.7 < site.n["AD" if site.maker == "GE" else "CN"] / sum(site.n.values()) <= 0.85

    def test_unseen_sites_do_not(self, drawn):
        unseen = [site for site in drawn[0] if not site.seen]
        assert len(unseen) == 30
        for maker in ("GE", "Philips", "Siemens"):
            ad, cn = (sum(site.n[d] for site in unseen if site.maker == maker) for d in ("AD", "CN"))
            assert ad >= 8 and cn >= 8 and abs(ad - cn) <= 2
        # The study leaves out cells of one subject.
        assert not [site for site in unseen if 1 in site.n.values()]

    def test_seen_sites_are_the_largest(self, drawn):
        sizes = {seen: [sum(s.n.values()) for s in drawn[0] if s.seen == seen] for seen in (True, False)}
        assert min(sizes[True]) > max(sizes[False])
        assert sum(sizes[True]) + sum(sizes[False]) == len(drawn[1]) == 170

    @pytest.mark.parametrize("n", [6, 30])
    def test_other_sizes(self, n):
        settings = Settings.read({"n_subjects": 90, "n_seen_sites": 4, "n_unseen_sites": n})
        sites, subjects = draw(settings, 2)
        assert len(subjects) == 90 and len(sites) == 4 + n
        assert min(min(s.n.values()) for s in sites if s.seen) >= 2

    def test_datasets_have_the_same_sites_and_other_subjects(self, drawn):
        sites, subjects = draw(Settings(), 1)
        assert [(s.id, s.maker) for s in sites] == [(s.id, s.maker) for s in drawn[0]]
        assert all(a.scanner != b.scanner for a, b in zip(sites, drawn[0], strict=True))
        assert subjects[0].sessions != drawn[1][0].sessions
        assert draw(Settings(), 0) == drawn

    def test_ids(self, drawn):
        assert len({s.id for s in drawn[0]}) == 42 and all(s.id.isdigit() and len(s.id) == 3 for s in drawn[0])
        assert len({s.id for s in drawn[1]}) == 170 and all(s.id.isalnum() for s in drawn[1])

    def test_a_fifth_of_the_subjects_come_back_little_changed(self, drawn):
        repeated = [s.sessions for s in drawn[1] if len(s.sessions) == 2]
        assert len(repeated) == 34
        for first, second in repeated:
            assert second.months in (6, 12, 24) and second.age == pytest.approx(first.age + second.months / 12)
            assert 0.92 < second.hippocampi / first.hippocampi < 1
            assert 1 < second.ventricles / first.ventricles < 1.14


class TestMarginals:
    @pytest.mark.parametrize(("diagnosis", "mean", "sd"), [("AD", 75, 8), ("CN", 73, 6)])
    def test_age(self, many, diagnosis, mean, sd):
        ages = many[diagnosis][0]
        assert ages.mean() == pytest.approx(mean, abs=0.4) and ages.std() == pytest.approx(sd, rel=0.05)
        assert ages.min() >= 55 and ages.max() <= 95

    def test_disease_and_age_move_the_volumes(self, many):
        """A regression of the log factors on diagnosis and age."""
        ages = np.concatenate([many[d][0] for d in ("AD", "CN")])
        y = np.concatenate([many[d][1] for d in ("AD", "CN")])
        X = np.column_stack([np.ones(6000), np.arange(6000) < 3000, ages - 73])
        _, disease, per_year = np.linalg.lstsq(X, y, rcond=None)[0]
        assert 0.20 < 1 - np.exp(disease[0]) < 0.25
        assert 0.40 < np.exp(disease[1]) - 1 < 0.60
        assert per_year == pytest.approx([-0.006, 0.02], abs=0.002)

    def test_auroc_of_the_true_factors(self, many):
        X = np.concatenate([many["AD"][1], many["CN"][1]])
        y = np.arange(6000) < 3000
        half = np.arange(6000) % 2 == 0
        score = LinearDiscriminantAnalysis().fit(X[half], y[half]).decision_function(X[~half])
        assert roc_auc_score(y[~half], score) == pytest.approx(expected_auroc(), abs=0.015)
        assert expected_auroc() == pytest.approx(0.92, abs=0.005)

    def test_other_diagnosis(self):
        subject = draw_subject(0, 5, "001", "CN")
        hippocampi, ventricles = model.other_diagnosis(subject.sessions[0], "CN")
        assert hippocampi / subject.sessions[0].hippocampi == pytest.approx(0.775)
        assert ventricles / subject.sessions[0].ventricles == pytest.approx(1.5)


class TestSettings:
    def test_all_problems_at_once(self):
        wrong = {"voxel_mm": 9, "n_seen_sites": 1, "n_unseen_sites": 2.5, "native": "yes", "n_subject": 100}
        with pytest.raises(ConfigError) as caught:
            Settings.read(wrong)
        for part in ("5 problems", "voxel_mm is 9", "n_seen_sites is 1", "n_unseen_sites is 2.5", "native is 'yes'"):
            assert part in str(caught.value)
        assert "Did you mean 'n_subjects'?" in str(caught.value)

    def test_too_few_subjects(self):
        with pytest.raises(ConfigError, match=r"n_subjects is 60, which leaves 19 for 12 seen sites"):
            Settings.read({"n_subjects": 60})

    def test_defaults(self):
        assert Settings.read({}) == Settings() == Settings.read(Settings())
