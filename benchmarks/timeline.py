"""When functions ran: calls of a fit's own functions, with CPU and wall time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


def clock() -> np.ndarray:
    """CPU seconds of this process, all threads, and wall seconds (2,)."""
    return np.array([time.process_time(), time.perf_counter()])


class Call(NamedTuple):
    """One call of a function; times as `clock` gives them."""

    begin: np.ndarray
    end: np.ndarray


class Timeline:
    """Calls of functions, by name."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Call]] = {}

    def timed(self, name: str, function: Callable) -> Callable:
        """The function, each call of it noted under `name`."""
        calls = self.calls.setdefault(name, [])

        def call(*args, **kwargs):
            begin = clock()
            result = function(*args, **kwargs)
            calls.append(Call(begin, clock()))
            return result

        return call
