"""Draw stand-ins for raw files that the user does not have."""

from pathlib import Path

import _job

_job.start(snakemake)
from armed.data.adni_standin import write_stand_in

for dataset in snakemake.params.datasets:
    write_stand_in(Path(f"results/raw/adnimerge/{dataset}"), dataset)
