"""What a job does around its work, in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from armed.run_folder import RUN_PROCESS

ROOT = Path(__file__).resolve().parents[2]
BEGIN = """
import errno, os, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from armed.jobs.running import begin
begin(Path("job.log"), ["results/in.tsv"], ["results/out.tsv"], {{"studies": {{}}}})
{work}
"""
WRITE = "Path('results/out.tsv').write_text('made')"
NOTE_OF_INPUT = "from armed import checksums; from pathlib import Path; checksums.note([Path('results/in.tsv')])"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    Path("results/in.tsv").write_text("given")


def command(work: str) -> list[str]:
    return [sys.executable, "-c", BEGIN.format(root=str(ROOT), work=work)]


def job(work: str) -> tuple[int, str]:
    """Exit status and log of a job."""
    done = subprocess.run(command(work), capture_output=True, text=True)
    log = Path("job.log").read_text()
    assert log.strip() in done.stderr or not log  # people on a terminal see what the log says
    return done.returncode, log


def started(work: str) -> subprocess.Popen:
    """A job that is at its work."""
    process = subprocess.Popen(
        command(f"print('here', flush=True); {work}"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout.readline() == b"here\n"
    return process


def test_what_a_job_wrote_is_noted_when_it_ends_well():
    assert job(WRITE)[0] == 0
    assert Path("results/checksums/out.tsv.sha256").read_text().endswith("  results/out.tsv\n")
    status, log = job(f"{WRITE}; raise ValueError('odd')")
    assert status == 1 and "Traceback" in log and "ValueError: odd" in log
    assert not Path("results/checksums/out.tsv.sha256").exists()


def test_a_damaged_input_stops_the_job_before_its_work():
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {NOTE_OF_INPUT}"
    subprocess.run([sys.executable, "-c", code], check=True)
    Path("results/in.tsv").write_text("Given")
    status, log = job(WRITE)
    assert status == 1 and not Path("results/out.tsv").exists()
    assert "in.tsv was damaged or changed since" in log.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "last"),
    [
        ("OSError(errno.ENOSPC, 'No space left on device', 'results/out.tsv')", "The disk is full (results/out.tsv"),
        ("MemoryError()", "The job had not enough memory"),
        ("KeyboardInterrupt()", "The job was interrupted. Run the same command again"),
    ],
)
def test_the_last_line_of_the_log_says_what_to_do(error, last):
    status, log = job(f"raise {error}")
    assert status != 0 and "Traceback" in log
    assert last in log.splitlines()[-1]


def test_a_disk_that_is_full_when_checksums_are_noted_fails_the_job():
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))"
    done = subprocess.run(command(f"{WRITE}\n{limit}"), capture_output=True, text=True)
    assert done.returncode == 1 and "larger than a file may be here" in done.stderr.splitlines()[-1]


def test_a_job_told_to_end_says_so_and_cleans_up():
    work = "from armed.files import atomic\nwith atomic('results/out.tsv') as part:\n    part.touch()"
    work += "\n    print('there', flush=True)"
    process = subprocess.Popen(
        command(f"{work}\n    time.sleep(60)"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout.readline() == b"there\n"
    process.terminate()
    assert process.wait() == 1
    assert "told to end (SIGTERM)" in Path("job.log").read_text().splitlines()[-1]
    assert [path.name for path in Path("results").iterdir()] == ["in.tsv"]
    process.stdout.close()


def test_two_processes_do_not_make_the_same_thing():
    first = started("time.sleep(60)")
    status, log = job(WRITE)
    assert status == 1 and not Path("results/out.tsv").exists()
    assert "Another process is still making results/out.tsv" in log.splitlines()[-1]
    first.kill()
    first.wait()
    first.stdout.close()
    assert job(WRITE)[0] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems let the job go on; the next run waits for a person")
def test_a_job_ends_when_its_run_is_killed():
    code = f"import subprocess; print(subprocess.Popen({command('time.sleep(60)')!r}).pid, flush=True); input()"
    run = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    pid, until = int(run.stdout.readline()), time.monotonic() + 30
    while not Path("job.log").exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert psutil.pid_exists(pid)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    _, alive = psutil.wait_procs(
        [p for p in psutil.process_iter() if p.pid == pid and p.status() != "zombie"], timeout=10
    )
    run.stdin.close(), run.stdout.close()
    assert not alive


def test_a_job_whose_run_has_ended_before_it_began_does_nothing(monkeypatch):
    ended = subprocess.Popen(["true"])
    ended.wait()
    monkeypatch.setenv(RUN_PROCESS, str(ended.pid))
    done = subprocess.run(command(WRITE), capture_output=True, text=True)
    assert done.returncode == 1 and "The run that started this job has ended" in done.stderr
    assert not Path("results/out.tsv").exists() and not Path("job.log").exists()
    monkeypatch.setenv(RUN_PROCESS, str(os.getpid()))
    assert job(WRITE)[0] == 0
