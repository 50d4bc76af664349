"""Faults in a small run: it goes on to the same results, or stops with a sentence; `benchmarks.reliability.faults` has more."""

from __future__ import annotations

import pytest

from benchmarks.reliability import faults
from benchmarks.reliability.fault_cases import CASES, bit_flipped, cut_short, digit_changed
from benchmarks.reliability.small_run import differences

SHORT = ("a digit changed", "read-only", "two runs in one folder", "full disk", "checkpoint with a bit flipped")


@pytest.fixture(scope="module")
def table(tmp_path_factory, whole):
    """The cases of `SHORT`, one of each."""
    first = {case.fault: case for case in reversed(CASES) if case.fault in SHORT}
    cases = sorted(first.values(), key=lambda case: case.again)
    return faults.measure(tmp_path_factory.mktemp("faults"), cases, whole=whole)


@pytest.mark.slow
@pytest.mark.timeout(1500)  # of some ten runs together
@pytest.mark.xdist_group("workflow")
class TestFaults:
    def test_every_fault_ends_in_the_same_results_or_a_sentence(self, table):
        assert set(table["fault"]) == set(SHORT)
        assert set(table["outcome"]) <= {faults.SAME, faults.STOPPED, faults.NOT_TRIED}, table.to_string()
        assert table["identical"].all(), table.to_string()

    @pytest.mark.parametrize(
        ("fault", "outcome", "message"),
        [
            ("a digit changed", faults.STOPPED, "was damaged or changed since"),
            ("read-only", faults.STOPPED, "cannot be written to"),
            ("two runs in one folder", faults.STOPPED, "Another run (process "),
            ("full disk", faults.STOPPED, "The disk is full"),
            ("checkpoint with a bit flipped", faults.SAME, "Training starts anew."),
        ],
    )
    def test_what_is_said(self, table, fault, outcome, message):
        row = table.set_index("fault").loc[fault]
        if row["outcome"] == faults.NOT_TRIED:
            pytest.skip(row["message"])
        assert row["outcome"] == outcome and message in row["message"], row["message"]


def test_faults_change_the_file():
    content = b"study\t0.125\t3\n" * 9
    for damage in (cut_short, bit_flipped, digit_changed):
        assert damage(content) != content
    assert digit_changed(content).startswith(b"study\t0.121")


def test_differences_tell_of_missing_and_added_files():
    assert differences({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == ["b", "c"]
    assert differences({"a": "1", ".partial-x": "2"}, {"a": "1"}) == [".partial-x"]
    assert differences({"a": "1"}, {"a": "1"}) == []


def test_the_sentence_is_found_in_what_a_run_says():
    told = "x CRITICAL The job failed:\nTraceback\nx CRITICAL 2 problems with a:\n  - one\n  - two\nRuleException"
    assert faults.sentence(told) == "2 problems with a: - one - two"
    assert (
        faults.sentence("RunFolderError in file Snakefile, line 3:\nAnother run is here.\n  File x")
        == "Another run is here."
    )
    assert faults.sentence("OSError: no") == ""
    assert faults.warning("12:00 WARNING a is damaged.\n") == "a is damaged."
