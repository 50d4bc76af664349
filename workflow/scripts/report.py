"""Write the tables for readers and the report."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.report import build_report, write_tables

write_tables(Path("results"), snakemake.params.config)
build_report(Path("results"), snakemake.params.config, Path(snakemake.output.report))
