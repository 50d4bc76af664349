"""What each replica of a stack is: a fold with a setting of its hyperparameters."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from armed.data.splits import Fold
from armed.errors import ConfigError, Problems, did_you_mean
from armed.losses import check_hyper


@dataclass(frozen=True)
class Replica:
    """One model of a stack: which seed, fold and setting (position in the product of `hyper`)."""

    seed: int
    fold: int
    setting: int = 0


def plan_replicas(
    folds: list[Fold],
    hyper: Mapping[str, Sequence[float]] | Sequence[Mapping[str, float]] | None,
    assign: Mapping[tuple[int, int], Mapping[str, float]] | Sequence[Mapping[str, float]] | None,
    known: Sequence[str],
) -> tuple[list[dict[str, float]], list[tuple[Fold, int]]]:
    """All settings, checked, and which fold trains with which.

    Parameters
    ----------
    folds : list of Fold
    hyper, assign
        As in `armed.fit_stack`.
    known : sequence of str
        Hyperparameters that may differ between replicas.

    Returns
    -------
    settings : list of dict
    jobs : list of (Fold, int)
        One for each replica: its fold, and the position of its setting.

    Raises
    ------
    ConfigError
        With all problems of the hyperparameters.
    """
    problems = Problems(ConfigError, "the hyperparameters of the stack")
    if assign is not None:
        if hyper is not None:
            problems.add("both hyper and assign are given; give one of them")
        settings = _assigned(folds, assign, problems)
        jobs = [(f, s) for s, f in enumerate(folds)]
    else:
        settings = _combinations(hyper or {}, problems) if not hyper or isinstance(hyper, Mapping) else list(hyper)
        jobs = [(f, s) for s in range(len(settings)) for f in folds]
    for name in dict.fromkeys(name for setting in settings for name in setting):
        if name not in known:
            problems.add(
                f"'{name}' cannot differ between replicas.{did_you_mean(name, known)} Known: {', '.join(known)}"
            )
        for value in dict.fromkeys(setting[name] for setting in settings if name in setting):
            check_hyper({name: value}, problems)
    problems.raise_if_any()
    return settings, jobs


def _assigned(
    folds: list[Fold],
    assign: Mapping[tuple[int, int], Mapping[str, float]] | Sequence[Mapping[str, float]],
    problems: Problems,
) -> list[dict[str, float]]:
    """The setting of each fold."""
    if not isinstance(assign, Mapping):
        if len(assign) != len(folds):
            problems.add(f"assign has {len(assign)} settings, but there are {len(folds)} folds: give one for each")
        return [dict(setting) for setting, _ in zip(assign, folds, strict=False)]
    lacking = [(f.seed, f.fold) for f in folds if (f.seed, f.fold) not in assign]
    if lacking:
        problems.add(f"assign has no setting for seed {lacking[0][0]}, fold {lacking[0][1]}")
    return [dict(assign.get((f.seed, f.fold), {})) for f in folds]


def _combinations(hyper: Mapping[str, Sequence[float]], problems: Problems) -> list[dict[str, float]]:
    for name, values in hyper.items():
        if not len(values):
            problems.add(f"'{name}' has no values; give at least one, or leave it out")
    given = {name: values for name, values in hyper.items() if len(values)}
    return [dict(zip(given, combination, strict=True)) for combination in itertools.product(*given.values())]
