"""Code and make again the images of a study with one model's autoencoders, and score that."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.latents import latents

latents(
    snakemake.params.settings,
    snakemake.params.source,
    Path(snakemake.input.data),
    Path(snakemake.input.splits),
    Path(snakemake.input.run),
    Path(snakemake.input.inference) if snakemake.input.inference else None,
    {name: Path(path) for name, path in snakemake.output.items()},
    shown=snakemake.params.shown,
    draws=snakemake.params.draws,
)
