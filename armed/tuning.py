"""Choosing hyperparameters inside the training rows of each fold: candidates, inner folds, scores, policies.

For each fold of each tuned seed, the training rows are divided into inner folds. All candidates are trained on all inner
folds of all folds, networks as replicas of one stack, and scored on the inner fold held out, of seen clusters with known Z. A
policy then chooses one candidate for each fold. Neither test rows nor unseen clusters are among the rows that this looks at.

Loads no torch by itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from armed import metrics
from armed.candidates import Range, candidates
from armed.cells import Cells
from armed.data.clustered import ClusteredData
from armed.data.preparation import Preparation
from armed.data.splits import Fold, Splits, make_splits
from armed.errors import ConfigError, Problems, did_you_mean
from armed.method import Method, Rows
from armed.reproducibility import derive_seed

if TYPE_CHECKING:
    from armed.training import StackFit

log = logging.getLogger(__name__)

# Of a candidate in the inner folds of one fold: mean score, its standard error, both (candidates,), higher is better.
Policy = Callable[[np.ndarray, np.ndarray], int]
COLUMNS = ("seed", "fold", "candidate", "hyperparameter", "value", "score", "score_sd", "chosen")


def best_mean(mean: np.ndarray, se: np.ndarray) -> int:
    """The best mean score; the first of equals."""
    return int(np.argmax(mean))


def one_se(mean: np.ndarray, se: np.ndarray) -> int:
    """The first candidate within one standard error of the best: the default, unless others are clearly better."""
    best = best_mean(mean, se)
    return int(np.argmax(mean >= mean[best] - se[best]))


POLICIES: dict[str, Policy] = {"best_mean": best_mean, "one_se": one_se}


@dataclass(frozen=True)
class Plan:
    """How hyperparameters are chosen.

    Parameters
    ----------
    space : mapping
        Hyperparameter to its values: a sequence, a `armed.candidates.Range`, or its fields as a mapping.
    default : mapping
        The method's own value of each hyperparameter of the space: candidate 0.
    candidates : int
        Budget of each method.
    inner_folds : int
        Inner folds of each fold, at least 2.
    search : {"random", "grid"}
    policy : {"best_mean", "one_se"}
    metric : str
        One of `armed.metrics.METRICS`, of the mixed prediction with known clusters.
    seeds : sequence of int
        Seeds to tune.

    Raises
    ------
    ConfigError
        With all problems but those of the space, which `candidates` tells.
    """

    space: Mapping[str, Range | Sequence[float] | Mapping]
    default: Mapping[str, float]
    candidates: int = 16
    inner_folds: int = 3
    search: str = "random"
    policy: str = "best_mean"
    metric: str = "auroc"
    seeds: Sequence[int] = (0,)

    def __post_init__(self) -> None:
        problems = Problems(ConfigError, "the tuning")
        for name, known in (("policy", POLICIES), ("metric", metrics.METRICS)):
            given = getattr(self, name)
            if given not in known:
                problems.add(f"{name} is '{given}'; expected one of {', '.join(known)}.{did_you_mean(given, known)}")
        if self.inner_folds < 2:
            problems.add(f"inner_folds is {self.inner_folds}; expected at least 2")
        problems.raise_if_any()


@dataclass(frozen=True)
class Tuning:
    """What was tried, how it scored, and what was chosen.

    Attributes
    ----------
    candidates : list of dict
        Settings tried, the method's own first.
    scores : dict of (int, int) to array
        (seed, fold) to the scores (candidates, inner folds); NaN where training diverged or the metric is not defined.
    chosen : dict of (int, int) to int
        (seed, fold) to the candidate chosen.
    """

    candidates: list[dict[str, float]]
    scores: dict[tuple[int, int], np.ndarray]
    chosen: dict[tuple[int, int], int]

    @property
    def assign(self) -> dict[tuple[int, int], dict[str, float]]:
        """(seed, fold) to the settings chosen."""
        return {key: self.candidates[c] for key, c in self.chosen.items()}

    def to_frame(self) -> pd.DataFrame:
        """One row for each fold, candidate and hyperparameter: `COLUMNS`; mean and s.d. of the score over inner folds."""
        rows = [
            (*key, c, name, value, score.mean(), score.std(ddof=1), int(c == self.chosen[key]))
            for key, scores in self.scores.items()
            for c, (setting, score) in enumerate(zip(self.candidates, scores, strict=True))
            for name, value in setting.items()
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))


def tune(
    method: Method,
    data: ClusteredData,
    splits: Splits,
    plan: Plan,
    *,
    preparation: Preparation | None = None,
    steps_elsewhere: int = 0,
    checkpoint: Path | None = None,
) -> Tuning:
    """Choose hyperparameters for each fold of the tuned seeds.

    Parameters
    ----------
    method : Method
        With the settings that all candidates share; one that trains stacks, or that is fitted one after another.
    data : ClusteredData
    splits : Splits
        Only training and validation rows are looked at. Where there are validation rows, the training rows of inner folds hold
        out as large a share of their own, to stop training early by.
    plan : Plan
    preparation : Preparation, optional
        What is done to features inside each inner fold, with numbers from its own training rows; nothing where not given.
    steps_elsewhere : int
        See `armed.fit_stack`.
    checkpoint : Path, optional
        Where an interrupted search continues from.

    Returns
    -------
    Tuning
        ``method.fit(data, splits, plan.seeds, assign=tuning.assign)`` trains with what was chosen.
    """
    seed = derive_seed("tuning", method.study, 0)
    found = candidates(plan.space, plan.default, plan.candidates, search=plan.search, seed=seed)
    outer = splits.select(plan.seeds)
    inner = inner_splits(data, outer, plan.inner_folds, method.study)
    log.info("Tuning: %d candidates x %d inner folds = %d replicas.", len(found), len(inner), len(found) * len(inner))
    begin = time.time()
    fitted = (preparation or Preparation()).fit(data, inner)
    prepared, folds = fitted.training(data, inner)
    held = fitted.apply(data, {(f.seed, f.fold): f.test for f in inner})
    if hasattr(method, "fit_settings"):
        fits = method.fit_settings(prepared, folds, found, checkpoint=checkpoint, steps_elsewhere=steps_elsewhere)
        by_replica = score(fits, held.data, held.rows, plan.metric)
    else:
        by_replica = score_each(method, prepared, folds, found, held.data, held.rows, plan.metric)
    scores = {
        (f.seed, f.fold): np.array(
            [
                [by_replica[f.seed, f.fold * plan.inner_folds + k, c] for k in range(plan.inner_folds)]
                for c in range(len(found))
            ]
        )
        for f in outer
    }
    chosen = {key: select(s, plan.policy, lower=plan.metric in metrics.LOWER_IS_BETTER) for key, s in scores.items()}
    kept = sum(c == 0 for c in chosen.values())
    log.info("Chosen in %.1f s; the default in %d of %d folds.", time.time() - begin, kept, len(chosen))
    return Tuning(found, scores, chosen)


def inner_splits(data: ClusteredData, splits: Splits, n_folds: int, study: str) -> Splits:
    """Folds inside the training rows of each fold, by subject and stratified as all folds are.

    Returns
    -------
    Splits
        Inner fold k of fold f is number ``f * n_folds + k`` of the same seed, so that each has initial weights and batches
        of its own. Its `test` is held out of f's training and validation rows; its `train` and `validation` are the rest of
        them, divided as those of f.
    """
    folds = []
    for outer in splits:
        rows = np.sort(np.concatenate([outer.train, outer.validation]))
        where, share = f"{study}, inside fold {outer.fold}", len(outer.validation) / len(rows)
        for part in make_splits(data.take(rows), [outer.seed], n_folds, where, validation_fraction=share):
            number = outer.fold * n_folds + part.fold
            folds.append(Fold(outer.seed, number, rows[part.train], rows[part.validation], rows[part.test]))
    return Splits(tuple(folds))


def score(fit: StackFit, data: ClusteredData, held: Rows, metric: str) -> dict[tuple[int, int, int], float]:
    """Score each replica on the rows `held` out of its own fold: (seed, fold, setting) to the metric of `mixed`.

    NaN for replicas with a note: their training diverged.
    """

    from armed.convolutional import as_pool
    from armed.stack import predictions

    codes = data.codes(fit.levels)
    rows = [np.asarray(held[r.seed, r.fold]) for r in fit.replicas]
    X = as_pool(data.X, fit.stack.device)
    outputs = fit.stack.evaluate(predictions, X, rows, [codes[r] for r in rows])
    mixed = np.concatenate([out["mixed"] for out in outputs])
    output = mixed[:, 0] if mixed.shape[1] == 1 else mixed
    values = _values(data.y[np.concatenate(rows)], output, [len(r) for r in rows], metric)
    scores = {(r.seed, r.fold, r.setting): float(v) for r, v in zip(fit.replicas, values, strict=True)}
    return scores | dict.fromkeys(fit.notes, np.nan)


def score_each(
    method: Method,
    prepared: ClusteredData,
    folds: Splits,
    found: Sequence[Mapping[str, float]],
    data: ClusteredData,
    held: Rows,
    metric: str,
) -> dict[tuple[int, int, int], float]:
    """As `score`, for a method that is fitted one after another: the folds of `prepared`, once with each of the settings."""
    scores = {}
    for number, setting in enumerate(found):
        fit = type(method)(**{**method.settings, **setting}).fit(prepared, folds)
        predicted = fit.predict(data, held, new_clusters="population")  # a small cluster may be all held out
        values = _values(data.y[predicted.row], predicted.mixed, [len(r) for r in held.values()], metric)
        scores |= {(*key, number): float(v) for key, v in zip(held, values, strict=True)}
    return scores


def _values(y: np.ndarray, output: np.ndarray, sizes: Sequence[int], metric: str) -> np.ndarray:
    """The metric of consecutive parts of as many samples each."""
    cell = np.repeat(np.arange(len(sizes)), sizes)
    return metrics.compute(Cells.of(cell, y, output, n_cells=len(sizes)), metric)[0]


def select(scores: np.ndarray, policy: str = "best_mean", *, lower: bool = False) -> int:
    """Choose a candidate for one fold.

    Parameters
    ----------
    scores : array, (candidates, inner folds)
        A candidate with a NaN is not chosen; without any other the first is.
    policy : str
        One of `POLICIES`.
    lower : bool
        Whether lower scores are better.

    Returns
    -------
    int
    """
    mean = scores.mean(axis=1) * (-1 if lower else 1)
    se = scores.std(axis=1, ddof=1) / np.sqrt(scores.shape[1])
    defined = ~np.isnan(mean)
    if not defined.any():
        log.warning("No candidate has a score in all inner folds; the default stays.")
        return 0
    return POLICIES[policy](np.where(defined, mean, -np.inf), np.where(defined, se, 0.0))
