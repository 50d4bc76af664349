"""Simulate a study's data."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.data import simulate

simulate(snakemake.params.settings, Path(snakemake.output[0]))
