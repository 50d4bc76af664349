"""One run in a folder, on a disk that can be written to."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from armed import run_folder
from armed.errors import RunFolderError

pytestmark = pytest.mark.usefixtures("let_go")
ROOT = Path(__file__).resolve().parent.parent
HOLD = "import sys, time; from pathlib import Path; from armed import run_folder; run_folder.hold(Path(sys.argv[1]));"
HOLD += "print('held', flush=True); time.sleep(60)"


@pytest.fixture
def let_go():
    """What a process holds until it ends would be held by all tests."""
    yield
    while run_folder._held:
        run_folder._held.pop().close()


def other_run(folder: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_second_run_is_told_of_the_first_until_that_ends(how, tmp_path):
    folder = tmp_path / "results"
    with other_run(folder) as first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match=rf"Another run \(process {first.pid} on .+\) is at work in .+: wait"):
            run_folder.hold(folder)
        first.send_signal(how)
        first.wait()
        run_folder.hold(folder)


def test_a_disk_without_room_is_told_before_any_work(tmp_path, monkeypatch):
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 5_300_000, 5_300_000))
    with pytest.raises(RunFolderError, match=r"has 5.3 MB left: free some space, 20 MB"):
        run_folder.hold(tmp_path / "results")
    assert run_folder.advice(tmp_path).startswith(f"\nThe disk of {tmp_path} has 5.3 MB left")


def test_a_folder_that_cannot_be_written_is_told_before_all_else(tmp_path, monkeypatch):
    run_folder.check(tmp_path / "not_there")
    run_folder.check(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(RunFolderError, match=f"{tmp_path} cannot be written to, by its permissions or as its disk"):
        run_folder.check(tmp_path)


def test_after_failed_jobs_a_person_is_told_what_to_do(tmp_path):
    assert "run the same command again" in run_folder.advice(tmp_path) and "MB left" not in run_folder.advice(tmp_path)


def test_files_of_the_future_are_told_with_a_command_that_helps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (file := tmp_path / "results" / "data" / "a.npz").parent.mkdir(parents=True)
    file.touch()
    os.utime(file, (file.stat().st_atime, file.stat().st_mtime + 86400))
    with pytest.raises(RunFolderError, match=r"a\.npz was written at .+ yet to come: the clock was put back") as told:
        run_folder.hold(Path("results"))
    subprocess.run(str(told.value).split("`")[1], shell=True, check=True)
    run_folder.hold(Path("results"))


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / "results").write_text("a file, where a folder should be")
    with pytest.raises(RunFolderError, match="exists"):
        run_folder.hold(tmp_path / "results")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (
            errno.ENOSPC,
            "The disk is full (results/a.tsv could not be written): free some space and run the same command",
        ),
        (errno.EDQUOT, "The disk is full"),
        (errno.EFBIG, "results/a.tsv is larger than a file may be here: raise the limit (ulimit -f)"),
        (errno.EROFS, "results/a.tsv cannot be opened or written (Read-only file system): allow it"),
        (errno.EACCES, "results/a.tsv cannot be opened or written (Permission denied): allow it"),
        (errno.EIO, "The disk failed at results/a.tsv"),
    ],
)
def test_what_a_disk_did_is_a_sentence(number, expected):
    error = OSError(number, os.strerror(number), "results/a.tsv")
    assert run_folder.disk_problem(error).startswith(expected)
    try:
        try:
            raise error
        except OSError as first:
            raise RuntimeError("a library's own words") from first
    except RuntimeError as second:
        assert run_folder.disk_problem(second).startswith(expected)


def test_other_errors_are_none_of_the_disk():
    assert run_folder.disk_problem(ValueError("no")) == ""
    assert run_folder.disk_problem(FileNotFoundError(errno.ENOENT, "none", "a")) == ""
    assert run_folder.disk_problem(None) == ""
