"""Draw the figures on robustness."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.plotting.draw_robustness import draw_robustness

draw_robustness(Path("results"), snakemake.params.config)
