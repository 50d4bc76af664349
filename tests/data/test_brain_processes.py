"""The stand-in of the AD study is the same whatever the number of processes, and whenever it is written."""

from __future__ import annotations

from pathlib import Path

from armed.data.brain_standin import write

SETTINGS = {"voxel_mm": 4.0, "n_seen_sites": 2, "n_unseen_sites": 0, "n_subjects": 12}


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_same_bytes(tmp_path):
    write(tmp_path / "one", SETTINGS, 0)
    write(tmp_path / "two", SETTINGS, 0, processes=2)
    write(tmp_path / "other", SETTINGS, 1)
    one, two, other = (files(tmp_path / name) for name in ("one", "two", "other"))
    assert len(one) >= 2 * 12 + 2 and one == two
    assert not set(other.values()) & set(one.values())
