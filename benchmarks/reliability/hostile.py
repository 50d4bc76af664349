"""Attacks by files and names of strangers, each made for real against the code that reads it.

Each attack runs in a process of its own, with limits of memory and time, in a folder of its own; it has run something, or has
written outside, where a file named `CANARY` appears in that folder.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from benchmarks.reliability.hostile_outcomes import CANARY, REFUSED

COLUMNS = ("attack", "where", "outcome", "message")
MEMORY, SECONDS, WAIT = 3 * 2**30, 60, 300
"""Of each attack, beyond what the process has: bytes, seconds of a processor, and seconds until one that waits is ended."""
_ROOT = Path(__file__).resolve().parents[2]


def measure(*, slow: bool = True, only: Sequence[str] = ()) -> pd.DataFrame:
    """Make all attacks.

    Parameters
    ----------
    slow : bool
        With those that start Snakemake.
    only : sequence of str
        Names of attacks; all where empty.

    Returns
    -------
    pandas.DataFrame
        One row an attack: `attack`, `where` (what reads it), `outcome`, `message` (what a person is told).
    """
    chosen = [*(["--slow"] if slow else []), *(["--only", *only] if only else [])]
    command = [sys.executable, "-m", "benchmarks.reliability.hostile", "--rows", *chosen]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        command, cwd=_ROOT, env={**os.environ, **one_thread}, capture_output=True, text=True, timeout=1200
    )
    if done.returncode:
        raise RuntimeError(f"The attacks ended with status {done.returncode}: {done.stderr[-2000:]}")
    return pd.DataFrame(json.loads(done.stdout.splitlines()[-1]), columns=list(COLUMNS))


def _rows(folder: Path, slow: bool, only: Sequence[str]) -> list[tuple[str, ...]]:
    """Make the attacks one after another, each in a fork of this process, which has loaded everything."""
    from benchmarks.reliability import hostile_files, hostile_models, hostile_names

    models = hostile_models.prepare(folder / "models")
    found = []
    for module in (hostile_models, hostile_files, hostile_names):
        for place, (name, (where, attack)) in enumerate(module.attacks(models, slow).items()):
            if not only or name in only:
                own = folder / f"{module.__name__.rpartition('_')[2]}{place}"
                found.append((name, where, *_alone(attack, own)))
    return found


def _alone(attack: Callable[[Path], tuple[str, str]], folder: Path) -> tuple[str, str]:
    """Outcome and message of an attack in a process of its own."""
    inside = (
        folder / "inside" / "deeper"
    )  # two levels, so that names with .. still lead to where the canary is looked for
    inside.mkdir(parents=True)
    told = folder / "told.json"
    child = os.fork()
    if not child:
        _limited(attack, inside, told)  # never returns
    _, status = os.waitpid(child, 0)
    if any(path.name.startswith(CANARY) for path in folder.rglob("*")):
        return "executed, or wrote where it should not", ""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        late = number in (signal.SIGALRM, signal.SIGXCPU)
        return ("took too long" if late else "ended the process", signal.Signals(number).name)
    return tuple(json.loads(told.read_text(encoding="utf-8")))


def _limited(attack: Callable[[Path], tuple[str, str]], folder: Path, told: Path) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    begun = int(sum(os.times()[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (begun + SECONDS, begun + SECONDS + 5))
    signal.alarm(WAIT)
    warnings.simplefilter("ignore")
    told.write_text(json.dumps(_outcome(attack, folder)), encoding="utf-8")
    os._exit(0)


def _outcome(attack: Callable[[Path], tuple[str, str]], folder: Path) -> tuple[str, str]:
    from armed.errors import ArmedError

    try:
        outcome, message = attack(folder)
    except ArmedError as error:
        outcome, message = REFUSED, str(error)
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        outcome = "ended without a sentence"
        message = f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
    for place, word in ((folder, "FOLDER"), (folder.parents[1], "FOLDER"), (_ROOT, "PROJECT")):
        message = message.replace(str(place), word)
    return outcome, " ".join(message.split())[:500]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the table, or, asked by `measure`, print its rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("results/reliability"))
    parser.add_argument("--rows", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--slow", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="*", default=(), help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.rows:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(_rows(Path(folder), chosen.slow, chosen.only)))
        return
    table = measure()
    chosen.output.mkdir(parents=True, exist_ok=True)
    table.to_csv(chosen.output / "hostile.tsv", sep="\t", index=False, lineterminator="\n")
    print(table["outcome"].value_counts().to_string())


if __name__ == "__main__":
    main()
