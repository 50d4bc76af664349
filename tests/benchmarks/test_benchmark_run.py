"""Measuring: processes of their own, cases that fail, and a quick run of everything."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from benchmark_rows import measured

import benchmarks.__main__ as benchmark
from armed import results
from benchmarks import measure, workload
from benchmarks.cases import ENGINES, Case, Size
from benchmarks.timeline import clock
from benchmarks.worker import Worker

ROOT = Path(__file__).resolve().parents[2]
SMALL = Size(replicas=2, samples=200, epochs=2)


class TestWorkload:
    def test_sizes_are_those_asked_for(self):
        data, splits = workload.draw(Size(replicas=13, samples=600, clusters=6, features=5))
        assert data.X.shape == (600, 5)
        assert len(data.levels) == 6
        assert len(splits) == 13 and len({(f.seed, f.fold) for f in splits}) == 13
        assert {len(f.train) for f in splits} == {540}

    def test_the_default_is_the_authors_dataset(self):
        data, splits = workload.draw(Size(replicas=1))
        assert data.X.shape == (10_000, 2)
        assert [len(f.train) for f in splits] == [9000]

    def test_methods_have_the_settings_of_the_config(self):
        method = workload.method("armed", Size(replicas=50, units=8), "eager", 3)
        assert method.lambda_K == 1e-5 and method.slope_prior_sd == 0.3
        assert method.network == {"hidden": [8, 8, 8]}
        assert method.training["epochs"] == 3 and method.training["batch_size"] == 32
        assert method.stack_size == 50


class TestMeasure:
    def test_what_is_done_once_and_what_in_each_epoch_add_up(self):
        case = Case("conventional", "eager", base=SMALL, level=2)
        data, splits = workload.draw(case.size)
        begin = clock()
        cost = measure.fit_cost(case, data, splits, 3)
        passed = clock() - begin
        assert all((part > 0).all() for part in cost)
        np.testing.assert_allclose(cost.once + cost.start + 3 * cost.epoch, passed, rtol=0.1, atol=0.02)

    def test_the_first_epoch_is_brief_and_does_not_count_in_any_stack(self, monkeypatch):
        """First epochs made slow are apart, and the others are summed over the stacks that a fit is cut into."""
        case = Case("conventional", "eager", base=SMALL, level=2)
        data, splits = workload.draw(case.size)
        make, steps = workload.method, []

        def slow_at_first(*args):
            method = make(*args)
            method.stack_size = 1
            program = method.program()
            step = program.step
            program.start_epoch = lambda state, epoch: time.sleep(0.05 if epoch else 0.4)
            program.step = lambda *args: steps.append(1) or step(*args)
            method.program = lambda: program
            return method

        monkeypatch.setattr(workload, "method", slow_at_first)
        cost = measure.fit_cost(case, data, splits, 2)
        assert cost.start[1] >= 0.8
        assert 0.1 <= cost.epoch[1] < 0.5
        whole = -(-180 // 32)
        assert len(steps) == 2 * (measure.FEW_BATCHES + 2 * whole)

    def test_warm_up_keeps_clusters_and_labels(self):
        data, splits = workload.draw(SMALL)
        for fold in measure.shortened(splits):
            assert len(fold.train) < 130
            assert set(data.clusters[fold.train]) == set(data.levels)
            assert set(data.y[fold.train]) == {0, 1}

    @pytest.mark.parametrize("engine", [e for e in ENGINES if e != "compiled"])
    def test_every_engine_gives_seconds_per_model(self, engine):
        measurement, compile_s = measure.prepare(Case("conventional", engine, "samples", 200, SMALL))
        cpu, wall = measurement()
        assert 0 < cpu < 30 and 0 < wall < 60
        assert compile_s == 0

    def test_memory_is_that_of_a_process_with_torch(self):
        assert 100 < measure.peak_mb() < 20_000


class TestWorker:
    def test_a_case_that_fails_says_which_and_why(self):
        worker = Worker(Case("armed", "plain", "clusters", 0, SMALL))
        worker.warm_up()
        worker.measure()
        worker.close()
        assert worker.error.startswith("armed plain, 0 clusters was not measured: Traceback")
        assert worker.repeats == []

    def test_a_process_that_dies_is_told(self):
        worker = Worker(Case("conventional", "plain", base=SMALL))
        worker._process.kill()
        worker.warm_up()
        worker.close()
        assert "exit code -9" in worker.error


def test_a_figure_without_its_rows_is_left_out_and_said(tmp_path, caplog):
    cases = [Case("mldg", "plain"), Case("mldg", "eager", level=10)]
    benchmark.write([measured(case, [(1.0, 1.0)]) for case in cases], tmp_path)
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {"benchmark.svg", "benchmark.png"}
    assert "Figure benchmark_scaling is not drawn" in caplog.text
    assert json.loads((tmp_path / "benchmark.json").read_text())["packages"]["torch"]


@pytest.mark.slow
def test_a_quick_run_writes_tables_and_figures(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--repeats", "2", "--output", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    table = results.read("benchmark", tmp_path / "benchmark.tsv")
    assert set(table["engine"]) == set(ENGINES)
    assert (table[["cpu_s_per_model", "wall_s_per_model", "peak_mb", "ratio"]] > 0).all(axis=None)
    scaling = results.read("benchmark_scaling", tmp_path / "benchmark_scaling.tsv")
    assert (scaling["repeats"] == 2).all()
    for name in ("benchmark", "benchmark_scaling"):
        assert {p.suffix for p in (tmp_path / "figures").glob(f"{name}.*")} == {".svg", ".png"}
