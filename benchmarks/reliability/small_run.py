"""A run of the workflow small enough to be repeated, and what of it must come out the same each time."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[2]
STUDY = "spirals_confounded"
SETTINGS = {
    "run": {"studies": [STUDY], "models": ["conventional", "mixedlm"]},
    "sweeps": None,
    "studies": {
        STUDY: {
            "seeds": 2,
            "slow_seeds": 2,
            "folds": 2,
            "training": {"epochs": 12},
            "data": {"n_per_cluster": 80, "n_per_unseen_cluster": 30},
            "tuning": {"models": []},
        }
    },
}
"""A network whose training leaves checkpoints, and a method that fits one fold after another."""
TARGETS = ("results/summary.tsv", "results/tuning.tsv")
"""All tables of a run that numbers stand in; figures and the report are drawn from these."""
LEFT_OUT = ("logs", "timings", "checksums", "checkpoints")
"""Logs and times differ from run to run, and so do the checksums of a fit's record."""
RECORD = "run.json"
"""Record of a fit: versions, date, seconds."""
PATIENCE = 1200
"""Seconds after which a run counts as hung."""


class SmallRun:
    """A folder of its own, and runs in it.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.results = self.folder / "results"
        self.seconds = 0.0
        self.output = self.folder / "told.txt"
        self.settings = self.folder / "settings.yaml"
        self.settings.write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")

    def copy(self, folder: Path) -> SmallRun:
        """The same with all that was done, times of files included, in another folder."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return SmallRun(folder)

    def command(self, *arguments: str) -> list[str]:
        """What a user would type, to begin and to go on."""
        snakemake = [sys.executable, "-m", "snakemake", *TARGETS, "--cores", "2", "--keep-going"]
        return [*snakemake, "--directory", str(self.folder), "--configfile", str(self.settings), *arguments]

    def start(self, *arguments: str, limit: Callable[[], None] = lambda: None) -> subprocess.Popen:
        """Start a run in a session of its own; `told` is what it says. `limit` is called in its process first."""

        def begin() -> None:
            # As in a terminal, whatever started this: in the background of a script Ctrl-C would be ignored.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            limit()

        environment = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")}
        with self.output.open("w", encoding="utf-8") as output:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=begin,
            )

    def run(self, *arguments: str, limit: Callable[[], None] = lambda: None) -> int:
        """Run to the end, or kill what hangs; the exit status. `seconds` is how long it took."""
        process, begun = self.start(*arguments, limit=limit), time.monotonic()
        try:
            return process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()
        finally:
            self.seconds = time.monotonic() - begun

    def told(self) -> str:
        """What the last run said on the terminal."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def jobs(self) -> dict[int, str]:
        """Processes of jobs that are at work for this folder, whoever started them, and their rules."""
        found, scripts = {}, self.folder / ".snakemake" / "scripts"
        if not scripts.is_dir() or not any(scripts.iterdir()):  # to look through all processes takes longer
            return found
        for process in psutil.process_iter(["pid", "cmdline"]):
            script = (process.info["cmdline"] or [""])[-1]
            if script.startswith(f"{scripts}/"):
                found[process.info["pid"]] = Path(script).name.split(".")[1]
        return found

    def wait_for_job(self, process: subprocess.Popen, rule: str = "") -> int | None:
        """Process of a job (of a rule) as soon as there is one; None where the run ends before."""
        until = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < until:
            for pid, of_rule in self.jobs().items():
                if rule in ("", of_rule):
                    return pid
            time.sleep(0.1)
        return None

    def contents(self) -> dict[str, str]:
        """Digests of all results that must come out the same, what was left behind half-written included."""
        files = [path for path in sorted(self.results.rglob("*")) if path.is_file()]
        kept = {path.relative_to(self.results): path for path in files if path.name not in (RECORD, ".lock")}
        kept = {name: path for name, path in kept.items() if name.parts[0] not in LEFT_OUT}
        kept = {name: path for name, path in kept.items() if path.name != ".snakemake_timestamp"}
        return {name.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for name, path in kept.items()}


def undisturbed(folder: Path) -> SmallRun:
    """A run that nothing happens to, whose results are those to compare with."""
    run = SmallRun(folder)
    if run.run() != 0:
        raise RuntimeError(f"the undisturbed run failed: {run.told()[-3000:]}")
    return run


def differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """Names of files that are not the same, missing or too many."""
    return sorted(name for name in {**found, **expected} if found.get(name) != expected.get(name))
