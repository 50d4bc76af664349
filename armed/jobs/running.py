"""What a job does around its work: log, check what it reads, note what it wrote, and end with a sentence."""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

from armed import checksums, own_studies
from armed.errors import ArmedError, JobEndedError
from armed.files import is_running
from armed.run_folder import RUN_PROCESS, disk_problem

_AGAIN = "Run the same command again: finished jobs are kept, and a training goes on after its last epoch."
_DEATH_OF_PARENT = 1  # prctl's PR_SET_PDEATHSIG


def begin(log: Path, inputs: Iterable[str], outputs: Iterable[str], config: Mapping) -> None:
    """Prepare the process of a job; what it writes is noted when it ends well.

    Parameters
    ----------
    log : Path
        The rule's log; also what is told on stderr goes there.
    inputs, outputs : iterable of str
        Files and folders that the job reads and writes.
    config : mapping
        The whole configuration.

    Raises
    ------
    DamagedError
        Inputs are not what other jobs wrote.
    JobEndedError
        Another process is at work on the same outputs.
    """
    _end_with_the_run()
    inputs, outputs = ([Path(path) for path in dict.fromkeys(paths)] for paths in (inputs, outputs))
    file = log.open("a", encoding="utf-8")
    logging.raiseExceptions = False  # a log on a full disk; stderr still tells
    handlers = [logging.StreamHandler(), logging.StreamHandler(file)]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", handlers=handlers)
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    sys.excepthook = _report
    signal.signal(signal.SIGTERM, _told_to_end)
    _alone(file, outputs)
    file.truncate(0)
    checksums.check(inputs)
    checksums.forget(outputs)
    own_studies.declare(config)
    atexit.register(_note, outputs)


def sentence(error: BaseException) -> str:
    """Say what happened to a job and what to do about it; nothing where only the traceback can tell."""
    if isinstance(error, KeyboardInterrupt):
        return f"The job was interrupted. {_AGAIN}"
    if isinstance(error, MemoryError):
        return "The job had not enough memory: give it more, or run fewer jobs at a time (--cores). " + _AGAIN
    return disk_problem(error) or (str(error) if isinstance(error, ArmedError) else "")


def _report(kind: type[BaseException], error: BaseException, traceback: object) -> None:
    """Log an error, its traceback first: what a person should read is the last line."""
    atexit.unregister(_note)
    logging.critical("The job failed:", exc_info=(kind, error, traceback))
    if told := sentence(error):
        logging.critical("%s", told)


def _told_to_end(*_: object) -> None:
    raise JobEndedError(
        "The job was told to end (SIGTERM), as schedulers do when time or memory is used up, and people by hand; in the first "
        f"case give it more. {_AGAIN}"
    )


def _alone(file: object, outputs: list[Path]) -> None:
    """Hold the log as long as this process lives, or raise where another one does."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise JobEndedError(
            f"Another process is still making {outputs[0]}, a job of an earlier run: wait for it to end, or end it, and run "
            "the same command again."
        ) from None
    except OSError:
        logging.debug("This disk has no locks.")


def _note(outputs: list[Path]) -> None:
    """Note what was written; a job that cannot has failed."""
    try:
        checksums.note(outputs)
    except BaseException as error:
        _report(type(error), error, error.__traceback__)
        logging.shutdown()
        os._exit(1)  # at this point an error would not change the exit status


def _end_with_the_run() -> None:
    """Let the system end this job when Snakemake is killed: the next run would do the same work beside it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_OF_PARENT, signal.SIGKILL)
    # It may have been killed while this process was starting.
    if (run := os.environ.get(RUN_PROCESS)) and not is_running(int(run)):
        sys.exit("The run that started this job has ended; the job ends too.")
