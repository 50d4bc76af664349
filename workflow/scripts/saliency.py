"""Map where the networks of one model look, and score it."""

import _job

_job.start(snakemake)
from armed.jobs.saliency import saliency

saliency(
    *_job.of_model(snakemake),
    **snakemake.params.saliency,
)
