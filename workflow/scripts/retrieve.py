"""Take open data from the mirror or their address; where that fails, say why, and let the rest of the run go on."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.retrieval import retrieve_with_receipt

mirror = snakemake.params.mirror
retrieve_with_receipt(snakemake.wildcards.name, Path(snakemake.output[0]), Path(mirror) if mirror else None)
