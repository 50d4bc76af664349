"""Measure everything, and write tables and figures: `make benchmark`, or `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from benchmarks import images
from benchmarks.cases import METHODS, Case, plan, quick_plan
from benchmarks.worker import Worker

log = logging.getLogger("benchmarks")
# Nothing is timed while processes start and compile, so that both cores of a small machine may do so.
STARTED_TOGETHER = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 1 if a case failed, else 0."""
    given = _parser().parse_args(arguments)
    if given.images is not None:
        return images.main(given.images)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    begin = time.time()
    blocks = quick_plan() if given.quick else plan(tuple(given.methods))
    total = sum(map(len, blocks)) * (given.repeats + 1)
    with tqdm(total=total, unit="step", disable=not sys.stderr.isatty()) as bar:
        workers = [w for block in blocks for w in measure(block, given.repeats, bar)]
    write([w for w in workers if not w.error], given.output)
    log.info("%d cases in %.0f s; tables and figures are in %s.", len(workers), time.time() - begin, given.output)
    errors = [w.error for w in workers if w.error]
    for error in errors:
        log.error("%s", error)
    return 1 if errors else 0


def measure(block: Sequence[Case], repeats: int, bar: tqdm) -> list[Worker]:
    """Measure the cases of a block, repeats taken in turn; workers come back closed."""

    def start(case: Case) -> Worker:
        worker = Worker(case)
        worker.warm_up()
        bar.update()
        return worker

    log.info("Measuring %d cases, from %s to %s.", len(block), block[0].name, block[-1].name)
    with ThreadPoolExecutor(STARTED_TOGETHER) as pool:
        workers = list(pool.map(start, block))
    try:
        for _ in range(repeats):
            for worker in workers:
                worker.measure()
                bar.update()
    finally:
        for worker in workers:
            worker.close()
    for worker in workers:
        cpu = ", ".join(f"{one[0]:.4g}" for one in worker.repeats)
        log.info("%s: %s CPU s per model, %.0f MB", worker.case.name, cpu, worker.peak_mb)
    return workers


def write(workers: Sequence[Worker], output: Path) -> None:
    """Write tables, figures, and the versions and the machine that the numbers are of."""
    # Loaded when all is measured: heavier than this process should be while others are timed.
    from armed import results
    from armed.errors import DataError
    from armed.plotting import style
    from armed.reproducibility import environment
    from benchmarks import figures, tables

    scaling = tables.scaling(workers)
    results.write("benchmark_scaling", scaling, output / "benchmark_scaling.tsv")
    comparison = tables.comparison(scaling)
    results.write("benchmark", comparison, output / "benchmark.tsv")
    (output / "benchmark.json").write_text(json.dumps(environment(), indent=1))
    for name, draw, table in (
        ("benchmark", figures.speed, comparison),
        ("benchmark_scaling", figures.cost, scaling),
    ):
        try:
            style.save(draw(table), output / "figures" / name)
        except DataError as error:
            log.warning("Figure %s is not drawn: %s", name, error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder for tables and figures")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each case")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="methods to measure")
    parser.add_argument(
        "--images", nargs=argparse.REMAINDER, help="training on images instead; options of benchmarks.images follow"
    )
    parser.add_argument("--quick", action="store_true", help="a small part, to see that it runs; not to read from")
    return parser


if __name__ == "__main__":
    sys.exit(main())
