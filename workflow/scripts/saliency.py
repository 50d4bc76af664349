"""Map where the networks of one model look, and score it."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.saliency import saliency

saliency(
    snakemake.params.settings,
    snakemake.params.source,
    Path(snakemake.input.data),
    Path(snakemake.input.splits),
    Path(snakemake.input.run),
    Path(snakemake.input.inference) if snakemake.input.inference else None,
    {name: Path(path) for name, path in snakemake.output.items()},
    **snakemake.params.saliency,
)
