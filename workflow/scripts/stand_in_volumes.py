"""Make stand-in volumes for a study whose volumes the user does not have."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.data.brain_standin import write

write(Path(snakemake.output[0]), snakemake.params.settings, 0, processes=snakemake.threads)
