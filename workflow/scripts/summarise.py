"""Summaries, comparison with the published numbers, paired tests, verdicts on claims, deconfounding shares."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.collect import summarise_all

tables = ("metrics", "cluster_metrics", "importance", "auroc_intervals", "univariate")
summarise_all(
    snakemake.params.config,
    {name: Path(snakemake.input[name]) for name in tables},
    Path(snakemake.input.published),
    {name: Path(path) for name, path in snakemake.output.items()},
    *([Path(path) for path in snakemake.input.get(name, [])] for name in ("draws", "balanced", "random_effects")),
    Path(snakemake.input.claims),
)
