"""Folds: by subject, stratified by label x cluster, the same for every model.

Per seed, subjects are ordered by label, then cluster (in random order), then number of samples and at random,
and dealt out to the folds in turn, from one stratum into the next. So fold sizes, labels, and label x cluster
strata differ by one subject at most between folds, however small the strata are. Validation subjects are
taken from the training subjects of a fold in the same order at even distances, with a random start.
Monte Carlo splits (`armed.data.monte_carlo`) take their test subjects likewise, for each split anew.

A subject's stratum is the label x cluster that most of its samples have. A continuous outcome is cut at its
quartiles (not stated in the paper; we take four bins because small clusters fill no more). Strata of one's own stand in the
place of the label where they are given: live cells are stratified by PDX x date (PROTOCOL, section 2).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from armed.data import monte_carlo
from armed.data.clustered import ClusteredData
from armed.data.subjects import Subjects, outcome_bins, spaced, strata_codes
from armed.errors import DataError, Problems, listed
from armed.files import atomic
from armed.reproducibility import derive_seed

logger = logging.getLogger(__name__)

UNTESTED = -1
"""Stands for the fold of rows that no fold of their seed tests (`Splits.to_frame`)."""
COLUMNS = ("seed", "fold", "row", "validation")


@dataclass(frozen=True, eq=False)
class Fold:
    """One fold of one seed: row ids into a `ClusteredData`, ascending; `validation` and `test` may be empty.

    Raises
    ------
    DataError
        A row has two roles, or training is empty.
    """

    seed: int
    fold: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def __post_init__(self) -> None:
        problems = Problems(DataError, f"fold {self.fold} of seed {self.seed}")
        if not len(self.train):
            problems.add("no rows to train on")
        rows = np.sort(np.concatenate([self.train, self.validation, self.test]))
        repeated = int((rows[1:] == rows[:-1]).sum())
        if repeated:
            problems.add(f"{repeated} rows have more than one role; expected each in train, validation or test")
        problems.raise_if_any()


@dataclass(frozen=True, eq=False)
class Splits:
    """Folds of several seeds.

    Parameters
    ----------
    folds : tuple of Fold
        Ordered by seed as given, then by fold.
    """

    folds: tuple[Fold, ...]

    def __len__(self) -> int:
        return len(self.folds)

    def __iter__(self) -> Iterator[Fold]:
        return iter(self.folds)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds, in order."""
        return tuple(dict.fromkeys(fold.seed for fold in self.folds))

    def select(self, seeds: Sequence[int]) -> Splits:
        """Return the folds of some seeds, in the order they have here.

        Raises
        ------
        DataError
            A seed has no folds here.
        """
        wanted = {int(seed) for seed in seeds}
        absent = sorted(wanted - set(self.seeds))
        if absent:
            raise DataError(f"No folds for seeds {absent}; there are folds for seeds {list(self.seeds)}.")
        return Splits(tuple(fold for fold in self.folds if fold.seed in wanted))

    def to_frame(self) -> pd.DataFrame:
        """Return the folds as a table that `from_frame` turns back into the same folds.

        Returns
        -------
        DataFrame
            Columns seed, fold, row, validation: one line per test row of a fold (`validation` False) and per
            validation row (True), and one with fold -1 per row that no fold of the seed tests (Monte Carlo splits). All
            other rows of that seed are training rows of that fold.

        Raises
        ------
        DataError
            A seed's folds do not all have the same rows: then training rows cannot be told.
        """
        problems = Problems(DataError, "the splits")
        frames = []
        for seed in self.seeds:
            folds = self.select([seed]).folds
            rows = np.sort(np.concatenate([folds[0].train, folds[0].validation, folds[0].test]))
            if not all(np.array_equal(np.sort(np.concatenate([f.train, f.validation, f.test])), rows) for f in folds):
                problems.add(f"seed {seed}: its folds differ in the rows they have")
            untested = np.setdiff1d(rows, np.concatenate([fold.test for fold in folds]))
            if len(untested):
                frame = {"seed": seed, "fold": UNTESTED, "row": untested, "validation": False}
                frames.append(pd.DataFrame(frame))
            for validation in (False, True):
                parts = [fold.validation if validation else fold.test for fold in folds]
                ids = np.repeat([fold.fold for fold in folds], [len(part) for part in parts])
                frame = {"seed": seed, "fold": ids, "row": np.concatenate(parts), "validation": validation}
                frames.append(pd.DataFrame(frame))
        problems.raise_if_any()
        types = {"seed": np.int64, "fold": np.int32, "row": np.int64, "validation": bool}
        table = pd.concat(frames) if frames else pd.DataFrame(columns=list(COLUMNS))
        return table.astype(types).reset_index(drop=True)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Splits:
        """Return the folds of a table of `to_frame`.

        Raises
        ------
        DataError
            A column is missing.
        """
        absent = [column for column in COLUMNS if column not in frame]
        if absent:
            raise DataError(
                f"Splits need the columns {', '.join(COLUMNS)}; missing: {', '.join(absent)}"
                f" (there: {', '.join(map(str, frame.columns))})."
            )
        folds = []
        for seed, of_seed in frame.groupby("seed", sort=False):
            row = of_seed["row"].to_numpy(np.int64)
            fold, validation = of_seed["fold"].to_numpy(), of_seed["validation"].to_numpy(bool)
            rows = np.unique(row[~validation])
            for k in np.unique(fold[fold != UNTESTED]):
                test, held = np.sort(row[~validation & (fold == k)]), np.sort(row[validation & (fold == k)])
                training = np.ones(len(rows), dtype=bool)
                training[np.searchsorted(rows, np.concatenate([test, held]))] = False
                folds.append(Fold(int(seed), int(k), rows[training], held, test))
        return cls(tuple(folds))

    def save(self, path: str | Path) -> None:
        """Write `to_frame` as parquet; the file appears only when complete."""
        with atomic(path) as temporary:
            self.to_frame().to_parquet(temporary, index=False, compression="zstd")

    @classmethod
    def read(cls, path: str | Path) -> Splits:
        """Read what `save` wrote."""
        return cls.from_frame(pd.read_parquet(path))


def make_splits(
    data: ClusteredData,
    seeds: Sequence[int],
    n_folds: int,
    study: str,
    *,
    validation_fraction: float = 0.0,
    test_fraction: float | None = None,
    strata: np.ndarray | None = None,
) -> Splits:
    """Make the folds of a study.

    Parameters
    ----------
    data : ClusteredData
        Rows of dataset s for seed s where there are several datasets, else all rows.
    seeds : sequence of int
        Seeds of the study.
    n_folds : int
        Folds per seed, or Monte Carlo splits per seed.
    study : str
        Id of the study; part of every derived seed.
    validation_fraction : float
        Share of the training subjects to hold out for validation; test folds do not depend on it.
    test_fraction : float, optional
        Without it the folds are those of cross-validation: each subject is tested once per seed. With it they are Monte
        Carlo splits, independent of each other: this share of the subjects is tested in each, and every cluster keeps
        training rows (`armed.data.monte_carlo`).
    strata : array, shape (n,), optional
        Label of each row's stratum, such as the PDX: folds are stratified by it x cluster instead of by label x cluster.

    Returns
    -------
    Splits

    Raises
    ------
    DataError
        With all problems of the data and of the request.
    """
    data.check(fitting=True, where=f"the data of {study}")
    seeds = [int(seed) for seed in seeds]
    problems = Problems(DataError, f"the splits of {study}")
    request = _Request(n_folds, validation_fraction, test_fraction)
    _check_request(seeds, request, problems)
    labels = outcome_bins(data)
    if strata is not None:
        labels = strata_codes(strata, labels, problems)
    problems.raise_if_any()
    make, folds = _folds_of_seed if test_fraction is None else _random_splits_of_seed, []
    for seed, groups in _subjects_of_seeds(data, labels, seeds, request, problems).items():
        folds += make(groups, request, study, seed)
    _check_held_out(folds, request, problems)
    if data.is_classification:
        _check_training_labels(folds, data.y, problems)
    problems.raise_if_any()
    return Splits(tuple(folds))


def stopped_by_test(splits: Splits) -> Splits:
    """Folds in which the test rows serve as validation rows, as in the authors' code for the dementia study.

    Early stopping then picks the weights that do best on the rows that are reported: such a result is too good, and is shown
    only beside one without that leak.
    """
    folds = []
    for f in splits:
        training = np.sort(np.concatenate([f.train, f.validation]))
        folds.append(Fold(f.seed, f.fold, training, f.test, f.test[:0]))
    return Splits(tuple(folds))


@dataclass(frozen=True)
class _Request:
    """What folds are asked for; see `make_splits`."""

    n_folds: int
    validation_fraction: float
    test_fraction: float | None


def _subjects_of_seeds(
    data: ClusteredData, labels: np.ndarray, seeds: list[int], request: _Request, problems: Problems
) -> dict[int, Subjects]:
    """Subjects of each seed's dataset, worked out and checked once where there is one dataset."""
    subjects = pd.factorize(data.subject)[0]
    clusters, levels = pd.factorize(data.clusters, sort=True)
    several = len(np.unique(data.dataset)) > 1
    found: dict[int, Subjects] = {}
    for seed in seeds:
        if found and not several:
            found[seed] = next(iter(found.values()))
            continue
        try:
            rows = data.rows_of(seed)
        except DataError as error:
            problems.add(str(error))
            continue
        found[seed] = Subjects.of(rows, subjects[rows], labels[rows], clusters[rows])
        prefix = f"dataset {seed}: " if several else ""
        _check_sizes(len(found[seed]), request, prefix, problems)
        _warn_of_single_subjects(found[seed], levels, request, prefix)
    problems.raise_if_any()
    return found


def _folds_of_seed(groups: Subjects, request: _Request, study: str, seed: int) -> list[Fold]:
    n_folds, validation_fraction = request.n_folds, request.validation_fraction
    rng = np.random.default_rng(derive_seed("split", study, seed))
    order = _boustrophedon(groups.in_strata_order(rng), groups, n_folds)
    fold_of = np.empty(len(groups), dtype=np.int64)
    fold_of[order] = (np.arange(len(groups)) + rng.integers(n_folds)) % n_folds
    folds = []
    for fold in range(n_folds):
        held = np.zeros(len(groups), dtype=bool)
        if validation_fraction:
            stream = np.random.default_rng(derive_seed("validation", study, seed, fold))
            order = groups.in_strata_order(stream)
            held[spaced(order[fold_of[order] != fold], validation_fraction, stream)] = True
        folds.append(_fold(groups, seed, fold, held, fold_of == fold))
    return folds


def _random_splits_of_seed(groups: Subjects, request: _Request, study: str, seed: int) -> list[Fold]:
    fractions = {"test_fraction": request.test_fraction, "validation_fraction": request.validation_fraction}
    folds = []
    for fold in range(request.n_folds):
        tested, held = monte_carlo.draw(groups, study, seed, fold, **fractions)
        folds.append(_fold(groups, seed, fold, held, tested))
    return folds


def _fold(groups: Subjects, seed: int, fold: int, held: np.ndarray, tested: np.ndarray) -> Fold:
    """The fold with these validation and test subjects (masks)."""
    held, tested, rows = held[groups.of_row], tested[groups.of_row], groups.rows
    return Fold(seed, fold, rows[~tested & ~held], rows[held], rows[tested])


def _boustrophedon(order: np.ndarray, groups: Subjects, n_folds: int) -> np.ndarray:
    """Reverse every other round of a stratum, so that no fold gets the largest subject of every round."""
    if (groups.size == 1).all():
        return order
    label, cluster = groups.label[order], groups.cluster[order]
    starts = np.r_[True, (label[1:] != label[:-1]) | (cluster[1:] != cluster[:-1])]
    position = np.arange(len(order))
    rank = position - np.maximum.accumulate(np.where(starts, position, 0))
    turn = rank // n_folds
    return order[np.lexsort((np.where(turn % 2, -rank, rank), turn, np.cumsum(starts)))]


def _check_request(seeds: list[int], request: _Request, problems: Problems) -> None:
    n_folds, fraction, tested = request.n_folds, request.validation_fraction, request.test_fraction
    if not seeds:
        problems.add("no seeds are given")
    repeated = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if repeated:
        problems.add(f"seeds are given twice: {repeated}")
    least = 2 if tested is None else 1
    if isinstance(n_folds, bool) or not isinstance(n_folds, int | np.integer) or n_folds < least:
        problems.add(f"n_folds is {n_folds!r}; expected an integer of at least {least}")
    if not 0 <= fraction < 1:
        problems.add(f"validation_fraction is {fraction!r}; expected a number in [0, 1)")
    if tested is not None and not 0 < tested < 1:
        problems.add(f"test_fraction is {tested!r}; expected a number between 0 and 1, or none for cross-validation")


def _check_sizes(n: int, request: _Request, prefix: str, problems: Problems) -> None:
    n_folds, fraction, share = request.n_folds, request.validation_fraction, request.test_fraction
    if share is None:
        possible = n >= n_folds
        training = n - -(-n // n_folds)  # subjects, in the fold with the largest test set
        if not possible:
            problems.add(f"{prefix}{n} subjects for {n_folds} folds; expected at least one subject per fold")
    else:
        training = n - round(share * n)
        possible = 1 <= training <= n - 1
        if not possible:
            problems.add(
                f"{prefix}a test_fraction of {share} of {n} subjects leaves none for testing or none for training"
            )
    if fraction and possible and not 1 <= training * fraction <= training - 1:
        problems.add(
            f"{prefix}a validation_fraction of {fraction} of {training} training subjects leaves none for"
            " validation or none for training"
        )


def _check_held_out(folds: list[Fold], request: _Request, problems: Problems) -> None:
    for fold in folds:
        for role, wanted in (("test", True), ("validation", request.validation_fraction > 0)):
            if wanted and not len(getattr(fold, role)):
                problems.add(
                    f"seed {fold.seed}, fold {fold.fold}: no subject is left for {role}, as every cluster keeps one for"
                    " training; too many clusters have a single subject: leave them out, or take a larger fraction"
                )


def _check_training_labels(folds: list[Fold], y: np.ndarray, problems: Problems) -> None:
    n_classes = int(y.max()) + 1
    for fold in folds:
        absent = np.flatnonzero(np.bincount(y[fold.train], minlength=n_classes) == 0)
        if len(absent):
            labels = ", ".join(str(label) for label in absent)
            problems.add(
                f"seed {fold.seed}, fold {fold.fold}: no training row has label {labels}; too few subjects have"
                " it: leave it out, or take fewer folds or a smaller validation_fraction"
            )


def _warn_of_single_subjects(groups: Subjects, levels: np.ndarray, request: _Request, prefix: str) -> None:
    """Clusters of one sample have been told by the data's own check."""
    subjects = np.bincount(groups.cluster, minlength=len(levels))
    samples = np.bincount(groups.cluster, weights=groups.size, minlength=len(levels))
    single = levels[(subjects == 1) & (samples > 1)]
    so = "absent from training in one fold" if request.test_fraction is None else "never tested"
    if len(single):
        logger.warning("%sclusters of one subject, so %s: %s", prefix, so, listed(single, 20))
