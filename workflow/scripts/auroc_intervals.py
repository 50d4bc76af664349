"""Make the intervals of one model's AUROC by DeLong and by drawing cells."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.auroc_intervals import intervals

intervals(
    snakemake.params.settings,
    snakemake.params.source,
    Path(snakemake.input.data),
    Path(snakemake.input.predictions),
    Path(snakemake.output[0]),
    draws=snakemake.params.draws,
    confidence=snakemake.params.confidence,
)
