"""Put the tables of single models together."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.collect import collect

collect(
    {table: [Path(path) for path in paths] for table, paths in snakemake.input.items()},
    {table: Path(path) for table, path in snakemake.output.items()},
)
