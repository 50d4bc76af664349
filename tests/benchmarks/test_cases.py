"""What the benchmark measures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from armed import registry
from benchmarks import cases
from benchmarks.cases import Case, Size

ROOT = Path(__file__).resolve().parents[2]


def test_the_level_replaces_one_field_of_the_size():
    case = Case("armed", "compiled", "clusters", 50, Size(replicas=7))
    assert case.size == Size(replicas=7, clusters=50)


@pytest.mark.parametrize("engine", ["plain", "sklearn", "mlp_classifier"])
def test_engines_without_stacks_train_one_model(engine):
    assert Case("armed", engine, "samples", 500).size == Size(replicas=1, samples=500)


@pytest.mark.parametrize(
    ("case", "epochs"),
    [
        (Case("armed", "plain"), 10),
        (Case("armed", "plain", "samples", 500), 1),
        (Case("armed", "sklearn"), 10),
        (Case("armed", "eager", "replicas", 10), 3),
        (Case("armed", "compiled", "replicas", 1000), 1),
        (Case("armed", "eager", "replicas", 10, Size(epochs=2)), 2),
    ],
)
def test_timed_epochs(case, epochs):
    assert case.timed_epochs == epochs


class TestPlan:
    def test_no_case_comes_twice_and_all_are_known(self):
        everything = [case for block in cases.plan() for case in block]
        assert len(everything) == len(set(everything))
        assert {c.engine for c in everything} == set(cases.ENGINES)
        assert {c.method for c in everything} == set(cases.METHODS) <= set(registry.MODELS)

    def test_stacks_of_all_sizes_for_each_method_beside_its_plain_loop(self):
        for method, block in zip(cases.METHODS, cases.plan(), strict=False):
            assert {c.method for c in block} == {method}
            assert Case(method, "plain") in block
            for engine in cases.STACKS:
                assert {Case(method, engine, level=n) for n in (1, 10, 100, 1000)} <= set(block)

    def test_every_level_of_every_factor(self):
        everything = {case for block in cases.plan() for case in block}
        assert {Case("armed", "compiled", f, v) for f, levels in cases.LEVELS.items() for v in levels} <= everything

    def test_fewer_methods(self):
        blocks = cases.plan(("mldg",))
        assert len(blocks) == 1 and {c.method for c in blocks[0]} == {"mldg"}


def test_the_process_that_waits_loads_no_torch():
    """Its memory would count as that of the processes it starts, and its imports would delay them."""
    code = "import sys, benchmarks.__main__; print('torch' in sys.modules, 'pandas' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout.split() == ["False", "False"], run.stderr
