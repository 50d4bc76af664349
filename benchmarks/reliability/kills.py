"""Kills at random moments: whether a run goes on, by the same command, to the same results.

``python -m benchmarks.reliability.kills --output results/reliability --kills 60``
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil

from benchmarks.reliability.small_run import PATIENCE, SmallRun, differences, undisturbed

log = logging.getLogger(__name__)

COLUMNS = ["trial", "signal", "what", "rule", "after_s", "resumed", "outcome", "identical"]
SAME = "same results"
KINDS = {
    # signal and what it is sent to, and how often
    (signal.SIGKILL, "job"): 8,
    (signal.SIGKILL, "controller"): 4,
    (signal.SIGKILL, "all"): 3,
    (signal.SIGTERM, "job"): 2,
    (signal.SIGTERM, "controller"): 1,
    (signal.SIGTERM, "all"): 1,
    (signal.SIGINT, "all"): 1,
}
IN_A_TRIAL = 10
"""Kills of one run, at most, before it is left alone; then another begins from nothing."""


@dataclass
class Trial:
    """One run that is killed again and again."""

    number: int
    run: SmallRun
    rng: random.Random
    pace: float
    left: int
    rows: list[dict] = field(default_factory=list)

    def go(self) -> str:
        """Kill and go on until the run is through; what came of it."""
        unasked = 0
        while True:
            before = len(self.rows)
            process = self.run.start()
            self._disturb(process)
            if process.returncode == 0:
                return SAME
            if orphans := self._orphans():
                return f"jobs outlived their run: {', '.join(orphans.values())}"
            # Without a kill of ours a run must get through.
            unasked = 0 if len(self.rows) > before else unasked + 1
            if unasked:
                return "stopped: " + self.run.told().strip().splitlines()[-1]

    def _orphans(self) -> dict[int, str]:
        """Jobs that are still there half a minute after their run has ended; one that was just starting takes a while."""
        until = time.monotonic() + 30
        while (found := self.run.jobs()) and time.monotonic() < until:
            time.sleep(0.2)
        return found

    def _disturb(self, process: subprocess.Popen) -> None:
        """Kill at random moments until the run ends, in one way or the other."""
        started, until = time.monotonic(), time.monotonic() + PATIENCE
        while process.poll() is None:
            if time.monotonic() > until:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise TimeoutError(f"trial {self.number} hangs: {self.run.told()[-2000:]}")
            if self.left == 0:
                time.sleep(0.2)
                continue
            # Most kills come while a job is at work; some at any moment, that is also while Snakemake begins.
            if self.rng.random() > 0.15:
                self.run.wait_for_job(process)
            self._sleep(process, self.rng.uniform(0, self.pace))
            if process.poll() is None:
                self._kill(process, time.monotonic() - started)

    def _kill(self, process: subprocess.Popen, after: float) -> None:
        sent, what = self.rng.choices(list(KINDS), list(KINDS.values()))[0]
        jobs = self.run.jobs()
        if what == "job" and not jobs:
            what = "controller"
        pid = self.rng.choice(sorted(jobs)) if what == "job" else process.pid
        rule = jobs[pid] if what == "job" else " ".join(sorted(jobs.values()))
        try:
            (os.killpg if what == "all" else os.kill)(pid, sent)
        except ProcessLookupError:  # it had just ended
            return
        self.left -= 1
        row = {"trial": self.number, "signal": sent.name, "what": what, "rule": rule, "after_s": round(after, 2)}
        self.rows.append({**row, "resumed": "same command"})
        log.info("Trial %d: %s to %s (%s) after %.1f s.", self.number, sent.name, what, rule or "no job", after)
        if what == "job":
            psutil.wait_procs([p for p in psutil.process_iter() if p.pid == pid], timeout=60)
        elif sent == signal.SIGKILL:
            process.wait()

    @staticmethod
    def _sleep(process: subprocess.Popen, seconds: float) -> None:
        until = time.monotonic() + seconds
        while process.poll() is None and (left := until - time.monotonic()) > 0:
            time.sleep(min(0.05, left))


def measure(
    folder: Path,
    kills: int = 60,
    seed: int = 0,
    in_a_trial: int = IN_A_TRIAL,
    kept: Path | None = None,
    whole: SmallRun | None = None,
) -> pd.DataFrame:
    """Kill small runs, and compare what they end with byte for byte with an undisturbed run.

    Parameters
    ----------
    folder : Path
        For the runs.
    kills : int
    seed : int
        Of the moments, and of what is killed by what.
    in_a_trial : int
        Kills of one run.
    kept : Path, optional
        File that the table is written to after each trial.
    whole : SmallRun, optional
        The undisturbed run, where it is there already.

    Returns
    -------
    DataFrame
        One row for each kill: `COLUMNS`. `rule` is the job's, or those of all jobs at work; `after_s` counts from the start
        of the command; `outcome` and `identical` are those of the run that was killed, in the end.
    """
    whole = whole or undisturbed(folder / "undisturbed")
    expected, pace = whole.contents(), whole.seconds / 6
    log.info("The undisturbed run took %.0f s and left %d files to compare.", whole.seconds, len(expected))
    rng, rows, number = random.Random(seed), [], 0
    while len(rows) < kills:
        number += 1
        run = SmallRun(folder / f"trial_{number}")
        trial = Trial(number, run, rng, pace, min(in_a_trial, kills - len(rows)))
        outcome = trial.go()
        wrong = differences(run.contents(), expected) if outcome == SAME else []
        if wrong:
            outcome = f"other results: {', '.join(wrong)}"
        log.info("Trial %d: %s after %d kills.", number, outcome, len(trial.rows))
        rows += [{**row, "outcome": outcome, "identical": outcome == SAME} for row in trial.rows]
        table = pd.DataFrame(rows, columns=COLUMNS)
        if kept is not None:
            table.to_csv(kept, sep="\t", index=False)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder that kills.tsv is written to")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    given.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kills") as folder:
        measure(Path(folder), given.kills, given.seed, kept=given.output / "kills.tsv")


if __name__ == "__main__":
    main()
