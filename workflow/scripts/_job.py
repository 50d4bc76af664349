"""What every script does first: the package on the path, one thread for other libraries, logging to the rule's log."""

import os
import sys
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def start(snakemake) -> None:
    """Log to the rule's log file and to stderr, check the inputs, and note the outputs at the end."""
    from armed.jobs.running import begin

    begin(Path(snakemake.log[0]), snakemake.input, snakemake.output, snakemake.config)


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
