"""Assemble what the searches for hyperparameters tried and chose."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.tuning import collect_tuning

collect_tuning([Path(p) for p in snakemake.input], Path(snakemake.output[0]))
