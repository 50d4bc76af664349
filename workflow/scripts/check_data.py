"""Check a study's data and write the page about it."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.data import check_data

check_data(
    snakemake.wildcards.study, Path(snakemake.input.data), snakemake.params.source, Path(snakemake.output[0])
)
