"""Folds on disk are the folds that were made; raw files that could not be had stop the study that needs them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from armed.data.clustered import ClusteredData
from armed.data.splits import make_splits
from armed.data.study import StudyData
from armed.errors import RetrievalError
from armed.jobs.data import as_trained, prepare, read_splits, split


@pytest.mark.parametrize("variant", ["main", "resampled"])
def test_folds_are_those_that_were_made(tmp_path, variant):
    data = ClusteredData(np.zeros((60, 1)), np.arange(60) % 2, np.arange(60) % 3)
    folds = {"main": [0, 1, 10], "resampled": [2]}
    made = {name: make_splits(data, seeds, 3, "study", validation_fraction=0.2) for name, seeds in folds.items()}
    frames = [splits.to_frame().assign(variant=name) for name, splits in made.items()]
    pd.concat(frames).to_parquet(tmp_path / "splits.parquet")
    found = read_splits(tmp_path / "splits.parquet", variant)
    assert [(f.seed, f.fold) for f in found] == [(f.seed, f.fold) for f in made[variant]]
    for one, other in zip(found, made[variant], strict=True):
        for role in ("train", "validation", "test"):
            np.testing.assert_array_equal(getattr(one, role), getattr(other, role))


def test_folds_are_stratified_by_group_where_samples_have_one(tmp_path):
    rng = np.random.default_rng(0)
    n = 240
    group = rng.integers(0, 6, size=n)
    seen = ClusteredData(np.zeros((n, 1)), group % 2, rng.integers(0, 3, size=n))
    table = pd.DataFrame({"group": [f"p{g}" for g in group]})
    settings = {"study": "s", "seeds": [0], "folds": 4, "test_fraction": 0.25, "validation_fraction": 0.1}
    found = {}
    for name, samples in {
        "with": {"main": {"seen": table}},
        "without": {},
        "other": {"main": {"unseen": table}},
    }.items():
        StudyData({"main": {"seen": seen, "unseen": seen}}, pd.DataFrame(), samples=samples).save(tmp_path / "s.npz")
        split(settings, tmp_path / "s.npz", tmp_path / f"{name}.parquet")
        found[name] = read_splits(tmp_path / f"{name}.parquet", "main").to_frame()
    made = make_splits(seen, [0], 4, "s", test_fraction=0.25, validation_fraction=0.1, strata=table["group"].to_numpy())
    pd.testing.assert_frame_equal(found["with"], made.to_frame())
    pd.testing.assert_frame_equal(found["without"], found["other"])
    assert not found["with"].equals(found["without"])


def test_only_the_authors_protocol_stops_by_the_test_rows():
    data = ClusteredData(np.zeros((60, 1)), np.arange(60) % 2, np.arange(60) % 3)
    splits = make_splits(data, [0], 3, "study", validation_fraction=0.2)
    assert as_trained(splits, "main") is splits
    for reported, trained in zip(splits, as_trained(splits, "reference_protocol"), strict=True):
        np.testing.assert_array_equal(trained.validation, reported.test)
        assert set(trained.train) == {*reported.train, *reported.validation} and not len(trained.test)


def test_what_could_not_be_retrieved_is_told(tmp_path):
    receipt = tmp_path / "heart.json"
    receipt.write_text('{"files": [], "problem": "processed.va.data of heart could not be had"}')
    with pytest.raises(RetrievalError, match=r"processed\.va\.data"):
        prepare({"study": "heart", "data": {}, "seeds": []}, [receipt], tmp_path / "heart.npz")
    assert not (tmp_path / "heart.npz").exists()
