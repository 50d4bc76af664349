"""Files of tensors: no byte that is wrong goes unnoticed."""

from __future__ import annotations

import random
import resource

import pytest
import torch

from armed import torch_files
from armed.errors import DamagedError

CONTENT = {"weights": torch.arange(300.0).reshape(3, 100), "epoch": 4, "none": None}


def equal(found: object) -> bool:
    same = torch.equal(found["weights"], CONTENT["weights"])
    return same and {**found, "weights": 0} == {**CONTENT, "weights": 0}


def test_what_is_written_comes_back_and_the_bytes_do_not_depend_on_the_name(tmp_path):
    for name in ("a.pt", "another_name.pt"):
        torch_files.write(CONTENT, tmp_path / name)
        assert equal(torch_files.read(tmp_path / name))
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "another_name.pt").read_bytes()


def test_a_flipped_bit_changes_nothing_unnoticed(tmp_path):
    """torch.load alone gives other numbers without a word for most of these."""
    torch_files.write(CONTENT, tmp_path / "whole.pt")
    whole, rng, noticed = (tmp_path / "whole.pt").read_bytes(), random.Random(0), 0
    for _ in range(200):
        content = bytearray(whole)
        content[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        (tmp_path / "flipped.pt").write_bytes(content)
        try:
            assert equal(torch_files.read(tmp_path / "flipped.pt"))  # unused bytes of the format
        except DamagedError:
            noticed += 1
    assert noticed > 120


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_a_file_cut_short_is_told(share, tmp_path):
    path = tmp_path / "weights.pt"
    torch_files.write(CONTENT, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DamagedError, match=r"weights\.pt is damaged .+: delete it"):
        torch_files.read(path)


def test_a_disk_that_takes_no_more_is_an_error_of_the_disk(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            torch_files.write(CONTENT, tmp_path / "weights.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
