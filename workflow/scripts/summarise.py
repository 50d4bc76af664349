"""Summaries, comparison with the published numbers, paired tests, deconfounding shares."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.collect import summarise_all

summarise_all(
    snakemake.params.config,
    {name: Path(path) for name, path in snakemake.input.items()},
    Path(snakemake.input.published),
    {name: Path(path) for name, path in snakemake.output.items()},
)
