"""The faults of `benchmarks.reliability.faults`: each is put into a finished small run of which a part is to be done again."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import NamedTuple

from benchmarks.reliability.small_run import PATIENCE, STUDY, SmallRun

DAY = 86400
NETWORK, ONE_BY_ONE = "conventional", "mixedlm"
_LATER = ["metrics.tsv", "summary.tsv"]
AGAIN = {
    "collect": _LATER,
    "predict": ["parts", *_LATER],
    "predict one": [f"parts/{STUDY}/{NETWORK}", *_LATER],
    "fit": [f"runs/{STUDY}/{NETWORK}", f"parts/{STUDY}/{NETWORK}", *_LATER],
}
"""What is removed from the results so that a rule, and what follows from it, is done again."""


class CannotBeTriedError(Exception):
    """This fault cannot be made to happen here."""


class Case(NamedTuple):
    """A fault.

    Attributes
    ----------
    fault, where : str
    again : str
        Which of `AGAIN` is to be done when the fault is there.
    put : callable
        Gives, of a run, the context in which the fault is there; leaving it takes the fault away.
    act : callable
        Runs, and returns the exit status.
    """

    fault: str
    where: str
    again: str
    put: Callable[[SmallRun], AbstractContextManager] = nullcontext
    act: Callable[[SmallRun], int] = SmallRun.run


def cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def bit_flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def emptied(_: bytes) -> bytes:
    return b""


def digit_changed(content: bytes) -> bytes:
    """Change the last digit of the first number with a decimal point."""
    number = re.search(rb"0\.\d+", content)
    last = number.end() - 1
    return content[:last] + (b"1" if content[last : last + 1] != b"1" else b"2") + content[last + 1 :]


def damaged(file: str, damage: Callable[[bytes], bytes]) -> Callable[[SmallRun], AbstractContextManager]:
    """Damage a file of the results, and put it back."""

    @contextmanager
    def put(run: SmallRun) -> Iterator[None]:
        path = run.results / file
        content, times = path.read_bytes(), path.stat()
        path.write_bytes(damage(content))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        yield
        if path.is_file():
            path.write_bytes(content)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    return put


def swapped(file: str, other: str) -> Callable[[SmallRun], AbstractContextManager]:
    """Put a file of another model in the place of one."""

    @contextmanager
    def put(run: SmallRun) -> Iterator[None]:
        with damaged(file, lambda _: (run.results / other).read_bytes())(run):
            yield

    return put


def mounted(folder: str, *options: str) -> Callable[[SmallRun], AbstractContextManager]:
    """A small disk of its own for a folder of the results."""

    @contextmanager
    def put(run: SmallRun) -> Iterator[None]:
        path = run.results / folder
        path.mkdir(parents=True, exist_ok=True)
        _mount("-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(path))
        try:
            yield
        finally:
            subprocess.run(["umount", str(path)], check=True)

    return put


@contextmanager
def read_only(run: SmallRun) -> Iterator[None]:
    """Results that cannot be written: by their permissions, or for root, whom these do not hold back, by a read-only mount."""
    if os.geteuid():
        mode = run.results.stat().st_mode
        run.results.chmod(0o555)
        yield
        run.results.chmod(mode)
        return
    _mount("--bind", str(run.results), str(run.results))
    try:
        _mount("-o", "remount,bind,ro", str(run.results))
        yield
    finally:
        subprocess.run(["umount", str(run.results)], check=True)


def _mount(*arguments: str) -> None:
    if os.geteuid() or subprocess.run(["mount", *arguments], capture_output=True).returncode:
        raise CannotBeTriedError("only root may mount a disk, and not everywhere")


@contextmanager
def without(run: SmallRun) -> Iterator[None]:
    """The data deleted after the fits."""
    (run.results / "data" / f"{STUDY}.npz").unlink()
    yield


@contextmanager
def broken_records(run: SmallRun) -> Iterator[None]:
    """Snakemake's own records cut short, as a full disk leaves them."""
    for path in (run.folder / ".snakemake" / "metadata").iterdir():
        path.write_bytes(cut_short(path.read_bytes()))
    yield


def with_small_files(run: SmallRun) -> int:
    return run.run(limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)))


def as_told(run: SmallRun) -> int:
    """Run, delete what the sentence says, and run again."""
    if run.run() != 0 and (named := re.search(r"Delete (\S+) and run", run.told())):
        path = run.folder / named[1]
        (shutil.rmtree if path.is_dir() else os.unlink)(path)
    return run.run()


def two_runs(run: SmallRun) -> int:
    """A second run while the first one is at work; the status of the second."""
    first = run.start()
    run.wait_for_job(first)
    second = SmallRun(run.folder)
    second.output = run.output.with_name("second.txt")
    status = second.run()
    if first.wait(timeout=PATIENCE) != 0:
        raise RuntimeError(f"the first run failed: {run.told()}")
    run.output.write_text(second.told(), encoding="utf-8")
    return status


def signalled(sent: signal.Signals, what: str) -> Callable[[SmallRun], int]:
    """Send a signal to a job that is at work, or to Snakemake."""

    def act(run: SmallRun) -> int:
        process = run.start()
        log = run.results / "logs" / "predict" / STUDY / f"{NETWORK}.log"
        log.unlink(missing_ok=True)
        pid = run.wait_for_job(process, "predict")
        while process.poll() is None and not (log.is_file() and log.stat().st_size):
            time.sleep(0.02)
        with suppress(ProcessLookupError):
            os.kill(pid if what == "job" else process.pid, sent)
        return process.wait(timeout=PATIENCE)

    return act


def clock_moved(seconds: int) -> Callable[[SmallRun], int]:
    """The clock put back (or on, if negative) while jobs are at work: as the files see it, all that was made moves away."""

    def act(run: SmallRun) -> int:
        process = run.start()
        run.wait_for_job(process, "predict")
        move(run, seconds)
        return process.wait(timeout=PATIENCE)

    return act


def clock_moved_between(run: SmallRun) -> int:
    move(run, DAY)
    return run.run()


def move(run: SmallRun, seconds: int) -> None:
    """Move the times of all files."""
    for path in [*run.folder.rglob("*")]:
        with suppress(FileNotFoundError):
            times = path.lstat()
            os.utime(path, (times.st_atime + seconds, times.st_mtime + seconds), follow_symlinks=False)


@contextmanager
def clock_back(run: SmallRun) -> Iterator[None]:
    """Afterwards files of the future get the present time, as the next run says."""
    yield
    subprocess.run(["find", str(run.results), "-newermt", "now", "-exec", "touch", "{}", "+"], check=True)


def broken_checkpoint(run: SmallRun) -> int:
    """Kill a training after its first epochs, flip a bit of its checkpoint, and go on."""
    process, folder = run.start(), run.results / "checkpoints" / STUDY / NETWORK
    while process.poll() is None:
        if found := [path for path in folder.glob("*.pt.*") if not path.name.startswith(".")]:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            time.sleep(0.5)
            with suppress(FileNotFoundError):
                found[0].write_bytes(bit_flipped(found[0].read_bytes()))
                return run.run()
        time.sleep(0.002)
    raise RuntimeError("the training left no checkpoint")


DATA, SPLITS = f"data/{STUDY}.npz", f"splits/{STUDY}.parquet"
WEIGHTS, ESTIMATES = f"runs/{STUDY}/{NETWORK}/main/weights.pt", f"runs/{STUDY}/{ONE_BY_ONE}/main/estimates.npz"
METRICS, OTHER = (f"parts/{STUDY}/{model}/metrics.tsv" for model in (ONE_BY_ONE, NETWORK))
RUNS = f"runs/{STUDY}"
CASES = (
    Case("a file cut short", DATA, "predict", damaged(DATA, cut_short)),
    Case("one bit flipped", DATA, "predict", damaged(DATA, bit_flipped)),
    Case("a file emptied", SPLITS, "predict", damaged(SPLITS, emptied)),
    Case("one bit flipped", SPLITS, "predict", damaged(SPLITS, bit_flipped)),
    Case("one bit flipped", ESTIMATES, "predict", damaged(ESTIMATES, bit_flipped)),
    Case("a file cut short", WEIGHTS, "predict", damaged(WEIGHTS, cut_short)),
    Case("one bit flipped, then deleted as told", WEIGHTS, "predict", damaged(WEIGHTS, bit_flipped), as_told),
    Case("a digit changed", METRICS, "collect", damaged(METRICS, digit_changed)),
    Case("another model's file", METRICS, "collect", swapped(METRICS, OTHER)),
    Case("a disk without room to begin", "results", "collect", mounted("", "size=4m")),
    Case("read-only", "results", "collect", read_only),
    Case("full disk", "parts", "predict", mounted("parts", "size=40k")),
    Case("no inodes left", "parts", "predict", mounted("parts", "nr_inodes=8")),
    Case("a limit on the size of files", "boundaries", "predict", act=with_small_files),
    Case("full disk", RUNS, "fit", mounted(RUNS, "size=12k")),
    Case("full disk", "checkpoints", "fit", mounted("checkpoints", "size=20k")),
    Case("checkpoint with a bit flipped", "checkpoints", "fit", act=broken_checkpoint),
    Case("two runs in one folder", "results", "predict", act=two_runs),
    Case("SIGTERM", "a job", "predict one", act=signalled(signal.SIGTERM, "job")),
    Case("SIGKILL", "a job", "predict one", act=signalled(signal.SIGKILL, "job")),
    Case("SIGTERM", "Snakemake", "predict one", act=signalled(signal.SIGTERM, "controller")),
    Case("clock put back a day", "a run at work", "predict", clock_back, clock_moved(DAY)),
    Case("clock put back a day", "between two runs", "predict", clock_back, clock_moved_between),
    Case("clock put on a day", "a run at work", "predict", act=clock_moved(-DAY)),
    Case("file deleted", DATA, "predict", without),
    Case("records of Snakemake cut short", ".snakemake/metadata", "predict", broken_records),
)
