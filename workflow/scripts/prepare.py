"""Make a study's data."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.data import prepare

prepare(snakemake.params.settings, [Path(path) for path in snakemake.input], Path(snakemake.output[0]))
