"""Rows of `benchmark_scaling` of made-up cost, for tests of tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pandas as pd

from benchmarks import tables
from benchmarks.cases import Case

SECONDS = {"plain": 4.0, "sklearn": 12.0, "mlp_classifier": 0.5, "eager": 0.1, "compiled": 0.025}
OVERHEAD = {"eager": 10.0, "compiled": 3.0}


def measured(case: Case, repeats: Sequence[tuple[float, float]]) -> SimpleNamespace:
    """As a `Worker` that has measured a case."""
    return SimpleNamespace(case=case, repeats=list(repeats), peak_mb=400.0 + case.size.replicas / 2, compile_s=0.0)


def seconds(case: Case) -> float:
    size = case.size
    work = size.samples / 10_000 * (0.5 + size.clusters / 20) * (0.7 + size.units / 13) * (0.8 + size.features / 10)
    return work * (SECONDS[case.engine] + OVERHEAD.get(case.engine, 0.0) / size.replicas)


def rows(cases: Sequence[Case]) -> pd.DataFrame:
    """Table `benchmark_scaling` of cases, the repeats 5% around a middle."""
    return tables.scaling(
        [measured(c, [(f * seconds(c), 1.1 * f * seconds(c)) for f in (1.05, 0.95, 1)]) for c in cases]
    )
