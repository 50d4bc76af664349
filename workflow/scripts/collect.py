"""Concatenate one table's parts."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.collect import collect

collect(snakemake.wildcards.table, [Path(p) for p in snakemake.input], Path(snakemake.output[0]))
