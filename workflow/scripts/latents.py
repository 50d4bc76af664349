"""Code and make again the images of a study with one model's autoencoders, and score that."""

import _job

_job.start(snakemake)
from armed.jobs.latents import latents

latents(
    *_job.of_model(snakemake),
    shown=snakemake.params.shown,
    draws=snakemake.params.draws,
)
