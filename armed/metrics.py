"""Metrics of predictions, computed for thousands of cells at once (see `armed.cells`).

`armed.scoring` makes the tables from it. Inputs are logits (means for continuous labels), never
probabilities: ranks are taken of logits, so that saturated probabilities do not tie. An undefined metric is
NaN and comes with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from armed.cells import Cells, concordance, ratio
from armed.errors import DataError, Problems, did_you_mean

ECE_BINS = 15
NAN_PREDICTIONS = "predictions contain NaN"


def _accuracy(cells: Cells) -> np.ndarray:
    return ratio(cells.sum(cells.called == cells.y), cells.size)


def _auroc(cells: Cells) -> np.ndarray:
    if cells.n_classes > 2:
        return np.mean([_auroc(cells.one_against_rest(k)) for k in range(cells.n_classes)], axis=0)
    return ratio(*concordance(cells))


def _auprc(cells: Cells) -> np.ndarray:
    """Average precision: precision at each point, weighted by the recall it adds."""
    if cells.n_classes > 2:
        return np.mean([_auprc(cells.one_against_rest(k)) for k in range(cells.n_classes)], axis=0)
    curve = cells.curve
    weighted = curve.steps[0] * curve.tp / (curve.tp + curve.fp)
    return ratio(np.bincount(curve.cell, weights=weighted, minlength=cells.n_cells), cells.positives)


def _sensitivity(cells: Cells) -> np.ndarray:
    return ratio(cells.true_positives, cells.positives)


def _specificity(cells: Cells) -> np.ndarray:
    false_positives = cells.called_positives - cells.true_positives
    return ratio(cells.negatives - false_positives, cells.negatives)


def _balanced_accuracy(cells: Cells) -> np.ndarray:
    if cells.n_classes == 2:
        return (_sensitivity(cells) + _specificity(cells)) / 2
    hit = cells.called == cells.y
    recall = [ratio(cells.sum(hit & (cells.y == k)), cells.sum(cells.y == k)) for k in range(cells.n_classes)]
    return np.mean(recall, axis=0)


def _f1(cells: Cells) -> np.ndarray:
    return ratio(2 * cells.true_positives, cells.positives + cells.called_positives)


def _ppv(cells: Cells) -> np.ndarray:
    return ratio(cells.true_positives, cells.called_positives)


def _npv(cells: Cells) -> np.ndarray:
    called_negatives = cells.size - cells.called_positives
    return ratio(called_negatives - (cells.positives - cells.true_positives), called_negatives)


def _youden(cells: Cells) -> np.ndarray:
    return _sensitivity(cells) + _specificity(cells) - 1


def _sensitivity_at_specificity_80(cells: Cells) -> np.ndarray:
    curve, best = cells.curve, np.zeros(cells.n_cells)
    allowed = curve.fp <= 0.2 * cells.negatives[curve.cell] + 1e-9
    np.maximum.at(best, curve.cell[allowed], curve.tp[allowed])
    return np.where(cells.negatives > 0, ratio(best, cells.positives), np.nan)


def _specificity_at_sensitivity_80(cells: Cells) -> np.ndarray:
    curve, fewest = cells.curve, cells.negatives.astype(np.float64)
    allowed = curve.tp >= 0.8 * cells.positives[curve.cell] - 1e-9
    np.minimum.at(fewest, curve.cell[allowed], curve.fp[allowed])
    return np.where(cells.positives > 0, ratio(cells.negatives - fewest, cells.negatives), np.nan)


def _brier(cells: Cells) -> np.ndarray:
    """Squared error of the probability of class 1; summed over all classes where K > 2 (Brier, 1950)."""
    if cells.n_classes == 2:
        return ratio(cells.sum((cells.probability - cells.y) ** 2), cells.size)
    truth = cells.y[:, None] == np.arange(cells.n_classes)
    return ratio(cells.sum(((cells.probability - truth) ** 2).sum(axis=1)), cells.size)


def _ece(cells: Cells) -> np.ndarray:
    """Gap between probability and frequency, by bin of probability, weighted by rows.

    Binary: of class 1. K > 2: of the likeliest class. Not stated in the paper; we take 15 equal bins (Guo et
    al., 2017).
    """
    if cells.n_classes == 2:
        p, hit = cells.probability, cells.y
    else:
        p, hit = cells.probability.max(axis=1), cells.called == cells.y
    bins = cells.cell * ECE_BINS + np.minimum((p * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    gap = np.bincount(bins, weights=hit - p, minlength=cells.n_cells * ECE_BINS)
    return ratio(np.abs(gap).reshape(cells.n_cells, ECE_BINS).sum(axis=1), cells.size)


def _mse(cells: Cells) -> np.ndarray:
    return ratio(cells.sum((cells.output - cells.y) ** 2), cells.size)


def _r2(cells: Cells) -> np.ndarray:
    centred = cells.y - ratio(cells.sum(cells.y), cells.size)[cells.cell]
    # Whether labels are constant is told by their range: their spread about the mean is not 0 by rounding.
    low, high = np.full(cells.n_cells, np.inf), np.full(cells.n_cells, -np.inf)
    np.minimum.at(low, cells.cell, cells.y)
    np.maximum.at(high, cells.cell, cells.y)
    total = np.where(high > low, cells.sum(centred**2), 0.0)
    return 1 - ratio(cells.sum((cells.output - cells.y) ** 2), total)


@dataclass(frozen=True)
class Metric:
    """How a metric is computed, why it may be undefined, and which labels it is for."""

    compute: Callable[[Cells], np.ndarray]
    undefined: str
    labels: str  # "classes", "binary" or "continuous"


_ALL_CLASSES = "not all classes are there"
METRICS: dict[str, Metric] = {
    "accuracy": Metric(_accuracy, "no samples", "classes"),
    "auroc": Metric(_auroc, _ALL_CLASSES, "classes"),
    "auprc": Metric(_auprc, "no samples of a class", "classes"),
    "balanced_accuracy": Metric(_balanced_accuracy, _ALL_CLASSES, "classes"),
    "sensitivity": Metric(_sensitivity, "no positives", "binary"),
    "specificity": Metric(_specificity, "no negatives", "binary"),
    "f1": Metric(_f1, "no positives, true or called", "binary"),
    "ppv": Metric(_ppv, "no sample called positive", "binary"),
    "npv": Metric(_npv, "no sample called negative", "binary"),
    "youden": Metric(_youden, _ALL_CLASSES, "binary"),
    "sensitivity_at_specificity_80": Metric(_sensitivity_at_specificity_80, _ALL_CLASSES, "binary"),
    "specificity_at_sensitivity_80": Metric(_specificity_at_sensitivity_80, _ALL_CLASSES, "binary"),
    "brier": Metric(_brier, "no samples", "classes"),
    "ece": Metric(_ece, "no samples", "classes"),
    "mse": Metric(_mse, "no samples", "continuous"),
    "r2": Metric(_r2, "all labels are equal", "continuous"),
}
RANGES = {
    name: (0.0, 1.0)
    for name in (
        *(
            "accuracy",
            "auroc",
            "auprc",
            "balanced_accuracy",
            "sensitivity",
            "specificity",
            "f1",
            "ppv",
            "npv",
            "brier",
            "ece",
        ),
        *("sensitivity_at_specificity_80", "specificity_at_sensitivity_80", "within_cluster_auroc", "z_accuracy"),
        *("adversary_accuracy", "localisation", "feature_recovery", "cluster_probe_accuracy"),
    )
} | {"youden": (-1.0, 1.0), "slope_recovery": (-1.0, 1.0), "intercept_recovery": (-1.0, 1.0)}
"""Lowest and highest value that a metric can have, of those that have both."""
_ONE_END = {name: (0.0, np.inf) for name in ("mse", "davies_bouldin", "calinski_harabasz")}
_ONE_END |= {f"variance_{name}": (-np.inf, 1.0) for name in ("cluster", "group", "phenotype")}
LOWER_IS_BETTER = frozenset(
    {
        "brier",
        "ece",
        "mse",
        "cluster_probe_accuracy",
        "calinski_harabasz",
        "variance_cluster",
    }  # the last three: of latents
)


def limits(metric: str) -> tuple[float, float]:
    """Lowest and highest value that a metric can have; infinite where it has none."""
    return RANGES.get(metric, _ONE_END.get(metric, (-np.inf, np.inf)))


def compute(cells: Cells, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Compute one metric in every cell.

    Parameters
    ----------
    cells : Cells
        Predictions.
    metric : str
        One of `METRICS`.

    Returns
    -------
    values : numpy.ndarray of float, (n_cells,)
        NaN where undefined.
    notes : numpy.ndarray of str, (n_cells,)
        Why a value is NaN, else empty.
    """
    definition = METRICS[metric]
    values = np.where(cells.broken, np.nan, definition.compute(cells))
    notes = np.where(np.isnan(values), definition.undefined, "")
    return values, np.where(cells.broken, NAN_PREDICTIONS, notes)


def check_labels(y: np.ndarray, output: np.ndarray, metrics: Iterable[str], known: Iterable[str]) -> None:
    """Raise `DataError` with all unknown metrics, and labels that do not fit the metrics asked for."""
    problems = Problems(DataError, "the predictions to score")
    known = list(known)
    asked = list(metrics)
    for metric in asked:
        if metric not in known:
            near = did_you_mean(metric, known)
            problems.add(f"metric '{metric}' is not known.{near} Known: {', '.join(known)}")
    kinds = {METRICS[m].labels if m in METRICS else "binary" for m in asked if m in known}
    if output.ndim == 2 and kinds - {"classes"}:
        wrong = [m for m in asked if m in known and (m not in METRICS or METRICS[m].labels != "classes")]
        problems.add(f"{', '.join(wrong)}: not defined for {output.shape[1]} classes")
    n_classes = output.shape[1] if output.ndim == 2 else 2
    odd = ~np.isin(y, np.arange(n_classes))
    if kinds & {"classes", "binary"} and odd.any():
        problems.add(
            f"{int(odd.sum())} labels are not in 0..{n_classes - 1}, e.g. {np.asarray(y)[odd][0]};"
            " for continuous labels ask for mse and r2 only"
        )
    problems.raise_if_any()


def evaluate(y: np.ndarray, output: np.ndarray, metrics: Iterable[str], *, threshold: float = 0.5) -> dict[str, float]:
    """Compute metrics of one set of predictions.

    Parameters
    ----------
    y : array, (n,)
        Labels 0..K-1, or continuous.
    output : array, (n,) or (n, K)
        Logits, or means for continuous labels.
    metrics : iterable of str
        Of `METRICS`.
    threshold : float
        On the probability of class 1.

    Returns
    -------
    dict of str to float
        NaN where undefined.

    Raises
    ------
    DataError
        Unknown metric, labels that do not fit, or lengths that differ.
    """
    y, output, metrics = np.asarray(y), np.asarray(output), list(metrics)
    if len(y) != len(output):
        raise DataError(f"{len(y)} labels and {len(output)} predictions: expected as many of both.")
    check_labels(y, output, metrics, METRICS)
    cells = Cells.of(np.zeros(len(y), np.int64), y, output, threshold, n_cells=1)
    return {m: float(compute(cells, m)[0][0]) for m in metrics}


def youden_threshold(y: np.ndarray, output: np.ndarray) -> float:
    """Probability at which sensitivity + specificity - 1 is largest; the highest such one where several are.

    Parameters
    ----------
    y : array, (n,)
        Labels 0 and 1.
    output : array, (n,)
        Logits: of training data, never of the partition that is then evaluated.

    Returns
    -------
    float
        Threshold in [0, 1], to be used as "probability at least".

    Raises
    ------
    DataError
        One class only, NaN predictions, or labels other than 0 and 1.
    """
    y, output = np.asarray(y), np.asarray(output)
    check_labels(y, output, ["youden"], METRICS)
    # Of probabilities, which the threshold is compared with: logits may differ where these do not.
    cells = Cells.of(np.zeros(len(y), np.int64), y, expit(output), n_cells=1)
    if cells.broken[0] or not (cells.positives[0] and cells.negatives[0]):
        raise DataError(
            f"A Youden threshold needs both classes and no NaN: given {len(y)} samples,"
            f" {int(cells.positives[0])} of class 1, {int(np.isnan(output).sum())} NaN predictions."
        )
    curve = cells.curve
    j = curve.tp / cells.positives - curve.fp / cells.negatives
    return float(curve.score[np.argmax(j >= j.max() - 1e-12)])
