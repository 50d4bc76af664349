"""A Slurm on this machine's loopback, started once."""

from __future__ import annotations

import os
import subprocess

import pytest

from benchmarks.reliability import slurm as measurement


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """Slurm, running. Skips with the reason where it cannot be installed, but fails where `ARMED_REQUIRE_SLURM` is set."""
    check = subprocess.run([measurement.START, "--check"], capture_output=True, text=True, timeout=60)
    if check.returncode:
        refuse = pytest.fail if os.environ.get("ARMED_REQUIRE_SLURM") else pytest.skip
        refuse(f"Slurm cannot be started here: {check.stderr.strip()}")
    with measurement.started(tmp_path_factory.mktemp("slurm").resolve()) as running:
        yield running
