"""The suite itself: tests that share what takes long to make are run by one process."""

from __future__ import annotations

import os

import pytest


@pytest.mark.xdist_group("suite")
def test_groups_of_tests_are_kept_together(request):
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("Only one process runs the tests.")
    assert request.node.nodeid.endswith("@suite")  # by this the tests are dealt out
