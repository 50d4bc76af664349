"""Folds: a partition by subject, stratified, repeatable, the same from file."""

import logging
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits, make_splits
from armed.errors import DataError


def draw(seed, n, n_clusters=3, n_classes=2, per_subject=1, dataset=None):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, size=n)
    # Every class has the same two subjects per fold or more, so that no draw lacks one in training.
    y[: n_classes * 8] = np.arange(n_classes * 8) % n_classes
    subject = np.arange(n) if per_subject == 1 else rng.integers(0, max(n // per_subject, 6), size=n)
    clusters = np.array([f"k{c}" for c in rng.integers(0, n_clusters, size=n)])
    return ClusteredData(rng.normal(size=(n, 2)), y, clusters, subject=subject, dataset=dataset)


def same(one, other):
    return len(one) == len(other) and all(
        (a.seed, a.fold) == (b.seed, b.fold)
        and all(np.array_equal(getattr(a, r), getattr(b, r)) for r in ("train", "validation", "test"))
        for a, b in zip(one, other, strict=True)
    )


data_sets = st.builds(
    draw,
    seed=st.integers(0, 2**16),
    n=st.integers(40, 120),
    n_clusters=st.integers(1, 12),
    n_classes=st.integers(2, 3),
    per_subject=st.sampled_from([1, 1, 2]),
)


@settings(max_examples=60, deadline=None)
@given(data=data_sets, n_folds=st.integers(2, 6), fraction=st.sampled_from([0.0, 0.2, 0.34]))
def test_folds_are_a_partition_and_no_subject_crosses(data, n_folds, fraction):
    splits = make_splits(data, [0, 7], n_folds, "s", validation_fraction=fraction)
    assert len(splits) == 2 * n_folds and splits.seeds == (0, 7)
    for seed in splits.seeds:
        folds = splits.select([seed]).folds
        np.testing.assert_array_equal(np.sort(np.concatenate([f.test for f in folds])), np.arange(len(data)))
        for fold in folds:
            roles = [fold.train, fold.validation, fold.test]
            np.testing.assert_array_equal(np.sort(np.concatenate(roles)), np.arange(len(data)))
            subjects = [set(data.subject[rows].tolist()) for rows in roles]
            assert not subjects[0] & subjects[1] | subjects[0] & subjects[2] | subjects[1] & subjects[2]
            assert bool(len(fold.validation)) == bool(fraction)
            assert all((np.diff(rows) > 0).all() for rows in roles)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    n=st.integers(40, 150),
    n_clusters=st.integers(1, 30),
    n_folds=st.integers(2, 10),
    fraction=st.sampled_from([0.1, 0.25]),
)
def test_strata_labels_and_sizes_are_even_within_one_sample(seed, n, n_clusters, n_folds, fraction):
    """However small the strata: with 30 clusters many are smaller than the number of folds."""
    data = draw(seed, n, n_clusters)
    splits = make_splits(data, [seed], n_folds, "s", validation_fraction=fraction)
    strata = pd.Series([f"{c} {k}" for c, k in zip(data.clusters, data.y, strict=True)])
    for groups in (strata, pd.Series(data.y), pd.Series(np.zeros(len(data)))):
        counts = pd.DataFrame({f.fold: groups[f.test].value_counts() for f in splits}).fillna(0)
        assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1
        for fold in splits:
            training = groups[np.concatenate([fold.train, fold.validation])].value_counts()
            held = groups[fold.validation].value_counts().reindex(training.index, fill_value=0)
            assert ((held - fraction * training).abs() <= 1).all()


@settings(max_examples=25, deadline=None)
@given(data=data_sets, fraction=st.sampled_from([0.0, 0.2]))
def test_the_same_again_alone_and_from_a_table(data, fraction):
    splits = make_splits(data, range(3), 3, "s", validation_fraction=fraction)
    assert same(splits, make_splits(data, range(3), 3, "s", validation_fraction=fraction))
    assert same(splits.select([2]), make_splits(data, [2], 3, "s", validation_fraction=fraction))
    assert same(splits, Splits.from_frame(splits.to_frame()))


def test_seeds_studies_and_validation_change_what_they_should():
    data = draw(0, 200)
    base = make_splits(data, [0], 5, "s")
    assert not same(base, make_splits(data, [1], 5, "s"))
    assert not same(base, make_splits(data, [0], 5, "t"))
    held = make_splits(data, [0], 5, "s", validation_fraction=0.2)
    for a, b in zip(base, held, strict=True):
        np.testing.assert_array_equal(a.test, b.test)
        assert len(b.validation) == 32


@pytest.mark.parametrize("fraction", [0.0, 0.1])
def test_a_saved_split_comes_back_the_same(tmp_path, fraction):
    data = draw(1, 90, dataset=np.repeat([0, 1, 4], 30))
    splits = make_splits(data, [4, 0], 3, "s", validation_fraction=fraction)
    path = tmp_path / "splits" / "s.parquet"
    splits.save(path)
    again = Splits.read(path)
    assert again.seeds == (4, 0) and same(splits, again)
    assert [p.name for p in path.parent.iterdir()] == ["s.parquet"]
    assert set(splits.select([4]).folds[0].test) <= set(range(60, 90))


def test_continuous_outcomes_are_stratified_by_quartile():
    rng = np.random.default_rng(0)
    n = 400
    y = rng.normal(size=n)
    data = ClusteredData(rng.normal(size=(n, 1)), y, np.array(["a", "b"])[np.arange(n) % 2])
    cuts = np.quantile(y, [0.25, 0.5, 0.75])
    for fold in make_splits(data, [0], 5, "s"):
        counts = np.bincount(np.searchsorted(cuts, y[fold.test]), minlength=4)
        assert counts.max() - counts.min() <= 1


def cells_of_groups(seed=0, n_groups=7, n_clusters=6, n_cells=150, frames=4):
    """Cells of several frames; each group has one label, as a PDX has, and names in another order than their labels."""
    rng = np.random.default_rng(seed)
    group, cluster = rng.integers(0, n_groups, size=n_cells), rng.integers(0, n_clusters, size=n_cells)
    cell = np.repeat(np.arange(n_cells), frames)
    names = np.array([f"pdx{g}" for g in group])[cell]
    y = (group % 2)[cell]
    data = ClusteredData(np.zeros((len(cell), 1)), y, cluster[cell], subject=cell)
    return data, names


@pytest.mark.parametrize("test_fraction", [None, 0.2])
def test_strata_of_ones_own_are_even_and_labels_with_them(test_fraction):
    data, group = cells_of_groups()
    splits = make_splits(
        data, [0, 1], 4, "s", validation_fraction=0.125, test_fraction=test_fraction, strata=np.asarray(group)
    )
    share = test_fraction or 0.25
    cell = pd.DataFrame({"group": group, "cluster": data.clusters, "y": data.y, "cell": data.subject}).drop_duplicates()
    for fold in splits:
        tested = cell[cell["cell"].isin(data.subject[fold.test])]
        for by, most in ((["group", "cluster"], 1), (["group"], 1), (["y"], 1)):
            counts = cell.value_counts(by)
            assert (tested.value_counts(by).reindex(counts.index, fill_value=0) - share * counts).abs().max() <= most
        roles = [set(data.subject[rows]) for rows in (fold.train, fold.validation, fold.test)]
        assert not roles[0] & roles[1] | roles[0] & roles[2] | roles[1] & roles[2], "frames of a cell stay together"


def test_strata_change_the_folds_and_labels_as_strata_do_not():
    data, group = cells_of_groups()
    base = make_splits(data, [0], 4, "s")
    assert not same(base, make_splits(data, [0], 4, "s", strata=group))
    assert same(base, make_splits(data, [0], 4, "s", strata=data.y))
    np.random.default_rng(0).shuffle(names := np.array([f"n{i}" for i in range(7)]))
    renamed = np.array([names[int(g[3:])] for g in group])
    for fold in make_splits(data, [0], 4, "s", strata=renamed):
        assert abs(data.y[fold.test].mean() - data.y.mean()) < 0.06


def test_strata_that_cannot_be():
    data, group = cells_of_groups()
    with pytest.raises(DataError, match=r"strata have shape \(599,\); expected one for each of the 600 rows"):
        make_splits(data, [0], 4, "s", strata=group[1:])
    missing = group.astype(object)
    missing[:3] = None
    with pytest.raises(DataError, match=r"2 problems (.|\n)*n_folds is 1(.|\n)*strata are missing for 3 rows"):
        make_splits(data, [0], 1, "s", strata=missing)


def test_subjects_of_several_samples_spread_evenly():
    """60 subjects with 1 to 9 samples: fold sizes stay close though subjects are whole."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 10, size=60)
    subject = np.repeat([f"p{i}" for i in range(60)], sizes)
    y = np.repeat(np.arange(60) % 2, sizes)
    clusters = np.repeat(np.array(["a", "b"])[np.arange(60) // 30], sizes)
    data = ClusteredData(np.zeros((len(y), 1)), y, clusters, subject=subject)
    tested = [len(f.test) for f in make_splits(data, [0], 5, "s")]
    assert max(tested) / min(tested) < 1.35


def test_labels_that_are_no_subjects_majority_are_allowed():
    subject = np.repeat(np.arange(20), 3)
    data = ClusteredData(np.zeros((60, 1)), np.tile([0, 0, 1], 20), np.full(60, "a"), subject=subject)
    assert all(data.y[f.train].any() for f in make_splits(data, [0], 5, "s"))


def test_all_problems_of_the_request_come_at_once():
    with pytest.raises(DataError) as error:
        make_splits(draw(0, 40), [1, 1], 1, "s", validation_fraction=1.0)
    message = str(error.value)
    assert message.startswith("3 problems with the splits of s:")
    for part in ("seeds are given twice: [1]", "n_folds is 1", "validation_fraction is 1.0"):
        assert part in message


def test_too_few_subjects_and_absent_datasets():
    few = draw(0, 40).take(np.arange(4))
    with pytest.raises(DataError, match=r"4 subjects for 5 folds"):
        make_splits(few, [0], 5, "s")
    several = draw(0, 40, dataset=np.repeat([0, 1], 20))
    with pytest.raises(DataError, match=r"no dataset 3 for seed 3(.|\n)*no dataset 4 for seed 4"):
        make_splits(several, [0, 3, 4], 2, "s")
    with pytest.raises(DataError, match="leaves none for validation"):
        make_splits(draw(0, 40), [0], 2, "s", validation_fraction=0.01)


def test_a_label_that_some_training_set_would_lack():
    y = np.zeros(30, dtype=int)
    y[3] = 1
    data = ClusteredData(np.zeros((30, 1)), y, np.full(30, "a"))
    with pytest.raises(DataError, match="no training row has label 1"):
        make_splits(data, [0], 3, "s")
    with pytest.raises(DataError, match="one class only"):
        make_splits(data.take(np.arange(3)), [0], 3, "s")


def test_a_cluster_of_one_subject_is_a_logged_warning(caplog):
    subject = np.array([0, 0, *range(1, 19)])
    clusters = np.array(["lonely"] * 2 + ["a"] * 18)
    data = ClusteredData(np.zeros((20, 1)), np.arange(20) % 2, clusters, subject=subject)
    with caplog.at_level(logging.WARNING):
        make_splits(data, [0, 1], 3, "s")
    assert caplog.text.count("lonely") == 1


def test_rows_with_two_roles_are_refused():
    rows = np.arange(5)
    with pytest.raises(DataError, match="1 rows have more than one role"):
        Fold(0, 0, rows, np.array([], dtype=int), np.array([4, 5]))
    with pytest.raises(DataError, match="no rows to train"):
        Fold(0, 0, rows[:0], rows[:0], rows)


def test_tables_that_cannot_be_splits_are_refused():
    none = np.array([], dtype=int)
    partial = Splits((Fold(0, 0, np.arange(5), none, np.array([5])),))
    assert same(partial, Splits.from_frame(partial.to_frame())), "rows that no fold tests are told as such"
    with pytest.raises(DataError, match="seed 0: its folds differ in the rows they have"):
        Splits((*partial.folds, Fold(0, 1, np.arange(4), none, np.array([5])))).to_frame()
    with pytest.raises(DataError, match="missing: validation"):
        Splits.from_frame(pd.DataFrame({"seed": [0], "fold": [0], "row": [0]}))
    with pytest.raises(DataError, match=r"No folds for seeds \[3\]"):
        partial.select([3])


def test_splitting_is_fast():
    """About 0.06 s without validation and 0.3 s with it; the bound leaves room for a busy machine."""
    data = draw(0, 10_000, n_clusters=10)
    start = time.process_time()
    make_splits(data, range(20), 10, "s", validation_fraction=0.1)
    assert time.process_time() - start < 2
