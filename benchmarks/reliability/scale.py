"""Time and memory against rows and clusters: the random effects layers alone, and methods from data to predictions.

``python -m benchmarks.reliability.scale --output results/reliability``: some ten minutes on two cores; ``--points largest`` is
the one of 1e6 rows, 100 features and 10 000 clusters, ``--points small`` takes a minute, to see that it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from benchmarks.reliability.scale_point import CORES, Point

LIMIT_MB = 8000
"""Memory that a process may take; more is refused it."""
LARGEST = Point("stack", "armed", 1_000_000, 100, 10_000)
ROWS = (10_000, 100_000, 1_000_000)
CLUSTERS = (10, 100, 1000, 10_000)
_FEATURES, _ROWS_OF_CLUSTERS = 100, 100_000
_METHODS = ("conventional", "armed_no_adversary", "armed")
COLUMNS = ("what", "model", "stage", "rows", "features", "clusters", "batch_size", "threads", "wall_s", "cpu_s")
COLUMNS += ("rows_per_s", "rows_per_cpu_s", "peak_mb", "z_mb", "note")


def points() -> list[Point]:
    """All sizes: rows at the most clusters, clusters at 1e5 rows; by a dense Z where that fits into half of the memory."""
    sizes = dict.fromkeys([(rows, CLUSTERS[-1]) for rows in ROWS] + [(_ROWS_OF_CLUSTERS, q) for q in CLUSTERS])
    found = [Point("layers", "ids", rows, _FEATURES, q) for rows, q in sizes]
    dense = [Point("layers", "dense Z", rows, _FEATURES, q) for rows, q in sizes]
    found += [p for p in dense if p.z_mb < LIMIT_MB / 2]
    found += [Point("stack", model, rows, _FEATURES, q) for rows, q in sizes for model in _METHODS]
    return [*found, Point("inference", "armed", 10_000, _FEATURES, CLUSTERS[-1])]


def small_points() -> list[Point]:
    """To see that it runs."""
    layers = [Point("layers", model, 2000, 5, 300, batch_size=500) for model in ("ids", "dense Z")]
    return [*layers, Point("inference", "armed", 2000, 5, 300, batch_size=500)]


def measure(asked: Sequence[Point] | None = None, limit_mb: float | None = LIMIT_MB) -> pd.DataFrame:
    """Measure sizes, each in a process of its own on two cores, one after another.

    Parameters
    ----------
    asked : sequence of Point, optional
        `points` where not given.
    limit_mb : float or None
        A process that asks for more data memory is refused it.

    Returns
    -------
    DataFrame
        `COLUMNS`; a row for each stage of a point: what it took, and the peak memory of its process so far. A point that did
        not end has one row, with the reason as its note. `z_mb` is what a dense Z of all rows would take.
    """
    rows = []
    for point in tqdm(points() if asked is None else asked, unit="point", disable=not sys.stderr.isatty()):
        rows += _measured(point, limit_mb)
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def _measured(point: Point, limit_mb: float | None) -> list[dict]:
    asked = json.dumps(asdict(point) | {"limit_mb": limit_mb})
    # Threads that wait for others sleep: where there is other work, they would take the cores from it, and from each other.
    own = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": str(CORES)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.reliability.scale_point", asked],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parents[2],
        env=os.environ | own,
    )
    if done.returncode == 0:
        return [row | {"note": ""} for row in json.loads(done.stdout)]
    lines = done.stderr.strip().splitlines()
    note = lines[-1] if lines else f"the process ended with exit code {done.returncode}"
    return [asdict(point) | {"stage": "not measured", "z_mb": point.z_mb, "note": note[:200]}]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write `scale.tsv` and the figure; returns 1 if a point was not measured or took too much memory."""
    known = {"all": points, "largest": lambda: [LARGEST], "small": small_points}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability.scale", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/reliability"), help="folder for table and figure")
    parser.add_argument("--points", choices=list(known), default="all", help="which sizes")
    given = parser.parse_args(arguments)
    table = measure(known[given.points]())
    write(table, given.output)
    print(table.to_string(index=False))
    return int((table["note"] != "").any() or (table["peak_mb"] > LIMIT_MB).any())


def write(table: pd.DataFrame, output: Path) -> None:
    """Write the table, and the figure where more than one size was measured."""
    from armed.plotting import style
    from benchmarks.reliability import scale_figure

    output.mkdir(parents=True, exist_ok=True)
    table.to_csv(output / "scale.tsv", sep="\t", index=False, float_format="%.6g")
    if table[["rows", "clusters"]].drop_duplicates().shape[0] > 1:
        style.save(scale_figure.scale(table), output / "figures" / "benchmark_scale")


if __name__ == "__main__":
    sys.exit(main())
