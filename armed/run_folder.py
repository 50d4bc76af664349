"""The folder that a run writes to: on a disk that takes files, and one run at a time."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import socket
import time
from datetime import datetime
from pathlib import Path

from armed.errors import RunFolderError

log = logging.getLogger(__name__)

LOCK = ".lock"
RUN_PROCESS = "ARMED_RUN_PROCESS"
"""Environment variable by which jobs know the process of Snakemake that started them."""
ROOM = 20_000_000
"""Bytes below which a run does not begin: with less, Snakemake could not keep its own records."""
ADVICE = """
Not all jobs were done. What went wrong stands above, and in the log of each job that failed, its last line first of all; a log
that ends without an error is that of a job that was killed: for want of memory, by a scheduler, or by hand. When the cause is
gone, run the same command again: finished jobs are kept, and a training goes on after its last epoch.
"""
SLACK = 60
"""Seconds by which the clocks of machines that share a disk may differ."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SHUT = (errno.EROFS, errno.EACCES, errno.EPERM)
_held = []


def check(folder: Path) -> None:
    """Raise `RunFolderError` where a folder is there and cannot be written to; before Snakemake looks at what it holds."""
    if folder.exists() and not os.access(folder, os.W_OK):
        raise RunFolderError(
            f"{folder.resolve()} cannot be written to, by its permissions or as its disk is read-only: allow it, or choose "
            "another folder by --directory, and run the same command again. What is finished is kept."
        )


def hold(folder: Path) -> None:
    """Hold a folder for this process, until it ends in whatever way.

    Parameters
    ----------
    folder : Path
        Made if it is not there.

    Raises
    ------
    RunFolderError
        The folder cannot be written to, its disk is full, the clock was put back, or another run holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise RunFolderError(disk_problem(error) or str(error)) from error
    if problem := _room_lacking(folder):
        file.close()
        raise RunFolderError(problem)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        who = file.read().strip() or "unknown"
        file.close()
        raise RunFolderError(
            f"Another run ({who}) is at work in {folder.resolve()}: wait for it to end, or choose another folder by "
            "--directory. Then run the same command again."
        ) from None
    except OSError as error:
        log.warning("%s cannot be locked (%s): see to it that no two runs share the folder.", folder, error)
    if problem := _from_the_future(folder):
        file.close()
        raise RunFolderError(problem)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    _held.append(file)


def advice(folder: Path) -> str:
    """Say what to do after a run of which not all jobs were done; first of all to free space, where that is lacking."""
    return f"\n{_room_lacking(folder)}{ADVICE}"


def _room_lacking(folder: Path) -> str:
    """Say that the disk of a folder is all but full, or nothing."""
    free = shutil.disk_usage(folder).free
    if free >= ROOM:
        return ""
    return (
        f"The disk of {folder.resolve()} has {free / 1e6:.1f} MB left: free some space, {ROOM / 1e6:.0f} MB at the very least, "
        "and run the same command again. What is finished is kept."
    )


def _from_the_future(folder: Path) -> str:
    """Say that files are newer than the present, or nothing: Snakemake takes what is made from these for out of date."""
    soon = time.time() + SLACK
    for path in folder.rglob("*"):
        try:
            made = path.lstat().st_mtime
        except FileNotFoundError:  # a job of a run that was killed may be ending
            continue
        if made > soon:
            return (
                f"{path} was written at {datetime.fromtimestamp(made):%Y-%m-%d %H:%M}, which is yet to come: the clock was "
                f"put back. Set it right; or if it is right now, give such files the present time by `find {folder} -newermt "
                "now -exec touch {} +`. Then run the same command again."
            )
    return ""


def disk_problem(error: BaseException | None) -> str:
    """Say in a sentence what a full, shut or broken disk did; nothing for an error that is something else."""
    while error is not None:
        if isinstance(error, OSError):
            what = error.filename or "results"
            if error.errno in _FULL:
                return (
                    f"The disk is full ({what} could not be written): free some space and run the same command again. "
                    "What is finished is kept."
                )
            if error.errno == errno.EFBIG:
                return f"{what} is larger than a file may be here: raise the limit (ulimit -f) and run the same command again."
            if error.errno in _SHUT:
                return (
                    f"{what} cannot be opened or written ({error.strerror}): allow it, or choose another folder by "
                    "--directory, and run the same command again. What is finished is kept."
                )
            if error.errno == errno.EIO:
                return f"The disk failed at {what}: see to it, and run the same command again."
        error = error.__cause__ or error.__context__
    return ""
