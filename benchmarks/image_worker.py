"""A process of its own for each image case, as `benchmarks.worker` has for others."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from multiprocessing.connection import Connection

from benchmarks.image_cases import ImageCase
from benchmarks.worker import ONE_THREAD, Worker


class ImageWorker(Worker):
    """The process of one image case, from the parent's side.

    Attributes
    ----------
    repeats : list of (float, float)
        Wall seconds for an image of each repeat: whole steps, and gathering batches alone.
    parts : dict of str to float
        Seconds for an image of each part of a profiled step; empty where none was.
    """

    def __init__(self, case: ImageCase) -> None:
        self.parts: dict[str, float] = {}
        os.environ.update(dict.fromkeys(ONE_THREAD, "1") | {"OMP_NUM_THREADS": str(case.threads)})
        # Forked from a server that has imported torch and done nothing else: starting takes no seconds, and memory counts the
        # imports as it does in a fresh interpreter.
        multiprocessing.get_context("forkserver").set_forkserver_preload(["benchmarks.image_measure"])
        self._begin(case, serve, "forkserver")

    def measure(self) -> None:
        answer = self._asked("measure")
        if answer is not None:
            step, loading, self.peak_mb = answer
            self.repeats.append((step, loading))

    def profile(self) -> None:
        """Have one more step profiled."""
        self.parts = self._asked("profile") or {}

    def _asked(self, what: str) -> object:
        if self.error:
            return None
        self._connection.send(what)
        return self._answer()


def serve(case: ImageCase, connection: Connection) -> None:
    """What the process runs: prepare, then do what the parent asks, until it closes the connection."""
    try:
        from benchmarks.image_measure import prepare  # here: the parent loads no torch

        session = prepare(case)
        connection.send(("ready", 0.0))
        while asked := connection.recv():
            connection.send((asked, session.profile() if asked == "profile" else tuple(session.measure())))
    except EOFError:
        return
    except Exception:
        connection.send(("error", traceback.format_exc()))
