"""Cut slices from a study's volumes."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.slices import cut_slices

cut_slices(
    snakemake.params.settings,
    Path(snakemake.input.tree),
    Path(snakemake.input.rejected) if snakemake.input.rejected else None,
    Path(snakemake.output[0]),
    processes=snakemake.threads,
    checkpoints=Path(snakemake.params.checkpoints),
)
