"""Errors of the project: what was given, what was expected, the nearest valid name, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from armed.names import escaped


class ArmedError(Exception):
    """Base of all errors raised on purpose by this project. What they quote from files cannot steer a terminal."""

    def __str__(self) -> str:
        return escaped(super().__str__())


class ConfigError(ArmedError, ValueError):
    """The configuration is not valid."""


class DataError(ArmedError, ValueError):
    """The data given cannot be used."""


class DamagedError(ArmedError, ValueError):
    """A file that the project wrote is cut short, damaged or changed."""


class RunFolderError(ArmedError, OSError):
    """The folder of a run cannot be written to, or another run is at work in it."""


class JobEndedError(ArmedError):
    """A job was told to end, or another process is at work on what it should make."""


class RetrievalError(ArmedError, OSError):
    """A data file could not be had, or not the right one."""


class ArchiveError(ArmedError, ValueError):
    """An archive for deposit is damaged, was changed, is not safe to unpack, or is none."""


class RunError(ArmedError, ValueError):
    """There is no such stored run, or it cannot be repeated."""


class LayerNotFoundError(ArmedError, ValueError):
    """A layer name does not exist in the wrapped network."""


class UnsupportedLayerError(ArmedError, RuntimeError):
    """A layer of the network cannot be trained in a stack of replicas."""


class UnseenClusterError(ArmedError, ValueError):
    """Samples of clusters never seen in training, and no choice of what to do with them."""


class UnknownNameError(ArmedError, ValueError):
    """A model, study or import path that the registry does not know."""


class NotFittedError(ArmedError, ValueError, AttributeError):
    """A method was asked for predictions before it was fitted."""


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest valid name, or an empty string."""
    names = [str(v) for v in valid]
    same = [v for v in names if v.lower() == str(name).lower()]
    near = same or difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""


def listed(names: Iterable[object], shown: int = 5) -> str:
    """Join names by commas; of many, only the first few and how many more there are."""
    names = [str(name) for name in names]
    rest = len(names) - shown
    return ", ".join(names) if rest <= 1 else f"{', '.join(names[:shown])} and {rest} more"


class Problems:
    """Collects problems so that all of them are told at once.

    Examples
    --------
    >>> problems = Problems(DataError, "the training data")
    >>> problems.add("X has 3 NaN values; impute them first")
    >>> problems.raise_if_any()
    Traceback (most recent call last):
        ...
    armed.errors.DataError: 1 problem with the training data:
      - X has 3 NaN values; impute them first
    """

    def __init__(self, error: type[ArmedError], where: str) -> None:
        self.error = error
        self.where = where
        self.found: list[str] = []

    def add(self, problem: str) -> None:
        self.found.append(problem)

    def raise_if_any(self) -> None:
        if self.found:
            count = f"{len(self.found)} problem{'s' if len(self.found) > 1 else ''}"
            raise self.error(f"{count} with {self.where}:\n" + "\n".join(f"  - {p}" for p in self.found))
