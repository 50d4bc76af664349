"""Planning thousands of jobs: the configuration that is planned is a real one, and planning takes a bounded time."""

from __future__ import annotations

import os

import pytest

from armed import config as configuration
from benchmarks.reliability import planning


def test_the_run_is_a_valid_one(tmp_path, monkeypatch):
    path = planning.write_run(tmp_path, 3)
    monkeypatch.chdir(tmp_path)
    config = configuration.load([planning.ROOT / "config" / "config.yaml", path])
    configuration.check(config)
    assert configuration.selected_studies(config) == ["own_00000", "own_00001", "own_00002"]
    assert len(os.listdir(tmp_path / "tables")) == 3


@pytest.mark.slow
def test_thousands_of_jobs_are_planned_in_bounded_time(tmp_path):
    table = planning.measure([300, 1000], tmp_path)
    assert (table["jobs"] >= [300, 1000]).all()
    more = table.iloc[1] - table.iloc[0]
    assert more["cpu_s"] / more["jobs"] < 0.012  # of 10 000 jobs two minutes at most, on the slowest machine
