"""Make a study's folds."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.data import split

split(snakemake.params.settings, Path(snakemake.input.data), Path(snakemake.output[0]))
