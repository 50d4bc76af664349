"""Slurm: a run whose controller is killed, jobs over their limits, a job that is cancelled; on a Slurm of this machine.

Real jobs of the workflow, through `workflow/profiles/slurm`; needs Debian's packages munge and slurm-wlm
(`tests/slurm/start-slurm.sh`). ``python -m benchmarks.reliability.slurm --output results/reliability`` writes `slurm.tsv`.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import psutil

ROOT = Path(__file__).resolve().parents[2]
START, STOP = (ROOT / "tests" / "slurm" / f"{verb}-slurm.sh" for verb in ("start", "stop"))
TINY = ROOT / "tests" / "slurm" / "tiny.yaml"
FIT = "results/runs/spirals_radius/conventional"
CHECKPOINTS = "results/checkpoints/spirals_radius/conventional"
PATIENCE = 900  # seconds, for anything that is waited for: far more than an idle machine needs


class Job(NamedTuple):
    """What Slurm noted of a job that has ended; minutes and memory are its limits."""

    id: int
    state: str
    partition: str
    minutes: int
    memory: str


class Outcome(NamedTuple):
    """One scenario: its jobs, how long it took, what came of it in words, and the text of its controllers."""

    scenario: str
    jobs: tuple[Job, ...]
    wall_s: float
    outcome: str
    told: str


def waited(happens: Callable[[], object], what: str) -> object:
    """What `happens` returns, once that is true."""
    end = time.monotonic() + PATIENCE
    while not (found := happens()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {PATIENCE} s")
        time.sleep(0.2)
    return found


class Slurm:
    """A Slurm that `started` has started in a folder."""

    def __init__(self, folder: Path) -> None:
        path = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.environment = {**os.environ, **threads, "PATH": path, "SLURM_CONF": str(folder / "slurm.conf")}
        self.notes = folder / "log" / "jobs.txt"

    def tell(self, *command: str) -> list[str]:
        """Lines that a command of Slurm prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.splitlines()

    def queue(self, run: str, shown: str = "JobID") -> list[str]:
        """A run's jobs that wait or run, or another field of theirs."""
        lines = self.tell("squeue", "--noheader", "--name", run, "--states=PD,R,CF,CG", "--Format", f"{shown}:64")
        return [line.strip() for line in lines]

    def cancel(self, run: str) -> list[str]:
        """Cancel a run's jobs, by their common name, and wait for their end."""
        cancelled = self.queue(run)
        self.tell("scancel", "--name", run)
        waited(lambda: not self.queue(run), "an empty queue")
        return cancelled

    def ended(self, runs: list[str]) -> tuple[Job, ...]:
        """The jobs of these runs that have ended, by id."""
        lines = self.notes.read_text(encoding="utf-8").splitlines() if self.notes.exists() else []
        fields = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
        jobs = [
            Job(int(f["JobId"]), f["JobState"], f["Partition"], int(f["TimeLimit"]), re.search(r"mem=(\w+)", line)[1])
            for f, line in zip(fields, lines, strict=True)
            if f["Name"] in runs
        ]
        return tuple(sorted(jobs))


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Slurm]:
    """Slurm in a folder of its own, on ports that are free; ended afterwards, with all its jobs."""
    ports = {c.laddr.port for c in psutil.net_connections("inet")}
    port = next(p for p in range(17000 + os.getpid() % 100 * 100, 32000, 32) if not ports & set(range(p, p + 32)))
    done = subprocess.run([START, folder, str(port)], capture_output=True, text=True, timeout=180)
    try:
        if done.returncode:
            raise RuntimeError(done.stderr)
        yield Slurm(folder)
    finally:
        subprocess.run([STOP, folder], capture_output=True, timeout=120)


class Controller:
    """A Snakemake that submits to Slurm from a folder; `more` are targets, then options."""

    def __init__(self, slurm: Slurm, folder: Path, *more: str) -> None:
        folder.mkdir(exist_ok=True)
        self.slurm, self.folder = slurm, folder
        self.text = folder / f"controller-{len(list(folder.glob('controller-*')))}.txt"
        # Without accounting the queue is asked, and often, since these jobs are short.
        options = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"]
        profile = ["--workflow-profile", "workflow/profiles/slurm", "--latency-wait", "20"]
        with self.text.open("w") as out:
            self.process = subprocess.Popen(
                [*_snakemake(folder, *more), *profile, *options],
                cwd=ROOT,
                env=slurm.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def told(self) -> str:
        return self.text.read_text(encoding="utf-8")

    @property
    def run(self) -> str:
        """The run's id, which is the name of all its jobs."""
        return waited(lambda: re.search(r"SLURM run ID: (\S+)", self.told()), "the run's id")[1]

    def submitted(self) -> dict[int, str]:
        """Rules by the ids of their jobs."""
        found = re.findall(r"SLURM jobid (\d+) \(log: \S+/rule_(\w+)/", self.told())
        return {int(number): rule for number, rule in found}

    def until_fitting(self) -> None:
        """Wait until the fit that this run has submitted has trained an epoch."""

        def trains():
            if self.process.poll() is not None:
                raise RuntimeError(f"the run ended before its fit:\n{self.told()[-3000:]}")
            return "fit" in self.submitted().values() and list((self.folder / CHECKPOINTS).glob("*"))

        waited(trains, "a checkpoint of the fit")

    def wait(self) -> int:
        """Its exit status; all of its jobs have been noted by then."""
        try:
            code = self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
        waited(lambda: set(self.submitted()) <= {job.id for job in self.slurm.ended([self.run])}, "the jobs' ends")
        return code


def _snakemake(folder: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "snakemake", *more]
    return [*command, "--directory", str(folder), "--configfile", str(TINY)]


def _outcome(slurm: Slurm, begun: float, told: str, *controllers: Controller) -> Outcome:
    jobs = slurm.ended([controller.run for controller in controllers])
    text = "\n".join(controller.told() for controller in controllers)
    return Outcome("", jobs, round(time.monotonic() - begun, 1), told, text)


def locally(slurm: Slurm, folder: Path) -> None:
    """The same configuration without Slurm, as far as the tables: what the others are compared with, and start from."""
    command = [*_snakemake(folder, "results/metrics.tsv"), "--cores", "2"]
    done = subprocess.run(command, cwd=ROOT, env=slurm.environment, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-3000:])


def prepared(reference: Path, folder: Path) -> Path:
    """A folder with the data and folds of the local run, in which a fit is next."""
    for part in ("results/data", "results/splits", ".snakemake/metadata"):
        shutil.copytree(reference / part, folder / part)
    return folder


def left_over(folder: Path) -> list[str]:
    """What a fit has left that did not end: all but what jobs before it wrote, logs and checkpoints."""
    kept = ("data", "splits", "tuning.tsv", "logs", "checkpoints", "checksums", "timings", ".lock")
    paths = [p for p in (folder / "results").rglob("*") if p.is_file() or p.name.startswith(".partial")]
    files = [p.relative_to(folder / "results") for p in paths]
    return sorted(str(p) for p in files if p.parts[0] not in kept)


def killed(slurm: Slurm, folder: Path, reference: Future) -> Outcome:
    """A whole run; its controller is killed while the fit trains, what it left in the queue cancelled, and the run resumed."""
    begun = time.monotonic()
    first = Controller(slurm, folder)
    first.until_fitting()
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    orphans = slurm.cancel(first.run)
    left = left_over(folder)
    second = Controller(slurm, folder)
    code = second.wait()
    reference.result()
    tables = [place / "results" / "metrics.tsv" for place in (folder, folder.parent / "reference")]
    same = code == 0 and filecmp.cmp(*tables, shallow=False)
    log = (folder / "results/logs/fit/spirals_radius/conventional.log").read_text(encoding="utf-8")
    epoch = re.search(r"Continuing from .* after epoch (\d+)", log)
    resumed = f"resumed after epoch {epoch[1]}" if epoch else "fitted anew"
    metrics = "same metrics as without Slurm" if same else f"exit {code}, or other metrics"
    told = f"{len(orphans)} orphan cancelled, {len(left)} partial files; {resumed}; {metrics}"
    return _outcome(slurm, begun, told, first, second)


def _over_a_limit(slurm: Slurm, folder: Path, begun: float, fit: Controller) -> Outcome:
    code = fit.wait()
    jobs = slurm.ended([fit.run])
    steps = ", then ".join(f"{job.state} with {job.memory} and {job.minutes} min" for job in jobs)
    return _outcome(slurm, begun, steps + f"; {'fitted' if code == 0 and (folder / FIT).is_dir() else 'no fit'}", fit)


def over_memory(slurm: Slurm, folder: Path, reference: Future) -> Outcome:
    """A fit that needs more than it asked for first: Python with torch is some 400 MB."""
    reference.result()
    begun = time.monotonic()
    fit = Controller(
        slurm, prepared(folder.parent / "reference", folder), FIT, "--set-resources", "fit:mem_mb=250*attempt**2"
    )
    return _over_a_limit(slurm, folder, begun, fit)


def over_time(slurm: Slurm, folder: Path, reference: Future) -> Outcome:
    """A fit that hangs (a signal stops it) until its first limit of time, one minute, is over; the next is half an hour."""
    reference.result()
    begun = time.monotonic()
    limits = ["--set-resources", "fit:runtime=30*attempt-29"]
    fit = Controller(slurm, prepared(folder.parent / "reference", folder), FIT, *limits)
    fit.until_fitting()
    if len(fit.submitted()) == 1:  # else, on a busy machine, the minute was over by itself
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if any(word.startswith(str(folder)) and word.endswith(".fit.py") for word in words):
                process.suspend()
    return _over_a_limit(slurm, folder, begun, fit)


def cancelled(slurm: Slurm, folder: Path, reference: Future) -> Outcome:
    """A fit on the GPU's partition that somebody cancels; it is not tried again."""
    reference.result()
    begun = time.monotonic()
    gpu = ["--set-resources", "fit:slurm_partition=gpu", "fit:gpu=1", "--retries", "0"]
    fit = Controller(slurm, prepared(folder.parent / "reference", folder), FIT, *gpu)
    fit.until_fitting()
    asked = slurm.queue(fit.run, "tres-per-job")
    slurm.cancel(fit.run)
    code = fit.wait()
    told = f"asked for {asked[0]}; Snakemake ended with {code}; {len(left_over(folder))} partial files"
    return _outcome(slurm, begun, told, fit)


SCENARIOS = (killed, over_memory, over_time, cancelled)


def run(slurm: Slurm, folder: Path) -> dict[str, Outcome]:
    """All scenarios, side by side, each in a folder of its own; by name."""
    with ThreadPoolExecutor() as pool:
        reference = pool.submit(locally, slurm, folder / "reference")
        begun = {s.__name__: pool.submit(s, slurm, folder / s.__name__, reference) for s in SCENARIOS}
        return {name: outcome.result()._replace(scenario=name) for name, outcome in begun.items()}


def table(outcomes: dict[str, Outcome]) -> pd.DataFrame:
    """Columns scenario, jobs, job_ids, wall_s, outcome."""
    rows = [
        (o.scenario, len(o.jobs), " ".join(str(job.id) for job in o.jobs), o.wall_s, o.outcome)
        for o in outcomes.values()
    ]
    return pd.DataFrame(rows, columns=["scenario", "jobs", "job_ids", "wall_s", "outcome"])


def measure(folder: Path) -> pd.DataFrame:
    """Start Slurm in the folder, run all scenarios there, end it."""
    with started(folder / "slurm") as slurm:
        return table(run(slurm, folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/reliability"), help="folder of slurm.tsv")
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder).resolve())
    output.mkdir(parents=True, exist_ok=True)
    found.to_csv(output / "slurm.tsv", sep="\t", index=False)


if __name__ == "__main__":
    main()
