"""Files and names of strangers: none runs anything, and each is refused with a sentence or shown as text."""

from __future__ import annotations

import functools
import os

import pytest

from benchmarks.reliability import hostile, hostile_files, hostile_models, hostile_names
from benchmarks.reliability.hostile_outcomes import CANARY, HELD, RUN_BY_SNAKEMAKE

NAMES = [name for module in (hostile_models, hostile_files, hostile_names) for name in module.attacks(None, False)]
pytestmark = pytest.mark.xdist_group("hostile")


@functools.cache
def outcomes():
    """All attacks, made once."""
    table = hostile.measure(slow=False)
    assert table["attack"].tolist() == NAMES
    return table.set_index("attack")


@pytest.mark.parametrize("name", NAMES)
def test_attack(name):
    row = outcomes().loc[name]
    assert row["outcome"] in HELD, row["message"]
    assert row["message"] and "Traceback" not in row["message"]
    assert not [c for c in row["message"] if ord(c) < 32]


@pytest.mark.parametrize("attack", [lambda f: os.system(f"touch {f}/{CANARY}"), lambda f: os.kill(os.getpid(), 9)])
def test_an_attack_that_succeeds_is_told(attack, tmp_path):
    outcome, _ = hostile._alone(attack, tmp_path)
    assert outcome in ("executed, or wrote where it should not", "ended the process")


def test_an_attack_that_is_not_refused_is_told(tmp_path):
    assert hostile._alone(lambda folder: ("read", ""), tmp_path) == ("read", "")
    outcome, message = hostile._alone(lambda folder: {}["x"], tmp_path / "other")
    assert outcome == "ended without a sentence" and message.startswith("KeyError")


@pytest.mark.slow
def test_a_configuration_is_trusted():
    """As docs/security.md says: should Snakemake stop running expressions, the page is to say so."""
    row = hostile.measure(only=["expression of YTE for Snakemake"]).iloc[0]
    assert row["outcome"] == RUN_BY_SNAKEMAKE
