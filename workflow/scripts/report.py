"""Write the tables for readers and the report."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.environment import write_environment
from armed.report import build_report, write_tables

write_tables(Path("results"), snakemake.params.config)
build_report(Path("results"), snakemake.params.config, Path(snakemake.output.report))
write_environment(Path("results"), snakemake.params.config, snakemake.params.raw, Path(snakemake.output.environment))
