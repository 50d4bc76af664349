"""What every script does first: the package on the path, one thread for other libraries, logging to the rule's log."""

import logging
import os
import sys
import warnings
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def start(snakemake) -> None:
    """Log to the rule's log file and to stderr, errors with their traceback included."""
    handlers = [logging.StreamHandler(), logging.FileHandler(snakemake.log[0], mode="w")]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", handlers=handlers)
    logging.captureWarnings(True)
    warnings.simplefilter("default")

    def report(kind, error, traceback):
        logging.critical("The job failed: %s", error, exc_info=(kind, error, traceback))

    sys.excepthook = report
    from armed import own_studies

    own_studies.declare(snakemake.config)


def of_model(snakemake) -> tuple:
    """First arguments of all jobs that read back a model's fits."""
    given = snakemake.input
    return (
        snakemake.params.settings,
        snakemake.params.source,
        *(Path(path) for path in (given.data, given.splits, given.run)),
        Path(given.inference) if given.inference else None,
        {name: Path(path) for name, path in snakemake.output.items()},
    )
