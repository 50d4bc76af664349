"""Rank the methods of each study in every seed."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.robustness import ranks

ranks(snakemake.params.config, Path(snakemake.input[0]), Path(snakemake.output[0]))
