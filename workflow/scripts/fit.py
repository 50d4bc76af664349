"""Fit one model, or the Z-predictor, in one study."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.jobs.fit import fit, fit_cluster_inference

job = fit if "model" in snakemake.params.settings else fit_cluster_inference
job(
    snakemake.params.settings,
    snakemake.params.code,
    Path(snakemake.input.data),
    Path(snakemake.input.splits),
    Path(snakemake.output[0]),
    Path(snakemake.params.checkpoints),
    device=snakemake.config["device"],
    engine=snakemake.config["engine"],
    stack_size=snakemake.config["studies"][snakemake.wildcards.study]["stack_size"],
)
