"""A process of its own for each case, which measures when it is told to.

So each case has its own peak memory, is set up and compiled once, and repeats of different cases can be taken in turn.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection

from benchmarks.cases import Case

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Worker:
    """The process of one case, from the parent's side.

    Parameters
    ----------
    case : Case

    Attributes
    ----------
    repeats : list of (float, float)
        CPU and wall seconds per model of each repeat.
    peak_mb : float
        Highest memory of the process so far.
    compile_s : float
        Wall seconds that compiling took.
    error : str
        Why it cannot be measured; empty while all is well.
    """

    def __init__(self, case: Case) -> None:
        os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
        # Fresh interpreters: a forked one would begin with its parent's memory, and count it.
        self._begin(case, serve, "spawn")

    def _begin(self, case: object, serve: Callable, start: str) -> None:
        self.case = case
        self.repeats: list[tuple[float, float]] = []
        self.peak_mb = self.compile_s = float("nan")
        self.error = ""
        context = multiprocessing.get_context(start)
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(case, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def warm_up(self) -> None:
        """Wait until the case is ready to be measured."""
        answer = self._answer()
        if answer is not None:
            self.compile_s = answer

    def measure(self) -> None:
        """Take one more repeat; nothing happens after an error."""
        if self.error:
            return
        self._connection.send("measure")
        answer = self._answer()
        if answer is not None:
            cpu, wall, self.peak_mb = answer
            self.repeats.append((cpu, wall))

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def _answer(self) -> object:
        """What the process sends; None where that is an error, which is kept."""
        try:
            kind, content = self._connection.recv()
        except EOFError:
            self._process.join(timeout=10)
            kind, content = "error", f"its process ended with exit code {self._process.exitcode}"
        if kind != "error":
            return content
        self.error = f"{self.case.name} was not measured: {content}"
        return None


def serve(case: Case, connection: Connection) -> None:
    """What the process runs: prepare, then measure each time the parent asks, until it closes the connection."""
    try:
        import torch  # here and below: the parent loads none

        from benchmarks.measure import peak_mb, prepare

        torch.set_num_threads(1)
        measurement, compile_s = prepare(case)
        connection.send(("ready", compile_s))
        while connection.recv():
            connection.send(("measured", (*measurement().tolist(), peak_mb())))
    except EOFError:
        return
    except Exception:
        connection.send(("error", traceback.format_exc()))
