"""Checksums of what jobs wrote: damage, swapped and missing files are told, all at once, with what to do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from armed import checksums
from armed.errors import DamagedError

TABLE, RUN = Path("results/parts/a.tsv"), Path("results/runs/a/armed")


@pytest.fixture(autouse=True)
def written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TABLE.parent.mkdir(parents=True)
    TABLE.write_text("a\tb\n1\t2\n")
    (RUN / "main").mkdir(parents=True)
    (RUN / "run.json").write_text("{}")
    (RUN / "main" / "weights.pt").write_bytes(b"0123456789")
    (RUN / ".snakemake_timestamp").touch()
    checksums.note([TABLE, RUN])


def test_what_is_as_written_passes(tmp_path):
    checksums.check([TABLE, RUN])
    (RUN / ".snakemake_timestamp").write_text("hidden files are not ours")
    checksums.check([TABLE, RUN, Path("data/raw/own.csv"), Path("results/never_noted.tsv")])


def test_sha256sum_reads_them():
    told = subprocess.run(
        ["sha256sum", "--check", "results/checksums/runs/a/armed.sha256"], capture_output=True, text=True
    )
    assert told.returncode == 0 and "weights.pt: OK" in told.stdout


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda: flip(RUN / "main" / "weights.pt"), "weights.pt was damaged or changed"),
        (lambda: (RUN / "main" / "weights.pt").write_bytes(b""), "weights.pt was damaged or changed"),
        (lambda: (RUN / "run.json").unlink(), "run.json was deleted"),
        (lambda: (RUN / "more.txt").touch(), "more.txt was added"),
    ],
)
def test_damage_is_told_with_what_to_do(harm, expected):
    harm()
    with pytest.raises(DamagedError, match=expected) as told:
        checksums.check([TABLE, RUN])
    assert "1 problem" in str(told.value) and f"Delete {RUN} and run the same command again" in str(told.value)


def test_all_damage_is_told_at_once():
    flip(TABLE)
    flip(RUN / "main" / "weights.pt")
    with pytest.raises(DamagedError, match="2 problems"):
        checksums.check([TABLE, RUN])


def test_a_deleted_file_is_a_problem_of_its_own():
    TABLE.unlink()
    with pytest.raises(DamagedError, match=r"a\.tsv was deleted"):
        checksums.check([TABLE])


def test_what_is_made_anew_is_noted_anew():
    checksums.forget([TABLE, RUN, Path("results/never_noted.tsv")])
    TABLE.write_text("other")
    checksums.check([TABLE])
    checksums.note([TABLE, Path("results/never_written.tsv"), Path("elsewhere.tsv")])
    checksums.check([TABLE])
    flip(TABLE)
    with pytest.raises(DamagedError):
        checksums.check([TABLE])


def test_a_damaged_record_does_not_pass():
    Path("results/checksums/parts/a.tsv.sha256").write_bytes(b"\xff\x00")
    with pytest.raises(DamagedError):
        checksums.check([TABLE])
