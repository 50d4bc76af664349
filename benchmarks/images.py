"""Measure training on images: `make benchmark-images`, or `python -m benchmarks.images --help`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from benchmarks.image_cases import METHODS, SIZE_NAMES, STUDIES, ImageCase, plan
from benchmarks.image_worker import ImageWorker

log = logging.getLogger("benchmarks")
LOADING_LIMIT = 0.05
"""Share of a step that gathering its batch may take."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 1 if a case failed, else 0."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    begin = time.time()
    errors = []
    for study in given.study:
        methods = [m for m in METHODS[study] if given.methods is None or m in given.methods]
        blocks = plan(study, given.size, methods, given.device or _devices(), given.threads)
        with tqdm(total=sum(map(len, blocks)), desc=study, unit="case", disable=not sys.stderr.isatty()) as bar:
            workers = [w for block in blocks for w in measure(block, given.repeats, bar)]
        measured = [w for w in workers if not w.error]
        if measured:
            write(study, measured, given.output)
        log.info("%s: %d cases after %.0f s, in %s.", study, len(measured), time.time() - begin, given.output)
        errors += [w.error for w in workers if w.error]
    for error in errors:
        log.error("%s", error)
    return 1 if errors else 0


def measure(block: Sequence[ImageCase], repeats: int | None, bar: tqdm) -> list[ImageWorker]:
    """Measure the cases of a block, repeats taken in turn; workers come back closed."""
    scale = block[0].scale
    groups = [[case] for case in block] if scale.alone else [block]
    return [w for group in groups for w in _measured(group, repeats or scale.repeats, bar)]


def _measured(cases: Sequence[ImageCase], repeats: int, bar: tqdm) -> list[ImageWorker]:
    workers = []
    try:
        for case in cases:
            workers.append(ImageWorker(case))
            workers[-1].warm_up()  # one after another: they would share the processor
        for _ in range(repeats):
            for worker in workers:
                worker.measure()
        for worker in workers:
            if worker.case.profiled:
                worker.profile()
    finally:
        for worker in workers:
            worker.close()
            bar.update()
    for worker in workers:
        each = ", ".join(f"{1e3 * step:.4g}" for step, _ in worker.repeats)
        log.info("%s: %s ms an image, %.0f MB", worker.case.name, each, worker.peak_mb)
    return workers


def write(study: str, workers: Sequence[ImageWorker], output: Path) -> None:
    """Write a study's tables, its figure, and the versions and the machine that the numbers are of."""
    from armed import results  # here: heavier than this process should be while others are timed
    from armed.plotting import style
    from armed.reproducibility import environment
    from benchmarks import image_figures, image_tables

    table = image_tables.comparison(workers)
    results.write("benchmark_images", table, output / f"benchmark_images_{study}.tsv")
    (output / f"benchmark_images_{study}.json").write_text(json.dumps(environment(), indent=1))
    style.save(image_figures.speed(study, table), output / "figures" / f"benchmark_images_{study}")
    slow = table[(table["engine"] != "plain") & (table["loading_share"] > LOADING_LIMIT)]
    for row in slow.itertuples():
        log.warning("%s, %s size, %s: gathering takes %.0f%% of a step.", *row[1:4], 100 * row.loading_share)
    parts = image_tables.parts(workers)
    if len(parts):
        results.write("benchmark_images_profile", parts, output / f"benchmark_images_profile_{study}.tsv")
        log.info("Where a step's time goes, ms an image:\n%s", image_tables.profile_text(parts))


def _devices() -> list[str]:
    import torch

    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.images", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder for tables and figure")
    parser.add_argument("--study", nargs="+", choices=STUDIES, default=STUDIES, help="studies to measure")
    parser.add_argument("--size", nargs="+", choices=SIZE_NAMES, default=["default", "paper"], help="sizes to measure")
    known = list(dict.fromkeys(m for study in STUDIES for m in METHODS[study]))
    parser.add_argument(
        "--methods", nargs="+", choices=known, help="networks to measure; a study's own where not given"
    )
    parser.add_argument("--device", nargs="+", choices=("cpu", "cuda"), help="cpu, and cuda where there is a GPU")
    parser.add_argument("--threads", type=int, default=2, help="threads on a processor")
    parser.add_argument("--repeats", type=int, help="measurements of each case; as the size has it where not given")
    return parser


if __name__ == "__main__":
    sys.exit(main())
