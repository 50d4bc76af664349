"""Predict with one model in one study, and score."""

import _job

_job.start(snakemake)
from armed.jobs.predict import predict

predict(
    *_job.of_model(snakemake),
    snakemake.params.unseen_seeds,
    snakemake.params.draws,
)
