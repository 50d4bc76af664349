"""Fixtures of all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def mirror() -> Callable[[str], Path]:
    """Path of a file of the data mirror: the folder `ARMED_DATA_MIRROR`, else ../shared/data beside the repository.

    A test whose data is not there is skipped, but fails where the variable says that it should be there, and where
    `CI` is set.
    """
    given = os.environ.get("ARMED_DATA_MIRROR")
    folder = (ROOT / given if given else ROOT / ".." / "shared" / "data").resolve()

    def find(name: str) -> Path:
        path = folder / name
        if path.is_file():
            return path
        if given or os.environ.get("CI"):
            pytest.fail(f"ARMED_DATA_MIRROR is {given or 'not set'}, and there is no {path}")
        pytest.skip(f"no {path}; set ARMED_DATA_MIRROR to a folder that holds {name}")

    return find
