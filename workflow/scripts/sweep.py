"""Change one thing of the confounded simulation at a time, for one model."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.sweeps import sweep

sweep(
    snakemake.params.settings,
    Path(snakemake.output[0]),
    device=snakemake.config["device"],
    engine=snakemake.config["engine"],
    stack_size=snakemake.config["studies"]["spirals_confounded"]["stack_size"],
)
