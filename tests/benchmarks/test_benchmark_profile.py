"""The parts of a training."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import profile
from benchmarks.cases import Case, Size
from benchmarks.timeline import Call, Timeline


def calls(*times: tuple[float, float]) -> list[Call]:
    return [Call(np.array([a, 0.0]), np.array([b, 0.0])) for a, b in times]


def test_parts_of_an_epoch_add_up_and_calls_before_it_are_left_out():
    timeline = Timeline()
    timeline.calls = {"batches": calls((1, 5), (10, 11), (13, 15)), "step": calls((6, 9), (18, 20), (21, 25))}
    parts = profile.epoch_parts(timeline, 10, 27)
    assert parts == {"permutations": 3, "noise": 2, "tables": 3, "gathering": 1, "steps": 6, "after": 2}
    assert sum(parts.values()) == 17 and ["once", *parts] == list(profile.PARTS)


def test_the_table_is_per_model_and_training():
    case = Case("armed", "eager", base=Size(epochs=10), level=100)
    text = profile.table(case, dict.fromkeys(profile.PARTS, 0.5))
    assert "5.00   14%  gathering" in text and "35.00  100%  all" in text


@pytest.mark.parametrize("method", ["conventional", "mldg"])
def test_a_real_training(method):
    parts = profile.training_parts(Case(method, "eager", base=Size(samples=400, epochs=20), level=2))
    assert list(parts) == list(profile.PARTS)
    assert parts["steps"] > 0.5 * sum(parts.values())
    assert min(parts.values()) >= 0
