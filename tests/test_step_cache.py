"""Compiled steps are kept on disk under names that tell what they were compiled from."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import fx, nn

import armed
from armed import step_cache
from armed.models import MLP
from armed.programs import Program


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("ARMED_CACHE", str(tmp_path / "steps"))
    return tmp_path / "steps"


class Double(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x):
        x.copy_(self.factor * x)


def double(factor: float = 2.0) -> fx.GraphModule:
    return fx.symbolic_trace(Double(factor))


def test_the_folder(monkeypatch, tmp_path):
    assert step_cache.folder() == tmp_path / "steps"
    monkeypatch.delenv("ARMED_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert step_cache.folder() == tmp_path / "armed-bench"


@pytest.mark.slow
def test_a_step_is_compiled_once_and_found_by_graph_and_structure(own_folder, caplog):
    x = torch.ones(8)
    with caplog.at_level(logging.INFO):
        step_cache.compiled(double(), (x.clone(),), "structure")(x)
        assert torch.equal(x, torch.full((8,), 2.0))
        step_cache.compiled(double(), (x.clone(),), None)(x)
        step_cache.known("structure")(x)
    assert torch.equal(x, torch.full((8,), 8.0))
    assert caplog.text.count("Compiling") == 1
    assert step_cache.known("another") is None
    (path,) = own_folder.glob("*.pt2")
    path.write_bytes(b"broken")
    with caplog.at_level(logging.WARNING):
        assert step_cache.known("structure") is None
    assert "it is compiled anew" in caplog.text and not path.exists()
    step_cache.compiled(double(), (x.clone(),), None)(x)
    assert torch.equal(x, torch.full((8,), 16.0))


@pytest.mark.slow
def test_the_steps_that_were_run_are_told_whoever_loaded_them(own_folder):
    step = step_cache.compiled(double(), (torch.ones(8),), None)
    step_cache.USED.clear()
    step(torch.ones(8))
    assert {path.stem for path in own_folder.glob("*.pt2")} == step_cache.USED


@pytest.mark.slow
def test_other_graphs_and_shapes_are_other_steps(own_folder):
    x, y = torch.ones(8), torch.ones(3)
    step_cache.compiled(double(), (x.clone(),), None)
    step_cache.compiled(double(3.0), (x.clone(),), None)(x)
    step_cache.compiled(double(), (y.clone(),), None)(y)
    assert x[0] == 3 and y[0] == 2 and len(list(own_folder.glob("*.pt2"))) == 3


def test_sources_are_those_of_all_bases():
    assert step_cache.sources([MLP]) != step_cache.sources([Program])
    assert step_cache.sources([nn.Linear]) == ""
    derived = type("Derived", (MLP,), {"__module__": "armed.models.mlp"})
    assert step_cache.sources([derived]) == step_cache.sources([MLP])
    assert step_cache.sources([Double, MLP]) is None  # written elsewhere: only tracing can tell
    assert step_cache.sources([armed.MixedEffects, MLP]) == step_cache.sources([MLP, armed.MixedEffects])


def test_threads_are_part_of_a_name():
    before = torch.get_num_threads()
    one = step_cache.digest("x")
    torch.set_num_threads(before + 1)
    try:
        assert step_cache.digest("x") != one
    finally:
        torch.set_num_threads(before)
    assert step_cache.digest("x") == one
