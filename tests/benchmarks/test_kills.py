"""Kills at random moments of a small run: it goes on to the same results (`benchmarks.reliability.kills` does more)."""

from __future__ import annotations

import pytest

from benchmarks.reliability import kills

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.xdist_group("workflow")]


def test_a_run_that_is_killed_goes_on_to_the_same_results(tmp_path, whole):
    table = kills.measure(tmp_path, kills=4, seed=3, in_a_trial=4, kept=tmp_path / "kills.tsv", whole=whole)
    assert list(table.columns) == kills.COLUMNS and len(table) == 4
    assert set(table["outcome"]) == {kills.SAME} and table["identical"].all(), table.to_string()
    assert (tmp_path / "kills.tsv").read_text(encoding="utf-8").count("\n") == 5
