"""Folds on disk are the folds that were made."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from armed.data.clustered import ClusteredData
from armed.data.splits import make_splits
from armed.jobs.data import read_splits, read_test_rows


@pytest.mark.parametrize("variant", ["main", "resampled"])
def test_test_rows_are_those_of_the_folds(tmp_path, variant):
    data = ClusteredData(np.zeros((60, 1)), np.arange(60) % 2, np.arange(60) % 3)
    folds = {"main": [0, 1, 10], "resampled": [2]}
    made = {name: make_splits(data, seeds, 3, "study", validation_fraction=0.2) for name, seeds in folds.items()}
    frames = [splits.to_frame().assign(variant=name) for name, splits in made.items()]
    pd.concat(frames).sample(frac=1, random_state=0).to_parquet(tmp_path / "splits.parquet")
    rows = read_test_rows(tmp_path / "splits.parquet", variant)
    assert list(rows) == [(fold.seed, fold.fold) for fold in made[variant]]
    assert {fold.seed for fold in read_splits(tmp_path / "splits.parquet", variant)} == set(folds[variant])
    for fold in made[variant]:
        np.testing.assert_array_equal(rows[fold.seed, fold.fold], fold.test)
