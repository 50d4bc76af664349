"""Write the archive for deposit."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.archive.make import make_archive

make_archive(Path("results"), snakemake.params.config, Path(snakemake.output[0]))
