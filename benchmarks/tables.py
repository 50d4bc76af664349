"""The two tables of the benchmark, from the repeats of all cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from armed.errors import DataError
from benchmarks.cases import ENGINES, Case
from benchmarks.worker import Worker


def scaling(workers: Sequence[Worker]) -> pd.DataFrame:
    """Table `benchmark_scaling`: every case, its median, lowest and highest repeat."""
    return pd.DataFrame([_row(w) for w in workers])


def comparison(table: pd.DataFrame) -> pd.DataFrame:
    """Table `benchmark`: rows of `benchmark_scaling` with all sizes but the stack's as in the paper.

    `ratio` is CPU seconds per model of the plain loop over those of the row.

    Raises
    ------
    DataError
        If the plain loop of a method was not measured in the same run.
    """
    rows = table[table["factor"] == "replicas"]
    plain = rows[rows["engine"] == "plain"].set_index("method")["cpu_s_per_model"]
    missing = sorted(set(rows["method"]) - set(plain.index))
    if missing:
        raise DataError(f"No plain loop was measured for {', '.join(missing)}; ratios need it from the same run.")
    rows = rows.assign(
        ratio=rows["method"].map(plain) / rows["cpu_s_per_model"], position=rows["engine"].map(ENGINES.index)
    )
    rows = rows.sort_values(["method", "position", "replicas"], ignore_index=True)
    return rows[["method", "engine", "replicas", "cpu_s_per_model", "wall_s_per_model", "peak_mb", "ratio"]]


def _row(worker: Worker) -> dict:
    case = worker.case
    cpu, wall = np.array(worker.repeats).T
    return {
        "method": case.method,
        "engine": case.engine,
        "factor": case.factor,
        "level": case.level,
        "replicas": case.size.replicas,
        "cpu_s_per_model": np.median(cpu),
        "cpu_low": cpu.min(),
        "cpu_high": cpu.max(),
        "wall_s_per_model": np.median(wall),
        "peak_mb": worker.peak_mb,
        "compile_s": worker.compile_s,
        "repeats": len(cpu),
        "note": _note(case),
    }


def _note(case: Case) -> str:
    if case.timed_epochs == case.size.epochs:
        return "whole training timed"
    return f"{case.timed_epochs} of {case.size.epochs} epochs timed, the others taken to cost as much"
