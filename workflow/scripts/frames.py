"""Collect the frames that a study uses from its movies."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.frames import collect_frames

collect_frames(
    snakemake.params.settings,
    Path(snakemake.input.source),
    Path(snakemake.output[0]),
    processes=snakemake.threads,
)
