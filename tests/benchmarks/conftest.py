"""One small run of the workflow for all tests that something is to happen to."""

from __future__ import annotations

import pytest

from benchmarks.reliability.small_run import SmallRun, undisturbed


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> SmallRun:
    """A small run that nothing happened to."""
    return undisturbed(tmp_path_factory.mktemp("undisturbed"))
