"""Candidates of a search over hyperparameters, drawn from a search space.

Standard library only: the configuration is checked with it whenever the workflow is parsed.
"""

from __future__ import annotations

import itertools
import logging
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from armed.errors import ConfigError, Problems, did_you_mean

log = logging.getLogger(__name__)

SCALES = ("log", "linear")


@dataclass(frozen=True)
class Range:
    """All values from `low` to `high`, drawn evenly on a ``"log"`` or a ``"linear"`` scale."""

    low: float
    high: float
    scale: str = "log"

    def at(self, share: float) -> float:
        """Value at a share, 0 to 1, of the way from `low` to `high`, in 4 digits: what a table shows is what was tried."""
        span = self.high - self.low
        value = self.low * (self.high / self.low) ** share if self.scale == "log" else self.low + share * span
        return min(max(float(f"{value:.4g}"), self.low), self.high)


Space = Mapping[str, Range | Sequence[float]]


def candidates(
    space: Mapping[str, Range | Sequence[float] | Mapping],
    default: Mapping[str, float],
    n: int,
    *,
    search: str = "random",
    seed: int = 0,
) -> list[dict[str, float]]:
    """Settings to try: the default first, then what the search adds.

    Parameters
    ----------
    space : mapping
        Hyperparameter to its values: a sequence, or a `Range` (or its fields as a mapping).
    default : mapping
        The method's own value of each hyperparameter of the space.
    n : int
        Budget: as many candidates. Fewer where the space has fewer points, which a warning says.
    search : {"random", "grid"}
        Points drawn at random, or every combination of the values.
    seed : int
        Of the random search. Each hyperparameter has a stream of its own, so that methods that share one try the same
        values of it.

    Returns
    -------
    list of dict
        No two alike.

    Raises
    ------
    ConfigError
        With all problems of the space and the budget.
    """
    problems = Problems(ConfigError, "the search for hyperparameters")
    for name, problem in find_problems(space, default, n, search):
        problems.add(f"{name or 'the space'} {problem}")
    problems.raise_if_any()
    space, default = read(space), {name: float(default[name]) for name in space}
    found = SEARCHES[search](space, default, n, seed)
    if len(found) < n:
        log.warning("%d candidates instead of %d: the space has no more points.", len(found), n)
    return found


def find_problems(
    space: Mapping[str, Range | Sequence[float] | Mapping], default: Mapping[str, float], n: int, search: str
) -> Iterator[tuple[str, str]]:
    """(hyperparameter or "", what is wrong and what was expected) for each problem of a search."""
    if search not in SEARCHES:
        yield (
            "",
            f"is searched by '{search}', but {' or '.join(SEARCHES)} was expected.{did_you_mean(search, SEARCHES)}",
        )
    if n < 1:
        yield "", f"is searched with {n} candidates, but at least 1 was expected"
    for name, values in read(space).items():
        if name not in default:
            yield name, f"is no hyperparameter here.{did_you_mean(name, default)} Known: {', '.join(default)}"
        if not isinstance(values, Range):
            if not values:
                yield name, "has no values, but at least one was expected"
            continue
        if values.scale not in SCALES:
            near = did_you_mean(values.scale, SCALES)
            yield name, f"has the scale '{values.scale}', but {' or '.join(SCALES)} was expected.{near}"
        if not values.low < values.high:
            yield name, f"goes from {values.low:g} to {values.high:g}, but low below high was expected"
        elif values.scale == "log" and values.low <= 0:
            yield name, f"starts at {values.low:g}, but a number above 0 was expected: its scale is log"
        if search == "grid":
            yield name, "is a range, but a list of values was expected: a grid has no others"
    if search == "grid" and set(space) <= set(default):
        yield from _grid_problems(read(space), default, n)


def read(space: Mapping[str, Range | Sequence[float] | Mapping]) -> dict[str, Range | tuple[float, ...]]:
    """A space as written in a configuration, with its ranges as `Range` and its values as floats."""
    ranges = {name: Range(**values) for name, values in space.items() if isinstance(values, Mapping)}
    values = {**space, **ranges}
    return {name: v if isinstance(v, Range) else tuple(map(float, v)) for name, v in values.items()}


def _grid_problems(space: Space, default: Mapping[str, float], n: int) -> Iterator[tuple[str, str]]:
    size = _size(space, default)
    if n < size < math.inf:
        factors = " x ".join(str(len(set(values))) for values in space.values())
        added = " and the default" * (size > math.prod(len(set(values)) for values in space.values()))
        yield (
            "",
            f"has {size} settings ({factors}{added}), but at most {n}, the candidates that every method has, were expected: "
            "leave values out, or search at random",
        )


def _size(space: Space, default: Mapping[str, float]) -> float:
    """Points of a space, the default included; infinite with ranges."""
    if any(isinstance(values, Range) for values in space.values()):
        return math.inf
    inside = all(default[name] in values for name, values in space.items())
    return math.prod(len(set(values)) for values in space.values()) + (not inside)


def _random(space: Space, default: dict[str, float], n: int, seed: int) -> list[dict[str, float]]:
    streams = {name: random.Random(f"{seed} {name}") for name in space}
    found, most = [default], min(n, _size(space, default))
    for _ in range(100 * n):  # an end for ranges so short that all their values round to a few
        if len(found) == most:
            break
        drawn = {name: _at(values, streams[name].random()) for name, values in space.items()}
        if drawn not in found:
            found.append(drawn)
    return found


def _grid(space: Space, default: dict[str, float], n: int, seed: int) -> list[dict[str, float]]:
    points = [dict(zip(space, point, strict=True)) for point in itertools.product(*map(dict.fromkeys, space.values()))]
    return [default, *(point for point in points if point != default)]


def _at(values: Range | Sequence[float], share: float) -> float:
    return values.at(share) if isinstance(values, Range) else values[int(share * len(values))]


SEARCHES = {"random": _random, "grid": _grid}
