"""Make an archive of a results folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from armed import registry
from armed.archive import files
from armed.archive.contents import contents
from armed.archive.readme import readme
from armed.reproducibility import environment
from armed.retrieval import datasets

log = logging.getLogger(__name__)
TITLE = "ARMED benchmark: results for deposit"


def make_archive(results_dir: Path, config: Mapping, out: Path) -> dict:
    """Write the archive of a run.

    Parameters
    ----------
    results_dir : Path
        Results folder of a finished run.
    config : mapping
        The whole configuration of the run.
    out : Path
        The archive, a zip file; it appears only when complete.

    Returns
    -------
    dict
        Its manifest. Equal results, code and packages give equal bytes: nothing in it tells when or where it was made, but
        the records of the fits, which are among the results.
    """
    found = contents(results_dir, config)
    here = environment()
    packages = here["packages"]
    made_by = {"commit": here["git_commit"], "version": packages.pop("armed-bench"), "python": here["python"]}
    raw = {registry.study(study).raw for study, told in found.studies.items() if told["source"] == "open"}
    told = {
        "title": TITLE,
        **made_by,
        "packages": packages,
        "studies": found.studies,
        "data": [asdict(file) for file in datasets() if file.name in raw],
        "left_out": found.left_out,
        "changed": found.changed,
    }
    text = readme(TITLE, found.studies, found.withheld, made_by)
    manifest = files.write(out, [*found.members, files.Member("README.md", "read this first", text.encode())], told)
    total = sum(file["size"] for file in manifest["files"])
    log.info(
        "wrote %s: %d files, %.1f MB, unpacked %.1f MB; left out: %d",
        *(out, len(manifest["files"]), Path(out).stat().st_size / 1e6, total / 1e6, len(found.left_out)),
    )
    return manifest
