"""Fit each feature of a study by itself."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.recovery import univariate_fits

univariate_fits(
    snakemake.wildcards.study, snakemake.params.source, Path(snakemake.input.data), Path(snakemake.output[0])
)
