"""Draw a study's figures."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed import checksums
from armed.plotting.draw import draw_study

checksums.check(map(Path, snakemake.params.tables))
draw_study(snakemake.wildcards.study, Path("results"), snakemake.params.config)
