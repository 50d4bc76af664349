"""Write stand-in movies in place of those that are not there."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.data.cell_standin import write

write(Path(snakemake.output[0]), snakemake.params.settings, processes=snakemake.threads)
