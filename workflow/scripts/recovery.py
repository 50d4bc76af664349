"""The recovery study: how well random effects are recovered, by number of subjects."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.recovery import recovery

recovery(
    snakemake.params.settings,
    Path(snakemake.output[0]),
    device=snakemake.config["device"],
    engine=snakemake.config["engine"],
    stack_size=snakemake.config["studies"]["mci_conversion"]["stack_size"],
)
