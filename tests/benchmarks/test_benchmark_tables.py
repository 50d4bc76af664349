"""From repeats to the two tables."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from benchmark_rows import measured, rows, seconds

from armed import results, schemas
from armed.errors import DataError
from benchmarks import tables
from benchmarks.cases import Case, plan


def test_median_and_range_of_the_repeats():
    table = tables.scaling([measured(Case("armed", "eager", level=10), [(3.0, 3.5), (1.0, 9.0), (2.0, 2.5)])])
    row = table.iloc[0]
    assert (row["cpu_s_per_model"], row["cpu_low"], row["cpu_high"]) == (2.0, 1.0, 3.0)
    assert (row["wall_s_per_model"], row["repeats"], row["replicas"]) == (3.5, 3, 10)
    assert row["note"] == "3 of 10 epochs timed, the others taken to cost as much"


def test_whole_trainings_are_said_to_be_so():
    assert rows([Case("armed", "plain")])["note"].tolist() == ["whole training timed"]


def test_ratio_is_to_the_plain_loop_of_the_same_method():
    cases = [Case(m, "plain") for m in ("armed", "mldg")] + [Case("mldg", "compiled", level=100)]
    scaling = tables.scaling([measured(c, [(s, s)]) for c, s in zip(cases, (5.0, 3.0, 0.05), strict=True)])
    table = tables.comparison(scaling).set_index(["method", "engine", "replicas"])["ratio"]
    assert table["mldg", "compiled", 100] == pytest.approx(60)
    assert table["armed", "plain", 1] == table["mldg", "plain", 1] == 1


def test_other_factors_are_not_in_the_comparison():
    scaling = rows([Case("armed", "plain"), Case("armed", "plain", "samples", 500)])
    assert len(tables.comparison(scaling)) == 1


def test_a_ratio_needs_its_plain_loop():
    with pytest.raises(DataError, match="No plain loop was measured for mldg"):
        tables.comparison(rows([Case("armed", "plain"), Case("mldg", "eager", level=10)]))


def test_both_tables_fit_their_schemas(tmp_path):
    everything = [case for block in plan() for case in block]
    scaling = rows(everything)
    for name, table in (("benchmark_scaling", scaling), ("benchmark", tables.comparison(scaling))):
        results.write(name, table, tmp_path / name)
        assert len(results.read(name, tmp_path / name)) == len(table)
    row = results.read("benchmark", tmp_path / "benchmark").query("method == 'armed' and engine == 'compiled'")
    expected = seconds(Case("armed", "plain")) / np.array(
        [seconds(Case("armed", "compiled", level=n)) for n in (1, 10)]
    )
    np.testing.assert_allclose(row["ratio"][:2], expected, rtol=1e-9)


@pytest.mark.parametrize("table", ["benchmark", "benchmark_scaling"])
def test_the_readme_explains_every_column(table):
    text = (Path(__file__).resolve().parents[2] / "benchmarks" / "README.md").read_text(encoding="utf-8")
    section = re.search(rf"^### `{table}.tsv`\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)[1]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(schemas.table(table).columns)
    assert f"Key: {', '.join(schemas.table(table).key)}." in section
