"""Bootstrap of a metric itself, by drawing subjects or clusters: how surely it is known.

Subjects: where there are fewer than 10 clusters a bootstrap over clusters has too few units to draw from. Here the clusters
are held fixed, and the subjects of each are drawn anew, as many as there are. What comes out is conditional on these
clusters, and on the trained models; it says nothing about a further cluster.

Clusters: where there are more, but small ones (sites of two to ten subjects), metrics of single clusters are mostly undefined,
and say little of the metric of all. Here whole clusters are drawn, and the metric of all rows drawn is taken.

How much training adds is for `armed.statistics` to say, which knows the metric of each seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from armed import metrics as definitions
from armed import results
from armed.cells import Cells, concordance, ratio
from armed.errors import DataError, Problems
from armed.reproducibility import derive_seed
from armed.scoring import CELL, WITHIN
from armed.statistics import FEW_CLUSTERS, UNSEEN
from armed.weighted_metrics import RANKED, Ranking, Weighted, WeightedCurve, compute

DRAWN = ["variant", "partition", "metric", "draw", "value"]
_GROUP = ["variant", "partition"]
_NEEDED = (*CELL, "cluster", "subject", "y_true")
SMALL_CLUSTER = 50
"""Mean number of subjects below which clusters count as small."""
AT_ONCE = 1000
"""Draws computed together; with fewer the many small steps take longer than the numbers."""
_BYTES = 80e6


def unit_drawn(n_clusters: int, n_subjects: int) -> str | None:
    """What is drawn of unseen clusters: subjects of few ones, small ones whole; None for others, which need no draws."""
    if n_clusters < FEW_CLUSTERS:
        return "subject"
    return "cluster" if n_subjects < SMALL_CLUSTER * n_clusters else None


def draws_of_model(
    predictions: pd.DataFrame,
    metrics: Sequence[str],
    *,
    study: str,
    model: str,
    draws: int = 2000,
    thresholds: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Make the rows of table `draws` of one model: what `armed.statistics` cannot bootstrap over clusters.

    Parameters
    ----------
    predictions : pandas.DataFrame
        As for `draw_metrics`; all seeds and folds of a variant together. Variants and studies with a dataset per seed do
        not belong here: their intervals are over seeds.
    metrics, study, draws, thresholds
        As for `draw_metrics`.
    model : str
        Written into the rows.

    Returns
    -------
    pandas.DataFrame
        Table `draws`: of each variant and partition with fewer than `FEW_CLUSTERS` clusters (subjects are drawn), or with
        small ones (clusters are), all metrics where its clusters are unseen; of seen ones, if they are few, those with one
        value per seed (``within_cluster_auroc``). Where clusters are drawn and fewer than `FEW_CLUSTERS` hold both classes,
        this one is NaN: draws would differ by whether one or other of them is there. Without rows where there is none such.
    """
    by = predictions.groupby(_GROUP, observed=True)
    sizes = by[["cluster", "subject"]].nunique()
    units = pd.Series([unit_drawn(*size) for size in sizes.to_numpy()], sizes.index, dtype=object)
    group = pd.MultiIndex.from_frame(predictions[_GROUP].astype(str))
    unseen = predictions["partition"].isin(UNSEEN).to_numpy()
    within = [m for m in metrics if m == WITHIN]
    found = [results.empty("draws")]
    for rows, unit, asked in (
        (unseen, "subject", list(metrics)),
        (unseen, "cluster", list(metrics)),
        (~unseen, "subject", within),
    ):
        rows = rows & group.isin(units.index[units == unit])
        if asked and rows.any():
            named = {"study": study, "draws": draws, "thresholds": thresholds, "unit": unit}
            found.append(draw_metrics(predictions[rows], asked, **named))
    table = pd.concat([part for part in found if len(part)] or found[:1], ignore_index=True)
    drawn_whole = set(units.index[units == "cluster"]) - _with_many_mixed_clusters(predictions)
    few = [group in drawn_whole for group in zip(table["variant"], table["partition"], strict=True)]
    table.loc[np.array(few, dtype=bool) & (table["metric"] == WITHIN), "value"] = np.nan
    return table.assign(study=study, model=model)[list(results.table("draws").columns)]


def _with_many_mixed_clusters(predictions: pd.DataFrame) -> set[tuple[str, str]]:
    """Variants and partitions with at least `FEW_CLUSTERS` clusters that hold more than one class."""
    classes = predictions.groupby([*_GROUP, "cluster"], observed=True)["y_true"].nunique()
    mixed = (classes > 1).groupby(level=_GROUP, observed=True).sum()
    return set(mixed.index[mixed >= FEW_CLUSTERS])


def draw_metrics(
    predictions: pd.DataFrame,
    metrics: Sequence[str],
    *,
    study: str,
    draws: int = 2000,
    thresholds: pd.DataFrame | None = None,
    unit: str = "subject",
) -> pd.DataFrame:
    """Compute metrics on subjects drawn with replacement within each cluster, or on clusters drawn with replacement.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Columns of the predictions table and `subject`; `mixed` is scored. Rows of a subject in a cluster are drawn
        together, in all seeds, folds, partitions and variants alike. All subjects of a cluster should be there, as draws
        are of those that are.
    metrics : sequence of str
        Of `armed.metrics.METRICS`, and ``within_cluster_auroc``.
    study : str
        Together with the names of cluster and subjects it decides the draws: they are the same for all models.
    draws : int
        How many. The first draws do not depend on it.
    thresholds : pandas.DataFrame, optional
        Columns seed, fold, variant, threshold (a probability). Without it 0.5.
    unit : {"subject", "cluster"}
        What is drawn.

    Returns
    -------
    pandas.DataFrame
        Columns variant, partition, metric, draw, value: the metric of each (seed, fold) on the rows drawn, averaged over
        folds and then over seeds; ``within_cluster_auroc`` (pairs inside cluster x fold, summed over folds) averaged over
        seeds. A (seed, fold) on whose own rows the metric is undefined is left out, as in a summary; a draw on which any
        other is undefined is NaN. Metrics undefined everywhere have no rows.

    Raises
    ------
    DataError
        Columns missing, unknown metrics, labels that do not fit them, or no threshold for a (seed, fold, variant).
    """
    _check_columns(predictions)
    output = results.outputs(predictions, "mixed")
    labels = predictions["y_true"].to_numpy(np.float64)
    definitions.check_labels(labels, output, metrics, [*definitions.METRICS, WITHIN])
    names = {c: predictions[c].astype(str) for c in ("cluster", "subject", *_GROUP)}
    frame = predictions[list(_NEEDED)].assign(**names).reset_index(drop=True)
    units = _Units.of(frame, study, unit)
    plain = [m for m in metrics if m != WITHIN]
    tasks = []
    if plain:
        tasks.append(_Plain(_Predictions.of(frame, labels, output, units.unit, CELL, thresholds), plain))
    if WITHIN in metrics:
        inner = [*CELL, "cluster"]
        tasks.append(_Within(_Predictions.of(frame, labels, output, units.unit, inner, None)))
    drawn = [[] for _ in tasks]
    at_once = int(min(AT_ONCE, max(1, _BYTES // (8 * (units.n + 8 * _largest(tasks))))))
    for weights in units.draw(draws, at_once):
        for values, task in zip(drawn, tasks, strict=True):
            values.append(task.values(weights))
    parts = [
        pd.DataFrame({**name, "draw": np.arange(draws), "value": value})
        for values, task in zip(drawn, tasks, strict=True)
        for name, value in zip(task.names, np.concatenate(values, axis=1) if values else (), strict=True)
    ]
    return pd.concat(parts, ignore_index=True)[DRAWN] if parts else pd.DataFrame(columns=DRAWN)


def _largest(tasks: Sequence[_Plain | _Within]) -> int:
    return max((len(cell.unit) for task in tasks for cell in task.cells), default=1)


def _check_columns(predictions: pd.DataFrame) -> None:
    problems = Problems(DataError, "the predictions to draw from")
    for column in _NEEDED:
        if column not in predictions.columns:
            problems.add(f"column '{column}' is missing")
        elif predictions[column].isna().any():
            problems.add(f"column '{column}' has {int(predictions[column].isna().sum())} missing values")
    if not {"mixed", "mixed_0"} & set(predictions.columns):
        problems.add("column 'mixed' (or 'mixed_0', ... for more than two classes) is missing")
    problems.raise_if_any()


@dataclass(frozen=True)
class _Units:
    """What is drawn: `unit` (rows,) is each row's unit, units of a stratum follow each other, `sizes` many of each.

    Subjects are drawn within their cluster, clusters from all there are.
    """

    unit: np.ndarray
    strata: list[str]
    sizes: np.ndarray
    study: str

    @classmethod
    def of(cls, frame: pd.DataFrame, study: str, unit: str) -> _Units:
        stratum = frame["cluster"] if unit == "subject" else pd.Series("", index=frame.index)
        by = frame.groupby([stratum.rename("stratum"), frame[unit].rename("unit")], sort=True)
        sizes = by.size().groupby(level="stratum", sort=True).size()
        return cls(by.ngroup().to_numpy(), list(sizes.index), sizes.to_numpy(), study)

    @property
    def n(self) -> int:
        return int(self.sizes.sum())

    def draw(self, draws: int, at_once: int) -> Iterator[np.ndarray]:
        """How often each unit is drawn (units, at most `at_once`), until there are `draws`."""
        # A stream for each stratum, so that its draws do not depend on which others there are.
        base = derive_seed("subject bootstrap", self.study, 0)
        streams = [np.random.default_rng([base, derive_seed("cluster", stratum, 0)]) for stratum in self.strata]
        for start in range(0, draws, at_once):
            size = min(at_once, draws - start)
            counts = [_counts(rng, n, size) for rng, n in zip(streams, self.sizes, strict=True)]
            yield np.concatenate(counts, axis=1).T.astype(np.float64, order="C")


def _counts(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """Counts (size, n) of n draws out of n; a tenth of the time of `multinomial`."""
    chosen = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
    return np.bincount(chosen.ravel(), minlength=size * n).reshape(size, n)


@dataclass(frozen=True)
class _Cell:
    """One set of predictions that is scored on its own; its rows' subjects."""

    rows: Cells
    unit: np.ndarray
    rankings: tuple[Ranking, ...]


@dataclass(frozen=True)
class _Predictions:
    """All cells, named by `keys`, in order of these; `unit` and `cells` are in order of rows sorted by cell."""

    keys: pd.DataFrame
    cells: Cells
    unit: np.ndarray

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        labels: np.ndarray,
        output: np.ndarray,
        unit: np.ndarray,
        by: list[str],
        thresholds: pd.DataFrame | None,
    ) -> _Predictions:
        groups = frame.groupby(by, sort=True)
        cell, keys = groups.ngroup().to_numpy(), groups.size().index.to_frame(index=False)
        order = np.argsort(cell, kind="stable")
        cells = Cells.of(cell[order], labels[order], output[order], _thresholds(keys, thresholds), len(keys))
        return cls(keys, cells, unit[order])

    def cell(self, c: int, *, ranked: bool) -> _Cell:
        """Cell c alone."""
        rows = slice(*np.searchsorted(self.cells.cell, [c, c + 1]))
        at = self.cells.threshold
        y, output = self.cells.y[rows], self.cells.output[rows]
        alone = Cells(
            np.zeros(len(y), np.int64), 1, y, output, at[c] if np.ndim(at) else at, self.cells.broken[c : c + 1]
        )
        return _Cell(alone, self.unit[rows], Ranking.all_of(alone) if ranked else ())


def _thresholds(keys: pd.DataFrame, thresholds: pd.DataFrame | None) -> float | np.ndarray:
    if thresholds is None:
        return 0.5
    on = ["seed", "fold", "variant"]
    given = thresholds[[*on, "threshold"]].astype({"variant": str})
    found = keys[on].merge(given, how="left", on=on, validate="many_to_one")
    missing = found[found["threshold"].isna()]
    if len(missing):
        raise DataError(
            f"{len(missing)} fits have no threshold; the first: {missing.iloc[0][on].to_dict()}."
            " Give one for every (seed, fold, variant), or none at all for 0.5."
        )
    return found["threshold"].to_numpy(np.float64)


class _Plain:
    """Metrics of (seed, fold), averaged over folds and then over seeds, of each variant and partition."""

    def __init__(self, predictions: _Predictions, metrics: Sequence[str]) -> None:
        keys = predictions.keys
        group, names = _groups(keys)
        ranked = any(m in RANKED for m in metrics)
        self.cells = [predictions.cell(c, ranked=ranked) for c in range(len(keys))]
        self.names: list[Mapping[str, str]] = []
        self.shares: list[list[tuple[str, int, float]]] = [[] for _ in self.cells]
        for metric in metrics:
            defined = ~np.isnan(definitions.compute(predictions.cells, metric)[0])
            share = _shares(keys[defined])
            place = {}
            for c, part in zip(np.flatnonzero(defined), share, strict=True):
                if group[c] not in place:
                    place[group[c]] = len(self.names)
                    self.names.append({**names[group[c]], "metric": metric})
                self.shares[c].append((metric, place[group[c]], part))

    def values(self, weights: np.ndarray) -> np.ndarray:
        """Mean of each name's metric under weights (units, draws): (names, draws)."""
        total = np.zeros((len(self.names), weights.shape[1]))
        for cell, shares in zip(self.cells, self.shares, strict=True):
            if shares:
                drawn = Weighted.of_cell(cell.rows, weights[cell.unit], cell.rankings)
                for metric, place, share in shares:
                    total[place] += share * compute(drawn, metric)
        return total


def _groups(keys: pd.DataFrame) -> tuple[np.ndarray, list[dict[str, str]]]:
    """Variant and partition of each key, as a number and by name."""
    by = keys.groupby(_GROUP, sort=True)
    return by.ngroup().to_numpy(), by.size().index.to_frame(index=False).to_dict("records")


def _shares(keys: pd.DataFrame) -> np.ndarray:
    """Share of each (seed, fold) in the mean over seeds of the means over folds."""
    folds = keys.groupby([*_GROUP, "seed"])["fold"].transform("size")
    seeds = keys.groupby(_GROUP)["seed"].transform("nunique")
    return (1 / (folds * seeds)).to_numpy()


class _Within:
    """`within_cluster_auroc` of each seed, averaged over seeds."""

    def __init__(self, predictions: _Predictions) -> None:
        keys, cells = predictions.keys, predictions.cells
        by = keys.groupby([*_GROUP, "seed"], sort=True)
        seed = by.ngroup().to_numpy()
        pairs = np.bincount(seed, weights=cells.positives * cells.negatives)
        broken = np.bincount(seed, weights=cells.broken)
        self.defined = (pairs > 0) & (broken == 0)
        self.group, names = _groups(by.size().index.to_frame(index=False))
        self.names = [{**name, "metric": WITHIN} for g, name in enumerate(names) if self.defined[self.group == g].any()]
        # Cells of one class hold no pairs, however they are drawn.
        used = np.flatnonzero(self.defined[seed] & (cells.positives * cells.negatives > 0))
        self.sums = None
        unit = predictions.unit[np.searchsorted(cells.cell, np.arange(cells.n_cells))]
        if (unit[cells.cell] == predictions.unit).all():
            # Clusters are drawn whole: all pairs of a cluster count as often as the square of how often it is drawn.
            sums = np.zeros((2, len(self.defined), int(unit.max(initial=-1)) + 1))
            for total, of_cells in zip(sums, concordance(cells), strict=True):
                np.add.at(total, (seed[used], unit[used]), of_cells[used])
            self.sums, self.cells, self.seed = sums, [], seed[:0]
        else:
            self.cells, self.seed = [predictions.cell(c, ranked=True) for c in used], seed[used]

    def values(self, weights: np.ndarray) -> np.ndarray:
        """Mean of the seeds' values under weights (units, draws): (variants x partitions with any, draws)."""
        concordant, pairs = np.zeros((2, len(self.defined), weights.shape[1]))
        if self.sums is not None:
            concordant, pairs = self.sums @ weights[: self.sums.shape[2]] ** 2
        for cell, seed in zip(self.cells, self.seed, strict=True):
            own, of_all = WeightedCurve(cell.rankings[0], weights[cell.unit]).concordance()
            concordant[seed] += own
            pairs[seed] += of_all
        value = ratio(concordant, pairs)
        groups = [self.defined & (self.group == g) for g in np.unique(self.group)]
        means = [value[seeds].mean(axis=0) for seeds in groups if seeds.any()]
        return np.array(means).reshape(-1, weights.shape[1])
