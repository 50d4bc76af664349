"""Monte Carlo splits: drawn by subject, stratified, independent, and no cluster without training rows."""

import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armed.data.clustered import ClusteredData
from armed.data.splits import Splits, make_splits
from armed.errors import DataError

TEST, VALIDATION = 0.2, 0.125  # 70/10/20 of all


def sessions(seed, n_subjects, n_clusters, *, crossing=False, most=4):
    """Subjects of 1 to `most` sessions, each with one label and, unless crossing, in one cluster."""
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(n_subjects), rng.integers(1, most + 1, size=n_subjects))
    y = np.arange(n_subjects) % 2
    cluster = rng.integers(0, n_clusters, size=len(subject) if crossing else n_subjects)
    clusters = np.array([f"k{c}" for c in (cluster if crossing else cluster[subject])])
    order = rng.permutation(len(subject))
    names = np.array([f"s{s}" for s in subject])[order]
    return ClusteredData(np.zeros((len(subject), 1)), y[subject][order], clusters[order], subject=names)


def split(data, seeds=(0,), n=3, validation_fraction=VALIDATION, test_fraction=TEST, study="s"):
    return make_splits(data, seeds, n, study, validation_fraction=validation_fraction, test_fraction=test_fraction)


def same(one, other):
    return len(one) == len(other) and all(
        (a.seed, a.fold) == (b.seed, b.fold)
        and all(np.array_equal(getattr(a, r), getattr(b, r)) for r in ("train", "validation", "test"))
        for a, b in zip(one, other, strict=True)
    )


studies = st.builds(
    sessions,
    seed=st.integers(0, 2**16),
    n_subjects=st.integers(40, 90),
    n_clusters=st.integers(1, 18),
    crossing=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(data=studies, test=st.sampled_from([0.1, 0.2, 0.5]), validation=st.sampled_from([0.0, 0.125, 0.3]))
def test_no_subject_crosses_and_every_cluster_keeps_training_rows(data, test, validation):
    splits = split(data, [0, 5], validation_fraction=validation, test_fraction=test)
    assert len(splits) == 6 and splits.seeds == (0, 5)
    for fold in splits:
        roles = [fold.train, fold.validation, fold.test]
        np.testing.assert_array_equal(np.sort(np.concatenate(roles)), np.arange(len(data)))
        subjects = [set(data.subject[rows].tolist()) for rows in roles]
        assert not subjects[0] & subjects[1] | subjects[0] & subjects[2] | subjects[1] & subjects[2]
        assert len(subjects[2]) and bool(subjects[1]) == bool(validation)
        assert set(data.clusters[fold.train]) == set(data.clusters)
        assert all((np.diff(rows) > 0).all() for rows in roles)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), per_stratum=st.integers(4, 20), n_clusters=st.integers(2, 12))
def test_every_stratum_gives_its_share_to_within_one_subject(seed, per_stratum, n_clusters):
    """Strata so large that none can lose all its subjects: then nothing is exchanged."""
    n = 2 * per_stratum * n_clusters
    y, cluster = np.arange(n) % 2, np.arange(n) // (2 * per_stratum)
    data = ClusteredData(np.zeros((n, 1)), y, cluster)
    for fold in split(data, [seed]):
        assert len(fold.test) == round(TEST * n)
        assert len(fold.validation) == round(VALIDATION * (n - len(fold.test)))
        for groups in (pd.Series([f"{c} {k}" for c, k in zip(cluster, y, strict=True)]), pd.Series(y)):
            tested = groups[fold.test].value_counts().reindex(groups.unique(), fill_value=0)
            size = groups.value_counts()
            # The share is that of the whole number of test subjects, at most half a subject away.
            assert ((tested - TEST * size).abs() < 1 + 0.5 * size / n).all()


def test_a_pair_of_subjects_is_never_all_tested_and_its_label_keeps_its_share():
    n = 80
    data = ClusteredData(np.zeros((n, 1)), np.arange(n) % 2, np.array(["big"] * 60 + [f"k{i // 2}" for i in range(20)]))
    for fold in split(data, range(20), n=5, test_fraction=0.5, validation_fraction=0.5):
        assert set(data.clusters[fold.train]) == set(data.clusters)
        assert len(fold.test) == 40 and len(fold.validation) == 20
        assert np.bincount(data.y[fold.test]).tolist() == [20, 20]


def test_splits_are_independent_and_each_subject_is_tested_at_its_rate():
    data = sessions(0, 60, 4)
    splits = split(data, range(20), n=20)
    tested = np.zeros(60)
    for fold in splits:
        tested[np.unique([int(s[1:]) for s in data.subject[fold.test]])] += 1
    # 400 draws at 0.2: s.d. 0.02.
    assert abs(tested / len(splits) - TEST).max() < 0.08
    rows = [len(f.test) / len(data) for f in splits]
    assert np.mean(rows) == pytest.approx(TEST, abs=0.01), "large subjects are tested as often as small ones"
    both = np.mean([len(np.intersect1d(a.test, b.test)) for a, b in zip(splits.folds, splits.folds[1:], strict=False)])
    assert both / len(data) == pytest.approx(TEST**2, abs=0.01)


def test_seeds_studies_and_numbers_of_splits_change_what_they_should():
    data = sessions(1, 60, 4)
    base = split(data, range(3), n=3)
    assert same(base, split(data, range(3), n=3)) and same(base.select([2]), split(data, [2], n=3))
    more = split(data, range(3), n=5)
    assert same(base, [fold for fold in more if fold.fold < 3]), "further splits leave the first as they are"
    assert not same(base, split(data, range(3), n=3, study="t"))
    assert not np.array_equal(base.folds[0].test, base.folds[1].test)
    without = split(data, range(3), n=3, validation_fraction=0.0)
    for a, b in zip(base, without, strict=True):
        np.testing.assert_array_equal(a.test, b.test)


def test_continuous_outcomes_are_stratified_by_quartile():
    y = np.random.default_rng(0).normal(size=400)
    data = ClusteredData(np.zeros((400, 1)), y, np.array(["a", "b"])[np.arange(400) % 2])
    cuts = np.quantile(y, [0.25, 0.5, 0.75])
    for fold in split(data):
        counts = np.bincount(np.searchsorted(cuts, y[fold.test]), minlength=4)
        assert counts.sum() == 80 and counts.max() - counts.min() <= 2


@pytest.mark.parametrize("dataset", [None, np.repeat([0, 1, 4], 40)])
def test_a_saved_split_comes_back_the_same(tmp_path, dataset):
    n = 120
    data = ClusteredData(np.zeros((n, 1)), np.arange(n) % 2, np.arange(n) // 2 % 5, dataset=dataset)
    splits = split(data, [4, 0])
    assert same(splits, Splits.from_frame(splits.to_frame()))
    splits.save(tmp_path / "s.parquet")
    assert same(splits, Splits.read(tmp_path / "s.parquet"))
    assert same(splits.select([0]), Splits.from_frame(splits.select([0]).to_frame()))
    table = splits.to_frame()
    untested = table[table["fold"] == -1]
    assert len(untested) and not untested["validation"].any()
    assert not untested.merge(table[(table["fold"] >= 0) & ~table["validation"]], on=["seed", "row"]).size


def test_all_problems_of_the_request_come_at_once():
    with pytest.raises(DataError) as error:
        split(sessions(0, 20, 2), [1, 1], n=0, test_fraction=1.0)
    message = str(error.value)
    assert message.startswith("3 problems with the splits of s:")
    for part in (
        "seeds are given twice: [1]",
        "n_folds is 0",
        "test_fraction is 1.0; expected a number between 0 and 1",
    ):
        assert part in message
    assert len(split(sessions(0, 20, 2), n=1)) == 1, "a single split can be asked for"


def test_shares_of_no_subject_and_clusters_of_one_subject(caplog):
    data = sessions(0, 20, 2)
    with pytest.raises(DataError, match=r"a test_fraction of 0\.01 of 20 subjects leaves none for testing"):
        split(data, test_fraction=0.01)
    with pytest.raises(DataError, match=r"a validation_fraction of 0\.05 of 16 training subjects"):
        split(data, validation_fraction=0.05)
    alone = ClusteredData(np.zeros((20, 1)), np.arange(20) % 2, np.arange(20))
    with pytest.raises(DataError, match="seed 0, fold 2: no subject is left for test, as every cluster keeps one"):
        split(alone)
    subject = np.array([0, 0, *range(1, 39)])
    pair = ClusteredData(np.zeros((40, 1)), np.arange(40) % 2, np.array(["lonely"] * 2 + ["a"] * 38), subject=subject)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        splits = split(pair, n=10)
    assert "clusters of one subject, so never tested: lonely" in caplog.text
    assert all({0, 1} <= set(fold.train) for fold in splits)


def test_a_label_that_some_training_set_would_lack():
    y = np.zeros(30, dtype=int)
    y[3] = 1
    data = ClusteredData(np.zeros((30, 1)), y, np.full(30, "a"))
    with pytest.raises(DataError, match="no training row has label 1"):
        split(data, range(10))
