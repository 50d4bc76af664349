"""All measurements of reliability, one after another, and the page: `make reliability`, some hours on two cores."""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.reliability import page

log = logging.getLogger("benchmarks.reliability")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, each in a process of its own, and write the page; returns 1 if a measurement failed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("--output", type=Path, default=page.FOLDER, help="folder for tables and figures")
    parser.add_argument(
        "--run", type=Path, default=Path("."), help="folder of a finished run, which the paper's plan is made from"
    )
    parser.add_argument(
        "--only", nargs="+", choices=list(page.SECTIONS), default=list(page.SECTIONS), help="some of them"
    )
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    failed = [name for name in given.only if _measure(name, given.output, given.run)]
    page.write(given.output)
    if failed:
        log.error("Not measured: %s; what they said stands above.", ", ".join(failed))
    return int(bool(failed))


def _measure(name: str, output: Path, run: Path) -> int:
    log.info("Measuring: %s.", name)
    own = ["--run", str(run)] if name == "paper_plan" else []
    command = [sys.executable, "-m", f"benchmarks.reliability.{name}", "--output", str(output), *own]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
